package lookup

import (
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

func TestJudgeStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		title  string
		status int
		header string
		body   string
		reason failure.Reason
		kind   failure.Kind
		wait   time.Duration
	}{
		{"unauthorized", 401, "", "", failure.ReasonCredentials, failure.Hold, 0},
		{"forbidden", 403, "", `{"message":"no"}`, failure.ReasonCredentials, failure.Hold, 0},
		{"forbidden by a page", 403, "", "<html>", failure.ReasonBlocked, failure.Temporary, 0},
		{"forbidden until later", 403, "Retry-After: 7", "", failure.ReasonRateLimited, failure.Hold, 7 * time.Second},
		{"forbidden until later by a page", 403, "Retry-After: 7", "<html>", failure.ReasonRateLimited, failure.Hold, 7 * time.Second},
		{"forbidden, none remaining", 403, "X-RateLimit-Remaining: 0", "", failure.ReasonRateLimited, failure.Temporary, 0},
		{"forbidden, some remaining", 403, "X-RateLimit-Remaining: 3", "", failure.ReasonCredentials, failure.Hold, 0},
		{"not found by a page", 404, "", "<html>", failure.ReasonBlocked, failure.Temporary, 0},
		{"gone, not listed", 410, "", "", failure.ReasonRefused, failure.Final, 0},
		{"bad request", 400, "", "", failure.ReasonRefused, failure.Final, 0},
		{"odd 4xx", 499, "", "", failure.ReasonRefused, failure.Final, 0},
		{"request timeout", 408, "", "", failure.ReasonTimeout, failure.Temporary, 0},
		{"too early", 425, "", "", failure.ReasonTimeout, failure.Temporary, 0},
		{"too many", 429, "", "", failure.ReasonRateLimited, failure.Temporary, 0},
		{"too many, told", 429, "Retry-After: 120", "<html>", failure.ReasonRateLimited, failure.Hold, 2 * time.Minute},
		{"too many, garbage", 429, "Retry-After: soon", "", failure.ReasonRateLimited, failure.Temporary, 0},
		{"unavailable", 503, "", "", failure.ReasonUnavailable, failure.Temporary, 0},
		{"too many, told nothing", 429, "Retry-After: 0", "", failure.ReasonRateLimited, failure.Temporary, 0},
		{"unavailable, told a time that is over", 503, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT", "", failure.ReasonUnavailable, failure.Temporary, 0},
		{"error inside, told nothing", 200, "Retry-After: 0", `{"error":{"text":"lag"}}`, failure.ReasonProviderError, failure.Temporary, 0},
		{"unavailable, told", 503, "Retry-After: 1", "", failure.ReasonUnavailable, failure.Hold, time.Second},
		{"error", 500, "Retry-After: 1", "<html>", failure.ReasonUnavailable, failure.Temporary, 0},
		{"bad gateway", 502, "", "<html>", failure.ReasonUnavailable, failure.Temporary, 0},
		{"redirect nobody followed", 302, "", "", failure.ReasonBadAnswer, failure.Temporary, 0},
		{"no content", 204, "", "", failure.ReasonBadAnswer, failure.Temporary, 0},
		{"error inside, told", 200, "Retry-After: 5", `{"error":{"text":"lag"}}`, failure.ReasonProviderError, failure.Hold, 5 * time.Second},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			_, err := mustParse(t, rules).Extract("ada", Reply{Status: tt.status, Header: headerOf(tt.header), Body: []byte(tt.body)})
			checkFailure(t, err, tt.reason, tt.kind)
			if got := failure.From(err).RetryAfter; got != tt.wait {
				t.Errorf("wait: got %s, want %s", got, tt.wait)
			}
		})
	}
}

func TestJudgeListedStatus(t *testing.T) {
	t.Parallel()
	d := mustParse(t, rules)
	for _, body := range []string{"", "Not Found", `{"x":1}`, `{"error":1}`, strings.Repeat("[", 1<<20)} {
		a, err := d.Extract("ada", Reply{Status: 404, Body: []byte(body)})
		if err != nil || a.Verdict != NotFound {
			t.Errorf("404 with %.20q: got %s, %v", body, a.Verdict, err)
		}
	}
}

func TestWordsOfAStatus(t *testing.T) {
	t.Parallel()
	d := mustParse(t, rules)
	_, err := d.extract(Query{Name: "ada"}, Reply{Status: 401, Body: []byte(`{"error":{"text":"bad key s3cret!\u0007"}}`)}, []string{"s3cret"}, nil)
	if got, want := err.Error(), "svc answered 401 Unauthorized (bad key [redacted]!): set T"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err = mustParse(t, minimal).Extract("ada", Reply{Status: 404})
	if want := "add 404 to answer.not_found.status"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}
