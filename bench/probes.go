package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
)

// probe is a row of the full form that measures harvest alone.
type probe struct {
	title string
	run   func(ctx context.Context, b *bench, dir string) ([]reading, error)
}

// reading is one figure of a probe beside its target.
type reading struct {
	target
	got float64
}

func probes() []probe {
	p := []probe{{"enqueue 1,000,000 names", enqueueMany}}
	for _, shards := range []int{1, 16} {
		for _, workers := range []int{1, 10} {
			p = append(p, probe{
				fmt.Sprintf("idle: workers %d, shards %d", workers, shards),
				func(ctx context.Context, b *bench, dir string) ([]reading, error) {
					return idle(ctx, b, dir, workers, shards)
				},
			})
		}
	}
	return p
}

// runProbe runs a probe in a folder of its own.
func (b *bench) runProbe(ctx context.Context, p probe) (missed bool, err error) {
	b.printf("\n%s\n", p.title)
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	dir, err := os.MkdirTemp(b.out, "harvest-bench-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	readings, err := p.run(ctx, b, dir)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p.title, err)
	}
	for _, r := range readings {
		if !b.printTarget(r.target, []float64{r.got}) {
			missed = true
		}
	}
	return missed, nil
}

func enqueueMany(ctx context.Context, b *bench, dir string) (_ []reading, err error) {
	const names = 1_000_000
	file := filepath.Join(dir, batchName+".txt")
	if err := writeMadeUp(file, names); err != nil {
		return nil, err
	}
	r, err := startRedis(ctx, filepath.Join(dir, "redis"), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	p, err := start(ctx, []string{"HARVEST_REDIS_URL=" + r.url()}, b.program("enqueue"), "--file", file, "--quiet")
	if err != nil {
		return nil, err
	}
	if err := p.wait(); err != nil {
		return nil, err
	}
	tasks, err := r.client.LLen(ctx, "asynq:{lookup-people-bulk}:pending").Result()
	if err != nil {
		return nil, err
	}
	express, err := r.client.LLen(ctx, "asynq:{lookup-people-express}:pending").Result()
	if err != nil {
		return nil, err
	}
	if tasks+express != names {
		return nil, fmt.Errorf("%d tasks are in the queue, not %d", tasks+express, names)
	}
	return []reading{
		{target{what: "names/s", want: 50_000, atLeast: true}, names / p.took.Seconds()},
		{target{what: "resident memory", unit: "MB", want: 100}, float64(p.peak.Load()) / (1 << 20)},
	}, nil
}

// writeMadeUp writes the first n names of the load server, as a stream.
func writeMadeUp(file string, n int) error {
	s, err := demo.New(demo.Config{People: n})
	if err != nil {
		return err
	}
	defer s.Close()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	written := 0
	for name := range s.Names() {
		if written++; written > n {
			break
		}
		fmt.Fprintln(w, name)
	}
	return errors.Join(w.Flush(), f.Close())
}

const (
	// quietAfter is how long workers have to find their queues and grow quiet.
	quietAfter = 5 * time.Second
	// listenFor is how long idle workers' commands are counted.
	listenFor = 10 * time.Second
)

// idle counts what workers without work ask of Redis.
func idle(ctx context.Context, b *bench, dir string, workers, shards int) (_ []reading, err error) {
	file := filepath.Join(dir, batchName+".txt")
	if err := writeMadeUp(file, 200); err != nil { // so that every shard has some
		return nil, err
	}
	server, err := start(ctx, nil, b.program("loadserver"), "-people", "200", "-picture-bytes", "0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	addr, err := server.line()
	if err != nil {
		return nil, err
	}
	r, err := startRedis(ctx, filepath.Join(dir, "redis"), 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	env := []string{
		"HARVEST_REDIS_URL=" + r.url(), "HARVEST_DATA=" + dir, "HARVEST_QUEUE_SHARDS=" + strconv.Itoa(shards),
		"HARVEST_PROVIDERS_BASE_URLS=people=http://" + addr,
	}
	for range workers {
		w, err := start(ctx, env, b.program("worker"))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, w.stop()) }()
	}
	in, err := start(ctx, env, b.program("enqueue"), "--file", file, "--quiet", "--wait")
	if err != nil {
		return nil, err
	}
	if err := in.wait(); err != nil {
		return nil, err
	}
	if err := sleep(ctx, quietAfter); err != nil {
		return nil, err
	}
	before, err := r.commands(ctx)
	if err != nil {
		return nil, err
	}
	if err := sleep(ctx, listenFor); err != nil {
		return nil, err
	}
	after, err := r.commands(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := r.info(ctx, "clients", "connected_clients")
	if err != nil {
		return nil, err
	}
	n := float64(workers)
	return []reading{
		{target{what: "commands/s of each worker", want: 100}, (after - before) / listenFor.Seconds() / n},
		{target{what: "connections of each worker", want: 20}, (clients - 1) / n}, // one is ours
	}, nil
}

// sleep measures nothing until d is over: the row is about what happens by
// itself.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
