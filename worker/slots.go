package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// errLeaving ends a wait because the worker is stopping; the task goes back.
var errLeaving = errors.New("the worker is stopping")

// slots bounds how many tasks of one kind run at once, over both lanes. The
// express lane goes first; what it does not use the bulk lane does.
type slots struct {
	mu      sync.Mutex
	free    int
	express []chan struct{}
	bulk    []chan struct{}
}

// inHand is how many tasks keep n slots busy: a fourth of them are on their way
// from or to Redis, or write what they have, while others use the slots.
func inHand(n int) int { return n + (n+3)/4 }

func newSlots(n int) *slots { return &slots{free: n} }

// acquire waits for a slot. It gives up when ctx or leaving is over.
func (s *slots) acquire(ctx, leaving context.Context, express bool) error {
	if leaving.Err() != nil {
		return errLeaving
	}
	if turn := s.take(express); turn != nil {
		return s.await(ctx, leaving, express, turn)
	}
	return nil
}

// acquireWithin gives up after d as well.
func (s *slots) acquireWithin(ctx, leaving context.Context, d time.Duration, express bool) error {
	if leaving.Err() != nil {
		return errLeaving
	}
	turn := s.take(express)
	if turn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return s.await(ctx, leaving, express, turn)
}

// take takes a slot that is free. Otherwise it stands in line, and returns
// what is closed when the turn has come.
func (s *slots) take(express bool) (turn chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free > 0 {
		s.free--
		return nil
	}
	turn = make(chan struct{})
	line := s.line(express)
	*line = append(*line, turn)
	return turn
}

func (s *slots) line(express bool) *[]chan struct{} {
	if express {
		return &s.express
	}
	return &s.bulk
}

func (s *slots) await(ctx, leaving context.Context, express bool, turn chan struct{}) error {
	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-leaving.Done():
		err = errLeaving
	}
	if !s.leaveLine(s.line(express), turn) {
		// The slot was given in the same moment: the next in line gets it.
		s.release()
	}
	return err
}

// leaveLine reports whether turn still stood in line.
func (s *slots) leaveLine(line *[]chan struct{}, turn chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, c := range *line {
		if c == turn {
			*line = append((*line)[:i], (*line)[i+1:]...)
			return true
		}
	}
	return false
}

func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range []*[]chan struct{}{&s.express, &s.bulk} {
		if len(*line) > 0 {
			close((*line)[0])
			*line = (*line)[1:]
			return
		}
	}
	s.free++
}

// crowd lets tasks run side by side, or one alone.
type crowd struct{ sem *semaphore.Weighted }

const everybody = 1 << 30

func newCrowd() crowd { return crowd{semaphore.NewWeighted(everybody)} }

// enter waits for a place among the others, or until there are none.
func (c crowd) enter(ctx context.Context, alone bool) (leave func(), err error) {
	n := int64(1)
	if alone {
		n = everybody
	}
	if !c.sem.TryAcquire(n) {
		if err := c.sem.Acquire(ctx, n); err != nil {
			return nil, err
		}
	}
	return func() { c.sem.Release(n) }, nil
}
