package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

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
	// Secrets returns the secrets. Default: SystemSecrets.
	Secrets SecretFunc
}

// Client asks one service. It is safe for concurrent use.
type Client struct {
	def     *Definition
	ex      Exchanger
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
	return &Client{def: def, ex: ex, secrets: opts.Secrets}, nil
}

// Lookup asks about name once. Its errors are failure.Errors, one excepted:
// where ctx was cancelled the error is ctx's, and says nothing about name.
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
	req, used, err := c.def.request(name, c.secrets)
	if err != nil {
		return Answer{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, c.def.Timeout)
	defer cancel()
	reply, err := c.exchange(bounded, req)
	if err != nil {
		return Answer{}, c.exchangeError(ctx, err)
	}
	return c.def.extract(name, reply, used)
}

// Request returns what Lookup would send for name, secrets included.
func (c *Client) Request(name string) (fetch.Request, error) {
	req, _, err := c.def.request(name, c.secrets)
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

// Example returns what a lookup of name would send, fit to be shown: a secret
// that is set reads [redacted], a header whose optional secret is not set is
// left out.
func (d *Definition) Example(name string, secrets SecretFunc) (fetch.Request, error) {
	req, _, err := d.request(name, func(s Secret) (string, error) {
		v, err := secrets(s)
		if err != nil || v == "" && s.Optional {
			return "", err
		}
		return redacted, nil
	})
	return req, err
}

// request builds the request for name and returns the secrets in it.
func (d *Definition) request(name string, secrets SecretFunc) (fetch.Request, []string, error) {
	u, err := d.url.expand(d.BaseURL, name)
	if err != nil {
		return fetch.Request{}, nil, failure.Newf(failure.ReasonBadURL, failure.Final, "ask %s: %w", d.Name, err)
	}
	req := fetch.Request{
		URL:         u,
		Header:      http.Header{"Accept": {"application/json"}},
		Credentials: http.Header{},
		// Set whatever the headers hold: the client certificate goes by it too.
		CredentialOrigin: d.Origin(),
	}
	used, err := d.fill(req.Header, req.Credentials, secrets)
	if err != nil {
		return fetch.Request{}, nil, failure.Newf(failure.ReasonCredentials, failure.Hold, "ask %s: %w", d.Name, err)
	}
	return req, used, nil
}

func (c *Client) exchange(ctx context.Context, req fetch.Request) (Reply, error) {
	resp, err := c.ex.Do(ctx, req)
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
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return failure.Newf(failure.ReasonTimeout, failure.Temporary,
			"%s sent no whole answer within %s", c.def.Name, c.def.Timeout)
	}
	return failure.New(failure.ReasonTruncated, failure.Temporary, err)
}
