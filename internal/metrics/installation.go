package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/results"
)

const (
	// freshFor is how long what was read from Redis serves further scrapes.
	freshFor = 5 * time.Second
	// readWithin is how long a scrape waits for Redis; what is known of this
	// process must arrive though Redis is away.
	readWithin = 2 * time.Second
	// maxBatches is how many batches are looked at, and maxBatchLabels how
	// many of them are told apart: those with the most open names.
	maxBatches     = 1000
	maxBatchLabels = 20
	otherBatches   = "" // no batch has an empty name
)

// Source is what the installation's Redis is read by.
type Source struct {
	Redis     redis.UniversalClient
	Namespace string
	// Open returns open names by batch, and how many batches there are.
	Open func(ctx context.Context, limit int) ([]results.OpenCount, int64, error)
	// Hosts returns how the hosts stand that have limits or are held back.
	Hosts func(ctx context.Context) ([]gate.HostState, error)
	// Workers returns how many worker processes are alive.
	Workers func(ctx context.Context) (int, error)
}

// Watch makes every scrape tell of the installation too, until the returned
// function is called, which ends what is still being read. It is called once.
func (m *Metrics) Watch(s Source) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	i := &installation{source: s, hosts: m.hosts, ctx: ctx, metrics: m}
	m.registry.MustRegister(i)
	return func() {
		m.registry.Unregister(i)
		cancel()
		i.wg.Wait()
	}
}

// installation collects what Redis holds. It reads it at most once in
// freshFor, however often it is scraped, with a handful of trips whatever the
// number of queues, batches and names.
type installation struct {
	source  Source
	hosts   *hosts
	metrics *Metrics
	ctx     context.Context
	wg      sync.WaitGroup

	mu      sync.Mutex
	reading chan struct{} // closed when the read that goes on has ended
	last    *reading
}

// reading is what was read at one time.
type reading struct {
	at      time.Time
	err     error
	queues  []Queue
	open    []results.OpenCount
	batches int64
	states  []gate.HostState
	workers int
}

var (
	queueSize      = desc("asynq_queue_size", "Tasks in a queue.", "queue")
	queueLatency   = desc("asynq_queue_latency_seconds", "Age of the oldest pending task of a queue.", "queue")
	queueBytes     = desc("asynq_queue_memory_usage_approx_bytes", "Bytes of Redis that a queue and its tasks take, estimated from some of them.", "queue")
	queueProcessed = desc("asynq_tasks_processed_total", "Runs of tasks of a queue that ended, well or not.", "queue")
	queueFailed    = desc("asynq_tasks_failed_total", "Runs of tasks of a queue that ended in an error.", "queue")
	queueTasks     = desc("asynq_tasks_enqueued_total", "Tasks in a queue, by state.", "queue", "state")
	queuePaused    = desc("asynq_queue_paused_total", "1 where a queue is paused, else 0.", "queue")

	namesOpen = desc("harvest_names_open", "Names that wait for their lookup or for pictures, by batch; the empty batch stands for all but those with the most.", "batch")
	batches   = desc("harvest_batches", "Batches that exist.")
	workers   = desc("harvest_workers", "Worker processes that are alive.")

	hostWaiting   = desc("harvest_host_waiting", "Requests that wait for a place at a host, over all processes.", "host")
	hostInFlight  = desc("harvest_host_in_flight", "Requests in flight to a host with limits, over all processes.", "host")
	hostMost      = desc("harvest_host_in_flight_limit", "Requests that may be in flight to a host, where that is limited.", "host")
	hostLeft      = desc("harvest_host_quota_left", "Requests that a host still allows within its window (second, minute, hour, day).", "host", "window")
	hostNotBefore = desc("harvest_host_not_before_timestamp_seconds", "Until when a host that asked to wait is left alone.", "host")
	hostLast429   = desc("harvest_host_last_limited_timestamp_seconds", "When a host answered 429 or asked to wait last.", "host")
	breakerOpen   = desc("harvest_breaker_open", "1 where nobody asks a provider because its service is down or refuses the credentials, 0 where it is being tried again; closed ones are left out.", "provider", "host", "reason")

	redisUp = desc("harvest_redis_up", "1 where Redis answered when it was read for the other figures, else 0.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (i *installation) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queueSize, queueLatency, queueBytes, queueProcessed, queueFailed, queueTasks, queuePaused,
		namesOpen, batches, workers,
		hostWaiting, hostInFlight, hostMost, hostLeft, hostNotBefore, hostLast429, breakerOpen, redisUp,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (i *installation) Collect(ch chan<- prometheus.Metric) {
	r := i.fresh()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if r == nil || r.err != nil {
		// Old figures would look like new ones.
		gauge(redisUp, 0)
		return
	}
	gauge(redisUp, 1)
	for _, q := range r.queues {
		q.collect(ch, gauge)
	}
	for _, c := range topBatches(r.open) {
		gauge(namesOpen, float64(c.Names), c.Batch)
	}
	gauge(batches, float64(r.batches))
	gauge(workers, float64(r.workers))
	for _, h := range byLabel(i.hosts, r.states) {
		h.collect(gauge)
	}
	for b, open := range breakersOf(i.hosts, r.states) {
		gauge(breakerOpen, flag(open), b.provider, b.host, b.reason)
	}
}

func (q Queue) collect(ch chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	counter := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), q.Name)
	}
	var size int64
	for i, n := range q.Tasks {
		size += n
		gauge(queueTasks, float64(n), q.Name, queueStates[i])
	}
	gauge(queueSize, float64(size), q.Name)
	gauge(queueLatency, q.Latency.Seconds(), q.Name)
	gauge(queueBytes, float64(q.Bytes), q.Name)
	gauge(queuePaused, flag(q.Paused), q.Name)
	counter(queueProcessed, q.Processed)
	counter(queueFailed, q.Failed)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// fresh returns what Redis holds, read at most freshFor ago, or nil where it
// does not come in time. It reads once, whoever waits.
func (i *installation) fresh() *reading {
	i.mu.Lock()
	if i.last != nil && time.Since(i.last.at) < freshFor {
		defer i.mu.Unlock()
		return i.last
	}
	if i.reading == nil {
		i.reading = make(chan struct{})
		i.wg.Go(i.read)
	}
	done := i.reading
	i.mu.Unlock()

	timer := time.NewTimer(readWithin)
	defer timer.Stop()
	select {
	case <-done:
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.last
	case <-timer.C:
	case <-i.ctx.Done():
	}
	return nil
}

// read reads all there is, side by side.
func (i *installation) read() {
	ctx, cancel := context.WithTimeout(i.ctx, readWithin)
	defer cancel()
	r := &reading{at: time.Now()}
	var g errgroup.Group
	g.Go(func() (err error) {
		r.queues, err = readQueues(ctx, i.source.Redis, i.source.Namespace)
		return err
	})
	g.Go(func() (err error) { r.open, r.batches, err = i.source.Open(ctx, maxBatches); return err })
	g.Go(func() (err error) { r.states, err = i.source.Hosts(ctx); return err })
	g.Go(func() (err error) { r.workers, err = i.source.Workers(ctx); return err })
	r.err = g.Wait()
	if r.err != nil {
		i.metrics.log.Debug("read the installation for metrics", "error", r.err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.last = r
	close(i.reading)
	i.reading = nil
}
