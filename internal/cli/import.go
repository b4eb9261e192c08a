package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

func importCommand(env *Env) *cobra.Command {
	var batch string
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in what results --json wrote",
		Long: `Take in the lines of results --json, states and pictures included: into the
batches that they name, or into one. FILE may be gzipped, and - is standard
input. Pictures are taken to be in the store where the lines say; none is
fetched and none is looked at.

It is safe to repeat. A name that the batch has already stays as it is; if it
differs the line is refused. Lines that cannot be read are refused by number
and the others are taken; then the exit code is 1.`,
		Example: `  harvest results names --json | gzip > names.jsonl.gz
  harvest import names.jsonl.gz --redis redis://127.0.0.1:6379
  harvest import - --batch copy < names.jsonl`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give one file that results --json wrote, or - for standard input")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			if batch != "" {
				if err := names.CheckBatch(batch); err != nil {
					return usage(err)
				}
			}
			in, closeIn, err := openLines(args[0], env.In)
			if err != nil {
				return usage(err)
			}
			defer closeQuietly(closeIn)
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Own)
			if err != nil {
				return err
			}
			defer closeApp(a, &err)
			i := &importer{a: a, w: env.Err, label: args[0], batch: batch, into: make(map[string]*target)}
			return i.run(ctx, in)
		},
	}
	f := c.Flags()
	f.StringVarP(&batch, "batch", "b", "", "put all names into this `batch` (default: the one that each line names)")
	env.setting(f, "provider", "provider", "p", "lookup `service` of lines that name none")
	env.setting(f, "queue.shards", "shards", "", "`number` of shards of a new batch (default 1)")
	return c
}

// openLines opens the file at path, or stdin, gzipped or not.
func openLines(path string, stdin io.Reader) (*bufio.Reader, func() error, error) {
	src, closeSrc := stdin, func() error { return nil }
	if path != names.Stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, err
		}
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return nil, nil, errors.Join(fmt.Errorf("%s is a folder: give one file that results --json wrote", path), f.Close())
		}
		src, closeSrc = f, f.Close
	}
	in := bufio.NewReaderSize(src, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", path, err), closeSrc())
		}
		in = bufio.NewReaderSize(z, 64<<10)
	}
	return in, closeSrc, nil
}

const (
	// maxImportLine bounds a line; a name's record is a few KB at most.
	maxImportLine = 1 << 20
	// importChunk is how many records are written at once.
	importChunk = 200
	// maxTargets bounds the batches of one file.
	maxTargets = 1000
)

// importer reads lines into batches.
type importer struct {
	a       *app.App
	w       io.Writer
	label   string
	batch   string
	into    map[string]*target
	order   []string
	line    int64
	refused int
}

// target is one batch that names go into.
type target struct {
	provider string
	open     *results.Enqueuing
	renewed  time.Time
	chunks   [][]results.Record
	lines    [][]int64
	// new, same and other count what became of the names, pending the new
	// ones that are not settled.
	new, same, other, pending int64
}

func (i *importer) run(ctx context.Context, in *bufio.Reader) error {
	err := i.read(ctx, in)
	for _, name := range i.order {
		t := i.into[name]
		for s := range t.chunks {
			if err == nil {
				err = i.write(ctx, t, s)
			}
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if cerr := t.open.Close(end, err == nil); err == nil {
			err = cerr
		}
		cancel()
	}
	i.report()
	if err != nil {
		return fmt.Errorf("import %s: after line %d: %w (the same command again goes on)", i.label, i.line, err)
	}
	if i.refused > 0 {
		return &coded{ExitFailed, fmt.Errorf("%s: %s refused", i.label, plural(int64(i.refused), "line"))}
	}
	return nil
}

func (i *importer) report() {
	if len(i.order) == 0 {
		fmt.Fprintf(i.w, "%s: no name was imported\n", i.label)
	}
	for _, name := range i.order {
		t := i.into[name]
		fmt.Fprintf(i.w, "batch %s: %s new, %s there already", name, count(t.new), count(t.same))
		if t.other > 0 {
			fmt.Fprintf(i.w, ", %s there with another record and left alone", count(t.other))
		}
		fmt.Fprintln(i.w)
		if t.pending > 0 {
			fmt.Fprintf(i.w, "%s not settled; let them go on with: %s\n", areNames(t.pending), next(i.a, "resume", name))
		}
	}
}

func areNames(n int64) string {
	if n == 1 {
		return "1 name is"
	}
	return count(n) + " names are"
}

// refuse tells of a line that is left out.
func (i *importer) refuse(line int64, err error) {
	if i.refused++; i.refused <= maxBadLines {
		fmt.Fprintf(i.w, "line %d: %s\n", line, printable(err.Error()))
	}
	if i.refused == maxBadLines+1 {
		fmt.Fprintln(i.w, "further refused lines are only counted")
	}
}

func (i *importer) read(ctx context.Context, in *bufio.Reader) error {
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text, long, err := takeLine(in)
		if errors.Is(err, io.EOF) && len(text) == 0 && !long {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return usage(err)
		}
		i.line++
		switch text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))); {
		case long:
			i.refuse(i.line, fmt.Errorf("longer than %d bytes", maxImportLine))
		case len(text) > 0:
			if err := i.take(ctx, text); err != nil {
				return err
			}
		}
	}
}

// takeLine returns the next line, or the news that it is too long.
func takeLine(in *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line)+len(part) > maxImportLine {
			line, long = nil, true
		}
		if !long {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// take reads one line. Its error ends the import; a bad line is refused.
func (i *importer) take(ctx context.Context, text []byte) error {
	j, r, err := parseLine(text)
	if err != nil {
		i.refuse(i.line, err)
		return nil
	}
	if i.batch != "" {
		j.Batch = i.batch
	}
	if err := names.CheckBatch(j.Batch); err != nil {
		i.refuse(i.line, err)
		return nil
	}
	if j.Provider == "" {
		j.Provider = i.a.Settings.Provider
	}
	if j.Provider == "" {
		return usagef("line %d names no provider: give --provider", i.line)
	}
	t, err := i.target(ctx, j)
	if err != nil {
		return err
	}
	s := tasks.Shard(r.Name, t.open.Shards())
	t.chunks[s] = append(t.chunks[s], r)
	t.lines[s] = append(t.lines[s], i.line)
	if len(t.chunks[s]) == importChunk {
		return i.write(ctx, t, s)
	}
	return nil
}

// parseLine reads a line of results --json.
func parseLine(text []byte) (recordjson.Name, results.Record, error) {
	var j recordjson.Name
	if err := json.Unmarshal(text, &j); err != nil {
		return j, results.Record{}, fmt.Errorf("it is no line of results --json: %w", err)
	}
	r, err := j.Record()
	return j, r, err
}

func (i *importer) target(ctx context.Context, j recordjson.Name) (*target, error) {
	batch, provider := j.Batch, j.Provider
	if t := i.into[batch]; t != nil {
		switch {
		case t.provider != provider:
			return nil, &results.ProviderError{Batch: batch, Has: t.provider, Wanted: provider}
		case !maps.Equal(t.open.Params, j.Params):
			return nil, &results.ParamsError{Batch: batch, Has: t.open.Params, Wanted: j.Params}
		}
		return t, nil
	}
	if len(i.into) == maxTargets {
		return nil, usagef("more than %d batches in one file: give --batch, or cut it up", maxTargets)
	}
	e, err := i.a.DB.OpenWith(ctx, batch, provider, i.label, i.a.Settings.Queue.Shards, j.Params)
	if err != nil {
		return nil, err
	}
	if j.Names != "" {
		if err := e.BindNames(ctx, j.Names); err != nil {
			return nil, err
		}
	}
	t := &target{
		provider: provider, open: e, renewed: time.Now(),
		chunks: make([][]results.Record, e.Shards()), lines: make([][]int64, e.Shards()),
	}
	i.into[batch] = t
	i.order = append(i.order, batch)
	return t, nil
}

// write writes a shard's records.
func (i *importer) write(ctx context.Context, t *target, s int) error {
	for _, o := range i.into {
		if time.Since(o.renewed) > results.LeaseTime/5 {
			if _, err := o.open.Renew(ctx); err != nil {
				return err
			}
			o.renewed = time.Now()
		}
	}
	records, lines := t.chunks[s], t.lines[s]
	t.chunks[s], t.lines[s] = nil, nil
	became, err := t.open.Import(ctx, s, records)
	if err != nil {
		return err
	}
	for n, b := range became {
		switch b {
		case results.ImportNew:
			t.new++
			if records[n].State.Open() {
				t.pending++
			}
		case results.ImportSame:
			t.same++
		case results.ImportOther:
			t.other++
			i.refuse(lines[n], fmt.Errorf("%q is there already with another record, which stays", records[n].Name))
		}
	}
	return nil
}
