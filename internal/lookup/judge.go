package lookup

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tidwall/gjson"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// maxWordsBytes bounds what an error repeats of a service's own words.
const maxWordsBytes = 200

// judgeStatus returns the failure that a status stands for, nil where the
// body has the answer or the status itself says not found:
//
//	2xx, and what the definition lists   nil
//	403 with a sign of rate limiting     rate_limited, hold if told how long, else temporary
//	401, other 403                       credentials, hold
//	403 or a listed status with HTML     blocked, temporary; nil if the definition
//	                                     allows HTML with a listed status
//	408, 425                             timeout, temporary
//	429                                  rate_limited, hold if told how long, else temporary
//	503                                  unavailable, hold if told how long, else temporary
//	other 5xx                            unavailable, temporary
//	other 4xx                            refused, final
//	1xx, 3xx                             bad_answer, temporary
func (d *Definition) judgeStatus(rules answerRules, r Reply, body []byte, secrets []string) error {
	wait, told := fetch.RetryAfter(r.Header, time.Now())
	fail := func(reason failure.Reason, kind failure.Kind, hint string) error {
		words := ""
		if w := rules.words(body, secrets); w != "" {
			words = fmt.Sprintf(" (%s)", w)
		}
		e := failure.Newf(reason, kind, "%s answered %s%s%s", d.Name, statusLine(r.Status), words, hint)
		e.Status = r.Status
		if kind == failure.Hold {
			e.RetryAfter = wait
		}
		return e
	}
	holdIfTold := failure.Temporary
	// A wait of nothing counts as a try, or the name would be asked on and on.
	if told && wait > 0 {
		holdIfTold = failure.Hold
	}

	switch s := r.Status; {
	case s == http.StatusForbidden && (r.Header.Get("Retry-After") != "" || r.Header.Get("X-RateLimit-Remaining") == "0"):
		return fail(failure.ReasonRateLimited, holdIfTold, "")
	case (s == http.StatusForbidden || rules.saysNotFound(s) && !rules.notFoundHTML) && startsHTML(body):
		return fail(failure.ReasonBlocked, failure.Temporary, " with a web page where JSON was due")
	case rules.saysNotFound(s), s >= 200 && s < 300:
		return nil
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return fail(failure.ReasonCredentials, failure.Hold, d.credentialsHint())
	case s == http.StatusRequestTimeout || s == http.StatusTooEarly:
		return fail(failure.ReasonTimeout, failure.Temporary, "")
	case s == http.StatusTooManyRequests:
		return fail(failure.ReasonRateLimited, holdIfTold, "")
	case s == http.StatusServiceUnavailable:
		return fail(failure.ReasonUnavailable, holdIfTold, "")
	case s >= 500:
		return fail(failure.ReasonUnavailable, failure.Temporary, "")
	case s == http.StatusNotFound || s == http.StatusGone:
		return fail(failure.ReasonRefused, failure.Final,
			fmt.Sprintf(": if that means that it does not know the name, add %d to %s.not_found.status", s, rules.where))
	case s >= 400:
		return fail(failure.ReasonRefused, failure.Final, "")
	default:
		return fail(failure.ReasonBadAnswer, failure.Temporary, " where JSON was due")
	}
}

func (a answerRules) saysNotFound(status int) bool {
	return slices.Contains(a.notFoundStatus, status)
}

func (d *Definition) credentialsHint() string {
	if len(d.Secrets) == 0 {
		return ": it refuses this client; a contact (--contact) or a secret in request.headers may be what it asks for"
	}
	cures := make([]string, len(d.Secrets))
	for i, s := range d.Secrets {
		cures[i] = s.cure()
	}
	return ": " + strings.Join(cures, ", ")
}

// judgeJSON returns nil where body is JSON that is safe to look into. A
// service that says text/html and sends JSON is taken by its bytes.
func (d *Definition) judgeJSON(r Reply, body []byte) error {
	switch {
	case startsHTML(body):
		return d.blocked()
	case tooDeep(body):
		return failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
			"the answer of %s is nested deeper than %d levels", d.Name, maxDepth)
	case gjson.ValidBytes(body):
		return nil
	case len(bytes.TrimSpace(body)) == 0:
		return failure.Newf(failure.ReasonBadAnswer, failure.Temporary, "the answer of %s is empty", d.Name)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "text/html" || kind == "application/xhtml+xml" {
		return d.blocked()
	}
	return failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
		"the answer of %s is no JSON (%d bytes of %q)", d.Name, len(body), printable(kind, 60))
}

func (d *Definition) blocked() error {
	return failure.Newf(failure.ReasonBlocked, failure.Temporary,
		"%s sent a web page where JSON was due: it may ask for a log-in, a captcha or fewer requests", d.Name)
}

func startsHTML(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// tooDeep looks before any parser recurses. It needs no valid JSON.
func tooDeep(body []byte) bool {
	depth, inText := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// providerError is the failure that an answer with a good status reports.
func (d *Definition) providerError(rules answerRules, r Reply, root gjson.Result, secrets []string) error {
	e := failure.Newf(failure.ReasonProviderError, failure.Temporary, "%s reports an error", d.Name)
	if w := rules.wordsAt(root, secrets); w != "" {
		e.Err = fmt.Errorf("%s reports: %s", d.Name, w)
	}
	if r.Header.Get("Retry-After") == "" {
		return e
	}
	if wait, ok := fetch.RetryAfter(r.Header, time.Now()); ok && wait > 0 {
		e.Kind, e.RetryAfter = failure.Hold, wait
	}
	return e
}

// words returns what the service says about its error, "" where it says
// nothing that can be read.
func (a answerRules) words(body []byte, secrets []string) string {
	if a.message == "" || tooDeep(body) || !gjson.ValidBytes(body) {
		return ""
	}
	return a.wordsAt(gjson.ParseBytes(body), secrets)
}

func (a answerRules) wordsAt(root gjson.Result, secrets []string) string {
	if a.message == "" {
		return ""
	}
	s, _ := plain(root.Get(a.message))
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return printable(s, maxWordsBytes)
}

// printable returns s in one line of at most n bytes without anything that a
// terminal or a log would obey.
func printable(s string, n int) string {
	// A character may take part of the room only: look no further than needed.
	s = cut(s, 4*n)
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "\ufffd"))
	return cut(strings.Join(strings.Fields(s), " "), n)
}

func statusLine(status int) string {
	if t := http.StatusText(status); t != "" {
		return fmt.Sprintf("%d %s", status, t)
	}
	return fmt.Sprint(status)
}
