package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

// checkKeysEvery is how often who waits looks whether something that is not
// ours keeps the batch from its end.
const checkKeysEvery = 5 * time.Second

// wait looks at the batch until it is finished, and shows how far it is. A
// batch that comes to no end by itself is an error that says what to do. limit
// may be nil; an error of it ends the wait.
func wait(ctx context.Context, a *app.App, batch string, p progress, every time.Duration, limit func(results.Batch, results.Counts) error) (results.Batch, results.Counts, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	paused, seen := false, false
	checked := time.Now()
	for {
		b, err := a.DB.Batch(ctx, batch)
		if seen && errors.Is(err, results.ErrNoBatch) {
			return b, nil, &coded{ExitFailed, fmt.Errorf("batch %s was deleted", batch)}
		}
		if err != nil {
			return b, nil, err
		}
		seen = true
		c, err := a.DB.Counts(ctx, b)
		if err != nil {
			return b, nil, err
		}
		p.counts(c, b.Sealed)
		if time.Since(checked) > checkKeysEvery {
			if err := a.DB.CheckKeys(ctx, b); err != nil {
				return b, c, err
			}
			checked = time.Now()
		}
		switch {
		case b.Status == results.Stopped:
			return b, c, &coded{ExitFailed, fmt.Errorf("batch %s was cancelled", batch)}
		case b.Finished(c):
			return b, c, nil
		case b.Status == results.Deleting:
			return b, c, &coded{ExitFailed, fmt.Errorf("batch %s was deleted", batch)}
		case len(b.Interrupted) > 0 && b.Enqueuing == 0 && c.Open() == 0:
			return b, c, &coded{ExitFailed, fmt.Errorf("batch %s is interrupted: not all names of %s were enqueued; enqueue that file again to complete it",
				batch, strings.Join(b.Interrupted, ", "))}
		case b.Status == results.Paused && !paused:
			paused = true
			a.Logger.Warn("the batch is paused; let it go on with: "+next(a, "resume", batch), "batch", batch)
		}
		if limit != nil {
			if err := limit(b, c); err != nil {
				return b, c, err
			}
		}
		select {
		case <-ctx.Done():
			return b, c, ctx.Err()
		case <-tick.C:
		}
	}
}

// maxReasons is how many reasons a summary names.
const maxReasons = 5

// summary says how a batch stands, why names failed, and what to type next.
func summary(ctx context.Context, w io.Writer, a *app.App, b results.Batch, c results.Counts, extra string) error {
	fmt.Fprintf(w, "%s: %s%s\n", b.Name, states(c), extra)
	if failed := c[results.Failed] + c[results.Partial]; failed > 0 {
		reasons, err := a.DB.Reasons(ctx, b)
		if err != nil {
			return err
		}
		var parts []string
		for i, r := range reasons {
			if i == maxReasons {
				parts = append(parts, "…")
				break
			}
			parts = append(parts, fmt.Sprintf("%s %s", count(r.Names), r.Reason))
		}
		fmt.Fprintf(w, "why: %s\n", strings.Join(parts, ", "))
		look, again := next(a, "results", b.Name, "--state", "failed"), next(a, "retry", b.Name)
		fmt.Fprintf(w, "next: %s   (which and why)\n", look)
		fmt.Fprintf(w, "      %-*s   (try them again)\n", len(look), again)
	}
	return nil
}

// tellRefresh says what came of the batch's refresh, if this command asked
// names again.
func (b *batchFlags) tellRefresh(ctx context.Context, w io.Writer, a *app.App, batch results.Batch) error {
	if !b.refresh && b.maxAge == "" {
		return nil
	}
	r, err := a.DB.Refreshed(ctx, batch)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, refreshWords(r))
	if r.Failed > 0 {
		fmt.Fprintf(w, "next: %s   (what could not be refreshed, and why)\n", next(a, "results", batch.Name, "--state", "stale"))
	}
	return nil
}

// refreshWords says what came of a refresh.
func refreshWords(r results.Refreshed) string {
	return fmt.Sprintf("refresh: %s unchanged, %s changed, %s gone, %s failed",
		count(r.Unchanged), count(r.Changed), count(r.Gone), count(r.Failed))
}

// standingOf reads a batch and its counts.
func standingOf(ctx context.Context, a *app.App, batch string) (results.Batch, results.Counts, error) {
	b, err := a.DB.Batch(ctx, batch)
	if err != nil {
		return b, nil, err
	}
	c, err := a.DB.Counts(ctx, b)
	return b, c, err
}

// look shows once how far the batch is, if it is there.
func look(ctx context.Context, a *app.App, batch string, p progress) error {
	_, c, err := standingOf(ctx, a, batch)
	if err != nil {
		return ignoreNoBatch(err)
	}
	p.counts(c, false)
	return nil
}

// ignoreNoBatch drops the error of a batch that is not there yet.
func ignoreNoBatch(err error) error {
	if errors.Is(err, results.ErrNoBatch) {
		return nil
	}
	return err
}
