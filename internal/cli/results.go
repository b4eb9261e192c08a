package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// pageRows is how many rows a listing shows unless told otherwise.
const pageRows = 50

// selection is the flags that select names, as they were typed.
type selection struct {
	results.Words
	after string
}

func (s *selection) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.Name, "name", "", "only this `name`")
	f.StringVar(&s.State, "state", "", "only names in these `states`: some of "+wordList(allStates()))
	f.StringVar(&s.Reason, "reason", "", "only names that failed for these `reasons`")
	f.StringVar(&s.Host, "host", "", "only names that failed at this `host`")
	f.StringArrayVar(&s.Where, "where", nil, "only names with this `attribute=value`; several must all hold")
	f.StringVar(&s.Licence, "licence", "", "only names whose licence means this SPDX `identifier`, such as CC-BY-4.0")
	f.StringVar(&s.after, "after", "", "go on behind this `place`, as the footer shows it: LINE or LINE:NAME")
	complete(c, "state", func() []string { return words(allStates()) })
	complete(c, "reason", func() []string { return words(failure.Reasons()) })
	complete(c, "licence", licence.Known)
}

// query reads the flags.
func (s *selection) query() (results.Query, error) {
	q, err := asFlags(s.Query())
	if err == nil && s.after != "" {
		q.After, err = parsePlace(s.after)
	}
	return q, err
}

// asFlags makes a word that is none a wrong flag.
func asFlags(q results.Query, err error) (results.Query, error) {
	if err == nil {
		return q, nil
	}
	if bad, ok := errors.AsType[*results.WordError](err); ok && bad.Key == "where" {
		return q, usagef("--where %s: %s", quoteArg(bad.Word), bad.Hint)
	}
	return q, usagef("%w", err)
}

func allStates() []results.State { return append(results.States(), results.Marks()...) }

// parsePlace reads LINE:NAME, or LINE for behind all names of that line.
func parsePlace(s string) (results.Position, error) {
	line, name, named := strings.Cut(s, ":")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil || n < 0 {
		return results.Position{}, usagef("--after %s: give the place that the footer shows, LINE or LINE:NAME", quoteArg(s))
	}
	if !named {
		return results.Position{Line: n + 1}, nil
	}
	return results.Position{Line: n, Name: name}, nil
}

// place writes a position as parsePlace reads it.
func place(r results.Record) string { return fmt.Sprintf("%d:%s", r.Line, r.Name) }

// again is the command line that lists the same names of a batch.
func (s *selection) again(batch string) []string {
	words := []string{"results", batch}
	for _, f := range [][2]string{{"--name", s.Name}, {"--state", s.State}, {"--reason", s.Reason}, {"--host", s.Host}, {"--licence", s.Licence}} {
		if f[1] != "" {
			words = append(words, f[0], f[1])
		}
	}
	for _, w := range s.Where {
		words = append(words, "--where", w)
	}
	return words
}

func resultsCommand(env *Env) *cobra.Command {
	var (
		sel         selection
		limit       int
		all, asJSON bool
		errorsTo    string
	)
	c := &cobra.Command{
		Use:   "results [BATCH...]",
		Short: "List what became of each name",
		Long: `List what became of each name, in the order of the names file. Without BATCH the
newest batch is listed, or with --name all of them; --all lists all of them too.
At most 50 names of a batch are shown unless --limit says otherwise; --limit 0
shows all, and --after goes on where the footer says. With --name the last tries
that failed are listed too, each with its time and reason. With --json each name
is one object a line, which harvest import reads, and all are written unless
--limit is given.

Several states or reasons have commas between them. --where ATTRIBUTE=VALUE
compares the whole value, capitals or not, with what the provider said; the
attribute is written as results --json shows it.

--errors-to FILE lists nothing. It writes the names that failed, in whole or in
part, as a names file: all of them, or those that the other flags select. The
file is there when it is whole.`,
		Example: `  harvest results
  harvest results names --state failed,partial
  harvest results names --where age=30 --where country=Norway
  harvest results --name "Brus Lee" --json
  harvest results species --licence CC0-1.0
  harvest results names --reason timeout --errors-to again.txt`,
		RunE: func(c *cobra.Command, args []string) error {
			q, err := sel.query()
			if err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: give a number of rows, or 0 for all", limit)
			}
			if (asJSON || errorsTo != "") && !c.Flags().Changed("limit") {
				limit = 0
			}
			if errorsTo != "" {
				if q, err = failedOnly(q); err != nil {
					return err
				}
			}
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			batches, err := chooseBatches(ctx, a, args, all || (q.Name != "" && len(args) == 0))
			if errors.Is(err, errNoBatches) {
				fmt.Fprintln(env.Err, err)
				return nil
			}
			if err != nil {
				return err
			}
			if len(batches) > 1 && sel.after != "" {
				return usagef("--after is a place in one batch: give one BATCH")
			}
			l := listing{a: a, limit: limit, sel: sel, several: len(batches) > 1, away: &away{env: env, a: a}}
			switch {
			case errorsTo != "":
				return l.errorsTo(ctx, env, batches, q, errorsTo)
			case asJSON:
				return l.json(ctx, env.Out, batches, q)
			}
			return l.tables(ctx, env, batches, q)
		},
	}
	sel.add(c)
	f := c.Flags()
	env.setting(f, "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix (default: pictures in the data folder)")
	f.IntVar(&limit, "limit", pageRows, "show at most `N` names of a batch, 0 for all")
	f.BoolVar(&all, "all", false, "all batches")
	f.BoolVar(&asJSON, "json", false, "write one JSON object a line")
	f.StringVar(&errorsTo, "errors-to", "", "write the names that failed to `file` as a names file; - is standard output")
	return c
}

// partRows is how many rows of a long list are held for the width of its
// columns.
const partRows = 1000

// listing writes the records of batches.
type listing struct {
	a     *app.App
	limit int
	sel   selection
	// several batches are listed.
	several bool
	away    *away
}

// tables writes one table for each batch that has a name to show.
func (l listing) tables(ctx context.Context, env *Env, batches []results.Batch, q results.Query) error {
	empty := 0
	for _, b := range batches {
		shown, err := l.table(ctx, env, b, q)
		if err != nil {
			return err
		}
		if shown == 0 {
			empty++
		}
	}
	if empty < len(batches) {
		return nil
	}
	if err := l.explainNone(ctx, batches, q); err != nil {
		return err
	}
	like := ""
	if q.Name != "" {
		var err error
		if like, err = nameHint(ctx, l.a, q.Name, batches...); err != nil {
			return err
		}
	}
	if l.several {
		fmt.Fprintf(env.Err, "none of %d batches has such a name (%s)%s\n", len(batches), l.a.Place, like)
		return nil
	}
	if q.After != (results.Position{}) {
		fmt.Fprintf(env.Err, "batch %s has no further name\n", batches[0].Name)
		return nil
	}
	if c, err := l.a.DB.Counts(ctx, batches[0]); err == nil && c.Total() == 0 {
		fmt.Fprintf(env.Err, "batch %s has no names (%s)\n", batches[0].Name, l.a.Place)
		return nil
	}
	fmt.Fprintf(env.Err, "batch %s has no such name (%s)%s\n", batches[0].Name, l.a.Place, like)
	return nil
}

// explainNone refuses a host or an attribute that the batches do not know.
func (l listing) explainNone(ctx context.Context, batches []results.Batch, q results.Query) error {
	if err := checkHost(ctx, l.a, q.Host, batches...); err != nil || len(q.Where) == 0 {
		return err
	}
	var known []string
	for _, b := range batches {
		attributes, err := l.a.DB.Attributes(ctx, b)
		if err != nil {
			return err
		}
		known = append(known, attributes...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, w := range q.Where {
		if !slices.Contains(known, w.Name) {
			return usagef("no name of %s has an attribute %q%s", batchWords(batches), w.Name, hint(w.Name, known))
		}
	}
	return nil
}

// table writes the names of one batch and returns how many there were.
func (l listing) table(ctx context.Context, env *Env, b results.Batch, q results.Query) (int, error) {
	rows := [][]string{{"NAME", "STATE", "PICTURES", "SIZE", "FILE or REASON", "HOST", "TRIES", "UPDATED"}}
	store := l.a.PicturesPlace(ctx, b)
	out := bufio.NewWriter(env.Out)
	var (
		cols  columns
		shown int
		last  results.Record
		more  bool
	)
	for r, err := range l.a.DB.Each(ctx, b, q) {
		if isKeyError(err) {
			break // it comes last, and a warning told of it
		}
		if l.limit > 0 && shown == l.limit {
			more = true
			break
		}
		shown++
		if len(rows) == partRows {
			if err := cols.write(out, rows); err != nil {
				return shown, err
			}
			rows = rows[:0]
		}
		if results.IsRecordError(err) {
			rows = append(rows, []string{r.Name, "unreadable", "", "", err.Error(), "", "", ""})
			continue
		}
		if err != nil {
			return shown, err
		}
		last = r
		l.away.shown(b, store, r)
		rows = append(rows, row(r, store))
	}
	if shown == 0 {
		return 0, nil
	}
	if err := cols.write(out, rows); err != nil {
		return shown, err
	}
	if q.Name != "" {
		if err := history(out, last); err != nil {
			return shown, err
		}
	}
	if err := out.Flush(); err != nil {
		return shown, err
	}
	return shown, l.footer(ctx, env.Err, b, q, shown, more, last)
}

// footer says how many names there are and what to type next.
func (l listing) footer(ctx context.Context, w io.Writer, b results.Batch, q results.Query, shown int, more bool, last results.Record) error {
	batch := b.Name
	if more {
		on := nextInStore(l.a, append(l.sel.again(batch), "--after", place(last))...)
		if len(q.Where) > 0 || q.Licence != "" {
			// To count them every record would have to be read.
			fmt.Fprintf(w, "%s in batch %s and more; go on: %s\n", nameCount(int64(shown)), batch, on)
			return nil
		}
		total, err := l.a.DB.Count(ctx, b, q)
		if isKeyError(err) {
			fmt.Fprintf(w, "%s in batch %s and more; go on: %s\n", nameCount(int64(shown)), batch, on)
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%d of %s in batch %s; go on: %s; all of them: %s\n", shown, nameCount(total), batch, on,
			nextInStore(l.a, append(l.sel.again(batch), "--limit", "0")...))
		return nil
	}
	c, err := l.a.DB.Counts(ctx, b)
	if err != nil && !isKeyError(err) {
		return err
	}
	if q.After != (results.Position{}) {
		fmt.Fprintf(w, "the last %s", nameCount(int64(shown)))
	} else {
		fmt.Fprint(w, nameCount(int64(shown)))
	}
	fmt.Fprintf(w, " in batch %s", batch)
	switch failed := c[results.Failed] + c[results.Partial]; {
	case failed > 0 && l.sel.State == "" && l.sel.Reason == "":
		fmt.Fprintf(w, "; %s failed: %s, then %s", count(failed), next(l.a, "results", batch, "--state", "failed"), next(l.a, "retry", batch))
	case failed > 0 && l.sel.Reason != "":
		fmt.Fprintf(w, "; try them again: %s", next(l.a, "retry", batch, "--reason", l.sel.Reason))
	case failed > 0:
		fmt.Fprintf(w, "; try them again: %s", next(l.a, "retry", batch))
	}
	fmt.Fprintln(w)
	return nil
}

func row(r results.Record, store string) []string {
	var bytes int64
	var stored int
	what := ""
	for rank := 1; r.Lookup != nil && rank <= len(r.Lookup.Pictures); rank++ {
		if p := r.Outcomes[rank].Picture; p != nil {
			stored++
			bytes += p.Bytes
			if what == "" {
				what = app.PicturePath(store, p.Key)
			}
		}
	}
	pictures, weight := "-", "-"
	if r.Lookup != nil && len(r.Lookup.Pictures) > 0 {
		pictures = strconv.Itoa(stored)
		if n := len(r.Lookup.Pictures); stored < n {
			pictures = fmt.Sprintf("%d of %d", stored, n)
		}
	}
	if stored > 0 {
		weight = size(bytes)
	}
	if f := r.Explain(); f != nil && (r.State == results.Failed || r.State == results.Partial) {
		what = fmt.Sprintf("%s: %s", f.Reason, f.Message)
	}
	if r.Stale != nil {
		what = staleWords(*r.Stale) + "; " + orDash(what)
	}
	return []string{
		r.Name, state(r), pictures, weight, orDash(what), orDash(r.Host),
		strconv.Itoa(recordjson.Tries(r)), r.Updated.Local().Format(time.DateTime),
	}
}

// history writes what happened to a name that had trouble, if it had any.
func history(w io.Writer, r results.Record) error {
	events, earlier := r.Past()
	if len(events) == 0 {
		return nil
	}
	rows := [][]string{{"WHEN", "STEP", "GENERATION", "WHAT"}}
	if earlier > 0 {
		rows = append(rows, []string{"earlier", "-", "-", fmt.Sprintf("%d more, not kept", earlier)})
	}
	for _, e := range events {
		step := "lookup"
		if e.Rank > 0 {
			step = fmt.Sprintf("picture %d", e.Rank)
		}
		what := string(e.What)
		switch {
		case e.What == results.WorkerDied:
			what = "its worker died"
		case e.Status > 0:
			what = fmt.Sprintf("%s: %s, answered %d", e.What, e.Reason, e.Status)
		case e.Reason != "":
			what = fmt.Sprintf("%s: %s", e.What, e.Reason)
		}
		rows = append(rows, []string{e.At.Local().Format(time.DateTime), step, strconv.FormatInt(e.Generation, 10), what})
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	var cols columns
	return cols.write(w, rows)
}

// state is a record's state, with its marks.
func state(r results.Record) string {
	s := string(r.State)
	if r.Stale != nil {
		s += ", " + string(results.Stale)
	}
	if r.Refresh != nil {
		s += ", " + string(results.Refreshing)
	}
	return s
}

// staleWords says since when a name is stale, and why.
func staleWords(s results.Staleness) string {
	why := string(s.Failure.Reason)
	if s.Failure.Message != "" {
		why += ": " + s.Failure.Message
	}
	return fmt.Sprintf("stale since %s: %s", s.Since.Local().Format(time.DateTime), why)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
