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
ends the process at once; nothing is lost.`,
		Example: `  worker --concurrency 100
  worker --redis redis://10.0.0.5:6379 --storage /mnt/pictures
  worker --only picture --pictures 200`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return work(c, env) },
	}
	workerFlags(env, c)
	f := c.Flags()
	env.setting(f, "worker.only", "only", "", "take tasks of one `kind`: lookup or picture")
	env.setting(f, "worker.shutdown_timeout", "shutdown-timeout", "", "`time` that running tasks have to end (default 30s)")
	env.setting(f, "contact", "contact", "", "`address` that services may write to; some demand one")
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
	if _, err := app.CheckStore(ctx, s); err != nil {
		return err
	}
	log := env.logger(s, slog.LevelInfo)
	a, err := patient(ctx, s, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before Redis was there: a clean end
		}
		return err
	}
	defer closeApp(a, &err)
	w, closeStore, err := a.Worker(ctx, catalogue, "", nil)
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
