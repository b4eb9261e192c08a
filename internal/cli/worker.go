package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/worker"
)

func workerCommand(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "worker",
		Short: "Do lookups and fetch pictures",
		Long: `Do lookups and fetch pictures for every batch in Redis, until a signal says to
stop. Start as many as you like, on as many machines; all must see the same
picture store.

The first SIGTERM or Ctrl-C ends taking work and lets the running tasks end for
at most worker.shutdown_timeout; the rest goes back to the queue. The second
ends the process at once; nothing is lost.

A worker does the lookups of every provider that it has what it takes for. The
others are left alone, and it says so; with --provider it refuses to start
without what that one needs.

Health, readiness and metrics are at /healthz, /readyz and /metrics of
worker.listen; a second worker on one machine needs an address of its own.`,
		Example: `  worker --concurrency 100
  worker --redis redis://10.0.0.5:6379 --storage /mnt/pictures
  worker --only picture --pictures 200
  worker --listen 127.0.0.1:9465`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return work(c, env) },
	}
	workerFlags(env, c)
	f := c.Flags()
	env.setting(f, "worker.only", "only", "", "take tasks of one `kind`: lookup or picture")
	env.setting(f, "worker.shutdown_timeout", "shutdown-timeout", "", "`time` that running tasks have to end (default 30s)")
	env.setting(f, "provider", "provider", "p", "refuse to start without what this `service` needs, its contact or its secrets")
	env.setting(f, "contact", "contact", "", "`address` that services may write to; some demand one")
	env.setting(f, "worker.listen", "listen", "", "`host:port` for /healthz, /readyz and /metrics, or none (default "+worker.DefaultListen+")")
	complete(c, "only", func() []string { return []string{"lookup", "picture"} })
	return c
}

func work(c *cobra.Command, env *Env) (err error) {
	ctx := c.Context()
	s, err := env.load(c)
	if err != nil {
		return err
	}
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return usage(err)
	}
	if s.Provider != "" {
		if err := checkProvider(s, catalogue, s.Provider); err != nil {
			return err
		}
	}
	if _, err := app.CheckStore(ctx, s); err != nil {
		return err
	}
	log := env.logger(s, slog.LevelInfo)
	watch, err := app.NewWatch(ctx, s, log)
	if err != nil {
		return usage(err)
	}
	defer closeQuietly(watch.Close)
	a, err := patient(ctx, s, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before Redis was there: a clean end
		}
		return err
	}
	defer closeApp(a, &err)
	a.Watch = watch
	w, closeStore, err := a.Worker(ctx, catalogue, s.Provider, app.Told{})
	if err != nil {
		return setup(err)
	}
	defer closeQuietly(closeStore)

	log.Info("worker started", "redis", a.Settings.Redis.Addr(), "store", s.PicturesFolder(), "version", app.Version(),
		"lookups", s.Worker.LookupSlots(), "pictures", s.Worker.PictureSlots())
	stopKill := context.AfterFunc(ctx, func() {
		log.Info("stopping: no new tasks; running ones may end", "within", s.Worker.ShutdownTimeout.String())
		// Redis may be away: its retries must not hold the end up.
		time.AfterFunc(s.Worker.ShutdownTimeout+5*time.Second, a.Conn.Kill)
	})
	defer stopKill()
	if err := w.Run(ctx); err != nil {
		return err
	}
	log.Info("worker stopped")
	return nil
}

// setup marks an error of the parts that a worker needs as usage, unless the
// store is to blame.
func setup(err error) error {
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return err
	}
	return usage(err)
}

// closeQuietly closes what was only read or is durable already.
func closeQuietly(closing func() error) { _ = closing() }

// patient connects to a Redis that may not be there yet.
func patient(ctx context.Context, s configs.Settings, log *slog.Logger) (*app.App, error) {
	for delay := time.Second; ; delay = min(2*delay, 30*time.Second) {
		a, err := app.Open(ctx, s, app.Server, log)
		if err == nil || !errors.Is(err, redisconn.ErrUnreachable) || ctx.Err() != nil {
			return a, err
		}
		log.Warn("waiting for Redis", "error", err, "next_try_in", delay.String())
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for Redis: %w", ctx.Err())
		case <-time.After(delay):
		}
	}
}
