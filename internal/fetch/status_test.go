package fetch_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestStatusError(t *testing.T) {
	t.Parallel()
	wait := http.Header{"Retry-After": {"7"}}
	quota := http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(now.Unix()+9, 10)}}
	tests := []struct {
		status int
		header http.Header
		reason failure.Reason
		kind   failure.Kind
		wait   time.Duration
	}{
		{202, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{204, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{206, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{300, nil, failure.ReasonRefused, failure.Final, 0},
		{302, nil, failure.ReasonRefused, failure.Final, 0},
		{304, nil, failure.ReasonRefused, failure.Final, 0},
		{400, nil, failure.ReasonRefused, failure.Final, 0},
		{401, nil, failure.ReasonForbidden, failure.Final, 0},
		{403, nil, failure.ReasonForbidden, failure.Final, 0},
		{403, wait, failure.ReasonForbidden, failure.Final, 0},
		{403, quota, failure.ReasonRateLimited, failure.Hold, 9 * time.Second},
		{403, http.Header{"X-Ratelimit-Remaining": {"0"}}, failure.ReasonRateLimited, failure.Temporary, 0},
		{403, http.Header{"X-Ratelimit-Remaining": {"1"}}, failure.ReasonForbidden, failure.Final, 0},
		{404, nil, failure.ReasonMissing, failure.Final, 0},
		{404, quota, failure.ReasonMissing, failure.Final, 0},
		{408, nil, failure.ReasonTimeout, failure.Temporary, 0},
		{410, nil, failure.ReasonMissing, failure.Final, 0},
		{418, nil, failure.ReasonRefused, failure.Final, 0},
		{425, nil, failure.ReasonTimeout, failure.Temporary, 0},
		{429, nil, failure.ReasonRateLimited, failure.Temporary, 0},
		{429, wait, failure.ReasonRateLimited, failure.Hold, 7 * time.Second},
		{429, quota, failure.ReasonRateLimited, failure.Hold, 9 * time.Second},
		{429, http.Header{"Retry-After": {"0"}}, failure.ReasonRateLimited, failure.Temporary, 0},
		{429, http.Header{"Retry-After": {"soon"}}, failure.ReasonRateLimited, failure.Temporary, 0},
		{451, nil, failure.ReasonRefused, failure.Final, 0},
		{500, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{500, wait, failure.ReasonUnavailable, failure.Temporary, 0},
		{503, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{503, wait, failure.ReasonUnavailable, failure.Hold, 7 * time.Second},
		{504, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{599, nil, failure.ReasonUnavailable, failure.Temporary, 0},
		{999, nil, failure.ReasonUnavailable, failure.Temporary, 0},
	}
	for _, tt := range tests {
		e := fetch.StatusError(&fetch.Response{Status: tt.status, Header: tt.header, URL: "http://a.org/1.png?key=secret"}, now)
		if e == nil {
			t.Errorf("%d: got no failure", tt.status)
			continue
		}
		if e.Reason != tt.reason || e.Kind != tt.kind || e.RetryAfter != tt.wait {
			t.Errorf("%d %v: got %s %s %v, want %s %s %v", tt.status, tt.header, e.Reason, e.Kind, e.RetryAfter, tt.reason, tt.kind, tt.wait)
		}
		if text := e.Error(); !strings.HasPrefix(text, "http://a.org/1.png answered "+strconv.Itoa(tt.status)) || strings.Contains(text, "secret") {
			t.Errorf("%d: got %q", tt.status, text)
		}
	}
	if e := fetch.StatusError(&fetch.Response{Status: http.StatusOK}, now); e != nil {
		t.Errorf("200: got %v", e)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const none = -1
	reset := func(in time.Duration) string { return strconv.FormatInt(now.Add(in).Unix(), 10) }
	tests := []struct {
		name                        string
		after, remaining, resetTime string
		want                        time.Duration
	}{
		{"nothing", "", "", "", none},
		{"seconds", "120", "", "", 2 * time.Minute},
		{"zero", "0", "", "", 0},
		{"spaces", " 5 ", "", "", 5 * time.Second},
		{"an hour", "3600", "", "", time.Hour},
		{"a day", "86400", "", "", time.Hour},
		{"more than any integer", strings.Repeat("9", 400), "", "", time.Hour},
		{"date", now.Add(90 * time.Second).Format(http.TimeFormat), "", "", 90 * time.Second},
		{"date, RFC 850", now.Add(90 * time.Second).Format("Monday, 02-Jan-06 15:04:05 GMT"), "", "", 90 * time.Second},
		{"date, asctime", now.Add(90 * time.Second).Format(time.ANSIC), "", "", 90 * time.Second},
		{"date a year ahead", now.AddDate(1, 0, 0).Format(http.TimeFormat), "", "", time.Hour},
		{"date past", now.Add(-time.Hour).Format(http.TimeFormat), "", "", 0},
		{"word", "soon", "", "", none},
		{"negative", "-1", "", "", none},
		{"sign", "+1", "", "", none},
		{"fraction", "1.5", "", "", none},
		{"hexadecimal", "0x10", "", "", none},
		{"exponent", "1e3", "", "", none},
		{"other digits", "٣", "", "", none},
		{"reset", "", "0", reset(time.Minute), time.Minute},
		{"reset far off", "", "0", reset(48 * time.Hour), time.Hour},
		{"reset past", "", "0", reset(-time.Minute), none},
		{"reset with some left", "", "3", reset(time.Minute), none},
		{"reset alone", "", "", reset(time.Minute), none},
		{"reset garbage", "", "0", "soon", none},
		{"Retry-After before reset", "5", "0", reset(time.Minute), 5 * time.Second},
		{"garbage before reset", "soon", "0", reset(time.Minute), time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := fetch.RetryAfter(rateHeaders(tt.after, tt.remaining, tt.resetTime), now)
			if !ok {
				got = none
			}
			if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120", "", "")
	f.Add("Sun, 01 Mar 2026 12:00:10 GMT", "", "")
	f.Add("", "0", "1772366410")
	f.Add("9999999999999999999999", "0", "-9223372036854775808")
	f.Fuzz(func(t *testing.T, after, remaining, reset string) {
		wait, ok := fetch.RetryAfter(rateHeaders(after, remaining, reset), now)
		if wait < 0 || wait > time.Hour || (!ok && wait != 0) {
			t.Errorf("got %v, %v", wait, ok)
		}
	})
}

func rateHeaders(after, remaining, reset string) http.Header {
	h := http.Header{}
	for key, value := range map[string]string{"Retry-After": after, "X-RateLimit-Remaining": remaining, "X-RateLimit-Reset": reset} {
		if value != "" {
			h.Set(key, value)
		}
	}
	return h
}
