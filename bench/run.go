package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// work is what every system of a row does.
type work struct {
	names        int
	concurrency  int // requests in flight
	pictureBytes int
	latency      time.Duration // of each answer
	redisRTT     time.Duration // besides loopback's
	busyRate     float64       // share of answers that are 503 with Retry-After: 1
	nodes        int           // of a Redis Cluster; 0 for a single server
	shards       int           // queue.shards; 0 for 1
}

// limit is how many names a second the latency allows: two requests each.
func (w work) limit() float64 {
	return float64(w.concurrency) / (2 * w.latency.Seconds())
}

// figures are what one run of one system gave.
type figures struct {
	perSecond float64 // names, from the start of the process to the last one settled
	enqueued  float64 // names a second, by a process of its own before; 0 where there is no queue
	client    time.Duration
	redis     time.Duration   // both: CPU a name, enqueueing included
	nodes     []time.Duration // redis, by node
	bytes     float64         // of Redis a finished name
	took      time.Duration   // for perSecond
	counts    demo.Counts     // by the load server
	peak      int64           // resident bytes of the process that did the work
}

// system is one way to do the work.
type system string

const (
	floor      system = "floor"
	floorFsync system = "floor+fsync"
	naive      system = "naive asynq"
	harvest    system = "harvest"
	base       system = "base" // harvest of an earlier build
)

const (
	batchName = "names"
	// settledEvery is how often a run is asked whether it is done.
	settledEvery = 10 * time.Millisecond
	// runWithin bounds one run beside what its latency explains.
	runWithin = 5 * time.Minute
	// nameWithin is what each name adds to that, for batches of a million.
	nameWithin = 2 * time.Millisecond
)

// stage is one run: the parts that a system needs, each started for it alone.
type stage struct {
	*bench
	work
	dir      string
	names    string // file of names
	pictures string // folder
	server   string // base URL
	redis    *redisServer
}

// run does w by s and checks all that came of it.
func (b *bench) run(ctx context.Context, s system, w work) (f figures, err error) {
	within := runWithin + time.Duration(w.names)*nameWithin
	if w.latency > 0 {
		within += time.Duration(4 * float64(w.names) / w.limit() * float64(time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	all, err := b.wanted(w)
	if err != nil {
		return f, err
	}
	dir, err := os.MkdirTemp(b.out, "harvest-bench-")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st := &stage{bench: b, work: w, dir: dir, names: filepath.Join(dir, batchName+".txt"), pictures: filepath.Join(dir, "pictures")}
	if err := writeNames(st.names, all); err != nil {
		return f, err
	}
	if err := os.Mkdir(st.pictures, 0o700); err != nil {
		return f, err
	}
	server, err := start(ctx, nil, b.program("loadserver"), "-people", strconv.Itoa(w.names),
		"-picture-bytes", strconv.Itoa(w.pictureBytes), "-latency", w.latency.String(),
		"-busy-rate", strconv.FormatFloat(w.busyRate, 'g', -1, 64))
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	addr, err := server.line()
	if err != nil {
		return f, err
	}
	st.server = "http://" + addr

	at := func(w want) string { return w.file }
	switch s {
	case floor, floorFsync:
		f, err = st.floor(ctx, s == floorFsync)
	case naive:
		f, err = st.naive(ctx)
	default:
		at = func(w want) string { return storage.Key(batchName, w.name, 1, w.ext) }
		f, err = st.harvest(ctx, s)
	}
	if err != nil {
		return f, err
	}
	if f.counts, err = askCounts(ctx, st.server); err != nil {
		return f, err
	}
	return f, errors.Join(checkFiles(st.pictures, all, at), checkCounts(f.counts, all, w.busyRate > 0))
}

func (st *stage) floor(ctx context.Context, fsync bool) (figures, error) {
	p, err := start(ctx, nil, st.program("floor"), "-file", st.names, "-url", st.server, "-out", st.pictures,
		"-concurrency", strconv.Itoa(st.concurrency), "-fsync="+strconv.FormatBool(fsync))
	if err != nil {
		return figures{}, err
	}
	if err := p.wait(); err != nil {
		return figures{}, err
	}
	return figures{perSecond: st.rate(p.took), client: st.each(p.cpu()), peak: p.peak.Load()}, nil
}

func (st *stage) naive(ctx context.Context) (figures, error) {
	return st.queued(ctx,
		func() (*process, error) {
			return start(ctx, nil, st.program("naive"), "-redis", st.redis.addr, "-enqueue", st.names)
		},
		func() (*process, error) {
			return start(ctx, nil, st.program("naive"), "-redis", st.redis.addr, "-url", st.server, "-out", st.pictures,
				"-concurrency", strconv.Itoa(st.concurrency))
		},
		func() (int64, error) { return st.redis.client.HLen(ctx, "results").Result() })
}

func (st *stage) harvest(ctx context.Context, s system) (figures, error) {
	var db *results.DB
	return st.queued(ctx,
		func() (*process, error) {
			db = results.New(st.redis.data, "")
			return start(ctx, st.env(), st.harvestProgram(s, "enqueue"), "--file", st.names, "--batch", batchName, "--quiet")
		},
		func() (*process, error) { return start(ctx, st.env(), st.harvestProgram(s, "worker")) },
		func() (int64, error) {
			counts, err := db.Counts(ctx, results.Batch{Name: batchName, Shards: max(1, st.shards)})
			if failed := counts.Settled() - counts[results.Done]; err == nil && failed > 0 {
				err = fmt.Errorf("%d names did not end well: %v", failed, counts)
			}
			return counts[results.Done], err
		})
}

// env is the settings of harvest's programs. Lookups and pictures have half
// of the requests each, so that no more are in flight than in other systems.
func (st *stage) env() []string {
	half := max(1, st.concurrency/2)
	return []string{
		st.redis.setting(),
		"HARVEST_QUEUE_SHARDS=" + strconv.Itoa(max(1, st.shards)),
		"HARVEST_DATA=" + st.dir,
		"HARVEST_STORAGE_URL=" + st.pictures,
		"HARVEST_PROVIDERS_BASE_URLS=people=" + st.server,
		"HARVEST_WORKER_CONCURRENCY=" + strconv.Itoa(st.concurrency),
		"HARVEST_WORKER_LOOKUPS=" + strconv.Itoa(half),
		"HARVEST_WORKER_PICTURES=" + strconv.Itoa(max(1, st.concurrency-half)),
	}
}

// queued runs a system that has a queue: a process that enqueues the names
// to its end, then one that works, until settled says that all are.
func (st *stage) queued(ctx context.Context, enqueue, work func() (*process, error), settled func() (int64, error)) (f figures, err error) {
	if st.nodes > 0 {
		st.redis, err = startCluster(ctx, filepath.Join(st.dir, "redis"), st.nodes)
	} else {
		st.redis, err = startRedis(ctx, filepath.Join(st.dir, "redis"), st.redisRTT)
	}
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, st.redis.stop()) }()
	before, err := st.redis.usage(ctx)
	if err != nil {
		return f, err
	}
	in, err := enqueue()
	if err != nil {
		return f, err
	}
	if err := in.wait(); err != nil {
		return f, err
	}
	f.enqueued = st.rate(in.took)

	p, err := work()
	if err != nil {
		return f, err
	}
	took, err := st.await(ctx, p, settled)
	if err != nil {
		return f, errors.Join(err, p.stop())
	}
	after, err := st.redis.usage(ctx)
	if err != nil {
		return f, errors.Join(err, p.stop())
	}
	if err := p.stop(); err != nil {
		return f, err
	}
	f.perSecond, f.peak, f.took = st.rate(took), p.peak.Load(), took
	f.client = st.each(in.cpu() + p.cpu())
	var bytes float64
	for i := range after {
		cpu := st.each(after[i].cpu - before[i].cpu)
		f.nodes = append(f.nodes, cpu)
		f.redis += cpu
		bytes += after[i].bytes - before[i].bytes
	}
	f.bytes = bytes / float64(st.work.names)
	return f, nil
}

// await returns how long after the start of p all names were settled.
func (st *stage) await(ctx context.Context, p *process, settled func() (int64, error)) (time.Duration, error) {
	tick := time.NewTicker(settledEvery)
	defer tick.Stop()
	var n int64
	for {
		select {
		case <-p.ended:
			return 0, fmt.Errorf("the worker ended by itself: %w", p.err)
		case <-ctx.Done():
			return 0, fmt.Errorf("%d of %d names were settled: %w", n, st.work.names, context.Cause(ctx))
		case <-tick.C:
		}
		var err error
		n, err = settled()
		if err != nil && !errors.Is(err, redis.Nil) {
			return 0, err
		}
		if n >= int64(st.work.names) {
			return time.Since(p.began), nil
		}
	}
}

func (st *stage) rate(took time.Duration) float64 { return float64(st.work.names) / took.Seconds() }

func (st *stage) each(d time.Duration) time.Duration { return d / time.Duration(st.work.names) }
