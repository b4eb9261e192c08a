package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/redistest"
)

// setupHosts returns a view of a gate with traffic: a.example has a request
// in flight and one that waits, b.example asked to wait, and the service on
// c.example refuses us.
func setupHosts(t *testing.T, traffic bool) (*hostsView, *bytes.Buffer) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	g := gate.New(rdb, "", gate.Options{})
	t.Cleanup(g.Close)
	out := &bytes.Buffer{}
	view := &hostsView{gate: g, place: "here", out: out}
	if !traffic {
		return view, out
	}
	a := gate.Ask{Host: "a.example", Limits: gate.Limits{PerDay: 5000, InFlight: 1}, Wait: time.Minute}
	release, err := g.Acquire(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := g.Acquire(ctx, a); !errors.Is(err, context.Canceled) {
			t.Errorf("a second request: got %v, want it to wait until it is cancelled", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	if err := g.Hold(t.Context(), "b.example", time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Report(t.Context(), gate.Ask{Host: "c.example", Breaker: "corp"}, failure.ReasonCredentials, true); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		states, err := g.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(states) == 3 && states[0].Waiting == 1 {
			return view, out
		}
		if time.Now().After(end) {
			t.Fatalf("not within 10s: three hosts, one with a request that waits; got %+v", states)
		}
	}
}

var (
	clockText = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	clockJSON = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`)
)

func TestHostsTable(t *testing.T) {
	t.Parallel()
	view, out := setupHosts(t, true)
	if more, err := view.show(t.Context(), nil); err != nil || !more {
		t.Fatalf("got %v, %v, want true and no error", more, err)
	}
	const want = `
HOST       WAITING  IN FLIGHT  LIMITS                        NOT BEFORE           LAST 429             BREAKER
a.example  1        1/1        1/5,000 per day (4,999 left)  -                    -                    -
b.example  0        0          -                             YYYY-MM-DD hh:mm:ss  YYYY-MM-DD hh:mm:ss  -
c.example  0        0          -                             -                    -                    corp: open, credentials, until YYYY-MM-DD hh:mm:ss
`
	got := "\n" + clockText.ReplaceAllString(out.String(), "YYYY-MM-DD hh:mm:ss")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestHostsJSON(t *testing.T) {
	t.Parallel()
	view, out := setupHosts(t, true)
	view.asJSON = true
	if _, err := view.show(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	const want = `
{"host":"a.example","waiting":1,"in_flight":1,"max_in_flight":1,"limits":{"per_day":{"limit":5000,"used":1,"left":4999}}}
{"host":"b.example","waiting":0,"in_flight":0,"not_before":TIME,"last_429":TIME}
{"host":"c.example","waiting":0,"in_flight":0,"breakers":[{"provider":"corp","state":"open","reason":"credentials","until":TIME}]}
`
	got := "\n" + clockJSON.ReplaceAllString(out.String(), "TIME")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// A limit for a host that nobody asks is told once, with the host that it may
// have been meant for.
func TestHostsUnmatched(t *testing.T) {
	t.Parallel()
	view, _ := setupHosts(t, true)
	notes := &bytes.Buffer{}
	view.notes = notes
	view.limits.Hosts = map[string]gate.Limits{"*.example": {InFlight: 1}, "a.exmaple": {InFlight: 1}, "b.example": {InFlight: 2}}
	for range 2 {
		if _, err := view.show(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	const want = "picture.hosts: a.exmaple matches no host that was asked within the last day; did you mean a.example?\n"
	if got := notes.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostsNone(t *testing.T) {
	t.Parallel()
	view, out := setupHosts(t, false)
	_, err := view.show(t.Context(), nil)
	if !errors.Is(err, errNoHosts) || !strings.HasSuffix(err.Error(), " (here)") || out.Len() > 0 {
		t.Errorf("got %v and %q, want errNoHosts with its place, and nothing", err, out)
	}
}

func TestHostRow(t *testing.T) {
	t.Parallel()
	got := hostRow(gate.HostState{
		Host: "a.example", InFlight: 1200,
		Quotas: []gate.Quota{
			{Window: time.Second, Limit: 20, Used: 3}, {Window: time.Minute, Limit: 200},
			{Window: time.Hour, Limit: 5000, Used: 4999, Left: 1}, {Window: 24 * time.Hour, Limit: 10_000, Used: 10_000},
		},
		Breakers: []gate.BreakerState{{Name: "x", Reason: failure.ReasonTimeout}, {Name: "y", Reason: failure.ReasonDNS}},
	})
	want := []string{
		"a.example", "0", "1,200", "3/20 per second, 0/200 per minute, 4,999/5,000 per hour (1 left), 10,000/10,000 per day (0 left)",
		"-", "-", "x: trying, timeout; y: trying, dns",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
