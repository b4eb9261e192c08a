package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/nearest"
	"github.com/picharvest/picharvest/internal/results"
)

// errNoBatches says that there is nothing to show; it names the place looked
// at.
var errNoBatches = errors.New("no batches")

// chooseBatch returns the batch that args name, or the newest.
func chooseBatch(ctx context.Context, a *app.App, args []string) (results.Batch, error) {
	if len(args) > 0 {
		b, err := a.DB.Batch(ctx, args[0])
		if errors.Is(err, results.ErrNoBatch) {
			return b, unknownBatch(ctx, a, args[0])
		}
		if err != nil {
			return b, err
		}
		return b, warnOfKeys(ctx, a, b)
	}
	all, err := a.DB.Batches(ctx)
	if err != nil {
		return results.Batch{}, err
	}
	if len(all) == 0 {
		words := []string{"enqueue", "--file", "names.txt"}
		if a.Embedded != nil {
			words[0] = "run"
		}
		return results.Batch{}, fmt.Errorf("%w in %s; make one: %s", errNoBatches, a.Place, next(a, words...))
	}
	b := all[len(all)-1]
	if b.Broken != nil {
		return b, b.Broken
	}
	return b, warnOfKeys(ctx, a, b)
}

// warnOfKeys says that some of what follows may fail, and why.
func warnOfKeys(ctx context.Context, a *app.App, b results.Batch) error {
	err := a.DB.CheckKeys(ctx, b)
	if _, broken := errors.AsType[*results.KeyError](err); broken {
		for line := range strings.Lines(err.Error()) {
			a.Logger.Warn(strings.TrimSpace(line), "batch", b.Name)
		}
		return nil
	}
	return err
}

// chooseBatches returns the batches that args name, or all of them, or the
// newest.
func chooseBatches(ctx context.Context, a *app.App, args []string, all bool) ([]results.Batch, error) {
	if len(args) == 0 && all {
		batches, err := a.DB.Batches(ctx)
		if err != nil || len(batches) > 0 {
			return batches, err
		}
	}
	if len(args) == 0 {
		b, err := chooseBatch(ctx, a, nil)
		return []results.Batch{b}, err
	}
	var batches []results.Batch
	for i := range args {
		b, err := chooseBatch(ctx, a, args[i:i+1])
		if err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
	return batches, nil
}

// isKeyError reports whether err is about keys of one batch only.
func isKeyError(err error) bool {
	_, ok := errors.AsType[*results.KeyError](err)
	return ok
}

// unknownBatch offers the nearest names there are.
func unknownBatch(ctx context.Context, a *app.App, name string) error {
	all, err := a.DB.Batches(ctx)
	if err != nil {
		return err
	}
	known := make([]string, len(all))
	for i, b := range all {
		known[i] = b.Name
	}
	return usagef("no batch %q in %s%s", name, a.Place, hint(name, known))
}

// maxHosts bounds the hosts among which a mistyped one is looked for.
const maxHosts = 1000

// checkHost offers the nearest of the hosts at which names of the batches
// failed, if none failed at host.
func checkHost(ctx context.Context, a *app.App, host string, batches ...results.Batch) error {
	if host == "" {
		return nil
	}
	var known []string
	for _, b := range batches {
		n, err := a.DB.Count(ctx, b, results.Query{Host: host})
		if err != nil || n > 0 {
			return err
		}
		hosts, err := a.DB.FailedHosts(ctx, b, maxHosts)
		if err != nil {
			return err
		}
		known = append(known, hosts...)
	}
	slices.Sort(known)
	return usagef("no name of %s failed at host %q%s", batchWords(batches), host, hint(host, slices.Compact(known)))
}

// batchWords names one batch, or says how many there are.
func batchWords(batches []results.Batch) string {
	if len(batches) == 1 {
		return "batch " + batches[0].Name
	}
	return fmt.Sprintf("%d batches", len(batches))
}

const (
	// maxNames bounds the names among which a mistyped one is looked for, over
	// all batches.
	maxNames = 5000
	// maxNear is how many of them are offered.
	maxNear = 5
)

// nameHint offers the names of the batches that are most like name, none if it
// is one of them.
func nameHint(ctx context.Context, a *app.App, name string, batches ...results.Batch) (string, error) {
	var known []string
	for _, b := range batches {
		for r, err := range a.DB.Each(ctx, b, results.Query{}) {
			if isKeyError(err) || len(known) == maxNames {
				break
			}
			if err != nil && !results.IsRecordError(err) {
				return "", err
			}
			if !r.Forgotten {
				known = append(known, r.Name)
			}
		}
	}
	slices.Sort(known)
	like := nearest.Words(name, slices.Compact(known))
	if len(like) == 0 || like[0] == name {
		return "", nil
	}
	for i := range like {
		like[i] = strconv.Quote(like[i])
	}
	return "; did you mean " + strings.Join(like[:min(len(like), maxNear)], " or ") + "?", nil
}

// hint offers the known words that are most like word, or all of them where
// there are few.
func hint(word string, known []string) string {
	if like := nearest.Words(word, known); len(like) > 0 {
		return "; did you mean " + strings.Join(like, " or ") + "?"
	}
	switch {
	case len(known) == 0:
		return ""
	case len(known) <= 30:
		return "; there are " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("; there are %d others", len(known))
}

// complete completes a flag's value by the words.
func complete(c *cobra.Command, flag string, words func() []string) {
	// The only error is a flag that does not exist.
	if err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words(), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err)
	}
}
