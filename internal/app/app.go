// Package app is the composition root: it makes the parts from the settings
// and joins them. It decides which Redis and which store are used, and
// nothing about names; commands and their output are package cli's.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// Mode says which Redis a command uses when the settings name none.
type Mode int

// The modes.
const (
	// Server: the Redis at the default address. For enqueue and worker.
	Server Mode = iota
	// Read: the embedded Redis of the data folder, which must exist.
	Read
	// Own: the embedded Redis of the data folder, made where it is missing.
	Own
)

// App is an open connection to the results and the queue.
type App struct {
	Settings configs.Settings
	Conn     *redisconn.Conn
	DB       *results.DB
	Logger   *slog.Logger
	// Embedded is the data folder's Redis, nil where another one is used.
	Embedded *embedded.Redis
	// Place says in words which Redis is looked at.
	Place string
	// Watch, if set before [App.Worker], shows how the worker is.
	Watch *Watch

	client *asynq.Client
}

// Open connects to Redis. Errors are [embedded.ErrNoData] and
// [*redisconn.OpenError], each a line that says what to do.
func Open(ctx context.Context, s configs.Settings, mode Mode, log *slog.Logger) (*App, error) {
	a := &App{Settings: s, Logger: log}
	rc := s.Redis
	switch {
	case rc.IsSet() || mode == Server:
		a.Place = "Redis at " + rc.Addr()
		if mode == Read {
			// Whoever puts names there is told that it may lose them.
			rc.Durability = redisconn.DurabilityManaged
		}
	default:
		e, err := embedded.Open(ctx, s.Data, embedded.Options{Logger: log, Create: mode == Own})
		if errors.Is(err, embedded.ErrNoData) {
			return nil, fmt.Errorf("%w; for the Redis of your workers give --redis URL or set HARVEST_REDIS_URL", err)
		}
		if err != nil {
			return nil, err
		}
		a.Embedded, a.Place = e, "the data folder "+s.Data
		rc.URL = e.URL()
		rc.Durability = redisconn.DurabilityManaged
	}
	conn, err := a.connect(ctx, rc)
	if err != nil {
		return nil, errors.Join(err, a.closeEmbedded(ctx))
	}
	a.Conn = conn
	a.DB = results.New(conn.Pipelined, conn.Namespace)
	a.client = asynq.NewClientFromRedisClient(conn.ForClient())
	return a, nil
}

// takeOverWithin is how long the data folder's Redis may be away while it
// passes from a process that ends to one that goes on.
const takeOverWithin = 5 * time.Second

// connect opens the connection. The data folder's Redis may have been joined
// in the moment in which its owner ended: it comes back at the same address.
func (a *App) connect(ctx context.Context, rc redisconn.Config) (*redisconn.Conn, error) {
	for began := time.Now(); ; {
		conn, err := redisconn.Open(ctx, rc, a.Logger)
		if a.Embedded == nil || !errors.Is(err, redisconn.ErrUnreachable) || time.Since(began) > takeOverWithin {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Close lets go of Redis. Workers must have stopped.
func (a *App) Close(ctx context.Context) error {
	return errors.Join(a.Conn.Close(), a.closeEmbedded(ctx))
}

func (a *App) closeEmbedded(ctx context.Context) error {
	if a.Embedded == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return a.Embedded.Close(ctx)
}

// miniPending bounds the queues of miniredis, where adding a task costs time
// in proportion to those that wait.
const miniPending = 5000

// Enqueuer returns the part that adds names to batches. With miniredis its
// Enqueue needs a worker beside it, as `harvest run` has.
func (a *App) Enqueuer() *enqueuer.Enqueuer {
	e := enqueuer.New(a.Settings.Queue, a.DB, a.client, a.Conn.Namespace).WhileRoom(a.Conn.Room)
	if a.Embedded != nil && a.Embedded.Engine() == embedded.EngineMini {
		e.Bounded(enqueuer.Bound{MaxPending: miniPending, Pending: a.pending})
	}
	return e
}

// pending returns how many tasks wait in a queue. asynq's own way to ask
// takes a script, and an error for a queue that is not there yet.
func (a *App) pending(ctx context.Context, queue string) (int, error) {
	n, err := a.Conn.Plain.LLen(ctx, "asynq:{"+queue+"}:pending").Result()
	if err != nil {
		return 0, fmt.Errorf("look at queue %s: %w", queue, err)
	}
	return int(n), nil
}

// Reclaim ends at once what the last process on the data folder left when it
// died: leases of enqueuers, and running tasks, whose names run alone next,
// since one of them may be to blame. It does nothing where other processes
// may be alive.
func (a *App) Reclaim(ctx context.Context) error {
	if a.Embedded == nil || !a.Embedded.Owner() || !a.Embedded.Alone() {
		return nil
	}
	if err := a.DB.BreakLeases(ctx); err != nil {
		return fmt.Errorf("end the leases of dead enqueuers: %w", err)
	}
	moved, err := embedded.ReclaimActive(ctx, a.Conn.Plain, nil)
	if err != nil {
		return fmt.Errorf("put interrupted tasks back: %w", err)
	}
	inspector := asynq.NewInspectorFromRedisClient(a.Conn.Plain)
	death := "r" + strconv.FormatInt(time.Now().Unix(), 36)
	for queue, ids := range moved {
		for _, id := range ids {
			info, err := inspector.GetTaskInfo(queue, id)
			if err != nil {
				return fmt.Errorf("put interrupted tasks back: %w", err)
			}
			ref, rank, err := step(info)
			if err != nil {
				continue // the worker archives it with its reason
			}
			if err := a.DB.Suspect(ctx, ref, rank); err != nil && !errors.Is(err, results.ErrNoBatch) {
				return err
			}
			if err := a.DB.NoteDeath(ctx, ref, rank, death); err != nil && !errors.Is(err, results.ErrNoBatch) {
				return err
			}
		}
	}
	return nil
}

func step(info *asynq.TaskInfo) (tasks.Ref, int, error) {
	if info.Type == tasks.TypePicture {
		p, err := tasks.DecodePicture(info.Payload)
		return p.Ref, p.Rank, err
	}
	p, err := tasks.DecodeLookup(info.Payload)
	return p.Ref, results.LookupRank, err
}

// version is put in by the linker where the build knows better than Go:
// -ldflags "-X github.com/picharvest/picharvest/internal/app.version=v1.2.3".
var version string

// Version returns the version that the binary was built from.
func Version() string {
	if version != "" {
		return strings.TrimPrefix(version, "v")
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}

// owner names this process in temporary files.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	host = strings.Map(func(r rune) rune {
		if r == '-' || r == '.' || ('0' <= r && r <= '9') || ('a' <= r && r <= 'z') || ('A' <= r && r <= 'Z') {
			return r
		}
		return '_'
	}, host)
	return fmt.Sprintf("%.40s-%d", host, os.Getpid())
}
