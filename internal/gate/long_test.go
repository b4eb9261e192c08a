//go:build integration

package gate_test

import (
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestThreeProcessesForAMinute(t *testing.T) {
	t.Parallel()
	if n := threeProcesses(t, time.Minute); n < 900 || n > 1220 {
		t.Errorf("%d requests in a minute at 20/s, want 900 to 1220", n)
	}
}

func TestRetryAfterFive(t *testing.T) {
	t.Parallel()
	retryAfter(t, 5, gate.Limits{InFlight: 5})
}

func TestKilledHolderFreesItsPlaces(t *testing.T) {
	t.Parallel()
	redisServer := redistest.Start(t, "--appendonly", "no")
	s := newSite(t, time.Hour)
	limits := gate.Limits{InFlight: 3}
	holder := startChild(t, childTask{Redis: redisServer.URL(), URLs: []string{s.URL}, Limits: limits, Callers: 3})
	eventually(t, "3 requests under way", func() bool { return s.visits() == 3 })
	g := newGate(t, redisServer.Client(), gate.Options{})
	ask := gate.Ask{Host: s.Listener.Addr().String(), Limits: limits}
	// Longer than a lease: it is renewed as long as the holder lives.
	<-time.After(20 * time.Second)
	later(t, g, ask, "place")
	kill(holder)
	killed := time.Now()
	ask.Wait = time.Minute
	for range 3 {
		acquire(t, g, ask)
	}
	t.Logf("3 places were free %v after the kill", time.Since(killed))
}
