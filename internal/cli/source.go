package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
)

// namesFile is what --file and --batch come to. Without a file the names are
// those that the batch has.
type namesFile struct {
	path  string
	batch string
	form  names.Form
	file  *names.File
}

// known is the label of a job whose names are those of its batch.
const known = "(names of the batch)"

// knownNames stands for the names that a batch has.
func knownNames(batch string) (*namesFile, error) {
	return &namesFile{path: known, batch: batch}, usageOf(names.CheckBatch(batch))
}

// isKnown reports whether the names are those of the batch.
func (in *namesFile) isKnown() bool { return in.file == nil }

// source returns the names for a job; closing ends it.
func (in *namesFile) source(ctx context.Context, a *app.App) (s enqueuer.Source, closing func() error, err error) {
	if !in.isKnown() {
		return in.file, func() error { return nil }, nil
	}
	b, err := a.DB.Batch(ctx, in.batch)
	if err != nil {
		return nil, nil, err
	}
	k := a.Enqueuer().Known(ctx, b)
	return k, k.Close, nil
}

// close closes the file, if there is one.
func (in *namesFile) close() {
	if in.file != nil {
		_ = in.file.Close() // it was only read
	}
}

// openNames opens the names file. All errors are usage.
func openNames(ctx context.Context, env *Env, path, batch string, form names.Form) (*namesFile, error) {
	if path == "" {
		return nil, usagef("no names: give --file names.txt, or --file - to read them from standard input")
	}
	var err error
	switch {
	case batch != "":
		err = names.CheckBatch(batch)
	case path == names.Stdin:
		err = errors.New("names from standard input need a batch: give --batch NAME")
	default:
		batch, err = names.BatchName(path)
	}
	if err != nil {
		return nil, usage(err)
	}
	type opened struct {
		file *names.File
		err  error
	}
	// A pipe may be silent for long before its first bytes, and a read of it
	// cannot be interrupted.
	ch := make(chan opened, 1)
	go func() {
		f, err := names.OpenAs(path, env.In, form)
		ch <- opened{f, err}
	}()
	select {
	case o := <-ch:
		if o.err != nil {
			return nil, usage(o.err)
		}
		return &namesFile{path: path, batch: batch, form: form, file: o.file}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// badLines deals with the lines that are no names: it shows the first few,
// counts the rest, and writes all of them to a file if it has one.
type badLines struct {
	w       io.Writer
	shown   int
	encoded bool // a line was none of UTF-8, and what to do was said
	rejects *names.Rejects
	err     error
}

const maxBadLines = 10

func (b *badLines) show(bad *names.BadLine) {
	if b.shown++; b.shown <= maxBadLines {
		fmt.Fprintln(b.w, bad.Error())
	}
	if b.shown == maxBadLines+1 {
		fmt.Fprintln(b.w, "further bad lines are only counted")
	}
	if bad.Reason == names.ReasonInvalidUTF8 && !b.encoded {
		b.encoded = true
		fmt.Fprintln(b.w, "if the file is not UTF-8, say what it is: --encoding windows-1252 or another")
	}
	if b.rejects != nil && b.err == nil {
		b.err = b.rejects.Write(bad)
	}
}

// lineFlags are the flags about lines that are no names.
type lineFlags struct {
	strict  bool
	rejects string
}

func (l *lineFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&l.strict, "strict", false, "refuse the whole file if a line of it is no name")
	c.Flags().StringVar(&l.rejects, "rejects", "", "write the lines that are no names to `file`")
}

// formFlags are the flags about the form of a names file.
type formFlags struct{ format, column, encoding string }

func (f *formFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.format, "format", "", "`form` of the names file: lines, csv or jsonl (default: by its name)")
	c.Flags().StringVar(&f.column, "column", "", "`column` of a csv or jsonl file that has the names (default: the only one, or name)")
	c.Flags().StringVar(&f.encoding, "encoding", "", "`encoding` of the file: utf-8 (default), utf-16, latin1, windows-1252 or another")
	complete(c, "format", func() []string {
		var words []string
		for _, f := range names.Formats() {
			words = append(words, string(f))
		}
		return words
	})
	complete(c, "encoding", func() []string { return []string{"utf-8", "utf-16", "latin1", "windows-1252"} })
}

func (f formFlags) form() names.Form {
	return names.Form{Format: names.Format(f.format), Column: f.column, Encoding: f.encoding}
}

// given reports whether any of them was.
func (f formFlags) given() bool { return f != formFlags{} }

// tellForm says how a table is read, since some of it was guessed.
func tellForm(w io.Writer, in *namesFile) {
	if !in.isKnown() && in.file.Table != nil {
		fmt.Fprintf(w, "%s: %s\n", in.path, printable(in.file.Table.About()))
	}
}

// open prepares for the bad lines of in. The returned function ends it.
func (l *lineFlags) open(env *Env, in *namesFile) (*badLines, func() error, error) {
	b := &badLines{w: env.Err}
	if in.isKnown() && (l.strict || l.rejects != "") {
		return nil, nil, usagef("--strict and --rejects are about the lines of a file: give --file")
	}
	if l.strict {
		if err := l.check(env, in); err != nil {
			return nil, nil, err
		}
	}
	if l.rejects == "" {
		return b, func() error { return nil }, nil
	}
	if same(l.rejects, in.path) {
		return nil, nil, usagef("--rejects %s is the names file itself: give another file", l.rejects)
	}
	f, err := os.Create(l.rejects)
	if err != nil {
		return nil, nil, usagef("--rejects: %w", err)
	}
	b.rejects = names.NewRejects(f)
	return b, func() error { return errors.Join(b.err, b.rejects.Flush(), f.Close()) }, nil
}

// check reads the whole file once before anything is done with it.
func (l *lineFlags) check(env *Env, in *namesFile) error {
	if in.path == names.Stdin {
		return usagef("--strict reads the names twice, which standard input does not allow: give a file")
	}
	f, err := names.OpenAs(in.path, env.In, in.form)
	if err != nil {
		return usage(err)
	}
	defer f.Close()
	b := badLines{w: env.Err}
	for {
		_, err := f.Next()
		if bad, ok := errors.AsType[*names.BadLine](err); ok {
			b.show(bad)
			continue
		}
		switch {
		case errors.Is(err, io.EOF) && b.shown > 0:
			return usagef("%s: %s; nothing was enqueued (--strict)", in.path, areLines(b.shown))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return usage(err)
		}
	}
}

func areLines(n int) string {
	if n == 1 {
		return "1 line is no name"
	}
	return count(int64(n)) + " lines are no names"
}

// noNames refuses arguments where names come by --file.
func noNames(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s takes no arguments; did you mean --file %s?", c.CommandPath(), quoteArg(args[0]))
}

// usageOf is usage for an error that may be nil.
func usageOf(err error) error {
	if err == nil {
		return nil
	}
	return usage(err)
}

func same(a, b string) bool {
	ai, aerr := os.Stat(a)
	bi, berr := os.Stat(b)
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}

// noProvider says what can be chosen and how.
func noProvider(why string, c *lookup.Catalogue, example string) error {
	return usagef("%s; choose a lookup service with --provider:\n  %s\nfor example: %s --provider wikipedia --contact you@example.org",
		why, strings.Join(c.Names(), ", "), example)
}
