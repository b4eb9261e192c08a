package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// row is one line of the table of targets: some work, done by some systems in
// turn.
type row struct {
	title   string
	work    work
	rounds  int
	systems []system
	targets []target
}

// round is what each system gave in one round.
type round map[system]figures

// target is a figure that harvest is to reach.
type target struct {
	what    string
	unit    string
	want    float64
	atLeast bool
	// of computes it from one round.
	of func(r round) float64
}

func (t target) met(got float64) bool {
	if t.atLeast {
		return got >= t.want
	}
	return got <= t.want
}

// throughput is the row of the short form: no latency, so that only what the
// systems themselves cost counts.
func throughput(w work, rounds int, withBase bool) row {
	r := row{
		title: fmt.Sprintf("%d names, no latency, %d in flight", w.names, w.concurrency),
		work:  w, rounds: rounds, systems: []system{floor, floorFsync, naive, harvest},
		targets: []target{
			{"names/s, of the floor's", "x", 0.75, true, func(r round) float64 { return r[harvest].perSecond / r[floor].perSecond }},
			{"names/s, of naive asynq's", "x", 1.8, true, func(r round) float64 { return r[harvest].perSecond / r[naive].perSecond }},
			{"client CPU, of the floor's", "x", 1.6, false, func(r round) float64 { return ratio(r[harvest].client, r[floor].client) }},
			{"Redis CPU a name", "µs", 100, false, func(r round) float64 { return micros(r[harvest].redis) }},
			{"Redis memory a finished name", "bytes", 1024, false, func(r round) float64 { return r[harvest].bytes }},
		},
	}
	if withBase {
		r.systems = append(r.systems, base)
	}
	return r
}

// distant is a row where answers take time, which concurrency must hide.
func distant(w work, share float64, withBase bool) row {
	title := fmt.Sprintf("%d names, %s each request, %d in flight", w.names, w.latency, w.concurrency)
	if w.redisRTT > 0 {
		title += fmt.Sprintf(", Redis %s away", w.redisRTT)
	}
	r := row{
		title: title, work: w, rounds: 1, systems: []system{floor, harvest},
		targets: []target{{
			fmt.Sprintf("names/s, of the %.0f/s that the latency allows", w.limit()), "x", share, true,
			func(r round) float64 { return r[harvest].perSecond / w.limit() },
		}},
	}
	if withBase {
		r.systems = append(r.systems, base)
	}
	return r
}

// fullRows are the rows of the full form that put harvest beside others.
func fullRows(short row, withBase bool) []row {
	w := short.work
	w.names, w.latency = 20_000, 50*time.Millisecond
	near, many, far := w, w, w
	near.concurrency, many.concurrency, far.concurrency = 100, 500, 500
	far.redisRTT = 2 * time.Millisecond
	return []row{short, distant(near, 0.97, withBase), distant(many, 0.75, withBase), distant(far, 0.60, withBase)}
}

// runRow runs every system of a row in turn, round by round, so that what the
// machine does besides meets all of them.
func (b *bench) runRow(ctx context.Context, r row) (missed bool, err error) {
	b.printf("\n%s\n", r.title)
	var rounds []round
	for n := range r.rounds {
		this := make(round)
		for _, s := range r.systems {
			f, err := b.run(ctx, s, r.work)
			if err != nil {
				return false, fmt.Errorf("%s, round %d: %s: %w", r.title, n+1, s, err)
			}
			this[s] = f
		}
		rounds = append(rounds, this)
	}
	b.printFigures(r, rounds)
	for _, t := range r.targets {
		got := make([]float64, len(rounds))
		for i, this := range rounds {
			got[i] = t.of(this)
		}
		if !b.printTarget(t, got) {
			missed = true
		}
	}
	return missed, nil
}

// median returns the middle of values, the lower of two.
func median[T float64 | time.Duration | int64](values []T) T {
	s := slices.Sorted(slices.Values(values))
	return s[(len(s)-1)/2]
}

func ratio(a, b time.Duration) float64 { return float64(a) / math.Max(float64(b), 1) }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
