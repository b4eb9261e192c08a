package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/text/unicode/norm"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/removal"
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
provider.

--retry-failed tries those again that failed. --refresh asks all names again, or
with --max-age those whose last good answer is older. Until a name's new answer
is there it keeps the last one, and a service that is down takes nothing away.

--sync makes the batch equal to the file: names of the batch that the file has
no more are forgotten with their pictures, as harvest forget does. It says how
many and asks; without a terminal, and for more than a tenth of the batch
always, it wants --yes. Nothing is removed for a file without names, for one
that could not be read to its end, or while another enqueuer is at the batch.

With --wait a limit (--max-duration, --max-names, --max-bytes) pauses the batch
when it is reached, and the command ends with exit code 5. The same command
again lets it go on; a refresh then begins with the names that it had not come
to. Names and bytes are those that the workers did meanwhile, and may be some
more than the limit: what is done at the same time.`,
		Example: `  enqueue --file names.txt
  enqueue --file painters.txt --provider wikipedia --contact you@example.org --wait
  enqueue --file - --batch names < names.txt
  enqueue --file painters.txt --refresh --max-age 30d --wait
  enqueue --file staff.txt --provider staff --sync --wait
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
	began := time.Now()
	ctx := c.Context()
	if fl.limits.any() && !fl.wait {
		return usagef("--max-duration, --max-names and --max-bytes say how long to wait for the workers: give --wait too")
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
	// Its secrets are the workers' alone.
	if err := def.CheckContact(s.Contact); err != nil {
		return usage(err)
	}
	if fl.dryRun && in.isKnown() {
		return usagef("--dry-run shows what would become of a file: give --file")
	}
	if fl.dryRun && fl.sync {
		return usagef("--dry-run looks at the file alone, and --sync asks before it removes anything: leave one of them out")
	}
	if err := fl.params.check(def); err != nil {
		return err
	}
	if fl.dryRun {
		values, err := fl.params.values()
		if err != nil {
			return err
		}
		if def, err = def.WithParams(values); err != nil {
			return usage(err)
		}
		if err := checkColumns(env, in, def); err != nil {
			return err
		}
		return dryRun(env, s, in, def)
	}
	a, err := app.Open(ctx, s, app.Server, env.logger(s, slog.LevelWarn))
	if err != nil {
		return err
	}
	defer closeApp(a, &err)

	if in.isKnown() {
		b, err := chooseBatch(ctx, a, []string{in.batch})
		if err != nil {
			return err
		}
		if !c.Flags().Changed("provider") && b.Provider != s.Provider {
			s.Provider = b.Provider
			if def, err = app.Definition(s, catalogue, s.Provider); err != nil {
				return usage(err)
			}
		}
	}
	if def, err = fl.params.choose(ctx, a, def, in.batch); err != nil {
		return err
	}
	if err := checkColumns(env, in, def); err != nil {
		return err
	}
	if err := goOn(ctx, env.Err, a, in.batch); err != nil {
		return err
	}
	watch := &limitWatch{limits: fl.limits, began: began}
	if err := watch.open(ctx, a, in.batch); err != nil {
		return err
	}
	bad, closeRejects, err := fl.lines.open(env, in)
	if err != nil {
		return err
	}
	source, closeSource, err := in.source(ctx, a)
	if err != nil {
		return err
	}
	defer closeQuietly(closeSource)
	job := enqueuer.Job{Batch: in.batch, Provider: s.Provider, Label: in.path, Names: source, Bad: bad.show}
	job.MaxPictures, job.Params = int(fl.maxPictures), def.Given()
	job.RetryFailed, job.Refresh = fl.again(s)
	seen := enqueuer.NewSeen(source)
	if fl.sync {
		job.Names = seen
	}
	if env.Err.redraws() && !fl.quiet {
		job.Progress = func(r enqueuer.Report) {
			fmt.Fprintf(env.Err, "\r%s names", count(r.New+r.Known.Total()+r.Duplicates))
		}
	}
	allowed, cancel := fl.limits.within(ctx, began)
	defer cancel()
	report, err := a.Enqueuer().Enqueue(allowed, job)
	if job.Progress != nil {
		fmt.Fprint(env.Err, "\r\x1b[K")
	}
	if rerr := closeRejects(); rerr != nil {
		fmt.Fprintf(env.Err, "--rejects: %v\n", rerr)
	}
	if limit, ok := errors.AsType[*limitError](context.Cause(allowed)); ok && err != nil {
		fmt.Fprintf(env.Err, "batch %s: %s; not all of %s was read\n", in.batch, reportWords(report), in.path)
		return pauseAtLimit(ctx, env, a, in.batch, fl, limit)
	}
	if exitCode(ctx, err) == ExitUsage {
		return err // nothing was begun
	}
	if err != nil && exitCode(ctx, err) == ExitInterrupted {
		fmt.Fprintf(env.Err, "interrupted; batch %s: %s so far; the same command again goes on\n", in.batch, reportWords(report))
		return &coded{ExitInterrupted, nil}
	}
	if err != nil {
		return fmt.Errorf("enqueue %s: %w (%s; the same command again completes it)", in.path, err, reportWords(report))
	}
	var gone removal.Report
	if fl.sync {
		if gone, err = syncBatch(ctx, env, a, in, seen, report, fl.yes); err != nil {
			return err
		}
	}
	watch.added(report, gone)
	if fl.asJSON {
		if err := json.NewEncoder(env.Out).Encode(enqueueJSON{Batch: in.batch, Provider: s.Provider, Report: report, Forgotten: gone.Names}); err != nil {
			return err
		}
	} else if !fl.quiet {
		fmt.Fprintf(env.Err, "batch %s: %s in %s\n", in.batch, reportWords(report), span(time.Since(began)))
		if fl.sync {
			fmt.Fprintf(env.Err, "batch %s: %s that %s no longer has\n", in.batch, removedWords(gone), in.path)
		}
		afterwards(env.Err, a, in.batch, report)
		if report.Known[results.Done] > 0 {
			if err := offerVerify(ctx, env.Err, a, in.batch); err != nil {
				return err
			}
		}
	}
	if !fl.quiet {
		if err := tellWorkers(ctx, env.Err, a); err != nil {
			return err
		}
		tellLacks(env.Err, s, catalogue)
	}
	if !fl.wait {
		return nil
	}
	return enqueueWait(ctx, env, a, in.batch, fl, fails, watch)
}

func enqueueWait(ctx context.Context, env *Env, a *app.App, batch string, fl enqueueFlags, fails failOn, watch *limitWatch) error {
	p := newProgress(env, fl.progress)
	b, counts, err := wait(ctx, a, batch, p, waitPoll, watch.look)
	p.done()
	if limit, ok := errors.AsType[*limitError](err); ok {
		return pauseAtLimit(ctx, env, a, batch, fl, limit)
	}
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
		if err := fl.tellRefresh(ctx, env.Err, a, b); err != nil {
			return err
		}
	}
	return fails.check(counts)
}

// limitWatch compares what the workers did since the command began with its
// limits.
type limitWatch struct {
	limits limits
	began  time.Time
	// settled and bytes are what the batch had then.
	settled, bytes int64
}

// open notes how the batch stands before anything is added.
func (l *limitWatch) open(ctx context.Context, a *app.App, batch string) error {
	b, c, err := standingOf(ctx, a, batch)
	if err != nil {
		return ignoreNoBatch(err)
	}
	l.settled, l.bytes = c.Settled(), b.Bytes
	return nil
}

// added leaves out of the account what this command did itself: names that it
// opened again are settled once more, and those that it forgot are no more.
func (l *limitWatch) added(r enqueuer.Report, gone removal.Report) {
	l.settled -= r.Again + gone.Names
}

func (l *limitWatch) look(b results.Batch, c results.Counts) error {
	return l.limits.reached(time.Since(l.began), c.Settled()-l.settled, b.Bytes-l.bytes)
}

// pauseAtLimit pauses the batch, for its work is the workers': ending this
// command alone would end nothing.
func pauseAtLimit(ctx context.Context, env *Env, a *app.App, batch string, fl enqueueFlags, limit error) error {
	if err := a.DB.Limit(ctx, batch); err != nil {
		return err
	}
	b, c, err := standingOf(ctx, a, batch)
	if err != nil {
		return err
	}
	if err := summary(ctx, env.Err, a, b, c, ""); err != nil {
		return err
	}
	if err := fl.tellRefresh(ctx, env.Err, a, b); err != nil {
		return err
	}
	return stopped(env.Err, limit, c, "the batch is paused until the same command is given again, or: "+next(a, "resume", batch))
}

// enqueueJSON is `enqueue --json`; docs/json.md says what the keys mean.
type enqueueJSON struct {
	Batch    string `json:"batch"`
	Provider string `json:"provider"`
	enqueuer.Report
	Forgotten int64 `json:"forgotten,omitempty"`
}

// reportWords says how many names were new, known, doubled and refused.
func reportWords(r enqueuer.Report) string {
	parts := []string{count(r.New) + " new"}
	for _, st := range results.States() {
		if n := r.Known[st]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s already %s", count(n), st))
		}
	}
	if r.Again > 0 {
		parts = append(parts, count(r.Again)+" asked again")
	}
	if r.Restored > 0 {
		parts = append(parts, plural(r.Restored, "missing task")+" restored")
	}
	if r.Duplicates > 0 {
		parts = append(parts, plural(r.Duplicates, "duplicate"))
	}
	if r.Other > 0 {
		parts = append(parts, count(r.Other)+" with other columns than before")
	}
	if r.Bad > 0 {
		parts = append(parts, plural(r.Bad, "refused line"))
	}
	return strings.Join(parts, ", ")
}

// tellAlike says which names are perhaps one.
func tellAlike(w io.Writer, r enqueuer.Report) {
	if r.Alike == 0 {
		return
	}
	var words []string
	shown := 0
	for _, group := range r.AlikeNames {
		shown += len(group)
		quoted := make([]string, len(group))
		for i, n := range group {
			// Two forms of one letter look the same.
			if quoted[i] = strconv.Quote(n); slices.ContainsFunc(group, func(o string) bool { return o != n && norm.NFC.String(o) == norm.NFC.String(n) }) {
				quoted[i] = strconv.QuoteToASCII(n)
			}
		}
		words = append(words, strings.Join(quoted, " and "))
	}
	if r.Alike > int64(shown) {
		words = append(words, "…")
	}
	fmt.Fprintf(w, "%s differ by case or Unicode form alone, and each is a name of its own: %s\n", nameCount(r.Alike), strings.Join(words, "; "))
}

// tellOther says of which names other columns were kept than the file's last.
func tellOther(w io.Writer, batch string, r enqueuer.Report) {
	if r.Other == 0 {
		return
	}
	words := make([]string, len(r.OtherNames))
	for i, n := range r.OtherNames {
		words[i] = printable(n)
	}
	if r.Other > int64(len(words)) {
		words = append(words, "…")
	}
	fmt.Fprintf(w, "%s came with other columns than batch %s has, which stay: %s; --refresh asks anew by those of the file\n",
		nameCount(r.Other), batch, strings.Join(words, ", "))
}

// afterwards says what else the user may want to know or do.
func afterwards(w io.Writer, a *app.App, batch string, r enqueuer.Report) {
	tellOther(w, batch, r)
	tellAlike(w, r)
	if r.Status == results.Paused {
		fmt.Fprintf(w, "the batch is paused; let it go on with: %s\n", next(a, "resume", batch))
	}
	if n := r.Known[results.Failed] + r.Known[results.Partial]; n > 0 && r.Again == 0 {
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

// tellLacks says what the provider needs and is not set here. It may be set
// where the workers are, which leave the batch alone otherwise.
func tellLacks(w io.Writer, s configs.Settings, c *lookup.Catalogue) {
	def, err := app.Definition(s, c, s.Provider)
	if err == nil {
		err = def.Check(s.Contact, lookup.SystemSecrets)
	}
	if err != nil {
		fmt.Fprintf(w, "the workers leave these names alone if they lack it as this command does: %v\n", err)
	}
}

// queryOf is what is asked about a line.
func queryOf(l names.Line) lookup.Query {
	q := lookup.Query{Name: l.Name, ColumnsTruncated: l.Truncated}
	for _, c := range l.Columns {
		q.Columns = append(q.Columns, lookup.Attribute(c))
	}
	return q
}

// dryRun reads the file and shows what would be asked.
func dryRun(env *Env, s configs.Settings, in *namesFile, def *lookup.Definition) error {
	bad := badLines{w: env.Err}
	// Hashes stand for the names, so that a million of them fit; two names
	// with one hash are as good as impossible.
	seen := make(map[uint64]struct{})
	seed := maphash.MakeSeed()
	var total, doubles int64
	var example names.Line
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
		if total++; example.Name == "" {
			example = line
		}
	}
	fmt.Fprintf(env.Out, "batch     %s\n", in.batch)
	fmt.Fprintf(env.Out, "provider  %s: %s\n", def.Name, def.Description)
	fmt.Fprintf(env.Out, "names     %s, %s, %s\n", count(total), plural(doubles, "duplicate"), plural(int64(bad.shown), "refused line"))
	if err := def.Check(s.Contact, lookup.SystemSecrets); err != nil {
		return usage(err)
	}
	if example.Name != "" && !def.Asks() {
		answer, err := def.Direct(queryOf(example))
		if err != nil {
			return usage(err)
		}
		for _, p := range answer.Pictures {
			fmt.Fprintf(env.Out, "picture   GET %s\n", printable(p.Candidates[0]))
		}
	} else if example.Name != "" {
		req, err := def.Example(queryOf(example), lookup.SystemSecrets)
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
