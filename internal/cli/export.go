package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// exportFlags are the flags of `harvest export` beside those that select.
type exportFlags struct {
	format, to, licence string
	shard               shardFlag
	bom, images         bool
	dryRun, force       bool
	asJSON, quiet       bool
}

// exportJSON is the object of `export --json`.
type exportJSON struct {
	export.Report
	// To is where it went; empty where nothing was written.
	To      string  `json:"to,omitempty"`
	Seconds float64 `json:"seconds"`
}

func exportCommand(env *Env) *cobra.Command {
	var (
		sel   selection
		flags exportFlags
	)
	c := &cobra.Command{
		Use:   "export [BATCH]",
		Short: "Write names and pictures as files that other programs read",
		Long: `Write the names of a batch (the newest, without BATCH) and their pictures, with
licence and attribution, as files that other programs read:

  csv         a table, a row for each picture; safe to open in a spreadsheet
  jsonl       the lines of results --json, which harvest import reads
  parquet     the same table in columns, with --images the pictures' bytes too
  webdataset  tar files of samples, KEY.jpg KEY.json KEY.txt, for PyTorch
  folder      the pictures under readable names, linked or copied, and a table

--to names a file, for webdataset and folder a new folder; - is standard output,
and s3://bucket/prefix?endpoint=https://host a place in a bucket.
Without --format the end of the file's name says it: .csv, .jsonl, .parquet, and
.csv.gz and .jsonl.gz packed. It is there when it is whole. The same names make
the same bytes.

Names that are not at their end are left out and counted, unless --state names
them. A picture that the store does not have, or has with other bytes, is left
out, told in its row, and counted; then the exit code is 1.`,
		Example: `  harvest export names --to names.csv
  harvest export names --to names.parquet --images --licence CC0-1.0,CC-BY-4.0
  harvest export names --format webdataset --shard-size 500MB --to shards
  harvest export names --format folder --state done --to to-browse
  harvest export names --format jsonl --to - | gzip > names.jsonl.gz`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			// Several licences are told apart by a licenceFilter.
			flags.licence, sel.Licence = sel.Licence, ""
			q, err := sel.query()
			if err != nil {
				return err
			}
			opts, err := flags.options(env)
			if err != nil {
				return err
			}
			opts.Unsettled = sel.State != ""
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			b, err := chooseBatch(ctx, a, args)
			if errors.Is(err, errNoBatches) {
				return usage(err)
			}
			if err != nil {
				return err
			}
			return flags.run(ctx, env, a, b, q, opts)
		},
	}
	sel.add(c)
	f := c.Flags()
	f.StringVar(&flags.format, "format", "", "`format`: "+wordList(export.Formats())+" (default: by the end of --to)")
	f.StringVar(&flags.to, "to", "", "`file` or folder to make, or s3://bucket/prefix?endpoint=URL; - is standard output")
	f.Lookup("licence").Usage = "only names whose pictures have one of these `licences`, with commas between them"
	f.Var(&flags.shard, "shard-size", "most that a webdataset shard has: a `size` such as 500MB, or a number of pictures (default 1GB)")
	f.BoolVar(&flags.bom, "bom", false, "begin a table with a byte order mark, by which Excel knows UTF-8")
	f.BoolVar(&flags.images, "images", false, "parquet: the bytes of the pictures as well")
	f.BoolVar(&flags.dryRun, "dry-run", false, "say what would be written, and write nothing")
	f.BoolVar(&flags.force, "force", false, "replace a file, or a folder that an export made")
	f.BoolVar(&flags.asJSON, "json", false, "write the summary as a JSON object")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "no progress and no summary")
	env.setting(f, "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	complete(c, "format", func() []string { return words(export.Formats()) })
	return c
}

// options reads the flags, and refuses what does not go together.
func (e *exportFlags) options(env *Env) (export.Options, error) {
	opts := export.Options{
		Images: e.images, Shard: export.ShardSize(e.shard), DryRun: e.dryRun, Table: export.TableOptions{BOM: e.bom},
	}
	name := e.fileName()
	if short, ok := strings.CutSuffix(name, ".gz"); ok && e.to != names.Stdin {
		name, opts.Gzip = short, true
	}
	format := export.Format(e.format)
	if format != "" && !slices.Contains(export.Formats(), format) {
		return opts, usagef("unknown --format %q%s", format, hint(e.format, words(export.Formats())))
	}
	if ending := strings.TrimPrefix(filepath.Ext(name), "."); format == "" {
		switch export.Format(ending) {
		case export.CSV, export.JSONL, export.Parquet:
			format = export.Format(ending)
		default:
			return opts, usagef("give --format: %s", wordList(export.Formats()))
		}
	}
	opts.Format = format
	toTerminal := e.to == names.Stdin && isTerminal(env.Out) && !e.dryRun
	switch {
	case e.to == "" && !e.dryRun:
		return opts, usagef("give --to: %s", e.example(format))
	case format.Binary() && toTerminal:
		return opts, usagef("%s is no text for a terminal: give a file with %s, or let a program read it: … --to - | COMMAND", format, e.example(format))
	case e.to == names.Stdin && format == export.Folder:
		return opts, usagef("a folder cannot go to standard output: give %s", e.example(format))
	case e.to == names.Stdin && e.asJSON:
		return opts, usagef("--json would stand in the middle of what --to - writes: give a file, or leave --json out")
	case opts.Gzip && format != export.CSV && format != export.JSONL:
		return opts, usagef("--to %s: only csv and jsonl are packed; leave .gz out", e.to)
	case opts.Images && format != export.Parquet:
		return opts, usagef("--images is for parquet; webdataset and folder have the pictures anyway")
	case e.bom && (format == export.JSONL || format == export.Parquet):
		return opts, usagef("--bom is for tables, and %s has none", format)
	case e.shard != (shardFlag{}) && (format != export.WebDataset || e.to == names.Stdin):
		return opts, usagef("--shard-size is for webdataset in a folder")
	}
	if toTerminal {
		opts.Table.Cell = printable
	}
	return opts, nil
}

// example is a --to for the format.
func (e *exportFlags) example(f export.Format) string {
	if f.Many() {
		return "--to FOLDER"
	}
	return "--to FILE." + string(f)
}

func (e *exportFlags) run(ctx context.Context, env *Env, a *app.App, b results.Batch, q results.Query, opts export.Options) error {
	target, err := e.target(ctx, env, opts)
	if err != nil {
		return err
	}
	var pictures export.Pictures
	if opts.Reads() {
		var closePictures func() error
		if pictures, closePictures, err = a.PicturesFor(ctx, b); err != nil {
			return err
		}
		defer closeQuietly(closePictures)
	}
	counts, err := a.DB.Counts(ctx, b)
	if err != nil && !isKeyError(err) {
		return err
	}
	if err := checkHost(ctx, a, q.Host, b); err != nil {
		return err
	}
	licences := newLicenceFilter(e.licence)
	shown := &exportProgress{w: env.Err, began: time.Now(), total: counts.Total(), redrawn: env.Err.terminal()}
	if !e.quiet && !opts.DryRun && opts.Table.Cell == nil {
		opts.Progress = shown.show
	}
	store := a.Settings.PicturesFolder()
	report, err := export.Run(ctx, export.Source{
		Batch:    b,
		Records:  a.DB.Each(ctx, b, q),
		Again:    func(ctx context.Context, name string) (results.Record, error) { return a.DB.Get(ctx, b, name) },
		Describe: func(r results.Record) recordjson.Name { return describe(b, r, store) },
		Wanted:   licences.wanted(),
		Pictures: pictures,
		None: func() error {
			if err := (listing{a: a}).explainNone(ctx, []results.Batch{b}, q); err != nil {
				return err
			}
			return licences.explainNone(b)
		},
	}, target, opts)
	shown.done()
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return &coded{ExitUnavailable, fmt.Errorf("--to %s: %w; what was written is removed", e.to, err)}
	}
	if err != nil {
		return err
	}
	return e.tell(env, a, report, time.Since(shown.began))
}

// target opens where the export goes.
func (e *exportFlags) target(ctx context.Context, env *Env, opts export.Options) (export.Target, error) {
	var target export.Target
	var err error
	switch {
	case e.to == names.Stdin:
		return export.NewStream(env.Out), nil
	case e.to == "":
		return nil, nil
	case strings.Contains(e.to, "://"):
		return e.bucket(ctx, opts)
	case opts.Format.Many():
		target, err = export.NewDir(e.to, e.force)
	default:
		target, err = export.NewFile(e.to, e.force)
	}
	if err != nil {
		return nil, usagef("--to %s: %w", e.to, err)
	}
	return target, nil
}

// bucket opens a place in a bucket, which is asked for what is there.
func (e *exportFlags) bucket(ctx context.Context, opts export.Options) (export.Target, error) {
	at, err := storage.ParseLocation(e.to)
	if err == nil && at.Scheme != storage.SchemeS3 {
		err = errors.New("give a path, or s3://bucket/prefix?endpoint=https://host")
	}
	if err == nil && !opts.Format.Many() && at.Prefix == "" {
		err = fmt.Errorf("give the name of an object: s3://%s/NAME.%s", at.Bucket, opts.Format)
	}
	if err != nil {
		return nil, usagef("--to: %w", err)
	}
	name := ""
	if !opts.Format.Many() {
		dir, base := path.Split(at.Prefix)
		at.Prefix, name = strings.Trim(dir, "/"), base
	}
	objects, err := app.Objects(at)
	if err != nil {
		return nil, err
	}
	target, err := export.NewBucket(ctx, objects, name, e.force)
	if exists, ok := errors.AsType[*export.ExistsError](err); ok {
		return nil, usagef("--to %s: %w", at, exists)
	}
	return target, err
}

// place is --to for people: a URL without options.
func (e *exportFlags) place() string {
	if at, err := storage.ParseLocation(e.to); err == nil && at.Scheme == storage.SchemeS3 {
		return at.String()
	}
	return e.to
}

// fileName is the last part of --to, by which the format is guessed.
func (e *exportFlags) fileName() string {
	if !strings.Contains(e.to, "://") {
		return e.to
	}
	place, _, _ := strings.Cut(e.to, "?")
	return path.Base(place)
}

// tell says what was written, what was not, and what to do about it.
func (e *exportFlags) tell(env *Env, a *app.App, r export.Report, took time.Duration) error {
	if e.asJSON {
		enc := json.NewEncoder(env.Out)
		enc.SetEscapeHTML(false)
		to := e.place()
		if e.dryRun {
			to = ""
		}
		if err := enc.Encode(exportJSON{r, to, took.Seconds()}); err != nil {
			return err
		}
	} else if !e.quiet {
		fmt.Fprintln(env.Err, e.summary(r, took))
	}
	if r.Unsettled > 0 && !e.quiet {
		fmt.Fprintf(env.Err, "%s not at their end and left out; export again when %s: %s\n",
			areNames(r.Unsettled), pick(r.Unsettled, "it is", "they are"), next(a, "status", r.Batch))
	}
	if r.Whole() {
		return nil
	}
	if r.Broken != "" {
		fmt.Fprintf(env.Err, "names may be missing: %s\n", printable(r.Broken))
	}
	if n := r.UnreadableNames; n > 0 {
		fmt.Fprintf(env.Err, "%s not readable; look them up anew: %s\n", areNames(n), next(a, "retry", r.Batch, "--state", string(results.Unreadable)))
	}
	changed := r.Problems[export.Changed]
	if changed > 0 {
		fmt.Fprintf(env.Err, "%s changed meanwhile and left out: export again\n", plural(changed, "picture"))
	}
	var parts []string
	for _, p := range []export.Problem{export.Missing, export.Differs, export.Unreadable} {
		if n := r.Problems[p]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%s)", plural(n, "picture"), p))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(env.Err, "left out, since the store does not have what the records tell of: %s; fetch them again: %s\n",
			strings.Join(parts, ", "), next(a, "verify", r.Batch, "--repair"))
	}
	return &coded{ExitFailed, nil}
}

func (e *exportFlags) summary(r export.Report, took time.Duration) string {
	what := fmt.Sprintf("%s, %s, %s (%s)", nameCount(r.Names), plural(r.Rows, "row"), plural(r.Pictures, "picture"), size(r.Bytes))
	if len(r.Shards) > 0 {
		what += ", " + plural(int64(len(r.Shards)), "shard")
	}
	switch {
	case e.dryRun:
		return fmt.Sprintf("%s: would write %s as %s; nothing was written, and no picture looked at", r.Batch, what, r.Format)
	case e.to == names.Stdin:
		return fmt.Sprintf("%s: %s written (%s)", r.Batch, what, span(took))
	}
	return fmt.Sprintf("%s: %s written to %s (%s)", r.Batch, what, e.place(), span(took))
}

func pick(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// licenceFilter takes names by the licence of their pictures.
type licenceFilter struct {
	words []string
	// others are licences of names that it did not take, some of them.
	others map[string]bool
}

// maxLicences bounds what is shown to choose from.
const maxLicences = 20

func newLicenceFilter(list string) *licenceFilter {
	f := &licenceFilter{others: make(map[string]bool)}
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			f.words = append(f.words, word)
		}
	}
	return f
}

// wanted returns what decides, nil where all are taken. Words that name a
// licence take those that name the same one; others are compared as text.
func (f *licenceFilter) wanted() func(recordjson.Name) bool {
	if len(f.words) == 0 {
		return nil
	}
	ids := make(map[string]bool)
	for _, w := range f.words {
		if id := licence.ID(w); id != "" {
			ids[id] = true
		}
	}
	return func(n recordjson.Name) bool {
		if ids[n.LicenceID] || n.Licence != "" && slices.ContainsFunc(f.words, func(w string) bool { return strings.EqualFold(w, n.Licence) }) {
			return true
		}
		if other := cmp.Or(n.LicenceID, n.Licence); other != "" && len(f.others) < maxLicences {
			f.others[other] = true
		}
		return false
	}
}

// explainNone says which licences there are, where no name had one of those.
func (f *licenceFilter) explainNone(b results.Batch) error {
	if len(f.words) == 0 {
		return nil
	}
	return usagef("no name of batch %s has pictures under %s%s", b.Name, strings.Join(f.words, ", "),
		hint(f.words[0], slices.Sorted(maps.Keys(f.others))))
}

// shardFlag is a flag for the size of a shard: with a unit in bytes, without
// in pictures.
type shardFlag export.ShardSize

// Set implements pflag.Value.
func (s *shardFlag) Set(text string) error {
	*s = shardFlag{}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		s.Pictures = n
		return nil
	}
	n, err := configs.ParseBytes(text)
	if err != nil || n <= 0 {
		return errors.New("give a size such as 500MB, or a number of pictures such as 10000")
	}
	s.Bytes = n
	return nil
}

// String implements pflag.Value.
func (s *shardFlag) String() string {
	switch {
	case s.Pictures > 0:
		return strconv.FormatInt(s.Pictures, 10)
	case s.Bytes > 0:
		return configs.FormatBytes(s.Bytes)
	}
	return ""
}

// Type implements pflag.Value.
func (s *shardFlag) Type() string { return "size" }

// exportProgress shows how many names are written: a figure that is drawn
// again on a terminal, a line now and then elsewhere.
type exportProgress struct {
	w       io.Writer
	began   time.Time
	total   int64
	redrawn bool

	shown time.Time
	drawn bool
}

func (p *exportProgress) show(r export.Report) {
	every := linesEvery
	if p.redrawn {
		every = reopeningEvery
	}
	if p.shown.IsZero() {
		p.shown = p.began
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown, p.drawn = time.Now(), p.redrawn
	line := fmt.Sprintf("%s of %s, %s, %s", count(r.Names), nameCount(p.total), size(r.Bytes), rate(r.Names, p.began))
	if p.redrawn {
		fmt.Fprintf(p.w, "\r%s\x1b[K", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// done takes the figure away.
func (p *exportProgress) done() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
