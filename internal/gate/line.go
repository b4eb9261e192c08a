package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// errClosed ends the waits of a gate that was closed.
var errClosed = errors.New("the gate was closed")

// batchSize bounds what one script gives out.
const batchSize = 64

type lineKey struct {
	host    string
	breaker string
	limits  Limits
}

// line is where the callers of this process wait for one host. While there is
// anything to say to Redis one goroutine says it, for all of them at once.
// Its fields are under the gate's lock.
type line struct {
	g       *Gate
	key     lineKey
	id      string // names it in Redis
	version string
	places  int64 // numbers the places
	waiting []*waiter
	held    map[string]bool
	freed   []string
	running bool
	lined   bool // Redis has it in the host's line
	call    chan struct{}
}

// waiter is one caller that stands in a line.
type waiter struct {
	deadline time.Time
	crowd    int
	express  bool
	asked    bool      // Redis was asked for it
	ready    chan turn // has room for the answer
}

// turn is the answer to a waiter.
type turn struct {
	place string
	at    time.Time
	err   error
}

// place is a request that is let in.
type place struct {
	l  *line
	id string
	at time.Time
}

// stand waits in line for a place.
func (g *Gate) stand(ctx context.Context, a Ask, deadline time.Time) (*place, error) {
	version := ""
	if a.Breaker != "" && g.knows(breakerKey{a.Host, a.Breaker}) {
		version = a.version()
	}
	w := &waiter{deadline: deadline, crowd: a.Crowd, express: a.Express, ready: make(chan turn, 1)}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil, errClosed
	}
	l := g.line(lineKey{a.Host, a.Breaker, a.Limits})
	l.version = version
	l.waiting = slices.Insert(l.waiting, l.position(w), w)
	l.wake()
	g.mu.Unlock()

	select {
	case t := <-w.ready:
		if t.err != nil {
			return nil, t.err
		}
		return &place{l, t.place, t.at}, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		for i, x := range l.waiting {
			if x == w {
				l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
				l.wake()
				return nil, ctx.Err()
			}
		}
		// A place may have come in the same moment.
		select {
		case t := <-w.ready:
			l.free(t.place)
		default:
		}
		return nil, ctx.Err()
	}
}

// position is where w stands: behind all, or as express behind the express.
func (l *line) position(w *waiter) int {
	if w.express {
		if i := slices.IndexFunc(l.waiting, func(x *waiter) bool { return !x.express }); i >= 0 {
			return i
		}
	}
	return len(l.waiting)
}

// release gives the place back.
func (p *place) release() {
	p.l.g.mu.Lock()
	defer p.l.g.mu.Unlock()
	p.l.free(p.id)
}

// line returns the line of a key, which it makes where there is none.
func (g *Gate) line(key lineKey) *line {
	l, ok := g.lines[key]
	if !ok {
		g.numbered++
		l = &line{g: g, key: key, id: g.id + "." + strconv.Itoa(g.numbered), held: make(map[string]bool), call: make(chan struct{}, 1)}
		g.lines[key], g.byID[l.id] = l, l
	}
	return l
}

// free gives a place back. Requests that took none have nothing to say.
func (l *line) free(id string) {
	if !l.held[id] {
		return
	}
	delete(l.held, id)
	l.freed = append(l.freed, id)
	l.wake()
}

// wake lets the line speak with Redis.
func (l *line) wake() {
	if l.running {
		select {
		case l.call <- struct{}{}:
		default:
		}
		return
	}
	if l.g.closed {
		return
	}
	l.running = true
	l.g.wg.Go(l.run)
}

// run speaks with Redis while there is something to say.
func (l *line) run() {
	for {
		n, freed, first, version := l.next()
		if n < 0 {
			return
		}
		r, err := l.g.take(l, version, n, freed, first)
		again := l.answer(r, err, first)
		if again <= 0 {
			continue
		}
		timer := time.NewTimer(again)
		select {
		case <-timer.C:
		case <-l.call:
			timer.Stop()
		case <-l.g.ctx.Done():
			timer.Stop()
		}
	}
}

// next returns how many wait, and the places to give back. It returns less
// than 0 when there is nothing to say, and the line is at rest then.
func (l *line) next() (n int, freed []string, first int64, version string) {
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	select {
	case <-l.call:
	default:
	}
	if l.g.closed {
		l.tellAll(errClosed)
	}
	freed, l.freed = l.freed, nil
	if len(l.waiting) == 0 && len(freed) == 0 && !l.lined {
		l.running = false
		if len(l.held) == 0 {
			delete(l.g.lines, l.key)
			delete(l.g.byID, l.id)
		}
		return -1, nil, 0, ""
	}
	n = min(batchSize, len(l.waiting))
	for _, w := range l.waiting[:n] {
		w.asked = true
	}
	first = l.places
	l.places += int64(n)
	return n, freed, first, l.version
}

// answer hands out what Redis gave, and returns how long the line may rest
// unless it is called; 0: not at all.
func (l *line) answer(r taken, err error, first int64) time.Duration {
	l.g.mu.Lock()
	if err != nil {
		l.lined = false
		l.tellAll(err)
		l.g.mu.Unlock()
		return 0
	}
	now := time.Now()
	holds := l.key.limits.InFlight > 0 || r.state == stateHalf
	for i, at := range r.grants {
		id := fmt.Sprintf("%s:%d", l.id, first+int64(i))
		if holds {
			l.held[id] = true
			l.g.renew()
		}
		if len(l.waiting) == 0 { // they went away meanwhile
			l.free(id)
			continue
		}
		l.waiting[0].ready <- turn{place: id, at: now.Add(at)}
		l.waiting = l.waiting[1:]
	}
	l.lined = r.why == "place"
	away, rest := l.sort(now, r)
	l.g.mu.Unlock()
	if len(away) > 0 {
		l.send(away, r)
	}
	return rest
}

// sort takes those out of the line who cannot wait that long. It returns them
// and how long the others may rest.
func (l *line) sort(now time.Time, r taken) (away []*waiter, rest time.Duration) {
	if r.why == "" {
		return nil, 0 // nobody was refused
	}
	rest = askAgain
	if r.again > 0 {
		rest = max(min(r.again, rest), time.Millisecond)
		if r.why != "place" {
			rest = max(min(r.again, time.Minute), time.Millisecond)
		}
	}
	stay := l.waiting[:0]
	for _, w := range l.waiting {
		if !w.asked { // it came meanwhile, and so may have what it wants
			stay, rest = append(stay, w), 0
			continue
		}
		left := w.deadline.Sub(now)
		tooLong := left <= 0
		if r.why == "place" {
			tooLong = tooLong || (w.crowd > 0 && len(stay) >= w.crowd)
		} else {
			tooLong = tooLong || r.again > left
		}
		if tooLong {
			away = append(away, w)
			continue
		}
		stay = append(stay, w)
		rest = min(rest, left)
	}
	clear(l.waiting[len(stay):])
	l.waiting = stay
	if len(stay) == 0 {
		return away, 0
	}
	return away, rest
}

// send gives those who cannot wait times to come back at. The express stand
// in front, and have turns of their own: those of the others may reach far
// ahead.
func (l *line) send(away []*waiter, r taken) {
	express := slices.IndexFunc(away, func(w *waiter) bool { return !w.express })
	if express < 0 {
		express = len(away)
	}
	for _, part := range [][]*waiter{away[:express], away[express:]} {
		if len(part) == 0 {
			continue
		}
		after, err := l.g.turns(l, len(part), part[0].express, r)
		for i, w := range part {
			if err != nil {
				w.ready <- turn{err: err}
				continue
			}
			w.ready <- turn{err: &LaterError{Host: l.key.host, Why: r.why, After: after[i]}}
		}
	}
}

func (l *line) tellAll(err error) {
	for _, w := range l.waiting {
		w.ready <- turn{err: err}
	}
	l.waiting = nil
}

// taken is takeScript's reply, with times from now.
type taken struct {
	why    string
	again  time.Duration // 0: when called
	state  breakerState
	logged [len(windows)]int // length of each log
	grants []time.Duration
}

func (g *Gate) take(l *line, version string, wanted int, freed []string, first int64) (taken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	k, lim := l.key, l.key.limits
	b := breakerKey{k.host, k.breaker}
	keys := append([]string{g.keys.host(k.host), g.keys.places(k.host), g.keys.line(k.host)}, g.keys.logs(k.host)...)
	keys = append(keys, g.keys.breakerOf(b), g.keys.probes(b))
	g.mu.Lock()
	waiting, ahead, now, express := len(l.waiting), aheadTime, time.Now(), 0
	if waiting > 0 && l.waiting[0].express {
		express = 1
	}
	for _, w := range l.waiting[:min(wanted, waiting)] {
		ahead = min(ahead, max(0, w.deadline.Sub(now)))
	}
	g.mu.Unlock()
	args := []any{
		l.id, k.host, g.keys.channel(), k.breaker, version,
		wanted, max(waiting, wanted), first, leaseTime.Microseconds(), ahead.Microseconds(), lim.InFlight, express,
	}
	for i, n := range lim.rates() {
		if n == 0 {
			args = append(args, 0, 0, 0, 0)
			continue
		}
		burst, per := windows[i].burst(n)
		args = append(args, n, burst, per.Microseconds(), windows[i].length.Microseconds())
	}
	for _, id := range freed {
		args = append(args, id)
	}
	reply, err := takeScript.Run(ctx, g.rdb, keys, args...).StringSlice()
	if err != nil {
		return taken{}, fmt.Errorf("wait for the turn of %s: %w", k.host, err)
	}
	clock := micros(reply[0])
	r := taken{why: reply[1], state: breakerState(reply[3])}
	if again := micros(reply[2]); again > 0 {
		r.again = max(time.Duration(again-clock)*time.Microsecond, time.Millisecond)
	}
	for i := range r.logged {
		r.logged[i] = int(micros(reply[5+i]))
	}
	for _, at := range reply[5+len(r.logged):] {
		r.grants = append(r.grants, time.Duration(micros(at)-clock)*time.Microsecond)
	}
	g.note(k.host, lim)
	g.remember(k.host, func(k *known) { k.limits, k.logged = lim, r.logged })
	return r, nil
}

// turns returns times for n requests to come back at.
func (g *Gate) turns(l *line, n int, express bool, r taken) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	from, byPace := r.again, 0 // not before
	if r.why == "place" {
		// Nobody knows when one is free, only how often one was.
		from, byPace = comeBack, 1
	}
	plan := "plan"
	if express {
		plan = "express"
	}
	reply, err := turnScript.Run(ctx, g.rdb, []string{g.keys.host(l.key.host)},
		plan, n, from.Microseconds(), l.key.limits.step().Microseconds(), horizon.Microseconds(), byPace).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("find the next turn of %s: %w", l.key.host, err)
	}
	first := time.Duration(micros(reply[1])-micros(reply[0])) * time.Microsecond
	step := time.Duration(micros(reply[2])) * time.Microsecond
	after := make([]time.Duration, n)
	for i := range after {
		d := first + time.Duration(i)*step
		if d-from > horizon {
			d = from + horizon/2 + spread(horizon/2)
		}
		after[i] = d + spread(max(min(step, time.Second), 100*time.Millisecond))
	}
	return after, nil
}

// spread returns a random part of d.
func spread(d time.Duration) time.Duration {
	return time.Duration(rand.Int64N(int64(d) + 1))
}

// micros reads a number of a script; they send nothing else.
func micros(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
