package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
)

// completeWithin bounds what a shell waits for when it completes a word.
const completeWithin = 2 * time.Second

// completeNames lets shells complete the names of batches and of providers
// wherever c and what is below it take them. Where these cannot be asked,
// nothing is offered.
func completeNames(env *Env, c *cobra.Command) {
	batches := func(c *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		return batchNames(env, c, given), cobra.ShellCompDirectiveNoFileComp
	}
	several := strings.Contains(c.Use, "BATCH...")
	if strings.Contains(c.Use, "BATCH") {
		c.ValidArgsFunction = func(c *cobra.Command, given []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 && !several {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return batches(c, given, word)
		}
	}
	if c.Flags().Lookup("provider") != nil {
		complete(c, "provider", func() []string { return providerNames(env, c) })
	}
	if c.Flags().Lookup("batch") != nil {
		complete(c, "batch", func() []string { return batchNames(env, c, nil) })
	}
	for _, sub := range c.Commands() {
		completeNames(env, sub)
	}
}

// batchNames returns the batches that c would see, but for those given.
func batchNames(env *Env, c *cobra.Command, given []string) []string {
	ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
	defer cancel()
	a, err := env.open(ctx, c, app.Read)
	if err != nil {
		return nil
	}
	defer a.Close(ctx)
	all, err := a.DB.Batches(ctx)
	if err != nil {
		return nil
	}
	var known []string
	for _, b := range all {
		if !slices.Contains(given, b.Name) {
			known = append(known, b.Name)
		}
	}
	return known
}

func providerNames(env *Env, c *cobra.Command) []string {
	s, err := env.load(c)
	if err != nil {
		return nil
	}
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return nil
	}
	return catalogue.Names()
}
