package web

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
)

// notModified reports whether the client has what etag stands for (RFC 9110,
// section 13.1.2, weak comparison).
func notModified(r *http.Request, etag string) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	for _, field := range r.Header.Values("If-None-Match") {
		for candidate := range strings.SplitSeq(field, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// etagOf returns the tag of an answer.
func etagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// extendWrite moves the deadline for writing the response to d from now.
func extendWrite(w http.ResponseWriter, d time.Duration) error {
	return deadline(http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)))
}

// extendRead moves the deadline for reading the body to d from now.
func extendRead(w http.ResponseWriter, d time.Duration) error {
	return deadline(http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)))
}

// deadline passes over a ResponseWriter of a test that has none.
func deadline(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
