package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/metrics"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// series returns the lines of one metric.
func series(text, name string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

func newMetrics() *metrics.Metrics { return metrics.New("test", slog.New(slog.DiscardHandler)) }

// Strangers choose picture hosts: however many they are and whatever they are
// called, there is a bounded number of series.
func TestHostsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	m.Name("Known.example")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				m.Ended(worker.Request{Kind: tasks.Pictures, Host: fmt.Sprintf("h%d.example", i+g), Status: worker.StatusStored, Bytes: 10})
			}
		})
	}
	wg.Wait()
	for _, host := range []string{"known.example", "KNOWN.example", "\xff\xfe", strings.Repeat("x", 5000), "a\"b\n{}", ""} {
		m.Ended(worker.Request{Kind: tasks.Pictures, Host: host, Status: worker.StatusFailed, Reason: failure.ReasonMissing})
	}
	text := scrape(t, m)
	if n := len(series(text, "harvest_picture_bytes_total")); n != 101 {
		t.Errorf("20,000 hosts make %d series, want 100 and the others", n)
	}
	for _, want := range []string{
		`harvest_pictures_total{host="known.example",reason="missing",status="failed"} 2`,
		`harvest_pictures_total{host="other",reason="missing",status="failed"} 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no line %s", want)
		}
	}
}

// source is an installation without a Redis behind it.
func source(rdb redis.UniversalClient) metrics.Source {
	return metrics.Source{
		Redis:   rdb,
		Open:    func(context.Context, int) ([]results.OpenCount, int64, error) { return nil, 0, nil },
		Hosts:   func(context.Context) ([]gate.HostState, error) { return nil, nil },
		Workers: func(context.Context) (int, error) { return 0, nil },
	}
}

func TestBatchesAndHostsOfTheInstallation(t *testing.T) {
	t.Parallel()
	m, s := newMetrics(), source(redistest.Start(t).Client())
	s.Open = func(context.Context, int) ([]results.OpenCount, int64, error) {
		var all []results.OpenCount
		for i := range 50 {
			all = append(all, results.OpenCount{Batch: fmt.Sprintf("b%d", i), Names: int64(i)})
		}
		return all, 1234, nil
	}
	s.Hosts = func(context.Context) ([]gate.HostState, error) {
		var all []gate.HostState
		for i := range 300 {
			all = append(all, gate.HostState{Host: fmt.Sprintf("h%d.example", i), InFlight: 1, Waiting: 2, MaxInFlight: 3,
				Breakers: []gate.BreakerState{{Name: "staff", Open: i%2 == 0, Reason: failure.ReasonTimeout}}})
		}
		return all, nil
	}
	defer m.Watch(s)()
	text := scrape(t, m)
	open := series(text, "harvest_names_open")
	if len(open) != 21 || !strings.Contains(text, `harvest_names_open{batch="b49"} 49`) ||
		!strings.Contains(text, `harvest_names_open{batch=""} 435`) { // 0 to 29
		t.Errorf("open names: got %d series, want the 20 batches with the most, and the sum of the others:\n%s", len(open), strings.Join(open, "\n"))
	}
	if n := len(series(text, "harvest_host_in_flight")); n != 101 || !strings.Contains(text, `harvest_host_waiting{host="other"} 400`) {
		t.Errorf("300 hosts make %d series, want 100 and the others, added up", n)
	}
	if n := len(series(text, "harvest_breaker_open")); n != 101 {
		t.Errorf("300 breakers make %d series, want 101", n)
	}
}

// Whoever scrapes however often, Redis is read once in five seconds, and one
// that hangs holds nobody up.
func TestScrapesShareOneReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int32
		var hangs atomic.Bool
		m := newMetrics()
		s := source(nothing{})
		s.Workers = func(ctx context.Context) (int, error) {
			reads.Add(1)
			if hangs.Load() {
				<-ctx.Done()
				return 0, errors.New("away")
			}
			return 3, nil
		}
		stop := m.Watch(s)
		for range 3 {
			if text := scrape(t, m); !strings.Contains(text, "harvest_workers 3\n") {
				t.Error("no workers")
			}
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("three scrapes at once read %d times, want once", n)
		}
		time.Sleep(6 * time.Second)
		hangs.Store(true)
		began := time.Now()
		text := scrape(t, m)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a scrape took %v while Redis hung", took)
		}
		if !strings.Contains(text, "harvest_redis_up 0\n") || strings.Contains(text, "harvest_workers 3") {
			t.Error("old figures are shown while Redis hangs, or no word that it does")
		}
		stop()
		if strings.Contains(scrape(t, m), "harvest_redis_up") {
			t.Error("the installation is told of after the end")
		}
	})
}

// nothing is a Redis without queues.
type nothing struct{ redis.UniversalClient }

func (nothing) SMembers(ctx context.Context, _ string) *redis.StringSliceCmd {
	return redis.NewStringSliceCmd(ctx)
}

// A queue's figures are asynq's own, for a queue in all sorts of states; keys
// of another program in its place hide no other queue.
func TestQueues(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t).Client()
	ctx := t.Context()
	rdb.SAdd(ctx, "asynq:queues", "picture-bulk", "lookup-people-express", "ns.picture-bulk", "another", "picture-express")
	prefix := "asynq:{picture-bulk}:"
	since := time.Now().Add(-time.Hour).UnixNano()
	for i := range 7 {
		id := fmt.Sprint("t", i)
		rdb.HSet(ctx, prefix+"t:"+id, "msg", strings.Repeat("x", 1000), "pending_since", since)
		rdb.LPush(ctx, prefix+"pending", id)
	}
	rdb.ZAdd(ctx, prefix+"archived", redis.Z{Score: 1, Member: "gone"})
	rdb.Set(ctx, prefix+"processed", 12, 0)
	rdb.Set(ctx, prefix+"failed", 2, 0)
	rdb.Set(ctx, prefix+"paused", 1, 0)
	rdb.Set(ctx, "asynq:{picture-express}:pending", "another program's", 0)

	m := newMetrics()
	defer m.Watch(source(rdb))()
	text := scrape(t, m)
	for _, want := range []string{
		`asynq_queue_size{queue="picture-bulk"} 8`,
		`asynq_tasks_enqueued_total{queue="picture-bulk",state="pending"} 7`,
		`asynq_tasks_enqueued_total{queue="picture-bulk",state="archived"} 1`,
		`asynq_tasks_processed_total{queue="picture-bulk"} 12`,
		`asynq_tasks_failed_total{queue="picture-bulk"} 2`,
		`asynq_queue_paused_total{queue="picture-bulk"} 1`,
		`asynq_queue_size{queue="lookup-people-express"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no line %s", want)
		}
	}
	for name, least := range map[string]float64{"asynq_queue_latency_seconds": 3600, "asynq_queue_memory_usage_approx_bytes": 7000} {
		var got float64
		for _, line := range series(text, name) {
			_, _ = fmt.Sscanf(line, name+`{queue="picture-bulk"} %g`, &got)
		}
		if got < least || got > 3*least {
			t.Errorf("%s is %g, want a little over %g", name, got, least)
		}
	}
	if n := len(series(text, "asynq_queue_size")); n != 2 {
		t.Errorf("%d queues, want ours that can be read, 2", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := newMetrics()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Waited(tasks.Pictures, time.Millisecond, true)
			m.Begun(tasks.Pictures)
			m.Ended(worker.Request{Kind: tasks.Pictures, Host: "pictures.example", Status: worker.StatusStored, Bytes: 30_000, Took: time.Millisecond})
		}
	})
}
