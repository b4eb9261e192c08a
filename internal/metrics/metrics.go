// Package metrics counts for Prometheus: what this process does with hosts
// (it is the worker's Observer), and what the installation's Redis holds
// (queues, batches, hosts, workers), which is read when it is scraped. It has
// a registry of its own and serves it; it decides nothing.
//
// Labels hold words of ours, batches and hosts, and never a URL, a name or a
// secret. Hosts are strangers' choice, so only those that the operator has
// named and the first 100 others are told apart, see hosts.go.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// Metrics are those of one process. Its methods may be called by any number
// of goroutines.
type Metrics struct {
	registry *prometheus.Registry
	hosts    *hosts
	log      *slog.Logger

	lookups, pictures kind
	bytes             *prometheus.CounterVec
	turns             *prometheus.HistogramVec
	putOff            *prometheus.CounterVec
	crashes           *prometheus.CounterVec
	storeHeld         prometheus.Gauge
}

var _ worker.Observer = (*Metrics)(nil)

// kind is what is counted of lookups and of pictures alike.
type kind struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// The buckets reach from a service next door to the deadlines, 10 s for
// lookups and 30 s for pictures, and to the longest wait for a turn, 60 s.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New returns the metrics of a process of the version.
func New(version string, log *slog.Logger) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), hosts: newHosts(), log: log,
		lookups:  newKind("lookup", "lookups"),
		pictures: newKind("picture", "pictures"),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "harvest_picture_bytes_total", Help: "Bytes of pictures that were stored, by the host they came from.",
		}, []string{"host"}),
		turns: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "harvest_gate_wait_seconds", Help: "How long requests waited for their host's turn in this process, by kind (lookup, picture).",
			Buckets: buckets,
		}, []string{"kind"}),
		putOff: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "harvest_gate_put_off_total", Help: "Tasks that went back to their queue because their host's turn did not come, by kind.",
		}, []string{"kind"}),
		crashes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "harvest_crashes_total", Help: "Runs alone of names whose earlier run never came back (verdict alone), and names given up for it (verdict given_up), by kind.",
		}, []string{"kind", "verdict"}),
		storeHeld: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "harvest_store_held", Help: "1 while this process fetches no pictures because the store takes none: full, read-only or away.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "harvest_build_info", Help: "1, labelled with the version of harvest and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, k := range []tasks.Kind{tasks.Lookups, tasks.Pictures} {
		// What is there from the start needs no guessing in a query.
		m.turns.WithLabelValues(string(k))
		m.putOff.WithLabelValues(string(k))
		for _, verdict := range []string{alone, givenUp} {
			m.crashes.WithLabelValues(string(k), verdict)
		}
	}
	m.registry.MustRegister(build, m.bytes, m.turns, m.putOff, m.crashes, m.storeHeld,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, k := range []kind{m.lookups, m.pictures} {
		m.registry.MustRegister(k.requests, k.seconds, k.inFlight)
	}
	return m
}

func newKind(one, many string) kind {
	return kind{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "harvest_" + many + "_total", Help: "Requests for " + many + " that ended, by host, status and, where it is failed or held, reason.",
		}, []string{"host", "status", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "harvest_" + one + "_duration_seconds", Help: "How long requests for " + many + " took, by host: from DNS to the last byte judged and, for pictures, stored.",
			Buckets: buckets,
		}, []string{"host"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "harvest_" + many + "_in_flight", Help: "Requests for " + many + " under way in this process.",
		}),
	}
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: quiet{m.log}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
	})
}

// quiet takes what the handler complains of.
type quiet struct{ log *slog.Logger }

func (q quiet) Println(v ...any) { q.log.Warn("metrics are not whole", "error", v) }

// Name tells hosts that the operator has named apart from all others, however
// many there are.
func (m *Metrics) Name(hosts ...string) { m.hosts.name(hosts) }

func (m *Metrics) of(k tasks.Kind) kind {
	if k == tasks.Lookups {
		return m.lookups
	}
	return m.pictures
}

// Waited implements [worker.Observer].
func (m *Metrics) Waited(k tasks.Kind, took time.Duration, came bool) {
	m.turns.WithLabelValues(string(k)).Observe(took.Seconds())
	if !came {
		m.putOff.WithLabelValues(string(k)).Inc()
	}
}

// Begun implements [worker.Observer].
func (m *Metrics) Begun(k tasks.Kind) { m.of(k).inFlight.Inc() }

// Ended implements [worker.Observer].
func (m *Metrics) Ended(r worker.Request) {
	k, host := m.of(r.Kind), m.hosts.label(r.Host)
	k.inFlight.Dec()
	k.requests.WithLabelValues(host, r.Status, string(r.Reason)).Inc()
	k.seconds.WithLabelValues(host).Observe(r.Took.Seconds())
	if r.Status == worker.StatusStored {
		m.bytes.WithLabelValues(host).Add(float64(r.Bytes))
	}
}

// The verdicts of harvest_crashes_total.
const (
	alone   = "alone"
	givenUp = "given_up"
)

// Crashed implements [worker.Observer].
func (m *Metrics) Crashed(k tasks.Kind, final bool) {
	verdict := alone
	if final {
		verdict = givenUp
	}
	m.crashes.WithLabelValues(string(k), verdict).Inc()
}

// StoreHeld implements [worker.Observer].
func (m *Metrics) StoreHeld(held bool) {
	if held {
		m.storeHeld.Set(1)
		return
	}
	m.storeHeld.Set(0)
}
