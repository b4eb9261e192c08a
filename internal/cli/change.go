package cli

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

// changeCommand makes a command that changes one batch: it says how many
// names it will touch, asks, and does it.
func changeCommand(env *Env, c *cobra.Command, affected func(context.Context, *app.App, results.Batch) (string, error),
	do func(context.Context, *app.App, results.Batch) (string, error)) *cobra.Command {
	var yes bool
	c.Args = cobra.ExactArgs(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		a, err := env.open(ctx, c, app.Read, slog.LevelWarn)
		if err != nil {
			return err
		}
		defer a.Close(ctx)
		b, err := chooseBatch(ctx, a, args)
		if err != nil {
			return err
		}
		what, err := affected(ctx, a, b)
		if err != nil {
			return err
		}
		if err := confirm(env, fmt.Sprintf("%s %s: %s", c.Name(), b.Name, what), yes); err != nil {
			return err
		}
		said, err := do(ctx, a, b)
		if err != nil {
			return err
		}
		fmt.Fprintln(env.Err, said)
		return nil
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// confirm asks on the terminal. Without one only --yes will do.
func confirm(env *Env, what string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(env.In) {
		return usagef("%s; nobody is there to be asked: give --yes", what)
	}
	fmt.Fprintf(env.Err, "%s. Go on? [y/N] ", what)
	answer, err := bufio.NewReader(env.In).ReadString('\n')
	if err != nil && answer == "" {
		return usagef("no answer: nothing was changed")
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return usagef("nothing was changed")
	}
	return nil
}

// allOpen says how many names a change of the whole batch concerns.
func allOpen(ctx context.Context, a *app.App, b results.Batch) (string, error) {
	c, err := a.DB.Counts(ctx, b)
	return nameCount(c.Open()) + " not settled yet", err
}

func retryCommand(env *Env) *cobra.Command {
	var (
		q             results.Query
		state, reason string
	)
	c := changeCommand(env, &cobra.Command{
		Use:   "retry BATCH",
		Short: "Try names again that failed",
		Long: `Try names again that failed, in whole or in part: all of them, or those that
the flags select. Pictures that are stored are not fetched again. A state that
is no failure (not_found, no_picture, cancelled) is tried again where --state
names it.`,
		Example: `  harvest retry names
  harvest retry names --reason timeout
  harvest retry names --state not_found --yes`,
	}, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		var err error
		if q.State, err = parseState(state); err != nil {
			return "", err
		}
		if q.State == results.Queued || q.State == results.Found || q.State == results.Done {
			return "", usagef("names that are %s cannot be tried again: give failed, partial, not_found, no_picture or cancelled", q.State)
		}
		if q.Reason, err = parseReason(reason); err != nil {
			return "", err
		}
		n, err := retryCount(ctx, a, b, q)
		return nameCount(n), err
	}, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		n, err := a.Enqueuer().Retry(ctx, b, q)
		said := nameCount(n) + " to be tried again"
		if n > 0 && a.Embedded != nil {
			said += "; do it with the same `harvest run` as before"
		}
		return said, err
	})
	f := c.Flags()
	f.StringVar(&q.Name, "name", "", "only this `name`")
	f.StringVar(&state, "state", "", "only names in this `state` (default: failed and partial)")
	f.StringVar(&reason, "reason", "", "only names that failed for this `reason`")
	f.StringVar(&q.Host, "host", "", "only names that failed at this `host`")
	complete(c, "state", stateWords)
	complete(c, "reason", reasonWords)
	return c
}

func retryCount(ctx context.Context, a *app.App, b results.Batch, q results.Query) (int64, error) {
	if q.State != "" {
		return a.DB.Count(ctx, b, q)
	}
	var n int64
	for _, q.State = range []results.State{results.Failed, results.Partial} {
		k, err := a.DB.Count(ctx, b, q)
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}

func pauseCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "pause BATCH",
		Short: "Hold a batch back until it is resumed",
		Long:  `Hold a batch back: nothing more is asked for it until it is resumed. What is in flight ends.`,
	}, allOpen, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		return "paused; let it go on with: " + next(a, "resume", b.Name), a.DB.Pause(ctx, b.Name)
	})
}

func resumeCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "resume BATCH",
		Short: "Let a paused batch go on",
		Long:  `Let a paused batch go on, and give every open name its task again.`,
	}, allOpen, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		n, err := a.Enqueuer().Resume(ctx, b.Name)
		return nameCount(n) + " enqueued", err
	})
}

func cancelCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "cancel BATCH",
		Short: "Give up what a batch has not settled yet",
		Long:  `Give up every name that is not settled. What is done stays. harvest retry --state cancelled takes it back.`,
	}, allOpen, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		n, err := a.DB.Cancel(ctx, b)
		return fmt.Sprintf("%s cancelled; take it back with: %s", nameCount(n), next(a, "retry", b.Name, "--state", "cancelled")), err
	})
}

func deleteCommand(env *Env) *cobra.Command {
	var pictures bool
	c := changeCommand(env, &cobra.Command{
		Use:   "delete BATCH",
		Short: "Forget a batch and its records",
		Long: `Forget a batch, its records and what is not done of it. Its pictures stay on
disk unless --pictures is given, and then only where they lie in a folder of
the batch's own (storage.names: readable).`,
	}, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		if pictures && a.Settings.Storage.Names == configs.NamesContent {
			return "", usagef("pictures stored by content may belong to other batches: delete without --pictures")
		}
		c, err := a.DB.Counts(ctx, b)
		what := nameCount(c.Total())
		if pictures {
			what += " and the folder " + batchFolder(a, b)
		}
		return what, err
	}, func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		c, err := a.DB.Counts(ctx, b)
		if err != nil {
			return "", err
		}
		if err := a.DB.Delete(ctx, b.Name); err != nil {
			return "", err
		}
		said := nameCount(c.Total()) + " forgotten"
		if !pictures {
			return said + "; pictures stay in " + batchFolder(a, b), nil
		}
		root, err := os.OpenRoot(a.Settings.PicturesFolder())
		if err != nil {
			return said, err
		}
		defer root.Close()
		return said + ", pictures deleted", root.RemoveAll(b.Name)
	})
	c.Flags().BoolVar(&pictures, "pictures", false, "delete the batch's pictures too")
	return c
}

func batchFolder(a *app.App, b results.Batch) string {
	return filepath.Clean(app.PicturePath(a.Settings.PicturesFolder(), b.Name))
}
