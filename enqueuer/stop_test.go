package enqueuer_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
)

// terminal is a source whose next line nobody types.
type terminal struct {
	asked chan struct{}
	gone  chan struct{}
}

func (s terminal) Next() (names.Line, error) {
	close(s.asked)
	<-s.gone
	return names.Line{}, io.EOF
}

func TestStopDoesNotWaitForTheNextLine(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	db := results.New(rdb, "")
	e := enqueuer.New(enqueuer.Config{Shards: 1}, db, asynq.NewClientFromRedisClient(rdb), "")
	src := terminal{make(chan struct{}), make(chan struct{})}
	defer close(src.gone)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := e.Enqueue(ctx, enqueuer.Job{Batch: "names", Provider: "people", Label: "-", Names: src})
		ended <- err
	}()
	<-src.asked
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Enqueue waits for the next line after its context is over")
	}
	if b, err := db.Batch(t.Context(), "names"); err != nil || len(b.Interrupted) != 1 {
		t.Errorf("batch %+v, %v; want it interrupted", b, err)
	}
}
