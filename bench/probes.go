package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
)

// probe is a row of the full form that measures harvest alone.
type probe struct {
	title string
	names int // of its largest batch
	run   func(ctx context.Context, b *bench, dir string) ([]reading, error)
}

// reading is one figure of a probe beside its target.
type reading struct {
	target
	got float64
}

func probes(short work, many int) []probe {
	p := []probe{
		{fmt.Sprintf("%d names, 1 %% of answers 503 with Retry-After: 1", short.names), short.names, busy(short)},
		{fmt.Sprintf("growth from 1000 to %d names", many), many, growth(short, many)},
		{"harvest run: start, and three names", 3, runThree},
		{"enqueue 1,000,000 names, and look at them", million, enqueueMany},
	}
	for _, shards := range []int{1, 4, 16} {
		p = append(p, probe{fmt.Sprintf("%d names in %d shards, a Redis Cluster of 3 nodes", short.names, shards), short.names, spread(short, shards)})
	}
	for _, shards := range []int{1, 16} {
		for _, workers := range []int{1, 10} {
			p = append(p, probe{
				fmt.Sprintf("idle: workers %d, shards %d", workers, shards), 0,
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
	ctx, cancel := context.WithTimeout(ctx, runWithin+time.Duration(p.names)*nameWithin)
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

const million = 1_000_000

func enqueueMany(ctx context.Context, b *bench, dir string) (_ []reading, err error) {
	const names = million
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
	readings := []reading{
		{target{what: "names/s", want: 50_000, atLeast: true}, names / p.took.Seconds()},
		{target{what: "resident memory", unit: "MB", want: 100}, float64(p.peak.Load()) / (1 << 20)},
	}
	for _, command := range []string{"results", "status"} {
		const looks = 9
		var took []float64
		for range looks {
			p, err := start(ctx, []string{"HARVEST_REDIS_URL=" + r.url()}, b.program("harvest"), command, batchName)
			if err != nil {
				return nil, err
			}
			if _, err := p.line(); err != nil {
				return nil, err
			}
			took = append(took, micros(time.Since(p.began))/1000)
			if err := p.finish(); err != nil {
				return nil, err
			}
		}
		readings = append(readings, reading{target{what: "start of harvest " + command + " to its first line", unit: "ms", want: 50}, median(took)})
	}
	return readings, nil
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

// runThree starts `harvest run` over three new names in a data folder that
// is there already, several times. The load server answers at once.
func runThree(ctx context.Context, b *bench, dir string) (_ []reading, err error) {
	const runs = 9
	s, err := demo.New(demo.Config{People: 3 * runs})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var first atomic.Pointer[time.Time]
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			now := time.Now()
			first.CompareAndSwap(nil, &now)
			s.ServeHTTP(w, r)
		}),
	}
	go func() { _ = server.Serve(ln) }() // it ends by Close
	defer func() { err = errors.Join(err, server.Close()) }()

	var starts, rests []float64
	names := slices.Collect(s.Names())
	for n := range runs {
		file := filepath.Join(dir, fmt.Sprintf("%s%d.txt", batchName, n))
		if err := os.WriteFile(file, []byte(strings.Join(names[3*n:3*n+3], "\n")+"\n"), 0o600); err != nil {
			return nil, err
		}
		first.Store(nil)
		env := []string{"HARVEST_DATA=" + filepath.Join(dir, "data"), "HARVEST_PROVIDERS_BASE_URLS=people=http://" + ln.Addr().String()}
		p, err := start(ctx, env, b.program("harvest"), "run", "--file", file, "--provider", "people", "--progress", "none")
		if err != nil {
			return nil, err
		}
		if err := p.wait(); err != nil {
			return nil, err
		}
		if n == 0 {
			continue // it made the data folder
		}
		at := first.Load()
		if at == nil {
			return nil, errors.New("harvest run asked nothing")
		}
		starts = append(starts, float64(at.Sub(p.began).Microseconds())/1000)
		rests = append(rests, float64((p.took-at.Sub(p.began)).Microseconds())/1000)
	}
	return []reading{
		{target{what: "start to the first request", unit: "ms", want: 150}, median(starts)},
		{target{what: "first request to the end of the process", unit: "ms", want: 100}, median(rests)},
	}, nil
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
