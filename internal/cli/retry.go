package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

// checkSelection refuses what selects nothing because it was mistyped.
func checkSelection(ctx context.Context, a *app.App, b results.Batch, q results.Query) error {
	if q.Name != "" {
		if _, err := a.DB.Get(ctx, b, q.Name); err != nil && !results.IsRecordError(err) {
			return err
		}
	}
	return checkHost(ctx, a, q.Host, b)
}

func retryCommand(env *Env) *cobra.Command {
	var selected results.Words
	var q results.Query
	c := changeCommand(env, &cobra.Command{
		Use:   "retry BATCH",
		Short: "Try names again that failed",
		Long: `Try names again that failed, in whole or in part: all of them, or those that
the flags select. Pictures that are stored are not fetched again. A state that
is no failure (not_found, no_picture, cancelled) is tried again where --state
names it, and so are names whose record cannot be read (unreadable), which are
looked up anew, and names whose refresh failed (stale). Several states or
reasons have commas between them.`,
		Example: `  harvest retry names
  harvest retry names --reason timeout,network
  harvest retry names --host img.example.org
  harvest retry names --state not_found,no_picture --yes
  harvest retry names --where country=Norway`,
	}, change{flags: func() (err error) {
		if q, err = asFlags(selected.Query()); err != nil {
			return err
		}
		if q, err = q.ForRetry(); err != nil {
			return usagef("%w", err)
		}
		return nil
	}, affected: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		if err := checkSelection(ctx, a, b, q); err != nil {
			return "", err
		}
		total, err := a.DB.Count(ctx, b, q)
		if err != nil || total == 0 {
			return "", err
		}
		return nameCount(total), nil
	}, do: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		again, done := reopening(env, a)
		defer done()
		total, err := again.Retry(ctx, b, q)
		if err != nil {
			return nameCount(total) + " to be tried again", err
		}
		said := nameCount(total) + " to be tried again"
		if total == 0 {
			return said, nil
		}
		return said + whoDoes(ctx, a, b.Name), nil
	}})
	f := c.Flags()
	f.StringVar(&selected.Name, "name", "", "only this `name`")
	f.StringVar(&selected.State, "state", "", "only names in these `states` (default: failed,partial)")
	f.StringVar(&selected.Reason, "reason", "", "only names that failed for these `reasons`")
	f.StringVar(&selected.Host, "host", "", "only names that failed at this `host`")
	f.StringArrayVar(&selected.Where, "where", nil, "only names with this `attribute=value`; several must all hold")
	complete(c, "state", func() []string { return words(results.Retryable()) })
	complete(c, "reason", func() []string { return words(failure.Reasons()) })
	return c
}

// reopening returns what opens names again and, on a terminal, shows how many
// it has opened until done is called: a million take more than a minute.
func reopening(env *Env, a *app.App) (again *enqueuer.Enqueuer, done func()) {
	again = a.Enqueuer()
	if !env.Err.redraws() {
		return again, func() {}
	}
	var names int64
	shown := time.Now()
	again.Watched(func(n int) {
		names += int64(n)
		if time.Since(shown) > reopeningEvery {
			shown = time.Now()
			fmt.Fprintf(env.Err, "\r%s names", count(names))
		}
	})
	return again, func() { fmt.Fprint(env.Err, "\r\x1b[K") }
}

// reopeningEvery is how often the figure changes.
const reopeningEvery = 200 * time.Millisecond

// whoDoes says by whom the tasks that were just made are done.
func whoDoes(ctx context.Context, a *app.App, batch string) string {
	b, err := a.DB.Batch(ctx, batch)
	switch {
	case err == nil && b.Status == results.Paused:
		return ", once the batch goes on: " + next(a, "resume", batch)
	}
	n, err := a.DB.Workers(ctx)
	switch {
	case a.Embedded != nil && n == 0:
		return "; do it with the same `harvest run` as before"
	case err != nil:
		return "" // the tasks are there, which is what was asked for
	case n == 0:
		return "; no worker is alive on these queues; start one: " + next(a, "worker")
	}
	return fmt.Sprintf("; %s at work", plural(int64(n), "worker"))
}

func words[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}

func wordList[T ~string](values []T) string { return strings.Join(words(values), ", ") }
