package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

func doctorCommand(env *Env) *cobra.Command {
	var x app.Examination
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [BATCH]",
		Short: "Look whether all is well, and what to do where it is not",
		Long: `Look at all that harvest stands on: the limits of this machine, the picture
store, Redis and what its user may do, the clocks, the batches, the providers
that they need, the workers and the queues. Each is ok, or a warning or a
problem with what to do. With BATCH every record of it is read.

--repair puts right at once what a worker puts right by itself within minutes:
names whose tasks are in no queue, tasks that nobody holds, messages that nobody
can decode (they are moved aside and kept), and what dead workers left behind.
Without it nothing is changed, but that a name whose record cannot be read is
set aside as unreadable, as by any who meets it.

Exit codes: 0 nothing is wrong, warnings included; 1 there is a problem; 2 usage
or configuration; 3 Redis or the picture store is out of reach.`,
		Example: `  harvest doctor
  harvest doctor names --online
  harvest doctor --redis redis://10.0.0.5:6379 --repair`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				x.Batch = args[0]
			}
			return examine(c, env, x, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&x.Repair, "repair", false, "put right what can be")
	f.BoolVar(&x.Online, "online", false, "ask the lookup services too, one request each")
	f.BoolVar(&asJSON, "json", false, "write one JSON object a finding and line")
	env.setting(f, "storage.url", "storage", "", "`place` for pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	env.setting(f, "contact", "contact", "", "`address` that services may write to; some demand one")
	return c
}

func examine(c *cobra.Command, env *Env, x app.Examination, asJSON bool) error {
	ctx := c.Context()
	s, err := env.load(c)
	if err != nil {
		return err
	}
	problems := 0
	var werr error
	tell := func(f app.Finding) {
		if f.Verdict == app.Problem {
			problems++
		}
		werr = errors.Join(werr, show(env, f, asJSON))
	}
	open := func(ctx context.Context) (*app.App, error) {
		// What is wrong is told as a finding.
		return app.Open(ctx, s, app.Read, env.logger(s, slog.LevelError))
	}
	err = app.Examine(ctx, s, x, open, tell)
	switch {
	case werr != nil:
		return werr
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, results.ErrNoBatch):
		a, err := open(ctx)
		if err != nil {
			return err
		}
		defer a.Close(ctx)
		return unknownBatch(ctx, a, x.Batch)
	case err != nil && exitCode(ctx, err) != ExitInternal:
		return &coded{exitCode(ctx, err), nil} // it was told
	case err != nil || problems > 0:
		return &coded{ExitFailed, fmt.Errorf("%s found", plural(int64(problems), "problem"))}
	}
	return nil
}

// show writes a finding: its verdict first, and what to do on a line of its
// own.
func show(env *Env, f app.Finding, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(env.Out).Encode(f)
	}
	_, err := fmt.Fprintf(env.Out, "%-8s  %s: %s\n", f.Verdict, printable(f.Check), printable(f.Detail))
	if err == nil && f.Cure != "" {
		_, err = fmt.Fprintf(env.Out, "          to do: %s\n", printable(f.Cure))
	}
	return err
}
