package main

import (
	"context"
	"slices"
	"time"
)

// These probes put harvest beside itself: the same work under other
// circumstances.

// busy compares a service that now and then asks to come later with one that
// does not.
func busy(w work) func(context.Context, *bench, string) ([]reading, error) {
	w.latency = 10 * time.Millisecond
	return func(ctx context.Context, b *bench, _ string) ([]reading, error) {
		calm, err := b.run(ctx, harvest, w)
		if err != nil {
			return nil, err
		}
		w.busyRate = 0.01
		put, err := b.run(ctx, harvest, w)
		if err != nil {
			return nil, err
		}
		within := 1.5*calm.took.Seconds() + put.counts.BusyTime.Seconds()
		b.printf("  %d answers were 503, which kept the host closed for %s of %s\n",
			put.counts.Busy, put.counts.BusyTime.Round(time.Millisecond), put.took.Round(time.Millisecond))
		return []reading{
			{target{what: "requests later than 1 s into a window", want: 0}, float64(put.counts.Early)},
			{target{what: "time, of 1.5 x that without and the windows", unit: "x", want: 1}, put.took.Seconds() / within},
		}, nil
	}
}

// growth compares what a name costs, and what the worker holds, in a small
// batch and in a large one. The pictures are small: the large batch would not
// fit into memory.
func growth(w work, many int) func(context.Context, *bench, string) ([]reading, error) {
	w.pictureBytes = 0
	return func(ctx context.Context, b *bench, _ string) ([]reading, error) {
		small, large := w, w
		small.names, large.names = 1000, many
		few, err := b.run(ctx, harvest, small)
		if err != nil {
			return nil, err
		}
		all, err := b.run(ctx, harvest, large)
		if err != nil {
			return nil, err
		}
		b.printf("  CPU a name, client and Redis: %.0f and %.0f µs in the small batch, %.0f and %.0f µs in the large one; %.0f bytes of Redis\n",
			micros(few.client), micros(few.redis), micros(all.client), micros(all.redis), all.bytes)
		return []reading{
			{target{what: "CPU a name, of the small batch's", unit: "x", want: 1.15}, ratio(all.client+all.redis, few.client+few.redis)},
			{target{what: "peak memory of the worker, more than the small batch's", unit: "MB", want: 20}, float64(all.peak-few.peak) / (1 << 20)},
		}, nil
	}
}

// spread shows how the shards of a batch spread its cost over the nodes of a
// Redis Cluster.
func spread(w work, shards int) func(context.Context, *bench, string) ([]reading, error) {
	const nodes = 3
	w.nodes, w.shards = nodes, shards
	return func(ctx context.Context, b *bench, _ string) ([]reading, error) {
		f, err := b.run(ctx, harvest, w)
		if err != nil {
			return nil, err
		}
		b.printf("  %.0f names/s, client CPU %.0f µs; Redis CPU a name", f.perSecond, micros(f.client))
		for _, cpu := range f.nodes {
			b.printf(" %.0f", micros(cpu))
		}
		b.printf(" µs by node, %.0f µs in all\n", micros(f.redis))
		// What one Redis may take holds for each node.
		return []reading{{target{what: "Redis CPU a name of the busiest node", unit: "µs", want: 100}, micros(slices.Max(f.nodes))}}, nil
	}
}
