// Package fetch makes one HTTP GET: guarded, capped in bytes and time, with
// every fault named in the words of package failure. It knows nothing of
// names, pictures or JSON, and it does not try again: who calls it decides.
package fetch

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

// Client makes exchanges under one Config. It is safe for concurrent use and
// keeps connections for reuse; make one per purpose and share it.
type Client struct {
	cfg        Config
	userAgent  []string
	transports map[trust]*http.Transport
	insecure   map[string]bool // origins
	gunzips    gunzipPool
	hint       string // for hosts that cannot be reached
}

// Request is what to get.
type Request struct {
	// URL is absolute, http or https. It is checked by Config.Guard's CheckURL.
	URL string
	// Header goes to every hop, wherever redirects lead: nothing secret may
	// stand in it, and Do refuses Authorization, Cookie and the like. Without
	// an Accept-Encoding the entity is asked for as it is (identity).
	Header http.Header
	// Credentials are headers for CredentialOrigin alone.
	Credentials http.Header
	// CredentialOrigin is the scheme://host[:port] that gets Credentials and
	// the client certificate. Each hop is compared anew: no other host, port
	// or scheme ever sees them. Empty: nobody does.
	CredentialOrigin string
	// OnRedirect, if set, is called with the URL of each redirect that may be
	// followed, before it is. It may wait; its error ends the exchange and is
	// what Do returns.
	OnRedirect func(ctx context.Context, url string) error
}

// Response is an answer, of whatever status.
type Response struct {
	Status int
	Header http.Header
	// URL is where the answer came from, after redirects.
	URL string
	// Body is the entity, inflated if it came as gzip. Its errors other than
	// io.EOF are *failure.Error, or wrap context.Canceled if the caller's
	// context ended it. It must be closed, though not during a Read.
	Body io.ReadCloser
}

// New returns a Client for cfg. The error names all problems of cfg, and of
// the files that it names.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, userAgent: []string{cfg.UserAgent}, insecure: map[string]bool{}, hint: proxyHint(cfg)}
	for _, host := range cfg.InsecureHosts {
		c.insecure[httpsOrigin(host)] = true
	}
	var err error
	if c.transports, err = newTransports(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// CloseIdle closes the connections that are kept for reuse.
func (c *Client) CloseIdle() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}

// Do gets r.URL, following redirects by Config's rules, and returns the answer
// once its header is there, whatever its status; StatusError judges that. An
// entity that is too large or in an unknown encoding is reported by Body.
//
// Errors are *failure.Error with texts free of userinfo, query strings and
// header values. If ctx is cancelled the error wraps context.Canceled instead
// and says nothing about the other side.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	u, err := c.cfg.Guard.CheckURL(r.URL)
	if err != nil {
		return nil, err
	}
	credentialOrigin, err := checkSecrets(r)
	if err != nil {
		return nil, err
	}
	x := newExchange(ctx, c.cfg.Timeout, u)
	x.hint = c.hint
	first := u
	for hop := 0; ; hop++ {
		x.conns = 0
		resp, err := c.get(x, u, r, credentialOrigin)
		if err != nil {
			err = x.failed(err, onConnection)
			x.cancel()
			return nil, err
		}
		if !redirects(resp) {
			return &Response{
				Status: resp.StatusCode,
				Header: resp.Header,
				URL:    u.String(),
				Body:   c.newBody(x, resp),
			}, nil
		}
		discard(resp)
		if u, err = c.follow(first, u, resp.Header.Get("Location"), hop); err != nil {
			x.cancel()
			return nil, err
		}
		if r.OnRedirect != nil {
			if err := r.OnRedirect(ctx, u.String()); err != nil {
				x.cancel()
				return nil, err
			}
		}
		x.url, x.sentOn = u, true
	}
}

// identity asks for a body as it is, which nobody has to inflate.
var identity = []string{"identity"}

// get makes one hop.
func (c *Client) get(x *exchange, u *url.URL, r Request, credentialOrigin string) (*http.Response, error) {
	header := make(http.Header, len(r.Header)+len(r.Credentials)+2)
	header["Accept-Encoding"] = identity
	copyHeader(header, r.Header)
	header["User-Agent"] = c.userAgent

	var t trust
	if credentialOrigin != "" && netguard.Origin(u) == credentialOrigin {
		copyHeader(header, r.Credentials)
		t.certificate = c.cfg.CertFile != ""
	}
	if len(c.insecure) > 0 {
		t.insecure = c.insecure[netguard.Origin(u)]
	}
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: header}
	return c.transports[t].RoundTrip(req.WithContext(x.ctx))
}

// follow returns where a redirect leads, if it may be followed.
func (c *Client) follow(first, from *url.URL, location string, hop int) (*url.URL, error) {
	if hop >= c.cfg.MaxRedirects {
		return nil, failure.Newf(failure.ReasonTooManyRedirects, failure.Final,
			"get %s: more than %d redirects", netguard.RedactURL(first.String()), c.cfg.MaxRedirects)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, failure.Newf(failure.ReasonBadURL, failure.Final,
			`redirect to "%s", which is not a URL`, netguard.RedactURL(location))
	}
	to.Fragment, to.RawFragment = "", ""
	if to, err = c.cfg.Guard.CheckURL(to.String()); err != nil {
		return nil, err
	}
	if c.cfg.SameOrigin && netguard.Origin(to) != netguard.Origin(first) {
		return nil, failure.Newf(failure.ReasonRefusedRedirect, failure.Final,
			"%s redirects to %s, another origin; if that is right ask there",
			netguard.Origin(first), netguard.Origin(to))
	}
	return to, nil
}

// redirects reports whether resp sends a GET elsewhere (RFC 9110, section 15.4).
func redirects(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// checkSecrets returns r.CredentialOrigin in the form in which origins are
// compared. Its errors are defects of the caller.
func checkSecrets(r Request) (string, error) {
	for key := range r.Header {
		switch key = http.CanonicalHeaderKey(key); key {
		case "Authorization", "Cookie", "Proxy-Authorization", "Referer":
			return "", failure.Newf(failure.ReasonInternal, failure.Final, "header %s belongs in the credentials", key)
		}
	}
	if r.CredentialOrigin == "" {
		return "", nil
	}
	u, err := url.Parse(r.CredentialOrigin)
	if err != nil || netguard.Origin(u) == "" {
		return "", failure.Newf(failure.ReasonInternal, failure.Final,
			`"%s" is no origin for credentials`, netguard.RedactURL(r.CredentialOrigin))
	}
	return netguard.Origin(u), nil
}

func copyHeader(to, from http.Header) {
	for key, values := range from {
		to[http.CanonicalHeaderKey(key)] = values
	}
}

// exchange is the state that the hops and the body of one Do share. It keeps
// contexts since a body lives on after Do, under the same deadline.
type exchange struct {
	caller  context.Context
	ctx     context.Context // the caller's, until the deadline
	cancel  context.CancelFunc
	timeout time.Duration
	url     *url.URL // of the current hop
	hint    string   // the client's
	conns   int      // used for the current hop
	sentOn  bool     // by a redirect
}

// maxConns is how many connections one hop may use. net/http sends a GET again
// over the next kept connection for as long as these turn out closed; a host
// that closes each one unanswered would get a request for every one that was
// kept.
const maxConns = 3

func newExchange(caller context.Context, timeout time.Duration, u *url.URL) *exchange {
	ctx, cancel := context.WithTimeout(caller, timeout)
	x := &exchange{caller: caller, cancel: cancel, timeout: timeout, url: u}
	x.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: x.gotConn})
	return x
}

// gotConn is called, before it is used, with each connection of a hop.
func (x *exchange) gotConn(httptrace.GotConnInfo) {
	if x.conns++; x.conns > maxConns {
		x.cancel()
	}
}
