package fetch

import (
	"net/http"
	"strings"
)

// maxValidator bounds what is kept of a validator: it stands in the record of
// every name.
const maxValidator = 128

// Validator returns the word by which a later request can ask whether the
// answer with these headers has changed: its ETag, else its Last-Modified, as
// they were sent. It is "" where there is none, or none that can be kept
// (RFC 9110, section 8.8).
func Validator(h http.Header) string {
	if tag := h.Get("ETag"); isEntityTag(tag) {
		return tag
	}
	date := h.Get("Last-Modified")
	if date == "" {
		return ""
	}
	if _, err := http.ParseTime(date); err != nil || len(date) > maxValidator {
		return ""
	}
	return date
}

// SetCondition makes a request one that is answered 304 where nothing has
// changed since the answer that the validator came with (RFC 9110, section
// 13.1). An empty validator sets none.
func SetCondition(h http.Header, validator string) {
	switch {
	case validator == "":
	case isEntityTag(validator):
		h.Set("If-None-Match", validator)
	default:
		h.Set("If-Modified-Since", validator)
	}
}

// isEntityTag reports whether s is an entity-tag of visible ASCII, weak or
// strong, that is short enough to be kept.
func isEntityTag(s string) bool {
	opaque, quoted := strings.CutSuffix(strings.TrimPrefix(s, "W/"), `"`)
	opaque, begun := strings.CutPrefix(opaque, `"`)
	odd := func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f }
	return quoted && begun && len(s) <= maxValidator && strings.IndexFunc(opaque, odd) < 0
}
