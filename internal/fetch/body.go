package fetch

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/netguard"
)

// rawSlack is how far a gzip body may exceed MaxBytes before it is inflated:
// headers, and what gzip adds to bytes that do not shrink.
const rawSlack = 1 << 20

// To reuse a connection the rest of a small body is read, if it comes at once.
const (
	discardBytes = 16 << 10
	discardTime  = 50 * time.Millisecond
)

// body is an entity under the limits of its exchange.
type body struct {
	x    *exchange
	resp *http.Response
	pool *gunzipPool

	src   io.Reader    // what is read: resp.Body, or gunzip over it
	gzip  *gzip.Reader // nil before the first read, and for identity
	limit int64        // inflated bytes allowed
	left  int64        // of limit
	err   error        // what every further Read returns
}

func (c *Client) newBody(x *exchange, resp *http.Response) *body {
	b := &body{x: x, resp: resp, pool: &c.gunzips, limit: c.cfg.MaxBytes, left: c.cfg.MaxBytes}
	rawLimit := b.limit
	switch encoding := contentEncoding(resp.Header); encoding {
	case "", "identity":
		b.src = resp.Body
	case "gzip", "x-gzip":
		rawLimit += rawSlack
		b.src = &inflater{b: b, raw: &capped{r: resp.Body, left: rawLimit, over: b.tooLarge}}
	default:
		b.err = failure.Newf(failure.ReasonTruncated, failure.Final,
			"get %s: the body's encoding %q is neither gzip nor identity", netguard.RedactURL(x.url.String()), printable(encoding))
	}
	if resp.ContentLength > rawLimit {
		b.err = b.tooLarge()
	}
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), b.tooLarge()
	}
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.x.failed(err, inBody)
	}
	b.err = err
	return n, err
}

// Close implements io.Closer. It ends the exchange; it never waits long.
func (b *body) Close() error {
	if b.gzip != nil {
		b.pool.put(b.gzip)
		b.gzip = nil
	}
	if b.err == nil {
		discard(b.resp)
	} else {
		_ = b.resp.Body.Close() // the exchange has failed already
	}
	b.err = http.ErrBodyReadAfterClose
	b.x.cancel()
	return nil
}

func (b *body) tooLarge() error {
	return failure.Newf(failure.ReasonTooLarge, failure.Final,
		"get %s: the body is larger than %d bytes", netguard.RedactURL(b.x.url.String()), b.limit)
}

// discard closes resp's body, after its end if that is near.
func discard(resp *http.Response) {
	if resp.ContentLength <= discardBytes {
		timer := time.AfterFunc(discardTime, func() { _ = resp.Body.Close() })
		_, _ = io.CopyN(io.Discard, resp.Body, discardBytes+1)
		timer.Stop()
	}
	_ = resp.Body.Close() // nothing of it is wanted
}

// inflater is gunzip over raw, begun at the first read, since that may wait.
type inflater struct {
	b   *body
	raw *capped
}

func (i *inflater) Read(p []byte) (int, error) {
	if i.b.gzip == nil {
		z, err := i.b.pool.get(i.raw)
		if err != nil {
			return 0, err
		}
		i.b.gzip = z
	}
	return i.b.gzip.Read(p)
}

// capped fails once more than left bytes come.
type capped struct {
	r    io.Reader
	left int64
	over func() error
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, c.over()
	}
	return n, err
}

// gunzipPool keeps gzip readers, whose tables cost about 40 kB each.
type gunzipPool struct{ readers sync.Pool }

func (p *gunzipPool) get(r io.Reader) (*gzip.Reader, error) {
	z, ok := p.readers.Get().(*gzip.Reader)
	if !ok {
		return gzip.NewReader(r)
	}
	if err := z.Reset(r); err != nil {
		p.readers.Put(z)
		return nil, err
	}
	return z, nil
}

func (p *gunzipPool) put(z *gzip.Reader) { p.readers.Put(z) }

// contentEncoding returns the codings in the order they were applied
// (RFC 9110, section 8.4), in lower case.
func contentEncoding(h http.Header) string {
	return strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ",")))
}
