package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/failure"
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
		return b, err
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
	return all[len(all)-1], nil
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

func parseState(s string) (results.State, error) {
	return oneOf(results.State(s), results.States(), "state")
}

func parseReason(s string) (failure.Reason, error) {
	return oneOf(failure.Reason(s), failure.Reasons(), "reason")
}

// oneOf returns s if it is empty or known.
func oneOf[T ~string](s T, known []T, what string) (T, error) {
	words := make([]string, len(known))
	for i, k := range known {
		if s == k || s == "" {
			return s, nil
		}
		words[i] = string(k)
	}
	return "", usagef("unknown %s %q%s", what, s, hint(string(s), words))
}

func stateWords() []string {
	var words []string
	for _, s := range results.States() {
		words = append(words, string(s))
	}
	return words
}

func reasonWords() []string {
	var words []string
	for _, r := range failure.Reasons() {
		words = append(words, string(r))
	}
	return words
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
