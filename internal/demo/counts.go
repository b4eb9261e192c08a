package demo

import (
	"sync"
	"time"
)

// earlyGrace is how long after a busy answer clients may still begin
// requests: those on their way before all of a client's parts have heard.
const earlyGrace = time.Second

// Counts is what a server with Config.Count was asked since it began, by GET.
type Counts struct {
	// Lookups and Pictures are all such requests, however they were answered.
	Lookups  int `json:"lookups"`
	Pictures int `json:"pictures"`
	// Errors and Busy are the answers that ErrorRate and BusyRate spoiled.
	Errors int `json:"errors"`
	Busy   int `json:"busy"`
	// Early are requests that came while a Retry-After was running, later
	// than one second after the first busy answer that opened it.
	Early int `json:"early"`
	// BusyTime is for how long in all a Retry-After was running.
	BusyTime time.Duration `json:"busy_time"`
	// Names holds one entry for each name asked, known or not. Names over 256
	// bytes, which nobody has, are left out.
	Names map[string]NameCount `json:"names"`
}

// NameCount is what was asked about one name.
type NameCount struct {
	Lookups  int `json:"lookups"`
	Pictures int `json:"pictures"`
	// Repeats are the lookups and pictures among these that were asked again
	// after a good answer; "unknown" is a good answer to a lookup.
	Repeats int `json:"repeats"`
}

// question is one of the two things to ask about a name.
type question uint8

const (
	askLookup question = iota
	askPicture
)

type nameRecord struct {
	NameCount
	answered [2]bool // by question
}

// counter gathers Counts. A nil counter counts nothing.
type counter struct {
	mu    sync.Mutex
	total Counts // without Names
	names map[string]nameRecord
	// The running window of busy answers: from its first until the latest
	// Retry-After is over.
	busyFrom, busyUntil time.Time
}

func newCounter() *counter { return &counter{names: make(map[string]nameRecord)} }

func (c *counter) asked(name string, q question) {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.After(c.busyFrom.Add(earlyGrace)) && now.Before(c.busyUntil) {
		c.total.Early++
	}
	if q == askLookup {
		c.total.Lookups++
	} else {
		c.total.Pictures++
	}
	if len(name) > maxNameBytes {
		return
	}
	r := c.names[name]
	if r.answered[q] {
		r.Repeats++
	}
	if q == askLookup {
		r.Lookups++
	} else {
		r.Pictures++
	}
	c.names[name] = r
}

func (c *counter) answered(name string, q question) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.names[name]; ok {
		r.answered[q] = true
		c.names[name] = r
	}
}

func (c *counter) spoiled(f fate, retryAfter time.Duration) {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if f == fateError {
		c.total.Errors++
		return
	}
	c.total.Busy++
	if !now.Before(c.busyUntil) {
		c.busyFrom = now
	}
	if until := now.Add(retryAfter); until.After(c.busyUntil) {
		begin := now
		if c.busyUntil.After(now) {
			begin = c.busyUntil // so far it is counted
		}
		c.total.BusyTime += until.Sub(begin)
		c.busyUntil = until
	}
}

// Counts returns what the server was asked so far; without Config.Count it is
// all zero.
func (s *Server) Counts() Counts {
	c := s.counts
	if c == nil {
		return Counts{Names: map[string]NameCount{}}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := c.total
	sum.Names = make(map[string]NameCount, len(c.names))
	for name, r := range c.names {
		sum.Names[name] = r.NameCount
	}
	return sum
}
