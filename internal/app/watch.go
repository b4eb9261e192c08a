package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/health"
	"github.com/picharvest/picharvest/internal/metrics"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/worker"
)

// Watch is how an operator watches this process: health, readiness and
// metrics on a port of its own, from before Redis is there until after the
// drain. Its methods do nothing on a nil Watch.
type Watch struct {
	Metrics *metrics.Metrics
	// Board is where parts say what only a restart or an operator can mend.
	Board  *health.Board
	server *health.Server
	stop   []func()
}

// NewWatch listens where the settings say, and returns nil where they say
// nowhere, or where the default address is taken, as it is by a second worker
// on one machine.
func NewWatch(ctx context.Context, s configs.Settings, log *slog.Logger) (*Watch, error) {
	if !s.Worker.Listens() {
		return nil, nil
	}
	m := metrics.New(Version(), log)
	server, err := health.Listen(ctx, s.Worker.Listen, m.Handler(), log)
	switch {
	case err != nil && s.Worker.Listen == worker.DefaultListen:
		log.Info("this process has no health and metrics: the default address is taken; give it one of its own by worker.listen",
			"address", s.Worker.Listen, "cause", cause(err))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("worker.listen: %s: %w; give another host:port, or none", s.Worker.Listen, cause(err))
	}
	log.Info("health and metrics are served", "address", server.Addr())
	return &Watch{Metrics: m, Board: new(health.Board), server: server}, nil
}

// cause is a network error without the address, which is told beside it.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// observer returns who is told how the work goes.
func (w *Watch) observer() worker.Observer {
	if w == nil {
		return nil
	}
	return w.Metrics
}

// ill returns whom a part tells what only an operator can mend, or that all is
// well by nil.
func (w *Watch) ill(part string) func(error) {
	if w == nil {
		return nil
	}
	return func(err error) { w.Board.Set(part, err) }
}

// worker begins to watch a worker with its parts.
func (w *Watch) worker(a *App, done *worker.Worker, store storage.Store, providers map[string]*worker.Provider, hosts *gate.Gate) {
	if w == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(providers)) {
		w.Metrics.Name(providers[name].Host)
	}
	w.stop = append(w.stop, w.Metrics.Watch(metrics.Source{
		Redis: a.Conn.Pipelined, Namespace: a.Conn.Namespace,
		Open: a.DB.OpenCounts, Hosts: hosts.State, Workers: a.DB.Workers,
	}))
	alive := func() error { return errors.Join(w.Board.Err(), done.Stuck()) }
	w.server.Watch(alive,
		health.Check{Name: "redis", Do: func(ctx context.Context) (string, error) {
			return "", a.Conn.Plain.Ping(ctx).Err()
		}},
		health.Check{Name: "store", Do: func(ctx context.Context) (string, error) {
			if err := done.Storing(); err != nil {
				return "", err
			}
			_, err := store.ID(ctx)
			return "", err
		}},
		health.Check{Name: "queues", Do: done.Serving},
	)
}

// Addr is where the server listens, host:port.
func (w *Watch) Addr() string { return w.server.Addr() }

// unwatch ends what asks Redis, which is about to be closed.
func (w *Watch) unwatch() {
	if w == nil {
		return
	}
	for _, stop := range w.stop {
		stop()
	}
	w.stop = nil
}

// Close ends the server.
func (w *Watch) Close() error {
	if w == nil {
		return nil
	}
	w.unwatch()
	return w.server.Close()
}
