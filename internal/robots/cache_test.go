package robots_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/robots"
)

// host answers for robots.txt, and counts.
type host struct {
	asked  atomic.Int64
	status int
	body   string
	header http.Header
	err    error
}

func (h *host) get(_ context.Context, url string) (*fetch.Response, func(), error) {
	h.asked.Add(1)
	if h.err != nil {
		return nil, nil, h.err
	}
	header := h.header
	if header == nil {
		header = http.Header{}
	}
	return &fetch.Response{Status: h.status, Header: header, URL: url, Body: io.NopCloser(strings.NewReader(h.body))}, func() {}, nil
}

const refusesAll = "User-agent: *\nDisallow: /"

func TestCheckByAnswer(t *testing.T) {
	t.Parallel()
	refusal := failure.New(failure.ReasonRobots, failure.Final, nil)
	for name, c := range map[string]struct {
		host *host
		want *failure.Error
	}{
		"200 that refuses":           {&host{status: 200, body: refusesAll}, refusal},
		"200 that allows":            {&host{status: 200, body: "User-agent: *\nDisallow: /b"}, nil},
		"200 of a web page":          {&host{status: 200, body: "<html>Disallow: /</html>"}, nil},
		"rules beyond 500 KiB":       {&host{status: 200, body: strings.Repeat("#\n", robots.MaxBytes) + refusesAll}, nil},
		"401":                        {&host{status: 401}, nil},
		"403":                        {&host{status: 403}, nil},
		"404":                        {&host{status: 404}, nil},
		"304":                        {&host{status: 304}, nil},
		"500":                        {&host{status: 500}, failure.New(failure.ReasonUnavailable, failure.Temporary, nil)},
		"503":                        {&host{status: 503}, failure.New(failure.ReasonUnavailable, failure.Temporary, nil)},
		"429":                        {&host{status: 429}, failure.New(failure.ReasonRateLimited, failure.Temporary, nil)},
		"503 with Retry-After":       {&host{status: 503, header: http.Header{"Retry-After": {"7"}}}, &failure.Error{Reason: failure.ReasonUnavailable, Kind: failure.Hold, RetryAfter: 7 * time.Second}},
		"hung up":                    {&host{err: failure.Newf(failure.ReasonNetwork, failure.Temporary, "reset")}, failure.New(failure.ReasonNetwork, failure.Temporary, nil)},
		"no connection":              {&host{err: &failure.Error{Reason: failure.ReasonDNS, Kind: failure.Temporary, Unreached: true}}, &failure.Error{Reason: failure.ReasonDNS, Kind: failure.Temporary, Unreached: true}},
		"too many redirects":         {&host{err: failure.Newf(failure.ReasonTooManyRedirects, failure.Final, "6")}, nil},
		"an address not to be asked": {&host{err: failure.Newf(failure.ReasonRefusedAddress, failure.Final, "10.0.0.1")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := robots.NewCache()
			for range 2 {
				e := failure.From(cache.Check(t.Context(), "https://a.example/a.png", c.host.get))
				switch {
				case e == nil && c.want == nil:
				case e == nil || c.want == nil || e.Reason != c.want.Reason || e.Kind != c.want.Kind || e.RetryAfter != c.want.RetryAfter || e.Unreached != c.want.Unreached:
					t.Errorf("got %+v, want %+v", e, c.want)
				}
			}
			if n := c.host.asked.Load(); n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
		})
	}
}

func TestOriginsHaveTheirOwn(t *testing.T) {
	t.Parallel()
	cache, a, b := robots.NewCache(), &host{status: 200, body: refusesAll}, &host{status: 404}
	for _, u := range []string{"https://a.example/x", "https://A.example:443/y"} {
		if cache.Check(t.Context(), u, a.get) == nil {
			t.Errorf("%s is allowed", u)
		}
	}
	for _, u := range []string{"http://a.example/x", "https://a.example:8443/x"} {
		if err := cache.Check(t.Context(), u, b.get); err != nil {
			t.Error(err)
		}
	}
	if a.asked.Load() != 1 || b.asked.Load() != 2 {
		t.Errorf("asked %d and %d times, want 1 and 2", a.asked.Load(), b.asked.Load())
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		control string
		want    time.Duration
	}{
		"nothing said": {"", 24 * time.Hour}, "an hour": {"public, max-age=3600", time.Hour},
		"a year": {"max-age=31536000", 24 * time.Hour}, "nothing": {"max-age=0", 10 * time.Minute}, "nonsense": {"max-age=soon", 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cache, h := robots.NewCache(), &host{status: 200, body: "", header: http.Header{"Cache-Control": {c.control}}}
				check := func(want int64) {
					t.Helper()
					if err := cache.Check(t.Context(), "https://a.example/x", h.get); err != nil || h.asked.Load() != want {
						t.Errorf("got %v after %d questions, want none and %d", err, h.asked.Load(), want)
					}
				}
				check(1)
				time.Sleep(c.want - time.Second)
				check(1)
				time.Sleep(time.Second)
				check(2)
			})
		})
	}
}

// Old rules hold while the file cannot be had; without them nothing may be
// fetched, and the host is asked again soon.
func TestHostFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache, h := robots.NewCache(), &host{status: 200, body: "User-agent: *\nDisallow: /b"}
		ask := func(path string) error { return cache.Check(t.Context(), "https://a.example"+path, h.get) }
		if err := ask("/a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		h.status = 503
		if err := ask("/a"); err != nil {
			t.Errorf("with old rules: %v", err)
		}
		if e := failure.From(ask("/b")); e == nil || e.Reason != failure.ReasonRobots {
			t.Errorf("by old rules: got %v, want robots", e)
		}
		fresh := robots.NewCache()
		if e := failure.From(fresh.Check(t.Context(), "https://a.example/a", h.get)); e == nil || e.Reason != failure.ReasonUnavailable {
			t.Errorf("without rules: got %v, want unavailable", e)
		}
		h.status = 404
		time.Sleep(10 * time.Second)
		if err := fresh.Check(t.Context(), "https://a.example/a", h.get); err != nil {
			t.Errorf("when the host is back: %v", err)
		}
	})
}

// Many at once ask once; if the one that asks is called off, the next one does.
func TestOneAsksForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache, h := robots.NewCache(), &host{status: 200, body: refusesAll}
		slow := func(ctx context.Context, url string) (*fetch.Response, func(), error) {
			select {
			case <-time.After(time.Second):
				return h.get(ctx, url)
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		hurried, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := cache.Check(hurried, "https://a.example/x", slow); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want its deadline", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() {
				if e := failure.From(cache.Check(t.Context(), "https://a.example/x", slow)); e == nil || e.Reason != failure.ReasonRobots {
					t.Errorf("got %v, want robots", e)
				}
			})
		}
		wg.Wait()
		if n := h.asked.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
	})
}
