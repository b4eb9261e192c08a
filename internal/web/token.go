package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

const (
	// tokenParam carries the token in the address that is printed.
	tokenParam = "token"
	// cookieAge is 30 days in seconds.
	cookieAge = 30 * 24 * 60 * 60
)

// newToken returns 128 random bits in letters and digits.
func newToken() string { return rand.Text() }

// sameSecret compares without telling by its time how much is the same.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// cookie returns the cookie of who knows the token. It holds a hash, for a
// cookie goes to every port of a host. The name differs by token, so that two
// servers of one host do not log each other's users out.
func (s *Server) cookie() *http.Cookie {
	value := sha256.Sum256([]byte("harvest cookie " + s.token))
	name := sha256.Sum256([]byte("harvest cookie name " + s.token))
	c := &http.Cookie{
		Name: "harvest-" + hex.EncodeToString(name[:4]), Value: hex.EncodeToString(value[:]),
		Path: "/", MaxAge: cookieAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if s.tls != nil || strings.HasPrefix(s.cfg.PublicURL, "https:") {
		c.Name, c.Secure = "__Host-"+c.Name, true
	}
	return c
}

// known reports whether who asks knows the token: by cookie, or by an
// Authorization header (RFC 6750, section 2.1).
func (s *Server) known(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") && sameSecret(strings.TrimSpace(token), s.token) {
		return true
	}
	mine := s.cookie()
	for _, c := range r.CookiesNamed(mine.Name) {
		if sameSecret(c.Value, mine.Value) {
			return true
		}
	}
	return false
}

// signIn answers a request whose address has the token: it sets the cookie and
// sends the browser to the same address without it.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, token string) {
	if !sameSecret(token, s.token) {
		s.askToken(w, r, "This token is not the one of this server.")
		return
	}
	to := *r.URL
	query := to.Query()
	query.Del(tokenParam)
	to.RawQuery = query.Encode()
	to.Scheme, to.Host, to.User = "", "", nil
	// Two slashes at the beginning would lead to another host.
	to.Path, to.RawPath = "/"+strings.TrimLeft(to.Path, "/"), ""
	if r.Method == http.MethodPost {
		to.Path, to.RawQuery = "/", ""
	}
	http.SetCookie(w, s.cookie())
	http.Redirect(w, r, to.String(), http.StatusSeeOther) //nolint:gosec // a path of this server alone, see above
}
