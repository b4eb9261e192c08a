package redisconn

import (
	"strings"
	"sync/atomic"
	"time"
)

const (
	// paceFor is how long attempts are spaced after a reply that go-redis
	// answers by trying again.
	paceFor = time.Second
	// paceEach is the space between two attempts of a process. Each costs up
	// to three commands, since go-redis opens a new connection for it.
	paceEach = 50 * time.Millisecond
	// paceMost bounds the wait of one attempt, so that many that wait do not
	// go on waiting when the server is well again.
	paceMost = time.Second
)

// pace spaces the attempts of all callers while the server answers READONLY,
// LOADING and the like. Every caller tries again by itself then, and the many
// loops of asynq's servers would add up to hundreds of commands a second.
type pace struct {
	until atomic.Int64 // unix nanoseconds
	next  atomic.Int64 // unix nanoseconds of the next free place
}

// begin spaces the attempts for paceFor from now on.
func (p *pace) begin() { p.until.Store(time.Now().Add(paceFor).UnixNano()) }

// wait returns when the next attempt may begin, or when stop is closed.
func (p *pace) wait(stop <-chan struct{}) {
	until := p.until.Load()
	if until == 0 {
		return // as ever on a server without trouble
	}
	now := time.Now().UnixNano()
	if now >= until {
		p.until.CompareAndSwap(until, 0)
		return
	}
	for {
		last := p.next.Load()
		at := max(last, now)
		if !p.next.CompareAndSwap(last, min(at, now+int64(paceMost))+int64(paceEach)) {
			continue
		}
		timer := time.NewTimer(min(time.Duration(at-now), paceMost))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-stop:
		}
		return
	}
}

// triedAgain reports the replies after which go-redis tries again and which
// concern the whole server. TRYAGAIN is about single keys on the move.
func triedAgain(reply string) bool {
	word, _, _ := strings.Cut(reply, " ")
	switch word {
	case "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN":
		return true
	}
	return strings.HasPrefix(reply, "ERR max number of clients")
}
