package netguard

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/picharvest/picharvest/internal/failure"
)

// MaxURLBytes is the length of the longest URL that CheckURL lets pass.
const MaxURLBytes = 8 << 10

// CheckURL parses raw and returns it if a request may be made for it: an
// absolute http or https URL with a host, on a port that the guard allows,
// without userinfo, spaces and control characters, of at most MaxURLBytes. It
// says nothing about the address, which the dial decides. The errors are
// *failure.Error, Final, ReasonBadURL; they show raw redacted.
func (g *Guard) CheckURL(raw string) (*url.URL, error) {
	if len(raw) > MaxURLBytes {
		return nil, badURL(raw, "is longer than 8 KB")
	}
	if strings.ContainsFunc(raw, isSpaceOrControl) {
		return nil, badURL(raw, "contains a space or control character")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's own words quote the URL, secrets included.
		return nil, badURL(raw, "is not a URL")
	case u.Scheme == "":
		return nil, badURL(raw, "is not absolute: http:// or https:// is missing")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, badURL(raw, "is neither http nor https")
	case u.Hostname() == "":
		return nil, badURL(raw, "has no host")
	case u.User != nil:
		return nil, badURL(raw, "has a user name or password in it")
	}
	place, err := newHostPort(u.Hostname(), effectivePort(u))
	if err != nil {
		return nil, badURL(raw, "has a bad host or port: "+err.Error())
	}
	if !g.mayReachPort(place) {
		return nil, badURL(raw, "has a port that is not open to pictures; if it should be add pictures.allow: ["+place.String()+"]")
	}
	return u, nil
}

// Origin returns u's origin, scheme://host:port, in the form in which origins
// are compared: lower case, ASCII, the port always there (RFC 6454, section 4).
// It is "" for a URL without a valid host and port.
func Origin(u *url.URL) string {
	place, err := newHostPort(u.Hostname(), effectivePort(u))
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Scheme) + "://" + place.String()
}

// shownBytes is how much of a URL an error shows.
const shownBytes = 200

// RedactURL returns raw fit for logs, errors and pages: without userinfo,
// query and fragment, at most about 200 bytes long, with what is not printable
// escaped. It copes with what is no URL at all: where it cannot tell where a
// password ends it shows the scheme alone. Secrets in the path stay.
func RedactURL(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || strings.ContainsAny(scheme, "/?#@:") {
		scheme, rest = "", raw
	} else {
		scheme += "://"
	}
	_, err := url.Parse(raw)
	if scheme == "" || err != nil {
		if strings.Contains(rest, "@") {
			return shown(scheme) + "…"
		}
		return shown(scheme + withoutQuery(rest))
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, after := rest[:end], rest[end:]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	} else if maybePassword(scheme, after) {
		return shown(scheme) + "…"
	}
	return shown(scheme + authority + withoutQuery(after))
}

// maybePassword reports whether what follows an authority without userinfo may
// be the rest of a password with an unescaped "/", "?" or "#". In the path of
// an http URL an "@" is common and means nothing.
func maybePassword(scheme, after string) bool {
	if s := strings.ToLower(scheme); (s == "http://" || s == "https://") && strings.HasPrefix(after, "/") {
		return false
	}
	return strings.Contains(after, "@")
}

// HideUserinfo returns raw fit to be kept: without the user name and password
// that a stranger wrote into it. A URL that CheckURL lets pass has none and
// stays as it is, byte for byte; any other stays refused.
func HideUserinfo(raw string) string {
	if !strings.Contains(raw, "@") {
		return raw
	}
	u, err := url.Parse(raw)
	web := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	switch {
	case web && u.User == nil:
		return raw
	case web:
		u.User = url.User("redacted")
		return u.String()
	}
	return RedactURL(raw)
}

func withoutQuery(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return s[:i]
	}
	return s
}

func shown(s string) string {
	more := ""
	if len(s) > shownBytes {
		end := shownBytes
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s, more = s[:end], "…"
	}
	quoted := strconv.Quote(s)
	return quoted[1:len(quoted)-1] + more
}

func effectivePort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	case strings.EqualFold(u.Scheme, "http"):
		return "80"
	}
	return ""
}

func isSpaceOrControl(r rune) bool { return r <= ' ' || r == 0x7f }

func badURL(raw, what string) error {
	return failure.Newf(failure.ReasonBadURL, failure.Final, `"%s" %s`, RedactURL(raw), what)
}
