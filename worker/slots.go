package worker

import (
	"context"
	"errors"
	"sync"

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

func newSlots(n int) *slots { return &slots{free: n} }

// do runs f in a slot, which f may free before it ends. It gives up waiting
// when ctx or leaving is over.
func (s *slots) do(ctx, leaving context.Context, express bool, f func(free func()) error) error {
	if err := s.acquire(ctx, leaving, express); err != nil {
		return &again{err: err}
	}
	free := sync.OnceFunc(s.release)
	defer free()
	return f(free)
}

func (s *slots) acquire(ctx, leaving context.Context, express bool) error {
	if leaving.Err() != nil {
		return errLeaving
	}
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	line := &s.bulk
	if express {
		line = &s.express
	}
	*line = append(*line, turn)
	s.mu.Unlock()

	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-leaving.Done():
		err = errLeaving
	}
	if !s.leaveLine(line, turn) {
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
	if err := c.sem.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { c.sem.Release(n) }, nil
}
