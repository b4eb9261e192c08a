package lookup

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// Exchanger makes one HTTP exchange. It sets the User-Agent, follows
// redirects within the origin alone, and inflates the body. Its errors are
// failure.Errors.
type Exchanger interface {
	Do(ctx context.Context, r fetch.Request) (*fetch.Response, error)
}

var _ Exchanger = (*fetch.Client)(nil)

// Options are what a Client needs beside its definition.
type Options struct {
	// Contact is what the exchanger's User-Agent names; it is only looked at
	// where the service demands one.
	Contact string
	// Anywhere follows redirects to any origin, under the guard that holds for
	// pictures, for a definition that FollowsAnywhere. Default: the client's
	// exchanger, whatever it follows.
	Anywhere Exchanger
	// Secrets returns the secrets. Default: SystemSecrets.
	Secrets SecretFunc
}

// Client asks one service. It is safe for concurrent use.
type Client struct {
	def     *Definition
	ex      Exchanger
	then    Exchanger // for the second step
	secrets SecretFunc
}

// New returns a client for the service that def describes, or what def.Check
// finds missing.
func New(def *Definition, ex Exchanger, opts Options) (*Client, error) {
	if opts.Secrets == nil {
		opts.Secrets = SystemSecrets
	}
	if err := def.Check(opts.Contact, opts.Secrets); err != nil {
		return nil, err
	}
	c := &Client{def: def, ex: ex, then: ex, secrets: opts.Secrets}
	if def.FollowsAnywhere() && opts.Anywhere != nil {
		c.then = opts.Anywhere
	}
	return c, nil
}

// Query is what is asked about one name.
type Query struct {
	Name string
	// Columns are the rest of its row of the names file, and ColumnsTruncated
	// says that some were left out.
	Columns          []Attribute
	ColumnsTruncated bool
	// MaxPictures bounds the pictures of the answer, in the place of
	// Pictures.Max. 0: that holds.
	MaxPictures int
	// Turn, if set, is called before each further page is asked for, and
	// returns when that request may begin. Its error ends the lookup.
	Turn func(ctx context.Context) error
}

// Lookup asks about name once: in one request or, where the definition has a
// second step or further pages, in several. Its errors are failure.Errors, one
// excepted: where ctx was cancelled the error is ctx's, and says nothing about
// name.
//
//	rate_limited, credentials  hold: the name is not to blame
//	unavailable                hold where the service says how long, else temporary
//	provider_error             an error inside an answer; likewise
//	timeout, truncated         temporary
//	blocked, bad_answer        temporary: a service in trouble sends such
//	bad_url, too_large, refused  final
//
// and whatever the exchanger returns.
func (c *Client) Lookup(ctx context.Context, name string) (Answer, error) {
	a, _, err := c.Revalidate(ctx, Query{Name: name}, "")
	return a, err
}

// Revalidate is Lookup for a name that was asked before. validator is that of
// the answer which is still known; where the service says that nothing has
// changed since, unchanged is true and the Answer empty. One that came by
// another definition is not sent: the same service may then say more. A
// definition with a second step or with further pages yields no validator,
// since the first answer's says nothing about the others.
func (c *Client) Revalidate(ctx context.Context, q Query, validator string) (a Answer, unchanged bool, err error) {
	if !c.def.Asks() {
		a, err := c.def.direct.answer(c.def, q)
		return a, false, err
	}
	if c.def.batch != nil {
		one, err := c.LookupMany(ctx, []Query{q})
		if err != nil {
			return Answer{}, false, err
		}
		return one[0].Answer, false, one[0].Err
	}
	req, used, err := c.def.requestFor([]Query{q}, c.secrets)
	if err != nil {
		return Answer{}, false, err
	}
	mine := c.def.fingerprint()
	if len(c.def.url.columns()) > 0 {
		// Another row may ask for something else.
		sum := sha256.Sum256([]byte(req.URL))
		mine += base64.RawURLEncoding.EncodeToString(sum[:6])
	}
	mine += " "
	known, ok := strings.CutPrefix(validator, mine)
	asks := ok && known != ""
	if asks {
		fetch.SetCondition(req.Header, known)
	}
	bounded, cancel := context.WithTimeout(ctx, c.def.Timeout)
	defer cancel()
	reply, err := c.exchange(bounded, c.ex, req)
	if err != nil {
		return Answer{}, false, c.exchangeError(ctx, err)
	}
	if asks && reply.Status == http.StatusNotModified {
		return Answer{}, true, nil
	}
	if c.def.pages(q) {
		a, err = c.turnPages(ctx, q, reply, used)
		return a, false, err
	}
	a, err = c.def.extract(q, reply, used, c.second(ctx, bounded))
	if v := fetch.Validator(reply.Header); err == nil && v != "" && c.def.then == nil && a.Verdict != NotFound {
		a.Validator = mine + v
	}
	return a, false, err
}

// second returns what makes the second step of a lookup, within bounded, which
// is ctx with the definition's timeout.
func (c *Client) second(ctx, bounded context.Context) func(url string) (Reply, error) {
	return func(url string) (Reply, error) {
		req, _, err := c.def.requestTo(url, c.secrets)
		if err != nil {
			return Reply{}, err
		}
		reply, err := c.exchange(bounded, c.then, req)
		if err != nil {
			err = c.exchangeError(ctx, err)
			if e, ok := errors.AsType[*failure.Error](err); ok {
				e.Unreached = false // the service has heard the question
			}
			return Reply{}, err
		}
		return reply, nil
	}
}

// fingerprint changes with the definition, and with the address of its service.
func (d *Definition) fingerprint() string {
	h := sha256.New()
	h.Write(d.source256[:])
	h.Write([]byte(d.BaseURL))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:6])
}

// Request returns what Revalidate would send for q, secrets included.
func (c *Client) Request(q Query) (fetch.Request, error) {
	req, _, err := c.def.requestFor([]Query{q}, c.secrets)
	return req, err
}

// PictureRequest returns the request for a picture at url, which is a
// stranger's and not judged here. Where the definition says pictures.auth:
// same_origin it carries the lookup's headers and secrets, for the lookup's
// exact origin alone; otherwise it carries nothing.
func (c *Client) PictureRequest(url string) (fetch.Request, error) {
	req := fetch.Request{URL: url}
	if !c.def.Pictures.SameOriginAuth {
		return req, nil
	}
	req.Credentials, req.CredentialOrigin = http.Header{}, c.def.Origin()
	if _, err := c.def.fill(req.Credentials, req.Credentials, c.secrets); err != nil {
		return fetch.Request{}, failure.Newf(failure.ReasonCredentials, failure.Hold, "picture of %s: %w", c.def.Name, err)
	}
	// It names the lookup's JSON.
	req.Credentials.Del("Accept")
	return req, nil
}

// Example returns what a lookup of q would send, fit to be shown: a secret
// that is set reads [redacted], a header whose optional secret is not set is
// left out.
func (d *Definition) Example(q Query, secrets SecretFunc) (fetch.Request, error) {
	req, _, err := d.requestFor([]Query{q}, func(s Secret) (string, error) {
		v, err := secrets(s)
		if err != nil || v == "" && s.Optional {
			return "", err
		}
		return redacted, nil
	})
	return req, err
}

// requestFor builds the request for qs, of which there are several only where
// they fit, and returns the secrets in it.
func (d *Definition) requestFor(qs []Query, secrets SecretFunc) (fetch.Request, []string, error) {
	u, err := d.urlOf(qs)
	if err != nil {
		return fetch.Request{}, nil, failure.Newf(failure.ReasonBadURL, failure.Final, "ask %s: %w", d.Name, err)
	}
	return d.requestTo(u, secrets)
}

// requestTo builds a request for u. The definition's headers go along where u
// is of the lookup's origin.
func (d *Definition) requestTo(u string, secrets SecretFunc) (fetch.Request, []string, error) {
	origin := d.Origin()
	req := fetch.Request{
		URL:         u,
		Header:      http.Header{"Accept": {"application/json"}},
		Credentials: http.Header{},
		// Set whatever the headers hold: the client certificate goes by it too.
		CredentialOrigin: origin,
	}
	used, err := d.fill(req.Header, req.Credentials, secrets)
	if err != nil {
		return fetch.Request{}, nil, failure.Newf(failure.ReasonCredentials, failure.Hold, "ask %s: %w", d.Name, err)
	}
	if to, err := url.Parse(u); err == nil && to.Scheme+"://"+strings.ToLower(to.Host) != origin {
		req.Header = http.Header{"Accept": {"application/json"}}
	}
	return req, used, nil
}

func (c *Client) exchange(ctx context.Context, ex Exchanger, req fetch.Request) (Reply, error) {
	resp, err := ex.Do(ctx, req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.def.MaxBytes+1))
	if err != nil {
		return Reply{}, fmt.Errorf("read the answer of %s: %w", c.def.Name, err)
	}
	if int64(len(body)) > c.def.MaxBytes {
		return Reply{}, failure.Newf(failure.ReasonTooLarge, failure.Final,
			"the answer of %s has more than %d bytes: raise max_bytes if it is right", c.def.Name, c.def.MaxBytes)
	}
	return Reply{Status: resp.Status, Header: resp.Header, URL: resp.URL, Body: body}, nil
}

// exchangeError gives err a reason. ctx is the caller's, without the
// definition's timeout.
func (c *Client) exchangeError(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("ask %s: %w", c.def.Name, ctx.Err())
	}
	if e, ok := errors.AsType[*failure.Error](err); ok {
		if e.Reason == failure.ReasonTLS {
			return &failure.Error{Reason: e.Reason, Kind: e.Kind, RetryAfter: e.RetryAfter, Err: fmt.Errorf(
				"%w; if the service is yours name its authority in tls.ca_file, and the certificate that it asks for in tls.cert_file", e.Err)}
		}
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return failure.Newf(failure.ReasonTimeout, failure.Temporary,
			"%s sent no whole answer within %s", c.def.Name, c.def.Timeout)
	}
	return failure.New(failure.ReasonTruncated, failure.Temporary, err)
}
