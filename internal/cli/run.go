package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/worker"
)

// runPoll is how often `run` looks at its queues and its batch: there are few
// processes on its Redis, and small batches should be done at once.
const runPoll = 20 * time.Millisecond

func runCommand(env *Env) *cobra.Command {
	var fl batchFlags
	c := &cobra.Command{
		Use:   "run --file names.txt",
		Short: "Do everything in this one process",
		Long: `Enqueue the names of a file and harvest them, all in one process, with a Redis
of its own in the data folder. The same command again goes on where it was:
only names without a result are asked.

Without --provider the built-in demo answers, if it knows every name of the
file; see examples/names.txt.`,
		Example: `  harvest run --file examples/names.txt
  harvest run --file painters.txt --provider wikipedia --contact you@example.org
  harvest run --file - --batch logins --provider github < logins.txt`,
		Args: noNames,
		RunE: func(c *cobra.Command, _ []string) error { return run(c, env, fl) },
	}
	fl.add(c, "", "no progress, no list of files")
	providerFlags(env, c)
	workerFlags(env, c)
	return c
}

// providerFlags adds the flags that choose and equip a provider.
func providerFlags(env *Env, c *cobra.Command) {
	f := c.Flags()
	env.setting(f, "provider", "provider", "p", "lookup `service`; see harvest providers list")
	env.setting(f, "contact", "contact", "", "`address` that services may write to; some demand one")
}

// workerFlags adds the flags for work done in this process.
func workerFlags(env *Env, c *cobra.Command) {
	f := c.Flags()
	env.setting(f, "worker.concurrency", "concurrency", "c", "`number` of lookups, and of pictures, under way at once (default 20)")
	env.setting(f, "worker.lookups", "lookups", "", "`number` of lookups, if it is to differ")
	env.setting(f, "worker.pictures", "pictures", "", "`number` of pictures, if it is to differ")
	env.setting(f, "storage.url", "storage", "", "`folder` for pictures (default: pictures in the data folder)")
	env.setting(f, "worker.max_attempts", "max-attempts", "", "`number` of tries before a name fails (default 5)")
}

func run(c *cobra.Command, env *Env, fl batchFlags) (err error) {
	began := time.Now()
	ctx := c.Context()
	in, fails, err := fl.open(ctx, env)
	if err != nil {
		return err
	}
	defer in.file.Close()
	s, err := env.load(c)
	if err != nil {
		return err
	}
	s.Worker.PollInterval = runPoll
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return usage(err)
	}
	if s.Provider != "" {
		// Refused before anything is made.
		if err := checkProvider(s, catalogue, s.Provider); err != nil {
			return err
		}
	}
	bad, closeRejects, err := fl.lines.open(env, in)
	if err != nil {
		return err
	}
	a, err := openForRun(ctx, env, s, catalogue, in)
	if err != nil {
		return err
	}
	defer closeApp(a, &err)
	stopDemo, err := serveDemo(ctx, a)
	if err != nil {
		return err
	}
	defer stopDemo()

	p := newProgress(env, fl.progress)
	var sum tally
	w, closeStore, err := a.Worker(ctx, catalogue, a.Settings.Provider, func(batch string, r results.Record) {
		if batch == in.batch {
			sum.add(r)
			p.name(r)
		}
	})
	if err != nil {
		p.done()
		return setup(err)
	}
	defer closeQuietly(closeStore)
	if err := a.Reclaim(ctx); err != nil {
		p.done()
		return err
	}

	b, counts, err := harvest(ctx, a, w, in, bad, p)
	p.done()
	if bad.shown > 0 {
		fmt.Fprintf(env.Err, "%s: %s; left out\n", in.path, areLines(bad.shown))
	}
	if rerr := closeRejects(); rerr != nil {
		fmt.Fprintf(env.Err, "--rejects: %v\n", rerr)
	}
	// The last words are said though the command was interrupted.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if ctx.Err() != nil && isCancelled(err) {
		fmt.Fprintf(env.Err, "interrupted; the same command again goes on where this one stopped\n")
		return &coded{ExitInterrupted, nil}
	}
	if err != nil {
		return err
	}
	if !fl.quiet && counts.Total() <= pageRows {
		if err := (listing{a: a, batch: b, limit: pageRows}).table(last, env, results.Query{}); err != nil {
			return err
		}
	}
	if err := summary(last, env.Err, a, b, counts, sum.words(began, a.Settings.PicturesFolder(), in.batch)); err != nil {
		return err
	}
	return fails.check(counts)
}

// harvest enqueues the names and works until the batch is finished.
func harvest(ctx context.Context, a *app.App, w *worker.Worker, in *namesFile, bad *badLines, p progress) (results.Batch, results.Counts, error) {
	var (
		batch    results.Batch
		counts   results.Counts
		enqueued atomic.Bool
	)
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Run(working, a.Settings.Provider) })
	g.Go(func() error {
		_, err := a.Enqueuer().Enqueue(ctx, enqueuer.Job{
			Batch: in.batch, Provider: a.Settings.Provider, Label: in.path, Names: in.file, Bad: bad.show,
		})
		enqueued.Store(true)
		return err
	})
	g.Go(func() error {
		defer stopWorking()
		// Before the input is added the batch may not be there yet, or look
		// finished or interrupted from an earlier run.
		for !enqueued.Load() {
			if err := look(ctx, a, in.batch, p); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(runPoll):
			}
		}
		var err error
		batch, counts, err = wait(ctx, a, in.batch, p, runPoll)
		return err
	})
	err := g.Wait()
	return batch, counts, err
}

// openForRun connects, and fixes the provider: the one that was asked for, or
// that of the batch, or the demo. Where there can be none it makes no data
// folder.
func openForRun(ctx context.Context, env *Env, s configs.Settings, c *lookup.Catalogue, in *namesFile) (*app.App, error) {
	mode := app.Own
	var none error
	if s.Provider == "" {
		why, err := whyNoDemo(env, in)
		if err != nil {
			return nil, err
		}
		if why != "" {
			// Only a batch that is there can tell the provider.
			mode = app.Read
			none = noProvider(why, c, exampleRun(in))
		}
	}
	store := ""
	if mode == app.Own && !s.Redis.IsSet() {
		// Before a Redis is made beside it; one that is there is asked first.
		var err error
		if store, err = app.CheckStore(ctx, s); err != nil {
			return nil, err
		}
	}
	a, err := app.Open(ctx, s, mode, env.logger(s, slog.LevelWarn))
	if errors.Is(err, embedded.ErrNoData) {
		return nil, none
	}
	if err != nil {
		return nil, err
	}
	b, err := a.DB.Batch(ctx, in.batch)
	switch {
	case ignoreNoBatch(err) != nil:
	case b.Provider != "" && s.Provider != "" && b.Provider != s.Provider:
		err = &results.ProviderError{Batch: in.batch, Has: b.Provider, Wanted: s.Provider}
	case b.Store != "" && store != "" && b.Store != store:
		// Its tasks would wait for ever.
		err = usagef("%s is not the picture store of batch %s: give the --storage that it began with, or mount it, or use another --batch",
			a.Settings.PicturesFolder(), in.batch)
	case b.Provider != "":
		a.Settings.Provider = b.Provider
		return a, nil
	case s.Provider == "" && none != nil:
		err = none
	case s.Provider == "":
		a.Settings.Provider = demoProvider
		return a, nil
	default:
		return a, nil
	}
	closeApp(a, &err)
	return nil, err
}

// exampleRun is the beginning of a command line for the names of in.
func exampleRun(in *namesFile) string {
	line := "harvest run --file " + quoteArg(in.path)
	if in.path == names.Stdin {
		line += " --batch " + quoteArg(in.batch)
	}
	return line
}

// serveDemo starts the demo if it is the provider and the settings name no
// other server for it. The returned function stops it.
func serveDemo(ctx context.Context, a *app.App) (func(), error) {
	if _, own := a.Settings.Providers.BaseURLs[demoProvider]; a.Settings.Provider != demoProvider || own {
		return func() {}, nil
	}
	return startDemo(ctx, a)
}

// demoProvider is the provider that the built-in demo is.
const demoProvider = "people"

// checkProvider reports an unknown provider, or one that lacks something.
func checkProvider(s configs.Settings, c *lookup.Catalogue, name string) error {
	def, err := app.Definition(s, c, name)
	if err == nil {
		err = def.Check(s.Contact, lookup.SystemSecrets)
	}
	if err != nil {
		return usage(err)
	}
	return nil
}

// whyNoDemo says why the demo cannot answer for the names file, "" where it
// knows every name.
func whyNoDemo(env *Env, in *namesFile) (string, error) {
	if in.path == names.Stdin {
		return "names from standard input need a provider", nil
	}
	d, err := demo.New(demo.Config{})
	if err != nil {
		return "", err
	}
	defer d.Close()
	f, err := names.Open(in.path, env.In)
	if err != nil {
		return "", usage(err)
	}
	defer f.Close()
	for {
		line, err := f.Next()
		if _, bad := errors.AsType[*names.BadLine](err); bad {
			continue
		}
		if errors.Is(err, io.EOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if !d.Knows(line.Name) {
			return fmt.Sprintf("the demo does not know %q", line.Name), nil
		}
	}
}

// tally sums up what was settled in this process.
type tally struct {
	mu       sync.Mutex
	pictures int
	bytes    int64
}

func (t *tally) add(r results.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range r.Outcomes {
		if o.Picture != nil {
			t.pictures++
			t.bytes += o.Picture.Bytes
		}
	}
}

func (t *tally) words(began time.Time, store, batch string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pictures == 0 {
		return fmt.Sprintf(" (%s)", span(time.Since(began)))
	}
	word := "pictures"
	if t.pictures == 1 {
		word = "picture"
	}
	return fmt.Sprintf(" (%s; %s %s, %s, in %s)", span(time.Since(began)), count(int64(t.pictures)), word,
		size(t.bytes), filepath.Clean(app.PicturePath(store, batch)))
}

// closeApp closes a and keeps the first error.
func closeApp(a *app.App, err *error) {
	if cerr := a.Close(context.Background()); cerr != nil && *err == nil {
		*err = cerr
	}
}
