// Package failure is the one vocabulary of what can go wrong with a name and
// of whether another try can help. Packages that fetch, read or store return
// an *Error; the worker turns it into a verdict. The package decides nothing
// and imports nothing of ours.
package failure

import (
	"errors"
	"fmt"
	"time"
)

// Reason is a stable word for what went wrong. It is stored with a name,
// shown to users, and used to select names for a retry: words may be added
// but are never renamed.
type Reason string

// The reasons, grouped by where they arise.
const (
	// Where a request may go.
	ReasonBadURL           Reason = "bad_url"            // scheme, port, userinfo, length or characters of a URL
	ReasonRefusedAddress   Reason = "refused_address"    // the guard refuses the address that was dialled
	ReasonTooManyRedirects Reason = "too_many_redirects" // more hops than allowed
	ReasonRefusedRedirect  Reason = "refused_redirect"   // a hop that leaves the lookup's origin
	ReasonRobots           Reason = "robots"             // robots.txt or an X-Robots-Tag asks us not to

	// The exchange.
	ReasonDNS         Reason = "dns"          // the host's name has no address
	ReasonNetwork     Reason = "network"      // refused, reset or unreachable
	ReasonTLS         Reason = "tls"          // certificate or handshake
	ReasonTimeout     Reason = "timeout"      // no whole answer within the deadline, 408, 425
	ReasonTruncated   Reason = "truncated"    // the body ended early or is garbled
	ReasonTooLarge    Reason = "too_large"    // more bytes than allowed, headers included
	ReasonMissing     Reason = "missing"      // 404 or 410 where a picture was due
	ReasonForbidden   Reason = "forbidden"    // 401 or 403 from a picture host
	ReasonRefused     Reason = "refused"      // any other 4xx
	ReasonRateLimited Reason = "rate_limited" // 429
	ReasonUnavailable Reason = "unavailable"  // 5xx

	// The lookup's answer.
	ReasonBadAnswer     Reason = "bad_answer"     // not the JSON that the provider describes
	ReasonBlocked       Reason = "blocked"        // HTML where JSON was due: a wall, not an answer
	ReasonProviderError Reason = "provider_error" // an error reported inside an answer
	ReasonCredentials   Reason = "credentials"    // 401 or 403 from the lookup service

	// The picture's bytes.
	ReasonNotAPicture   Reason = "not_a_picture"   // no jpeg, png, gif or webp
	ReasonBrokenPicture Reason = "broken_picture"  // right kind, wrong structure
	ReasonTooSmall      Reason = "too_small"       // fewer bytes or pixels, or shorter sides, than asked for
	ReasonTooManyPixels Reason = "too_many_pixels" // sides or area beyond the limit
	ReasonTooComplex    Reason = "too_complex"     // frames, scans or decoding time beyond the limit
	ReasonRefusedKind   Reason = "refused_kind"    // a kind of picture that is not asked for
	ReasonRefusedAspect Reason = "refused_aspect"  // wider or narrower than asked for

	// What is said of the picture.
	ReasonRefusedLicence Reason = "refused_licence" // a licence that is not asked for, or none that is known

	// Ourselves.
	ReasonStore    Reason = "store"    // the picture store cannot be written
	ReasonCrashed  Reason = "crashed"  // the worker died on this name three times
	ReasonBadTask  Reason = "bad_task" // a task that cannot be read
	ReasonInternal Reason = "internal" // a defect of ours
)

// Reasons lists every reason in the order above.
func Reasons() []Reason {
	return []Reason{
		ReasonBadURL, ReasonRefusedAddress, ReasonTooManyRedirects, ReasonRefusedRedirect, ReasonRobots,
		ReasonDNS, ReasonNetwork, ReasonTLS, ReasonTimeout, ReasonTruncated, ReasonTooLarge,
		ReasonMissing, ReasonForbidden, ReasonRefused, ReasonRateLimited, ReasonUnavailable,
		ReasonBadAnswer, ReasonBlocked, ReasonProviderError, ReasonCredentials,
		ReasonNotAPicture, ReasonBrokenPicture, ReasonTooSmall, ReasonTooManyPixels, ReasonTooComplex,
		ReasonRefusedKind, ReasonRefusedAspect, ReasonRefusedLicence,
		ReasonStore, ReasonCrashed, ReasonBadTask, ReasonInternal,
	}
}

// Kind says whether another try can help.
type Kind uint8

const (
	// Final: the same question would get the same answer. Asked once.
	Final Kind = iota + 1
	// Temporary: another try may succeed; this one counts.
	Temporary
	// Hold: the name is not to blame (its host asked to wait, the disk is
	// full, a key is missing). It waits RetryAfter and no try is counted.
	Hold
)

// String returns the kind's word.
func (k Kind) String() string {
	switch k {
	case Final:
		return "final"
	case Temporary:
		return "temporary"
	case Hold:
		return "hold"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is one failure of one step.
type Error struct {
	Reason Reason
	Kind   Kind
	// RetryAfter is how long the other side, or our own hold, asks to wait.
	// Zero leaves the wait to the backoff.
	RetryAfter time.Duration
	// Status is the HTTP status that told of the failure, 0 where none did.
	Status int
	// Unreached: no connection came to be with the host that was asked, so
	// that nobody there has heard the question.
	Unreached bool
	// Err is the cause, in words for a user and free of secrets.
	Err error
}

// New returns an Error with reason, kind and cause.
func New(r Reason, k Kind, err error) *Error {
	return &Error{Reason: r, Kind: k, Err: err}
}

// Newf is New with a formatted cause; %w works as in fmt.Errorf.
func Newf(r Reason, k Kind, format string, args ...any) *Error {
	return New(r, k, fmt.Errorf(format, args...))
}

// Error returns the cause's words, or the reason where there is none.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Reason)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// From returns the Error in err's chain. An err without one is a defect of
// ours and comes back as internal and Temporary. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(ReasonInternal, Temporary, err)
}
