package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/duplicates"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

func duplicatesCommand(env *Env) *cobra.Command {
	var (
		asJSON bool
		to     string
	)
	c := &cobra.Command{
		Use:   "duplicates BATCH",
		Short: "List pictures that are equal",
		Long: `List the pictures of a batch that have the same bytes, by the SHA-256 in its
records: a row for each content, the most frequent first. --names-to writes the
names that have them as a names file, those of one content together under a
comment that tells it; --json writes one picture a line.`,
		Example: `  harvest duplicates names
  harvest duplicates names --names-to look-again.txt`,
		Args: oneBatch,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if asJSON && to != "" {
				return usagef("--json and --names-to exclude each other: give one")
			}
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			b, err := chooseBatch(ctx, a, args)
			if err != nil {
				return err
			}
			l := duplicateListing{a: a, b: b}
			switch {
			case asJSON:
				return l.json(ctx, env)
			case to != "":
				return l.namesTo(ctx, env, to)
			}
			return l.table(ctx, env)
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "one JSON object a picture")
	f.StringVar(&to, "names-to", "", "write the names to `file` as a names file; - is stdout")
	env.setting(f, "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix (default: pictures in the data folder)")
	return c
}

type duplicateListing struct {
	a *app.App
	b results.Batch
}

// duplicateJSON is a line of `duplicates --json`; docs/json.md says what the
// keys mean.
type duplicateJSON struct {
	Batch    string `json:"batch"`
	SHA256   string `json:"sha256"`
	Pictures int64  `json:"pictures"`
	Bytes    int64  `json:"bytes"`
	Name     string `json:"name"`
	Rank     int    `json:"rank"`
	Key      string `json:"key"`
	File     string `json:"file,omitempty"`
}

func (l duplicateListing) json(ctx context.Context, env *Env) error {
	out := bufio.NewWriter(env.Out)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	store, elsewhere := l.a.PicturesPlace(ctx, l.b), &away{env: env, a: l.a}
	_, err := duplicates.Each(ctx, l.a.DB, l.b, func(g duplicates.Group, e duplicates.Entry) error {
		j := duplicateJSON{Batch: l.b.Name, SHA256: g.SHA256, Pictures: g.Pictures, Bytes: g.Bytes, Name: e.Name, Rank: e.Rank, Key: e.Key}
		if store == "" {
			elsewhere.tell(l.b)
		} else {
			j.File = app.PicturePath(store, e.Key)
		}
		return enc.Encode(j)
	})
	return errors.Join(err, out.Flush())
}

// namesTo writes a names file.
func (l duplicateListing) namesTo(ctx context.Context, env *Env, path string) error {
	var n int64
	write := func(w io.Writer) error {
		out := bufio.NewWriter(w)
		sum, last := "", ""
		_, err := duplicates.Each(ctx, l.a.DB, l.b, func(g duplicates.Group, e duplicates.Entry) error {
			if g.SHA256 != sum {
				sum, last = g.SHA256, ""
				if _, err := fmt.Fprintf(out, "# %s of %s each, sha256 %s\n", plural(g.Pictures, "equal picture"), size(g.Bytes), g.SHA256); err != nil {
					return err
				}
			}
			if e.Name == last {
				return nil // of another rank
			}
			n, last = n+1, e.Name
			_, err := fmt.Fprintln(out, e.Name)
			return err
		})
		return errors.Join(err, out.Flush())
	}
	if path == names.Stdin {
		return write(env.Out)
	}
	err := replaceFile(path, write)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return usagef("--names-to: %w", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "%s written to %s\n", nameCount(n), path)
	return nil
}

// shownNames is how many names a row of the table tells.
const shownNames = 3

// table writes one row a content.
func (l duplicateListing) table(ctx context.Context, env *Env) error {
	out := bufio.NewWriter(env.Out)
	var (
		cols     columns
		rows     = [][]string{{"PICTURES", "SIZE", "SHA256", "NAMES"}}
		now      duplicates.Group
		some     []string
		further  int
		pictures int64
		spare    int64
	)
	end := func() error {
		if now.SHA256 == "" {
			return nil
		}
		text := strings.Join(some, ", ")
		if further > 0 {
			text += fmt.Sprintf(" and %s more", count(int64(further)))
		}
		rows = append(rows, []string{count(now.Pictures), size(now.Bytes), now.SHA256[:16], text})
		some, further = nil, 0
		if len(rows) < partRows {
			return nil
		}
		err := cols.write(out, rows)
		rows = rows[:0]
		return err
	}
	groups, err := duplicates.Each(ctx, l.a.DB, l.b, func(g duplicates.Group, e duplicates.Entry) error {
		if g.SHA256 != now.SHA256 {
			if err := end(); err != nil {
				return err
			}
			now = g
			pictures += g.Pictures
			spare += (g.Pictures - 1) * g.Bytes
		}
		label := e.Name
		if e.Rank > 1 {
			label = fmt.Sprintf("%s (picture %d)", e.Name, e.Rank)
		}
		if len(some) < shownNames {
			some = append(some, label)
		} else {
			further++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if groups == 0 {
		fmt.Fprintf(env.Err, "no two pictures of batch %s are equal\n", l.b.Name)
		return nil
	}
	if err := errors.Join(end(), cols.write(out, rows), out.Flush()); err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "%s of batch %s have %s, which take %s more than once each; as a names file: %s\n",
		plural(pictures, "picture"), l.b.Name, plural(groups, "content"), size(spare), next(l.a, "duplicates", l.b.Name, "--names-to", "FILE"))
	return nil
}
