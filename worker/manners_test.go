package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/worker"
)

// everywhere honours the robots.txt of every host.
func everywhere(string) bool { return true }

// redirect answers with 302 to url.
func redirect(url string) reply {
	return reply{status: http.StatusFound, header: http.Header{"Location": {url}}}
}

func tagged(tag string) reply {
	return reply{status: http.StatusOK, header: http.Header{"X-Robots-Tag": {tag}}, body: pixels(8)}
}

func TestRobots(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.honours, r.tags = everywhere, robots.DefaultConfig()
		other := newSite(t)
		r.site.answer("robots.txt", reply{status: http.StatusOK, body: []byte("User-agent: *\nDisallow: /private\n")})
		other.answer("robots.txt", reply{status: http.StatusOK, body: []byte("User-agent: harvest\nDisallow: /\n")})
		r.site.answer("moved", redirect(other.url("face")))
		r.site.answer("moved-here", redirect(r.site.url("private-too")))
		r.site.answer("tagged", tagged("otherbot: nofollow, harvest: noai"))
		r.site.answer("for-others", tagged("otherbot: noai"))
		pictures := map[string][]string{
			"allowed":                 {r.site.url("face")},
			"refused":                 {r.site.url("private")},
			"refused, then allowed":   {r.site.url("private"), r.site.url("second")},
			"redirected to a refusal": {r.site.url("moved")},
			"redirected at home":      {r.site.url("moved-here")},
			"tagged":                  {r.site.url("tagged")},
			"tagged, then not":        {r.site.url("tagged"), r.site.url("third")},
			"tagged for others":       {r.site.url("for-others")},
		}
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			return found(pictures[name]), nil
		})
		want := map[string]string{
			"allowed": "done", "refused": "robots final", "refused, then allowed": "done",
			"redirected to a refusal": "robots final", "redirected at home": "robots final",
			"tagged": "robots final", "tagged, then not": "done", "tagged for others": "done",
		}
		var names []string
		for name := range want {
			names = append(names, name)
		}
		r.enqueue("names", "people", names...)
		r.start("people")
		r.finished("names")
		got := make(map[string]string)
		for name := range want {
			rec := r.record("names", name)
			got[name] = string(rec.State)
			if f := rec.Explain(); f != nil {
				got[name] = string(f.Reason) + " " + f.Kind()
				if rec.FailedTries != 1 {
					t.Errorf("%s: %d tries, want 1", name, rec.FailedTries)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes differ (-want +got):\n%s", diff)
		}
		for path, n := range map[string]int{"robots.txt": 1, "private": 0, "private-too": 0, "tagged": 2} {
			if got := r.site.count(path); got != n {
				t.Errorf("%s was asked for %d times, want %d", path, got, n)
			}
		}
		if other.count("robots.txt") != 1 || other.count("face") != 0 {
			t.Errorf("the other host was asked for its robots.txt %d times and for a picture %d times, want once and never",
				other.count("robots.txt"), other.count("face"))
		}
		if host := r.record("names", "redirected to a refusal").Host; host != other.host() {
			t.Errorf("the refusal is told of %s, want %s", host, other.host())
		}
	})
}

// Nothing is fetched while robots.txt cannot be had; names come through when
// it can, and fail as their host does if it never can.
func TestRobotsOutOfReach(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.honours = everywhere
		r.site.answer("robots.txt", reply{status: http.StatusInternalServerError})
		r.enqueue("names", "people", "Brus Lee", "Jet Lee")
		r.start("people")
		if diff := cmp.Diff(results.Counts{results.Failed: 2}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		f := r.record("names", "Brus Lee").Explain()
		if f.Reason != failure.ReasonUnavailable || f.Kind() != "exhausted" || r.record("names", "Brus Lee").Host != r.site.host() {
			t.Errorf("got %+v, want unavailable, exhausted", f)
		}
		if n := r.site.count("Brus Lee") + r.site.count("Jet Lee"); n != 0 {
			t.Errorf("%d pictures were asked for, want none", n)
		}
	})
}

// The lookup's host is asked for its rules only where that is wanted.
func TestLookupRobots(t *testing.T) {
	t.Parallel()
	for name, honour := range map[string]bool{"honoured": true, "not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			r.site.answer("robots.txt", reply{status: http.StatusOK, body: []byte("User-agent: *\nDisallow: /api/\n")})
			var asked atomic.Int64
			p := r.provide("people", func(context.Context, string) (lookup.Answer, error) {
				asked.Add(1)
				return lookup.Answer{Verdict: lookup.NotFound}, nil
			})
			p.Host = r.site.host()
			want, lookups := results.Counts{results.NotFound: 1}, int64(1)
			if honour {
				p.LookupRobots, p.LookupURL = p.Robots, func(q lookup.Query) (string, error) { return r.site.url("api/" + q.Name), nil }
				want, lookups = results.Counts{results.Failed: 1}, 0
			}
			r.enqueue("names", "people", "Brus Lee")
			r.start("people")
			if diff := cmp.Diff(want, r.finished("names")); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
			if rec := r.record("names", "Brus Lee"); honour && (rec.Reason != failure.ReasonRobots || rec.Host != r.site.host()) {
				t.Errorf("failed for %s at %s, want robots at %s", rec.Reason, rec.Host, r.site.host())
			}
			if asked.Load() != lookups {
				t.Errorf("asked %d times, want %d", asked.Load(), lookups)
			}
		})
	}
}

// A hop to another host keeps to that host's limits, heeds what it asks for,
// and leaves the first host alone with it.
func TestRedirectGoesThroughTheGate(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		target := newSite(t)
		var now, most atomic.Int64
		target.hook = func(string) {
			most.Store(max(most.Load(), now.Add(1)))
			<-time.After(20 * time.Millisecond) // the time of a request
			now.Add(-1)
		}
		target.answer("wait", reply{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"3600"}}})
		r.limits = func(host string) gate.Limits {
			if host == target.host() {
				return gate.Limits{InFlight: 2}
			}
			return gate.Limits{}
		}
		var names []string
		for i := range 30 {
			name := string(rune('a'+i%26)) + string(rune('a'+i/26))
			names = append(names, name)
			r.site.answer(name, redirect(target.url(name)))
		}
		r.enqueue("names", "people", names...)
		r.start("people")
		if diff := cmp.Diff(results.Counts{results.Done: 30}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if most.Load() > 2 {
			t.Errorf("%d requests at once at the host that was led to, want at most 2", most.Load())
		}
		r.site.answer("late", redirect(target.url("wait")))
		r.enqueue("more", "people", "late", "at home")
		r.until("the target is held", func() bool {
			s, err := r.state()
			return err == nil && !s[target.host()].NotBefore.IsZero()
		})
		r.until("the first host goes on", func() bool { return r.counts("more")[results.Done] == 1 })
		s, err := r.state()
		if err != nil || !s[r.site.host()].NotBefore.IsZero() {
			t.Errorf("the first host is held back for the other: %+v, %v", s[r.site.host()], err)
		}
	})
}

// state is how hosts stand, by name.
func (r *rig) state() (map[string]gate.HostState, error) {
	g := gate.New(r.rdb, r.namespace, gate.Options{})
	defer g.Close()
	states, err := g.State(r.t.Context())
	byHost := make(map[string]gate.HostState)
	for _, s := range states {
		byHost[s.Host] = s
	}
	return byHost, err
}

// A candidate that was refused for good is not asked again when a later one
// has to be.
func TestARefusedCandidateIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.site.answer("gone", reply{status: http.StatusNotFound})
		r.site.answer("text", reply{status: http.StatusOK, body: []byte("no picture")})
		r.site.answer("busy", reply{status: http.StatusInternalServerError}, reply{status: http.StatusBadGateway}, reply{status: http.StatusOK, body: pixels(8)})
		r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			return found([]string{r.site.url("gone"), r.site.url("text"), r.site.url("busy"), r.site.url("last")}), nil
		})
		r.enqueue("names", "people", "Brus Lee")
		r.start("people")
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		for path, n := range map[string]int{"gone": 1, "text": 1, "busy": 3, "last": 0} {
			if got := r.site.count(path); got != n {
				t.Errorf("%s was asked for %d times, want %d", path, got, n)
			}
		}
		if c := r.record("names", "Brus Lee").Outcomes[1].Picture.Candidate; c != 2 {
			t.Errorf("candidate %d is stored, want 2", c)
		}
	})
}

// A host that answers 429 and no more is left alone for longer each time;
// another host goes on.
func TestTooManyWithoutATime(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	bad := newSite(t)
	bad.answer("x", reply{status: http.StatusTooManyRequests})
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		if name == "bad" {
			return found([]string{bad.url("x")}), nil
		}
		return found([]string{r.site.url(name)}), nil
	})
	r.cfg.MaxAttempts = 3
	r.enqueue("names", "people", "bad", "good")
	began := time.Now()
	r.hurry()
	r.start("people")
	if diff := cmp.Diff(results.Counts{results.Done: 1, results.Failed: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	// Two holds lie between three tries.
	if d := time.Since(began); d < 3*time.Second {
		t.Errorf("three tries within %v, want at least 3s", d)
	}
	if rec := r.record("names", "bad"); bad.count("x") != 3 || rec.Reason != failure.ReasonRateLimited || rec.FailedTries != 3 {
		t.Errorf("asked %d times, then %+v", bad.count("x"), rec)
	}
}

// A service that refuses its key holds its names back and burns none; the key
// in its file is changed, and they go on without a command.
func TestAChangedSecretFileLetsNamesGoOn(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			r.breaker = gate.Breaker{After: 10, Delay: time.Hour, MaxDelay: time.Hour, Ramp: 4}
			key := filepath.Join(t.TempDir(), "key")
			write := func(secret string) {
				t.Helper()
				if err := os.WriteFile(key+".new", []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(key+".new", key); err != nil {
					t.Fatal(err)
				}
			}
			write("old")
			p := r.serviceWithKey(status, key, "new")
			names := []string{"Brus Lee", "Jet Lee", "Sammo Hung", "Michelle Yeoh"}
			r.enqueue("names", "corp", names...)
			r.hurry() // those that were on their way wait for the breaker, a minute at most by default
			r.start("corp")
			r.until("the provider is held back", func() bool {
				s, err := r.state()
				b := s[p.Host].Breakers
				return err == nil && len(b) == 1 && b[0].Open && b[0].Reason == failure.ReasonCredentials
			})
			r.until("its queue is paused", func() bool { return r.info(lookups(r, "corp")).Paused })
			if c := r.counts("names"); c[results.Queued] != int64(len(names)) {
				t.Errorf("counts are %v, want all queued", c)
			}
			write("new")
			if diff := cmp.Diff(results.Counts{results.NotFound: int64(len(names))}, r.finished("names")); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
		})
	}
}

// serviceWithKey provides "corp": a server that answers status to every key
// but good, and a definition whose key is in a file.
func (r *rig) serviceWithKey(status int, file, good string) *worker.Provider {
	r.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("X-Api-Key") != good {
			w.WriteHeader(status)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	r.t.Cleanup(server.Close)
	def, err := lookup.Parse("corp.yaml", []byte(`name: corp
description: a service with a key
base_url: `+server.URL+`
secrets:
  key: {file: `+file+`}
request:
  url: "{base}/?q={name}"
  headers: {X-Api-Key: "${key}"}
answer:
  not_found: {status: [404]}
  expect:
    - {path: picture, is: present}
pictures:
  from: [picture]
`))
	if err != nil {
		r.t.Fatal(err)
	}
	ex, err := fetch.New(fetch.Config{UserAgent: "test", Timeout: 20 * time.Second, MaxBytes: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(ex.CloseIdle)
	client, err := lookup.New(def, ex, lookup.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	p := &worker.Provider{
		Host: strings.TrimPrefix(server.URL, "http://"), Service: client, Pictures: ex,
		Version: func() string {
			v, err := lookup.SystemSecrets(def.Secrets[0])
			return fmt.Sprint(v, err == nil)
		},
	}
	r.providers["corp"] = p
	return p
}
