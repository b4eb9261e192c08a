// Package fetch is one guarded, capped, timed HTTP exchange.
package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Request is one GET.
type Request struct {
	URL              string
	Header           http.Header
	Credentials      http.Header
	CredentialOrigin string
}

// Response is its answer.
type Response struct {
	Status int
	Header http.Header
	URL    string
	Body   io.ReadCloser
}

// Client sends requests.
type Client struct{}

// Do sends r.
func (c *Client) Do(context.Context, Request) (*Response, error) { return nil, errors.New("stub") }

// RetryAfter reads how long the other side asks to wait.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s >= 0 {
		return time.Duration(s) * time.Second, true
	}
	if t, err := http.ParseTime(h.Get("Retry-After")); err == nil && t.After(now) {
		return t.Sub(now), true
	}
	if s, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil && h.Get("X-RateLimit-Remaining") == "0" {
		if t := time.Unix(s, 0); t.After(now) {
			return t.Sub(now), true
		}
	}
	return 0, false
}

// RedactURL hides userinfo and query.
func RedactURL(s string) string { return s }
