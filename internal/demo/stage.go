package demo

import (
	"context"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// stage spoils answers as its Config says. Its dice are a counter, mixed: the
// same order of requests meets the same fate in every run.
type stage struct {
	latency, jitter time.Duration
	unknownRate     float64
	errorRate       float64
	busyRate        float64
	busyStatus      int
	retryAfter      time.Duration
	rolls           *atomic.Uint64
}

// fate is what the stage has in mind for one answer.
type fate uint8

const (
	fateGood fate = iota
	fateError
	fateBusy
)

func newStage(c Config) stage {
	return stage{
		latency: c.Latency, jitter: c.Jitter,
		unknownRate: c.UnknownRate, errorRate: c.ErrorRate, busyRate: c.BusyRate,
		busyStatus: c.BusyStatus, retryAfter: c.RetryAfter,
		rolls: new(atomic.Uint64),
	}
}

// hides says whether name is among the share that is treated as unknown.
func (s *stage) hides(name string) bool {
	if s.unknownRate == 0 {
		return false
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return share(h.Sum64()) < s.unknownRate
}

// wait holds the answer back for the latency and returns its fate. The error
// is that of ctx: the client has gone.
func (s *stage) wait(ctx context.Context) (fate, error) {
	roll := s.rolls.Add(1)
	delay := s.latency
	if s.jitter > 0 {
		delay += time.Duration(share(^roll) * float64(s.jitter))
	}
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return fateGood, ctx.Err()
		}
	}
	switch u := share(roll); {
	case u < s.errorRate:
		return fateError, nil
	case u < s.errorRate+s.busyRate:
		return fateBusy, nil
	}
	return fateGood, nil
}

// spoil answers as f says, which is not fateGood.
func (s *stage) spoil(w http.ResponseWriter, f fate) {
	status := http.StatusInternalServerError
	if f == fateBusy {
		status = s.busyStatus
		w.Header().Set("Retry-After", strconv.Itoa(int(s.retryAfter/time.Second)))
	}
	writeError(w, status)
}

// share maps x to [0, 1), evenly even for an x that counts up.
func share(x uint64) float64 { return math.Ldexp(float64(mix(x)>>11), -53) }
