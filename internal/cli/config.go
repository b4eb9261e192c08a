package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
)

func configCommand(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show the settings, or write a file to start from",
		Long: `Settings come from flags, then HARVEST_* variables, then the first file found of
--config, ./harvest.yaml, harvest/config.yaml in your configuration folder and
/etc/harvest/config.yaml, then the defaults.`,
	}
	c.AddCommand(configShow(env), configInit(env))
	onlyCommands(c)
	return c
}

func configShow(env *Env) *cobra.Command {
	var origin bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the settings in force, secrets redacted",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			loaded, err := env.loaded(c)
			if err != nil {
				return err
			}
			for _, w := range loaded.Warnings {
				fmt.Fprintf(env.Err, "warning: %s\n", w)
			}
			return loaded.Show(env.Out, origin)
		},
	}
	c.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	return c
}

func configInit(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write the commented defaults to a file",
		Long: `Write the commented defaults to FILE, ./harvest.yaml by default. A file that is
there is not touched.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := "harvest.yaml"
			if len(args) > 0 {
				file = args[0]
			}
			if err := configs.Init(file); err != nil {
				return usage(err)
			}
			fmt.Fprintf(env.Err, "wrote %s\n", file)
			return nil
		},
	}
}
