package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// change is a command that changes one batch.
type change struct {
	// flags, if set, checks the flags before anything is opened.
	flags func() error
	// affected says what do will touch; nothing to ask about is "".
	affected func(context.Context, *app.App, results.Batch) (string, error)
	// do does it and says so. Cut off, it says what it got done, and is
	// simply done again.
	do func(context.Context, *app.App, results.Batch) (string, error)
}

// changeCommand makes c a command that does h to a batch: it says how many
// names it will touch, asks, and does it.
func changeCommand(env *Env, c *cobra.Command, h change) *cobra.Command {
	var yes bool
	c.Args = oneBatch
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		if h.flags != nil {
			if err := h.flags(); err != nil {
				return err
			}
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
		what, err := h.affected(ctx, a, b)
		if err != nil {
			return err
		}
		if what != "" {
			if err := confirm(ctx, env, fmt.Sprintf("%s %s: %s", c.Name(), b.Name, what), yes); err != nil {
				return err
			}
		}
		said, err := h.do(ctx, a, b)
		if ctx.Err() != nil && err != nil {
			if said != "" {
				said += " so far; "
			}
			fmt.Fprintf(env.Err, "interrupted; %sthe same command again does the rest\n", said)
			return &coded{ExitInterrupted, nil}
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(env.Err, said)
		return nil
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// oneBatch wants the name of a batch and nothing else.
func oneBatch(c *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usagef("%s: give the name of a batch; harvest status lists them", c.CommandPath())
	case 1:
		return nil
	}
	return usagef("%s takes one batch at a time, not %d", c.CommandPath(), len(args))
}

// confirm asks on the terminal. Without one only --yes will do.
func confirm(ctx context.Context, env *Env, what string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(env.In) {
		return usagef("%s; nobody is there to be asked: give --yes", what)
	}
	fmt.Fprintf(env.Err, "%s. Go on? [y/N] ", what)
	type answer struct {
		text string
		err  error
	}
	// A read of a terminal cannot be interrupted.
	ch := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(env.In).ReadString('\n')
		ch <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(env.Err)
		return ctx.Err()
	case said := <-ch:
		if said.err != nil && said.text == "" {
			return usagef("no answer: nothing was changed")
		}
		if a := strings.ToLower(strings.TrimSpace(said.text)); a != "y" && a != "yes" {
			return usagef("nothing was changed")
		}
		return nil
	}
}

// allOpen says how many names a change of the whole batch concerns.
func allOpen(ctx context.Context, a *app.App, b results.Batch) (string, error) {
	c, err := a.DB.Counts(ctx, b)
	return nameCount(c.Open()) + " not settled yet", err
}

func pauseCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "pause BATCH",
		Short: "Hold a batch back until it is resumed",
		Long: `Hold a batch back: nothing more is asked for it until it is resumed. What is in
flight ends within 2 s, is counted as no try, and is asked again then.`,
	}, change{affected: allOpen, do: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		return "paused; let it go on with: " + next(a, "resume", b.Name), a.DB.Pause(ctx, b.Name)
	}})
}

func resumeCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "resume BATCH",
		Short: "Let a paused batch go on",
		Long:  `Let a paused batch go on, and give every open name its task again.`,
	}, change{affected: allOpen, do: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		again, done := reopening(env, a)
		defer done()
		n, err := again.Resume(ctx, b.Name)
		switch {
		case err != nil:
			return "", err
		case n == 0:
			return "nothing is left to do", nil
		}
		return nameCount(n) + " enqueued" + whoDoes(ctx, a, b.Name), nil
	}})
}

func cancelCommand(env *Env) *cobra.Command {
	return changeCommand(env, &cobra.Command{
		Use:   "cancel BATCH",
		Short: "Give up what a batch has not settled yet",
		Long: `Give up every name that is not settled. What is in flight ends within 2 s, and
what is done stays. harvest retry --state cancelled takes it back.`,
	}, change{affected: allOpen, do: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
		c, err := a.DB.Counts(ctx, b)
		if err != nil {
			return "", err
		}
		if b.Status == results.Running && b.Finished(c) {
			return "batch " + b.Name + " is finished: nothing is left to give up", nil
		}
		n, err := a.DB.Cancel(ctx, b)
		if err != nil {
			return nameCount(n) + " cancelled", err
		}
		return fmt.Sprintf("%s cancelled; take it back with: %s", nameCount(n), next(a, "retry", b.Name, "--state", "cancelled")), nil
	}})
}

func deleteCommand(env *Env) *cobra.Command {
	var pictures bool
	c := changeCommand(env, &cobra.Command{
		Use:   "delete BATCH",
		Short: "Forget a batch and its records",
		Long: `Forget a batch, its records and what is not done of it. Its pictures stay where
they are unless --pictures is given; then they go with their thumbnails, but
for those by content (storage.names: content) that other names have too.`,
	}, change{
		affected: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
			c, err := a.DB.Counts(ctx, b)
			what := nameCount(c.Total())
			if !pictures || err != nil {
				return what, err
			}
			// Refused before anybody is asked.
			_, closeStore, err := a.Remover(ctx, b)
			if err != nil {
				return what, err
			}
			return what + " with their pictures in " + pictureFolder(a, b), closeStore()
		},
		do: func(ctx context.Context, a *app.App, b results.Batch) (string, error) {
			if pictures {
				report, err := a.DeletePictures(ctx, b)
				return removedWords(report), err
			}
			c, err := a.DB.Counts(ctx, b)
			if err != nil {
				return "", err
			}
			place := a.PicturesPlace(ctx, b)
			if err := a.DB.Delete(ctx, b.Name); err != nil {
				return "", err
			}
			said := nameCount(c.Total()) + " forgotten"
			switch {
			case b.Store == "": // nothing was ever stored
			case place == "":
				said += "; pictures stay where they are, which is not " + a.Settings.PicturesFolder()
			default:
				said += "; pictures stay in " + pictureFolder(a, b)
			}
			return said, nil
		},
	})
	c.Flags().BoolVar(&pictures, "pictures", false, "delete the batch's pictures too")
	env.setting(c.Flags(), "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	return c
}

// pictureFolder is where the batch's pictures lie, with those of others where
// they are named by content.
func pictureFolder(a *app.App, b results.Batch) string {
	folder := a.Settings.PicturesFolder()
	if b.Names != storage.NamesContent {
		folder = app.PicturePath(folder, storage.Folder(b.Name))
	}
	return folder
}
