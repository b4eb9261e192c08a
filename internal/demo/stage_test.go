package demo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/demo"
)

// ask sends a GET to a server without a socket and returns its answer.
func ask(t *testing.T, s http.Handler, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Result()
}

func newServer(t *testing.T, c demo.Config) *demo.Server {
	t.Helper()
	s, err := demo.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRates(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for _, tt := range []struct {
		name   string
		config demo.Config
		want   map[int]float64 // share by status
		wait   string
	}{
		{"none", demo.Config{}, map[int]float64{200: 1}, ""},
		{"errors", demo.Config{ErrorRate: 0.05}, map[int]float64{200: 0.95, 500: 0.05}, ""},
		{"busy", demo.Config{BusyRate: 0.01}, map[int]float64{200: 0.99, 429: 0.01}, "1"},
		{"busy 503", demo.Config{BusyRate: 0.2, BusyStatus: 503, RetryAfter: 24 * time.Hour}, map[int]float64{200: 0.8, 503: 0.2}, "86400"},
		{"both", demo.Config{ErrorRate: 0.1, BusyRate: 0.3}, map[int]float64{200: 0.6, 500: 0.1, 429: 0.3}, "1"},
		{"all", demo.Config{ErrorRate: 1}, map[int]float64{500: 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tt.config)
			var order [2][]int
			got := make(map[int]int)
			for i := range n {
				path := "/Brus%20Lee"
				if i%2 == 1 {
					path = "/images/2.png"
				}
				resp := ask(t, s, path)
				got[resp.StatusCode]++
				order[0] = append(order[0], resp.StatusCode)
				busy := resp.StatusCode == 429 || resp.StatusCode == 503
				if retry := resp.Header.Get("Retry-After"); busy && retry != tt.wait || !busy && retry != "" {
					t.Fatalf("Retry-After is %q with %d", retry, resp.StatusCode)
				}
			}
			for status, share := range tt.want {
				if d := math.Abs(float64(got[status])/n - share); d > 0.01 {
					t.Errorf("%d: %d of %d, want a share of %v", status, got[status], n, share)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("statuses are %v", got)
			}

			again := newServer(t, tt.config)
			for range 500 {
				order[1] = append(order[1], ask(t, again, "/Brus%20Lee").StatusCode)
			}
			if d := cmp.Diff(order[0][:500], order[1]); d != "" {
				t.Errorf("another server's answers differ:\n%s", d)
			}
		})
	}
}

func TestPageIsNotSpoiled(t *testing.T) {
	t.Parallel()
	s := newServer(t, demo.Config{ErrorRate: 1, Count: true})
	for _, path := range []string{"/", "/-/home.js", "/-/counts"} {
		if resp := ask(t, s, path); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s", path, resp.Status)
		}
	}
}

func TestUnknownRate(t *testing.T) {
	t.Parallel()
	c := demo.Config{People: 10_000, UnknownRate: 0.2}
	s := newServer(t, c)
	known := slices.Collect(s.Names())
	if n := len(known); n < 7_800 || n > 8_200 {
		t.Errorf("%d of 10,003 names are known, want about 8,000", n)
	}
	if d := cmp.Diff(known, slices.Collect(newServer(t, c).Names())); d != "" {
		t.Error("another server does not know other names")
	}
	unknown := 0
	for name := range newServer(t, demo.Config{People: 1000}).Names() {
		if s.Knows(name) {
			continue
		}
		unknown++
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL.RawQuery = "name=" + name
		s.ServeHTTP(w, r)
		if w.Body.String() != fail {
			t.Fatalf("%s: got %s", name, w.Body)
		}
	}
	if unknown < 150 || unknown > 250 {
		t.Errorf("%d of 1,003 names are unknown, want about 200", unknown)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, demo.Config{Latency: 50 * time.Millisecond, Jitter: 20 * time.Millisecond})
		waits := make(map[time.Duration]bool)
		for i := range 100 {
			path := []string{"/Brus%20Lee", "/images/2.png"}[i%2]
			begun := time.Now()
			ask(t, s, path)
			wait := time.Since(begun)
			if wait < 50*time.Millisecond || wait >= 70*time.Millisecond {
				t.Errorf("%s took %s, want 50 to 70 ms", path, wait)
			}
			waits[wait] = true
		}
		if len(waits) < 50 {
			t.Errorf("100 answers took %d different times", len(waits))
		}

		begun := time.Now()
		ask(t, s, "/")
		if wait := time.Since(begun); wait != 0 {
			t.Errorf("the page took %s", wait)
		}
	})
}

func TestLatencyEndsWithTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, demo.Config{Latency: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/Brus%20Lee", nil))
		if took := time.Since(begun); took != time.Second {
			t.Errorf("took %s after the client left at 1 s", took)
		}
	})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	s, url := setup(t, demo.Config{Count: true, People: 1})
	for _, path := range []string{
		"/Brus%20Lee", "/images/2.png", "/?name=Brus%20Lee", "/images/2.png",
		"/Nobody", "/Ada%20Bababa", "/images/m1.png", "/images/9.png", "/", "/-/home.js",
		"/" + fmt.Sprintf("%0300d", 0),
	} {
		do(t, http.MethodGet, url+path)
	}
	do(t, http.MethodHead, url+"/Brus%20Lee")
	do(t, http.MethodPost, url+"/Brus%20Lee")

	want := demo.Counts{Lookups: 5, Pictures: 3, Names: map[string]demo.NameCount{
		"Brus Lee":   {Lookups: 2, Pictures: 2, Repeats: 2},
		"Ada Bababa": {Lookups: 1, Pictures: 1},
		"Nobody":     {Lookups: 1},
	}}
	if d := cmp.Diff(want, s.Counts()); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
	resp, body := do(t, http.MethodGet, url+"/-/counts")
	var got demo.Counts
	if err := json.Unmarshal([]byte(body), &got); err != nil || resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Fatalf("%s: %v", body, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("counts as JSON (-want +got):\n%s", d)
	}
}

func TestCountsOff(t *testing.T) {
	t.Parallel()
	s := newServer(t, demo.Config{})
	ask(t, s, "/Brus%20Lee")
	if got := s.Counts(); got.Lookups != 0 || len(got.Names) != 0 {
		t.Errorf("got %+v", got)
	}
	if resp := ask(t, s, "/-/counts"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("got %s", resp.Status)
	}
}

func TestCountsEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, demo.Config{Count: true, BusyRate: 1, RetryAfter: 5 * time.Second})
		step := func(after time.Duration, early int) {
			t.Helper()
			time.Sleep(after) // the bubble's clock
			ask(t, s, "/Brus%20Lee")
			if got := s.Counts().Early; got != early {
				t.Errorf("%d early, want %d", got, early)
			}
		}
		step(0, 0)                     // opens the window, until 5 s
		step(time.Second, 0)           // within the grace; until 6 s
		step(time.Second, 1)           // at 2 s; until 7 s
		step(4500*time.Millisecond, 2) // at 6.5 s; until 11.5 s
		step(5*time.Second, 2)         // at 11.5 s: over, a window of its own
		if got := s.Counts(); got.Busy != 5 || got.Names["Brus Lee"].Repeats != 0 {
			t.Errorf("got %+v", got)
		}
	})
}
