package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

// pageRows is how many rows a listing shows unless told otherwise.
const pageRows = 50

func resultsCommand(env *Env) *cobra.Command {
	var (
		q      results.Query
		state  string
		reason string
		limit  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "results [BATCH]",
		Short: "List what became of each name",
		Long: `List what became of each name, in the order of the names file. Without BATCH
the newest batch is listed. At most 50 names are shown unless --limit says
otherwise; --limit 0 shows all. With --json each name is one object a line, and
all are written unless --limit is given.`,
		Example: `  harvest results
  harvest results names --state failed
  harvest results names --reason timeout --limit 0
  harvest results names --name "Brus Lee" --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if q.State, err = parseState(state); err != nil {
				return err
			}
			if q.Reason, err = parseReason(reason); err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: give a number of rows, or 0 for all", limit)
			}
			if asJSON && !c.Flags().Changed("limit") {
				limit = 0
			}
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read, slog.LevelWarn)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			b, err := chooseBatch(ctx, a, args)
			if errors.Is(err, errNoBatches) {
				fmt.Fprintln(env.Err, err)
				return nil
			}
			if err != nil {
				return err
			}
			l := listing{a: a, batch: b, limit: limit}
			if asJSON {
				return l.json(ctx, env.Out, q)
			}
			return l.table(ctx, env, q)
		},
	}
	f := c.Flags()
	f.StringVar(&q.Name, "name", "", "only this `name`")
	f.StringVar(&state, "state", "", "only names in this `state`: "+strings.Join(stateWords(), ", "))
	f.StringVar(&reason, "reason", "", "only names that failed for this `reason`")
	f.StringVar(&q.Host, "host", "", "only names that failed at this `host`")
	f.IntVar(&limit, "limit", pageRows, "show at most `N` names, 0 for all")
	f.BoolVar(&asJSON, "json", false, "write one JSON object a line")
	complete(c, "state", stateWords)
	complete(c, "reason", reasonWords)
	return c
}

// partRows is how many rows of a long list are held for the width of its
// columns.
const partRows = 1000

// listing writes the records of a batch.
type listing struct {
	a     *app.App
	batch results.Batch
	limit int
}

func (l listing) table(ctx context.Context, env *Env, q results.Query) error {
	rows := [][]string{{"NAME", "STATE", "PICTURES", "SIZE", "FILE or REASON", "HOST", "TRIES", "UPDATED"}}
	store := l.a.Settings.PicturesFolder()
	out := bufio.NewWriter(env.Out)
	var (
		cols  columns
		shown int
	)
	for r, err := range l.a.DB.Each(ctx, l.batch, q) {
		if l.limit > 0 && shown == l.limit {
			break
		}
		shown++
		if len(rows) == partRows {
			if err := cols.write(out, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
		if results.IsRecordError(err) {
			rows = append(rows, []string{r.Name, "unreadable", "", "", err.Error(), "", "", ""})
			continue
		}
		if err != nil {
			return err
		}
		rows = append(rows, row(r, store))
	}
	if shown == 0 {
		fmt.Fprintf(env.Err, "batch %s has no such name (%s)\n", l.batch.Name, l.a.Place)
		return nil
	}
	if err := cols.write(out, rows); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return l.footer(ctx, env.Err, q, shown)
}

// footer says how many names there are and what to type next.
func (l listing) footer(ctx context.Context, w io.Writer, q results.Query, shown int) error {
	total, err := l.a.DB.Count(ctx, l.batch, q)
	if err != nil {
		return err
	}
	batch := l.batch.Name
	if int64(shown) < total {
		fmt.Fprintf(w, "%d of %s in batch %s; all of them: %s\n", shown, nameCount(total), batch, next(l.a, append(selection(batch, q), "--limit", "0")...))
		return nil
	}
	c, err := l.a.DB.Counts(ctx, l.batch)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s in batch %s", nameCount(total), batch)
	switch failed := c[results.Failed] + c[results.Partial]; {
	case failed > 0 && q.State == "" && q.Reason == "":
		fmt.Fprintf(w, "; %s failed: %s, then %s", count(failed), next(l.a, "results", batch, "--state", "failed"), next(l.a, "retry", batch))
	case failed > 0 && q.Reason != "":
		fmt.Fprintf(w, "; try them again: %s", next(l.a, "retry", batch, "--reason", string(q.Reason)))
	case failed > 0:
		fmt.Fprintf(w, "; try them again: %s", next(l.a, "retry", batch))
	}
	fmt.Fprintln(w)
	return nil
}

// selection is the words that list what q selects.
func selection(batch string, q results.Query) []string {
	words := []string{"results", batch}
	for _, f := range [][2]string{{"--name", q.Name}, {"--state", string(q.State)}, {"--reason", string(q.Reason)}, {"--host", q.Host}} {
		if f[1] != "" {
			words = append(words, f[0], f[1])
		}
	}
	return words
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
	return []string{
		r.Name, string(r.State), pictures, weight, orDash(what), orDash(r.Host),
		strconv.Itoa(tries(r)), r.Updated.Local().Format(time.DateTime),
	}
}

// tries is how often the name was tried, the good try included.
func tries(r results.Record) int {
	switch r.State {
	case results.Queued, results.Failed, results.Cancelled:
		return r.FailedTries
	}
	return r.FailedTries + 1
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// nameJSON is one name in `results --json`. Its keys are documented in
// docs/json.md and held there by a test.
type nameJSON struct {
	Batch       string            `json:"batch"`
	Name        string            `json:"name"`
	Line        int64             `json:"line"`
	State       results.State     `json:"state"`
	Generation  int64             `json:"generation"`
	Tries       int               `json:"tries"`
	Updated     time.Time         `json:"updated"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Truncated   bool              `json:"truncated,omitempty"`
	Licence     string            `json:"licence,omitempty"`
	Attribution string            `json:"attribution,omitempty"`
	Source      string            `json:"source,omitempty"`
	Pictures    []pictureJSON     `json:"pictures,omitempty"`
	Reason      failure.Reason    `json:"reason,omitempty"`
	Kind        string            `json:"kind,omitempty"`
	Host        string            `json:"host,omitempty"`
	Message     string            `json:"message,omitempty"`
	Error       string            `json:"error,omitempty"`
}

type pictureJSON struct {
	Rank    int            `json:"rank"`
	URL     string         `json:"url"`
	File    string         `json:"file,omitempty"`
	Kind    string         `json:"kind,omitempty"`
	Bytes   int64          `json:"bytes,omitempty"`
	Width   int            `json:"width,omitempty"`
	Height  int            `json:"height,omitempty"`
	SHA256  string         `json:"sha256,omitempty"`
	Reason  failure.Reason `json:"reason,omitempty"`
	Message string         `json:"message,omitempty"`
}

func (l listing) json(ctx context.Context, w io.Writer, q results.Query) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	store := l.a.Settings.PicturesFolder()
	n := 0
	for r, err := range l.a.DB.Each(ctx, l.batch, q) {
		if l.limit > 0 && n == l.limit {
			break
		}
		n++
		j := nameJSON{Batch: l.batch.Name, Name: r.Name, Line: r.Line}
		if results.IsRecordError(err) {
			j.Error = err.Error()
		} else if err != nil {
			return errors.Join(err, out.Flush())
		} else {
			j = describe(l.batch.Name, r, store)
		}
		if err := enc.Encode(j); err != nil {
			return err
		}
	}
	return out.Flush()
}

func describe(batch string, r results.Record, store string) nameJSON {
	j := nameJSON{
		Batch: batch, Name: r.Name, Line: r.Line, State: r.State, Generation: r.Generation,
		Tries: tries(r), Updated: r.Updated, Reason: r.Reason, Host: r.Host,
	}
	if f := r.Explain(); f != nil {
		j.Kind, j.Message = f.Kind(), f.Message
	}
	if r.Lookup == nil {
		return j
	}
	j.Truncated, j.Licence, j.Attribution, j.Source = r.Lookup.Truncated, r.Lookup.Licence, r.Lookup.Attribution, r.Lookup.Source
	for _, attr := range r.Lookup.Attributes {
		if j.Attributes == nil {
			j.Attributes = make(map[string]string)
		}
		j.Attributes[attr.Name] = attr.Value
	}
	for i, candidates := range r.Lookup.Pictures {
		p := pictureJSON{Rank: i + 1}
		if len(candidates) > 0 {
			p.URL = candidates[0]
		}
		switch o := r.Outcomes[i+1]; {
		case o.Picture != nil:
			s := o.Picture
			if s.Candidate < len(candidates) {
				p.URL = candidates[s.Candidate]
			}
			p.File, p.Kind, p.Bytes, p.Width, p.Height = app.PicturePath(store, s.Key), s.Kind, s.Bytes, s.Width, s.Height
			p.SHA256 = s.Hex()
		case o.Failure != nil:
			p.Reason, p.Message = o.Failure.Reason, o.Failure.Message
		}
		j.Pictures = append(j.Pictures, p)
	}
	return j
}
