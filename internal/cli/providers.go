package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
)

func providersCommand(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "providers",
		Short: "List, show, test and check lookup services",
		Long: `A provider is the definition of a lookup service: how to ask it about a name,
and where in its answer the pictures are. Your own stand as YAML files in the
folder harvest/providers of your configuration, in the folder providers.folder,
or in the configuration file.`,
	}
	c.AddCommand(providersList(env), providersShow(env), providersTest(env), providersCheck(env))
	return c
}

func providersList(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the providers",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := env.load(c)
			if err != nil {
				return err
			}
			catalogue, err := app.Catalogue(s)
			if err != nil {
				return usage(err)
			}
			rows := [][]string{{"NAME", "WHAT", "LIMITS", "NEEDS", "FROM"}}
			for _, name := range catalogue.Names() {
				e, err := catalogue.Get(name)
				if err != nil {
					return err
				}
				rows = append(rows, []string{
					e.Name, e.Description, limitWords(e.LookupLimits(lookup.SystemSecrets)), needs(e.Definition), origin(e),
				})
			}
			return table(env.Out, rows)
		},
	}
}

func needs(d *lookup.Definition) string {
	var words []string
	if d.ContactRequired {
		words = append(words, "contact")
	}
	for _, s := range d.Secrets {
		if !s.Optional {
			words = append(words, s.Name)
		}
	}
	return orDash(strings.Join(words, ", "))
}

func origin(e *lookup.Entry) string {
	switch {
	case e.BuiltIn:
		return "built in"
	case e.Replaces:
		return e.File + " (replaces the built-in one)"
	}
	return e.File
}

func limitWords(l lookup.Limits) string {
	var words []string
	for _, w := range []struct {
		n    int
		unit string
	}{{l.PerSecond, "/s"}, {l.PerMinute, "/min"}, {l.PerHour, "/h"}, {l.PerDay, "/day"}, {l.InFlight, " at once"}} {
		if w.n > 0 {
			words = append(words, count(int64(w.n))+w.unit)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func providersShow(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Print a definition, and the params that it takes",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			_, e, err := providerEntry(env, c, args[0])
			if err != nil {
				return err
			}
			for _, p := range e.Params {
				fmt.Fprintf(env.Err, "--param %s\n", printable(p.String()))
			}
			_, err = env.Out.Write(e.YAML())
			return err
		},
	}
}

func providersTest(env *Env) *cobra.Command {
	var offline bool
	var name string
	var most maxPictures
	var params paramFlag
	c := &cobra.Command{
		Use:   "test PROVIDER [--name NAME] [--max-pictures N] [--offline]",
		Short: "Ask a provider and show what is taken from its answer",
		Long: `Ask a provider about one name, and show the request, the status, and what was
taken from the answer. With --offline the answers recorded beside the definition
are used and nothing is sent: all of them, or that about --name.`,
		Example: `  harvest providers test wikipedia --offline
  harvest providers test wikipedia --name "Ada Lovelace" --contact you@example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, e, err := providerEntry(env, c, args[0])
			if err != nil {
				return err
			}
			def, err := app.Definition(s.settings, s.catalogue, e.Name)
			if err != nil {
				return usage(err)
			}
			values, err := params.values()
			if err != nil {
				return err
			}
			if def, err = def.WithParams(values); err != nil {
				return usage(err)
			}
			if !def.Asks() {
				return usagef("provider %s asks nobody; see what it makes of a file with: harvest enqueue --provider %s --file FILE --dry-run", e.Name, e.Name)
			}
			if columns := def.Columns(); len(columns) > 0 {
				return usagef("provider %s asks with the column %q as well; see what it asks with: harvest enqueue --provider %s --file FILE --dry-run",
					e.Name, columns[0], e.Name)
			}
			if offline {
				return testOffline(env, e, def, name)
			}
			if name == "" && len(e.Samples) > 0 {
				name = e.Samples[0].Name
			}
			if name == "" {
				return usagef("which name shall be asked? give --name")
			}
			client, err := app.LookupClient(s.settings, def)
			if err != nil {
				return usage(err)
			}
			if err := showRequest(env, def, name); err != nil {
				return err
			}
			answer, _, err := client.Revalidate(c.Context(), lookup.Query{Name: name, MaxPictures: int(most)}, "")
			if err != nil {
				return &coded{ExitFailed, fmt.Errorf("lookup of %q: %w", name, err)}
			}
			showAnswer(env, answer)
			return nil
		},
	}
	c.Flags().StringArrayVar((*[]string)(&params), "param", nil, "`name=value` for the provider, such as lang=de; may be given again")
	c.Flags().BoolVar(&offline, "offline", false, "use the recorded answers")
	c.Flags().Var(&most, "max-pictures", "at most `number` pictures, over as many pages as that takes (default: what the provider says)")
	c.Flags().StringVar(&name, "name", "", "the `name` to ask about (default: that of the first sample; all of them with --offline)")
	env.setting(c.Flags(), "contact", "contact", "", "`address` that services may write to; some demand one")
	return c
}

// testOffline shows what is taken from the recorded answers, or from that about
// one name.
func testOffline(env *Env, e *lookup.Entry, def *lookup.Definition, name string) error {
	if len(e.Samples) == 0 {
		return usagef("provider %s has no recorded answers; test it without --offline", e.Name)
	}
	var samples []lookup.Sample
	var recorded []string
	for _, sample := range e.Samples {
		recorded = append(recorded, sample.Name)
		if name == "" || name == sample.Name {
			samples = append(samples, sample)
		}
	}
	if len(samples) == 0 {
		return usagef("provider %s has no recorded answer about %q%s", e.Name, name, hint(name, recorded))
	}
	for i, sample := range samples {
		reply, err := e.Sample(sample)
		if errors.Is(err, fs.ErrNotExist) {
			return usage(err)
		}
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(env.Out)
		}
		if err := showRequest(env, def, sample.Name); err != nil {
			return err
		}
		fmt.Fprintf(env.Out, "status       %d (recorded in %s)\n", reply.Status, sample.File)
		answer, err := def.Extract(sample.Name, reply)
		if err != nil {
			return &coded{ExitFailed, err}
		}
		showAnswer(env, answer)
		if answer.Verdict != sample.Verdict {
			return &coded{ExitFailed, fmt.Errorf("the recorded answer for %q was to mean %s", sample.Name, sample.Verdict)}
		}
	}
	return nil
}

func showRequest(env *Env, def *lookup.Definition, name string) error {
	req, err := def.Example(lookup.Query{Name: name}, lookup.SystemSecrets)
	if err != nil {
		return usage(err)
	}
	fmt.Fprintf(env.Out, "request      GET %s\n", printable(req.URL))
	for _, h := range headerLines(req) {
		fmt.Fprintf(env.Out, "             %s\n", printable(h))
	}
	return nil
}

// headerLines returns the headers of a request in order.
func headerLines(r fetch.Request) []string {
	var lines []string
	for _, h := range []map[string][]string{r.Header, r.Credentials} {
		for key, values := range h {
			for _, v := range values {
				lines = append(lines, key+": "+v)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func showAnswer(env *Env, a lookup.Answer) {
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(env.Out, "%-12s %s\n", what, printable(value))
		}
	}
	if a.Then != "" {
		line("then", "GET "+a.Then)
	}
	for _, next := range a.Next {
		line("next", "GET "+next)
	}
	line("verdict", a.Verdict.String())
	for i, p := range a.Pictures {
		what := fmt.Sprintf("picture %d", i+1)
		for _, candidate := range p.Candidates {
			line(what, candidate)
			what = "  or"
		}
	}
	for _, attr := range a.Attributes {
		line(attr.Name, attr.Value)
	}
	line("licence", a.Licence)
	line("attribution", a.Attribution)
	line("source", a.Source)
}

// settingsAndCatalogue is what a provider's definition comes from.
type settingsAndCatalogue struct {
	settings  configs.Settings
	catalogue *lookup.Catalogue
}

func providerEntry(env *Env, c *cobra.Command, name string) (settingsAndCatalogue, *lookup.Entry, error) {
	s, err := env.load(c)
	if err != nil {
		return settingsAndCatalogue{}, nil, err
	}
	catalogue, err := app.Catalogue(s)
	if err != nil {
		return settingsAndCatalogue{}, nil, usage(err)
	}
	e, err := catalogue.Get(name)
	if err != nil {
		return settingsAndCatalogue{}, nil, usage(err)
	}
	return settingsAndCatalogue{s, catalogue}, e, nil
}
