package control

import (
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/results"
)

func TestRate(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	b := results.Batch{Name: "b", Birth: 1}
	other := results.Batch{Name: "b", Birth: 2}
	var r rates
	for i, c := range []struct {
		batch        results.Batch
		after        time.Duration
		queued, done int64
		want         float64
	}{
		{b, 0, 100, 0, 0},                          // nothing is known yet
		{b, 100 * time.Millisecond, 100, 10, 0},    // nor so soon
		{b, time.Second, 80, 20, 20},               // since the beginning
		{b, 2 * time.Second, 60, 40, 20},           //
		{b, 30 * time.Second, 50, 50, 10.0 / 28.0}, // the first samples are too old
		{b, 31 * time.Second, 90, 10, 0},           // names were retried
		{b, 32 * time.Second, 80, 20, 10},          //
		{other, 33 * time.Second, 50, 50, 0},       // another batch of that name
		{other, 34 * time.Second, 0, 100, 0},       // nothing is to come
		{other, time.Hour, 50, 50, 0},              // and all anew
	} {
		counts := results.Counts{results.Queued: c.queued, results.Done: c.done}
		if got := r.observe(c.batch, counts, begin.Add(c.after)); got != c.want {
			t.Errorf("look %d after %v: got %v a second, want %v", i, c.after, got, c.want)
		}
	}
}
