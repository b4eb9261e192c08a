package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// waitPoll is how often `enqueue --wait` and `status --watch` look.
const waitPoll = 500 * time.Millisecond

type enqueueFlags struct {
	batchFlags
	wait, dryRun, asJSON bool
}

func enqueueCommand(env *Env) *cobra.Command {
	var fl enqueueFlags
	c := &cobra.Command{
		Use:   "enqueue --file names.txt",
		Short: "Put names into a batch for the workers",
		Long: `Stream the names of a file into a batch and enqueue one lookup for each. The
batch is the file's name without extension unless --batch says otherwise.

It is safe to enqueue the same file again: new names are added, missing tasks
restored, and names that are done are left alone. A batch belongs to one
provider.`,
		Example: `  enqueue --file names.txt
  enqueue --file painters.txt --provider wikipedia --contact you@example.org --wait
  enqueue --file - --batch names < names.txt
  enqueue --file painters.txt --provider wikipedia --contact you@example.org --dry-run`,
		Args: noNames,
		RunE: func(c *cobra.Command, _ []string) error { return enqueue(c, env, fl) },
	}
	f := c.Flags()
	f.BoolVarP(&fl.wait, "wait", "w", false, "wait until the batch is finished")
	f.BoolVarP(&fl.dryRun, "dry-run", "n", false, "change nothing; show what would happen")
	f.BoolVar(&fl.asJSON, "json", false, "write the report as one JSON object")
	fl.add(c, "with --wait: ", "print errors only")
	providerFlags(env, c)
	env.setting(f, "queue.shards", "shards", "", "`number` of shards of a new batch (default 1)")
	return c
}

func enqueue(c *cobra.Command, env *Env, fl enqueueFlags) (err error) {
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
	if s.Provider == "" {
		s.Provider = demoProvider
	}
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return usage(err)
	}
	def, err := app.Definition(s, catalogue, s.Provider)
	if err != nil {
		return usage(err)
	}
	if fl.dryRun {
		return dryRun(env, s, in, def)
	}
	a, err := app.Open(ctx, s, app.Server, env.logger(s, slog.LevelWarn))
	if err != nil {
		return err
	}
	defer closeApp(a, &err)

	began := time.Now()
	bad, closeRejects, err := fl.lines.open(env, in)
	if err != nil {
		return err
	}
	job := enqueuer.Job{Batch: in.batch, Provider: s.Provider, Label: in.path, Names: in.file, Bad: bad.show}
	if env.Err.terminal() && !fl.quiet {
		job.Progress = func(r enqueuer.Report) {
			fmt.Fprintf(env.Err, "\r%s names", count(r.New+r.Known.Total()+r.Duplicates))
		}
	}
	report, err := a.Enqueuer().Enqueue(ctx, job)
	if job.Progress != nil {
		fmt.Fprint(env.Err, "\r\x1b[K")
	}
	if rerr := closeRejects(); rerr != nil {
		fmt.Fprintf(env.Err, "--rejects: %v\n", rerr)
	}
	if err != nil {
		return fmt.Errorf("enqueue %s: %w (%s; the same command again completes it)", in.path, err, reportWords(report))
	}
	if fl.asJSON {
		if err := json.NewEncoder(env.Out).Encode(enqueueJSON{Batch: in.batch, Provider: s.Provider, Report: report}); err != nil {
			return err
		}
	} else if !fl.quiet {
		fmt.Fprintf(env.Err, "batch %s: %s in %s\n", in.batch, reportWords(report), span(time.Since(began)))
		afterwards(env.Err, a, in.batch, report)
	}
	if !fl.quiet {
		if err := tellWorkers(ctx, env.Err, a); err != nil {
			return err
		}
	}
	if !fl.wait {
		return nil
	}
	return enqueueWait(ctx, env, a, in.batch, fl, fails)
}

func enqueueWait(ctx context.Context, env *Env, a *app.App, batch string, fl enqueueFlags, fails failOn) error {
	p := newProgress(env, fl.progress)
	b, counts, err := wait(ctx, a, batch, p, waitPoll)
	p.done()
	if ctx.Err() != nil && isCancelled(err) {
		fmt.Fprintf(env.Err, "no longer waiting; the workers go on. Look again with: %s\n", next(a, "status", batch))
		return &coded{ExitInterrupted, nil}
	}
	if err != nil {
		return err
	}
	if !fl.quiet {
		if err := summary(ctx, env.Err, a, b, counts, ""); err != nil {
			return err
		}
	}
	return fails.check(counts)
}

// enqueueJSON is `enqueue --json`; docs/json.md says what the keys mean.
type enqueueJSON struct {
	Batch    string `json:"batch"`
	Provider string `json:"provider"`
	enqueuer.Report
}

// reportWords says how many names were new, known, doubled and refused.
func reportWords(r enqueuer.Report) string {
	parts := []string{count(r.New) + " new"}
	for _, st := range results.States() {
		if n := r.Known[st]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s already %s", count(n), st))
		}
	}
	if r.Restored > 0 {
		parts = append(parts, plural(r.Restored, "missing task")+" restored")
	}
	if r.Duplicates > 0 {
		parts = append(parts, plural(r.Duplicates, "duplicate"))
	}
	if r.Bad > 0 {
		parts = append(parts, plural(r.Bad, "refused line"))
	}
	return strings.Join(parts, ", ")
}

// afterwards says what else the user may want to know or do.
func afterwards(w io.Writer, a *app.App, batch string, r enqueuer.Report) {
	if r.Status == results.Paused {
		fmt.Fprintf(w, "the batch is paused; let it go on with: %s\n", next(a, "resume", batch))
	}
	if n := r.Known[results.Failed] + r.Known[results.Partial]; n > 0 {
		fmt.Fprintf(w, "%s failed before; try them again with: %s\n", nameCount(n), next(a, "retry", batch))
	}
}

// tellWorkers says how many workers there are.
func tellWorkers(ctx context.Context, w io.Writer, a *app.App) error {
	n, err := a.DB.Workers(ctx)
	if err != nil {
		return err
	}
	switch n {
	case 0:
		fmt.Fprintln(w, "no worker is alive on these queues; start one: "+next(a, "worker"))
	case 1:
		fmt.Fprintln(w, "1 worker is alive")
	default:
		fmt.Fprintf(w, "%d workers are alive\n", n)
	}
	return nil
}

// dryRun reads the file and shows what would be asked.
func dryRun(env *Env, s configs.Settings, in *namesFile, def *lookup.Definition) error {
	bad := badLines{w: env.Err}
	// Hashes stand for the names, so that a million of them fit; two names
	// with one hash are as good as impossible.
	seen := make(map[uint64]struct{})
	seed := maphash.MakeSeed()
	var total, doubles int64
	var example string
	for {
		line, err := in.file.Next()
		if b, ok := errors.AsType[*names.BadLine](err); ok {
			bad.show(b)
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return usage(err)
		}
		hash := maphash.String(seed, line.Name)
		if _, ok := seen[hash]; ok {
			doubles++
			continue
		}
		seen[hash] = struct{}{}
		if total++; example == "" {
			example = line.Name
		}
	}
	fmt.Fprintf(env.Out, "batch     %s\n", in.batch)
	fmt.Fprintf(env.Out, "provider  %s: %s\n", def.Name, def.Description)
	fmt.Fprintf(env.Out, "names     %s, %s, %s\n", count(total), plural(doubles, "duplicate"), plural(int64(bad.shown), "refused line"))
	if err := def.Check(s.Contact, lookup.SystemSecrets); err != nil {
		return usage(err)
	}
	if example != "" {
		req, err := def.Example(example, lookup.SystemSecrets)
		if err != nil {
			return usage(err)
		}
		fmt.Fprintf(env.Out, "request   GET %s\n", printable(req.URL))
		fmt.Fprintf(env.Out, "          User-Agent: %s\n", app.UserAgent(s.Contact))
		for _, h := range headerLines(req) {
			fmt.Fprintf(env.Out, "          %s\n", printable(h))
		}
	}
	limits := def.LookupLimits(lookup.SystemSecrets)
	fmt.Fprintf(env.Out, "limits    %s\n", limitWords(limits))
	fmt.Fprintf(env.Out, "time      at least %s for the lookups\n", span(limits.LeastTime(int(total))))
	fmt.Fprintln(env.Err, "nothing was enqueued")
	return nil
}
