package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	var (
		fl    batchFlags
		pages runPages
	)
	c := &cobra.Command{
		Use:   "run --file names.txt",
		Short: "Do everything in this one process",
		Long: `Enqueue the names of a file and harvest them, all in one process, with a Redis
of its own in the data folder. The same command again goes on where it was:
only names without a result are asked. --retry-failed tries those again that
failed; --refresh asks all names again, or with --max-age those whose last good
answer is older.

Without --provider the built-in demo answers, if it knows every name of the
file; see examples/names.txt.

A limit (--max-duration, --max-names, --max-bytes) ends the work when it is
reached, with exit code 5: nothing more is taken up, what is under way ends, so
that it may be some more, and the same command again goes on. Names and bytes
are those of this process.

--sync makes the batch equal to the file, once it is finished: names that the
file has no more are forgotten with their pictures, as harvest forget does. It
says how many and asks; without a terminal, and for more than a tenth of the
batch always, it wants --yes. Nothing is removed for a file without names, for
one that could not be read to its end, or where a limit ended the run.

--serve shows the pictures in a browser as they come. The pages stay when all
is done, and names that are retried there are tried, until Ctrl-C; the exit
code is that of the run.`,
		Example: `  harvest run --file examples/names.txt
  harvest run --file painters.txt --provider wikipedia --contact you@example.org
  harvest run --file species.txt --provider gbif --max-pictures 20
  harvest run --file - --batch logins --provider github < logins.txt
  harvest run --batch painters --refresh --max-age 30d
  harvest run --file staff.txt --provider staff --sync
  harvest run --file examples/names.txt --serve`,
		Args: noNames,
		RunE: func(c *cobra.Command, _ []string) error { return run(c, env, fl, &pages) },
	}
	fl.add(c, "", "no progress, no list of files")
	providerFlags(env, c)
	workerFlags(env, c)
	pages.add(env, c)
	env.setting(c.Flags(), "worker.listen", "listen", "", "`host:port` for /healthz, /readyz and /metrics (default none)")
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
	env.setting(f, "storage.url", "storage", "", "`place` for pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	env.setting(f, "worker.max_attempts", "max-attempts", "", "`number` of tries before a name fails (default 5)")
}

func run(c *cobra.Command, env *Env, fl batchFlags, pages *runPages) (err error) {
	began := time.Now()
	ctx := c.Context()
	if err := pages.check(c); err != nil {
		return err
	}
	in, fails, err := fl.open(ctx, env)
	if err != nil {
		return err
	}
	defer in.close()
	s, err := env.load(c)
	if err != nil {
		return err
	}
	s.Worker.PollInterval = runPoll
	if !c.Flags().Changed("listen") {
		s.Worker.Listen = "" // few watch what ends by itself
	}
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return usage(err)
	}
	if s.Provider != "" {
		// Refused before anything is made.
		if err := checkProvider(s, catalogue, s.Provider); err != nil {
			return err
		}
		def, err := app.Definition(s, catalogue, s.Provider)
		if err != nil {
			return usage(err)
		}
		if err := fl.params.check(def); err != nil {
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
	def, err := app.Definition(a.Settings, catalogue, a.Settings.Provider)
	if err != nil {
		return usage(err)
	}
	if def, err = fl.params.choose(ctx, a, def, in.batch); err != nil {
		return err
	}
	if err := checkColumns(env, in, def); err != nil {
		return err
	}
	stopDemo, err := serveDemo(ctx, a)
	if err != nil {
		return err
	}
	defer stopDemo()
	if a.Watch, err = app.NewWatch(ctx, a.Settings, a.Logger); err != nil {
		return usage(err)
	}
	defer closeQuietly(a.Watch.Close)
	if err := pages.start(ctx, env, a, catalogue); err != nil {
		return err
	}
	defer func() { err = pages.stay(ctx, err) }()

	p := newProgress(env, fl.progress)
	var sum tally
	w, closeStore, err := a.Worker(ctx, catalogue, a.Settings.Provider, app.Told{
		Settled: func(batch string, r results.Record) {
			if batch == in.batch {
				sum.names.Add(1)
				p.name(r)
			}
		},
		Stored: func(batch string, bytes int64) {
			if batch == in.batch {
				sum.pictures.Add(1)
				sum.bytes.Add(bytes)
			}
		},
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

	if err := sayJoined(ctx, env.Err, a, in.batch); err != nil {
		p.done()
		return err
	}
	if err := goOn(ctx, env.Err, a, in.batch); err != nil {
		p.done()
		return err
	}
	h := harvesting{a: a, w: w, in: in, params: def.Given(), fl: fl, bad: bad, p: p, limits: fl.limits, began: began, sum: &sum}
	b, counts, err := h.run(ctx)
	p.done()
	tellOther(env.Err, in.batch, h.report)
	tellAlike(env.Err, h.report)
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
	limit, limited := errors.AsType[*limitError](err)
	if limited {
		b, counts, err = standingOf(last, a, in.batch)
		if errors.Is(err, results.ErrNoBatch) {
			return stopped(env.Err, limit, counts, "nothing was begun")
		}
	}
	if err != nil {
		return err
	}
	switch {
	case fl.sync && limited:
		fmt.Fprintf(env.Err, "--sync: nothing was removed, since the run did not come to its end\n")
	case fl.sync:
		if b, counts, err = h.sync(ctx, env); err != nil {
			return err
		}
	}
	if !fl.quiet && counts.Total() <= pageRows {
		if _, err := (listing{a: a, limit: pageRows}).table(last, env, b, results.Query{}); err != nil {
			return err
		}
	}
	if err := summary(last, env.Err, a, b, counts, sum.words(began, pictureFolder(a, b))); err != nil {
		return err
	}
	if err := fl.tellRefresh(last, env.Err, a, b); err != nil {
		return err
	}
	if counts[results.Done] > 0 {
		if err := offerVerify(last, env.Err, a, in.batch); err != nil {
			return err
		}
	}
	if limited && !b.Finished(counts) {
		return stopped(env.Err, limit, counts, "the same command again goes on")
	}
	return fails.check(counts)
}

// harvesting is one run's work on its batch.
type harvesting struct {
	a      *app.App
	w      *worker.Worker
	in     *namesFile
	fl     batchFlags
	params results.Params
	bad    *badLines
	p      progress
	limits limits
	began  time.Time
	sum    *tally
	// report of the enqueuing, as far as it came.
	report enqueuer.Report
	// seen is what it has seen of the input, for sync.
	seen *enqueuer.Seen
}

// run enqueues the names and works until the batch is finished. Where a limit
// is reached it takes up no more, lets what is under way end, and returns a
// [*limitError].
func (h *harvesting) run(ctx context.Context) (results.Batch, results.Counts, error) {
	var (
		batch    results.Batch
		counts   results.Counts
		enqueued atomic.Bool
	)
	a, w, in, p := h.a, h.w, h.in, h.p
	source, closeSource, err := in.source(ctx, a)
	if err != nil {
		return batch, nil, err
	}
	defer closeQuietly(closeSource)
	job := enqueuer.Job{Batch: in.batch, Provider: a.Settings.Provider, Label: in.path, Names: source, Bad: h.bad.show}
	job.MaxPictures, job.Params = int(h.fl.maxPictures), h.params
	job.RetryFailed, job.Refresh = h.fl.again(a.Settings)
	if h.fl.sync {
		h.seen = enqueuer.NewSeen(source)
		job.Names = h.seen
	}
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	working, stopWorking := context.WithCancel(limited)
	defer stopWorking()
	g, ctx := errgroup.WithContext(limited)
	g.Go(func() error { return w.Run(working, a.Settings.Provider) })
	if h.limits.any() {
		g.Go(func() error { h.watch(working, stop); return nil })
	}
	g.Go(func() error {
		var err error
		h.report, err = a.Enqueuer().Enqueue(ctx, job)
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
		batch, counts, err = wait(ctx, a, in.batch, p, runPoll, nil)
		return err
	})
	err = g.Wait()
	if limit, ok := errors.AsType[*limitError](context.Cause(limited)); ok && (err == nil || isCancelled(err)) {
		return batch, counts, limit
	}
	return batch, counts, err
}

// sync removes the names of the finished batch that its file has no more. It
// returns how the batch stands then.
func (h *harvesting) sync(ctx context.Context, env *Env) (results.Batch, results.Counts, error) {
	gone, err := syncBatch(ctx, env, h.a, h.in, h.seen, h.report, h.fl.yes)
	if err != nil {
		return results.Batch{}, nil, err
	}
	if !h.fl.quiet {
		fmt.Fprintf(env.Err, "batch %s: %s that %s no longer has\n", h.in.batch, removedWords(gone), h.in.path)
	}
	return standingOf(ctx, h.a, h.in.batch)
}

// watch looks at the limits until ctx is over, and calls stop when one is
// reached.
func (h *harvesting) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(runPoll)
	defer tick.Stop()
	for {
		if err := h.limits.reached(time.Since(h.began), h.sum.names.Load(), h.sum.bytes.Load()); err != nil {
			stop(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sayJoined tells that another run is at work on the same Redis: names are
// asked once all the same, and both see the end.
func sayJoined(ctx context.Context, w io.Writer, a *app.App, batch string) error {
	if a.Embedded != nil && a.Embedded.Alone() {
		return nil // whoever was there is dead
	}
	n, err := a.DB.Workers(ctx)
	if err != nil || n == 0 {
		return err
	}
	fmt.Fprintf(w, "another process is at work already; this one joins it and sees the end of batch %s\n", batch)
	return nil
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
		err = usagef("%s is not the picture store of batch %s: give the --storage that it began with, or mount it, or use another --batch; if its pictures are lost, this fetches them again: %s",
			a.Settings.PicturesFolder(), in.batch, nextInStore(a, "verify", in.batch, "--rebind", "--repair"))
	case b.Provider != "":
		a.Settings.Provider = b.Provider
		return a, nil
	case in.isKnown():
		err = unknownBatch(ctx, a, in.batch)
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
	if in.isKnown() {
		return "harvest run --file names.txt --batch " + quoteArg(in.batch)
	}
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
	if in.isKnown() {
		return fmt.Sprintf("there is no batch %s", in.batch), nil
	}
	d, err := demo.New(demo.Config{})
	if err != nil {
		return "", err
	}
	defer d.Close()
	f, err := names.OpenAs(in.path, env.In, in.form)
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

// tally sums up what was done in this process.
type tally struct{ names, pictures, bytes atomic.Int64 }

func (t *tally) words(began time.Time, folder string) string {
	if t.pictures.Load() == 0 {
		return fmt.Sprintf(" (%s)", span(time.Since(began)))
	}
	return fmt.Sprintf(" (%s; %s, %s, in %s)", span(time.Since(began)), plural(t.pictures.Load(), "picture"),
		size(t.bytes.Load()), folder)
}

// closeApp closes a and keeps the first error.
func closeApp(a *app.App, err *error) {
	if cerr := a.Close(context.Background()); cerr != nil && *err == nil {
		*err = cerr
	}
}
