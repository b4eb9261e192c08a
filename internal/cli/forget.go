package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
)

func forgetCommand(env *Env) *cobra.Command {
	var (
		batch string
		yes   bool
	)
	c := &cobra.Command{
		Use:   "forget NAME",
		Short: "Remove a name and all that is kept of it",
		Long: `Remove a name from all batches, or from one: its record with its history, its
pictures and their thumbnails, and its queued tasks. What is in flight for it
comes to nothing. A picture that is stored by content (storage.names: content)
goes with the last name that has it; to know, every record is looked at, a few
seconds for a million. Interrupted, the same command again ends it.

The name comes back when a names file that has it is enqueued again.`,
		Example: `  harvest forget "Brus Lee"
  harvest forget jdoe --batch staff --yes`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("give one name, in quotes if it has spaces: harvest forget %s", quoteArg(strings.Join(args, " ")))
			}
			if len(args) == 0 {
				return usagef("give the name to forget, for example: harvest forget \"Brus Lee\"")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			return forget(ctx, env, a, args[0], batch, yes)
		},
	}
	f := c.Flags()
	f.StringVarP(&batch, "batch", "b", "", "only in this `batch` (default: in all)")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	env.setting(f, "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	return c
}

func forget(ctx context.Context, env *Env, a *app.App, name, batch string, yes bool) error {
	having, err := batchesWith(ctx, a, name, batch)
	if err != nil {
		return err
	}
	r, closeStore, err := a.Remover(ctx, having...)
	if err != nil {
		return err
	}
	defer closeQuietly(closeStore)
	where := make([]string, len(having))
	for i, b := range having {
		where[i] = b.Name
	}
	in := "batch"
	if len(where) > 1 {
		in = "batches"
	}
	what := fmt.Sprintf("forget %q: its record, pictures and tasks in %s %s", name, in, strings.Join(where, ", "))
	if err := confirm(ctx, env, what, yes); err != nil {
		return err
	}
	for _, b := range having {
		report, err := r.Name(ctx, b, name)
		if errors.Is(err, results.ErrNoName) || errors.Is(err, results.ErrNoBatch) {
			continue // somebody else was first
		}
		if err != nil {
			return fmt.Errorf("forget %q in batch %s: %w (the same command again ends it)", name, b.Name, err)
		}
		fmt.Fprintf(env.Err, "batch %s: %s\n", b.Name, removedWords(report))
	}
	return nil
}

// batchesWith returns the batches that have the name, of all or of one.
func batchesWith(ctx context.Context, a *app.App, name, batch string) ([]results.Batch, error) {
	var looked []results.Batch
	var err error
	if batch != "" {
		looked = make([]results.Batch, 1)
		looked[0], err = chooseBatch(ctx, a, []string{batch})
	} else {
		looked, err = a.DB.Batches(ctx)
	}
	if err != nil {
		return nil, err
	}
	var having []results.Batch
	for _, b := range looked {
		_, err := a.DB.Get(ctx, b, name)
		if errors.Is(err, results.ErrNoName) {
			continue
		}
		if err != nil && !results.IsRecordError(err) {
			return nil, err
		}
		having = append(having, b)
	}
	if len(having) > 0 {
		return having, nil
	}
	place := "any batch of " + a.Place
	if batch != "" {
		place = "batch " + batch
	}
	like, err := nameHint(ctx, a, name, looked...)
	if err != nil {
		return nil, err
	}
	if like == "" {
		like = "; names are as they stood in the file, capitals and spaces included"
	}
	return nil, usagef("no name %q in %s%s", name, place, like)
}

// removedWords says what went.
func removedWords(r removal.Report) string {
	parts := []string{nameCount(r.Names) + " forgotten"}
	if r.Pictures > 0 {
		parts = append(parts, fmt.Sprintf("%s removed (%s)", plural(r.Pictures, "picture"), size(r.Bytes)))
	}
	if r.Shared > 0 {
		parts = append(parts, plural(r.Shared, "picture")+" kept for others with the same content")
	}
	if r.Tasks > 0 {
		parts = append(parts, plural(r.Tasks, "queued task")+" removed")
	}
	return strings.Join(parts, ", ")
}
