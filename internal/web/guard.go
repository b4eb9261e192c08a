package web

import (
	"context"
	_ "embed"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// policy is the Content-Security-Policy of a response whose handler sets no
// other: everything from this origin and nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// loginPath takes the token from the form of [Server.askToken].
const loginPath = "/login"

// guard puts every check before next: the host that was asked for, who asks,
// and from which page. It sets the headers that every response has, errors
// included.
func (s *Server) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	for _, o := range slices.Concat(s.cfg.CORSOrigins, s.publicOrigin()) {
		if err := origin.AddTrustedOrigin(o); err != nil {
			// Validate let it pass.
			panic("web: " + err.Error())
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.recovered(w, r)
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")

		if !s.hostAllowed(r.Host) {
			s.refuse(w, r, http.StatusMisdirectedRequest,
				"This server is not meant to be called "+quoted(r.Host)+". If it is yours, add the name to web.allowed_hosts.")
			return
		}
		shared := s.cors(h, r)
		if !shared {
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
		}
		if r.Method == http.MethodOptions {
			h.Set("Allow", "GET, HEAD, OPTIONS, POST, DELETE")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if err := origin.Check(r); err != nil {
			s.refuse(w, r, http.StatusForbidden, "Another page may not change anything here: this request came from a page of another origin.")
			return
		}
		if s.token != "" {
			switch token := r.URL.Query().Get(tokenParam); {
			case r.URL.Path == loginPath && r.Method == http.MethodPost:
				r.Body = http.MaxBytesReader(w, r.Body, maxBody)
				s.signIn(w, r, r.PostFormValue(tokenParam))
				return
			case token != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
				s.signIn(w, r, token)
				return
			case !s.known(r):
				s.askToken(w, r, "")
				return
			}
		}
		// A request ends with the server, however long it would go on.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.closing, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// publicOrigin is the origin of our own pages where a proxy stands before the
// server.
func (s *Server) publicOrigin() []string {
	if s.cfg.PublicURL == "" {
		return nil
	}
	return []string{s.cfg.PublicURL}
}

// hostAllowed reports whether the Host header is a name of this server. An
// address always is: a page of another origin can make a browser send its own
// name with our address behind it, never an address.
func (s *Server) hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if own, _, err := net.SplitHostPort(s.cfg.Listen); err == nil && own != "" && strings.EqualFold(own, host) {
		return true
	}
	if u, err := url.Parse(s.cfg.PublicURL); err == nil && u.Hostname() != "" && strings.EqualFold(u.Hostname(), host) {
		return true
	}
	return slices.ContainsFunc(s.cfg.AllowedHosts, func(a string) bool { return strings.EqualFold(a, host) })
}

// cors sets the headers of the Fetch standard, sections 3.3.2 and 3.3.3, where
// the request is for the API and comes from an origin that may read it.
func (s *Server) cors(h http.Header, r *http.Request) bool {
	if len(s.cfg.CORSOrigins) == 0 || !shared(r.URL.Path) {
		return false
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(s.cfg.CORSOrigins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Link, Retry-After")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
	}
	return true
}

// shared reports whether path belongs to the API in the wider sense.
func shared(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/people/") || strings.HasPrefix(path, "/pictures/")
}

// recovered answers after a panic of a handler, and logs it.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares likewise
		panic(p)
	}
	s.deps.Logger.Error("a request ended in a panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	s.refuse(w, r, http.StatusInternalServerError, "A defect of harvest. Its log has more.")
}

//go:embed notice.html
var noticeText string

var notice = template.Must(template.New("notice").Parse(noticeText))

// refuse answers with a page for browsers, and a problem for programs.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	if !wantsPage(r) {
		writeProblem(w, problem{Status: status, Detail: text})
		return
	}
	s.notice(w, status, text, false)
}

// askToken asks for the token.
func (s *Server) askToken(w http.ResponseWriter, r *http.Request, why string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="harvest"`)
	text := strings.TrimSpace(why + " The server printed an address with its token when it began; a program sends the token as Authorization: Bearer.")
	if !wantsPage(r) {
		writeProblem(w, problem{Status: http.StatusUnauthorized, Detail: text})
		return
	}
	s.notice(w, http.StatusUnauthorized, text, true)
}

func (s *Server) notice(w http.ResponseWriter, status int, text string, form bool) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	err := notice.Execute(w, struct {
		Title, Text, Login string
		Form               bool
	}{http.StatusText(status), text, loginPath, form})
	if err != nil {
		s.deps.Logger.Debug("page not written", "error", err)
	}
}

// wantsPage reports whether a browser asks for a page.
func wantsPage(r *http.Request) bool {
	return !shared(r.URL.Path) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func quoted(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return url.QueryEscape(s)
}
