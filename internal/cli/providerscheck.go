package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
)

func providersCheck(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a definition",
		Long: `Read the definition of a lookup service, and say everything that is wrong with
it, each with its line and what to write: keys, paths and URLs, recorded answers
from which something else is taken than they are to mean, and a contact or
secrets that are not set. Nothing is sent.`,
		Example: `  harvest providers check ~/.config/harvest/providers/staff.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := env.load(c)
			if err != nil {
				return err
			}
			return checkDefinition(env, s, args[0])
		},
	}
	env.setting(c.Flags(), "contact", "contact", "", "`address` that services may write to; some demand one")
	return c
}

func checkDefinition(env *Env, s configs.Settings, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return usage(err)
	}
	e, err := lookup.NewEntry(file, data, os.DirFS(filepath.Dir(file)))
	if err != nil {
		return usage(err)
	}
	err = errors.Join(e.CheckSamples(), e.CheckNeeds(s.Contact, lookup.SystemSecrets))
	if err == nil {
		// What is left are the certificates.
		if _, err = app.LookupClient(s, e.Definition); err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}
	if err != nil {
		return usage(err)
	}
	if len(e.Samples) == 0 && e.Asks() {
		fmt.Fprintf(env.Err, "%s: its paths could not be tried: record an answer (curl -si URL > samples/FILE.http) and name it under samples\n", file)
	}
	for _, unseen := range e.Unseen() {
		fmt.Fprintln(env.Err, unseen)
	}
	fmt.Fprintf(env.Out, "%s is well: provider %s, recorded answers: %d\n", file, e.Name, len(e.Samples))
	return nil
}
