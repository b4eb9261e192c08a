package fetch

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

// StatusError returns what r's status means where a picture was due, nil for
// 200. now is the time at which the answer came.
//
//	404 410           missing, final
//	401 403           forbidden, final; rate_limited if its quota is used up
//	408 425           timeout, temporary
//	429               rate_limited; hold if it says how long, else temporary
//	5xx               unavailable, temporary; a 503 that says how long: hold
//	other 4xx, 3xx    refused, final
//	other 2xx         unavailable, temporary: the picture is not there yet
func StatusError(r *Response, now time.Time) *failure.Error {
	if r.Status == http.StatusOK {
		return nil
	}
	reason, kind := statusReason(r.Status)
	if reason == failure.ReasonForbidden && quotaUsedUp(r.Header) {
		reason, kind = failure.ReasonRateLimited, failure.Temporary
	}
	e := failure.Newf(reason, kind, "%s answered %d %s",
		netguard.RedactURL(r.URL), r.Status, http.StatusText(r.Status))
	e.Status = r.Status
	if reason != failure.ReasonRateLimited && r.Status != http.StatusServiceUnavailable {
		return e
	}
	// A wait of nothing would be asked again for ever, as a hold counts no try.
	if wait, ok := RetryAfter(r.Header, now); ok && wait > 0 {
		e.Kind, e.RetryAfter = failure.Hold, wait
	}
	return e
}

func statusReason(status int) (failure.Reason, failure.Kind) {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return failure.ReasonMissing, failure.Final
	case http.StatusUnauthorized, http.StatusForbidden:
		return failure.ReasonForbidden, failure.Final
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return failure.ReasonTimeout, failure.Temporary
	case http.StatusTooManyRequests:
		return failure.ReasonRateLimited, failure.Temporary
	}
	if status >= 300 && status < 500 {
		return failure.ReasonRefused, failure.Final
	}
	return failure.ReasonUnavailable, failure.Temporary
}

// maxRetryAfter caps what another side may ask us to wait.
const maxRetryAfter = time.Hour

// RetryAfter returns how long an answer that came at now asks to wait, from 0
// to an hour: by Retry-After in seconds or as a date (RFC 9110, section
// 10.2.3), else by X-RateLimit-Reset in epoch seconds if X-RateLimit-Remaining
// is 0. It reports false if the answer asks for nothing or for nonsense.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if wait, ok := parseRetryAfter(h.Get("Retry-After"), now); ok {
		return wait, true
	}
	if !quotaUsedUp(h) {
		return 0, false
	}
	reset, err := strconv.ParseInt(strings.TrimSpace(h.Get("X-RateLimit-Reset")), 10, 64)
	if err != nil || reset <= now.Unix() {
		return 0, false
	}
	return clampWait(float64(reset - now.Unix())), true
}

func parseRetryAfter(s string, now time.Time) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789") == "" {
		seconds, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return maxRetryAfter, true
		}
		return clampWait(seconds), true
	}
	date, err := http.ParseTime(s)
	if err != nil {
		return 0, false
	}
	return clampWait(date.Sub(now).Seconds()), true
}

func clampWait(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), maxRetryAfter.Seconds()) * float64(time.Second))
}

// quotaUsedUp reports the header by which GitHub and others mark an answer
// that only waiting helps with.
func quotaUsedUp(h http.Header) bool {
	return strings.TrimSpace(h.Get("X-RateLimit-Remaining")) == "0"
}
