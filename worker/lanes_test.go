package worker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// The bulk lane's throughput with an express lane that is served and has
// nothing to do, and without one. The two are to be equal.
func BenchmarkIdleLane(b *testing.B) {
	for _, idle := range []bool{false, true} {
		b.Run(fmt.Sprintf("idle=%v", idle), func(b *testing.B) {
			const n = 20_000
			for b.Loop() {
				b.StopTimer()
				r := newRig(b, redistest.Start(b).Client(), "")
				r.cfg.PollInterval, r.cfg.Concurrency = worker.DefaultConfig().PollInterval, 100
				r.provide("people", func(context.Context, string) (lookup.Answer, error) {
					return lookup.Answer{Verdict: lookup.NotFound}, nil
				})
				names := make([]string, tasks.ExpressNames+n)
				for i := range names {
					names[i] = fmt.Sprint("n", i)
				}
				for _, ref := range r.add("names", "people", names...) {
					if ref.Lane == tasks.Bulk {
						r.lookupTask("people", ref)
					}
				}
				if idle {
					if err := r.rdb.SAdd(b.Context(), "asynq:queues", r.queue(tasks.Lookups, "people")).Err(); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				stop := r.start()
				r.until("the bulk lane is done", func() bool { return r.counts("names")[results.NotFound] == n })
				b.StopTimer()
				stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "names/s")
		})
	}
}
