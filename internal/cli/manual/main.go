// Manual writes the man pages and the completions of all three programs below
// a folder: man/harvest-run.1, completions/harvest.bash and so on. It is what
// `make docs` runs; releases have what it writes.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/picharvest/picharvest/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "give the folder to write to")
		os.Exit(cli.ExitUsage)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(1)
	}
}

// write fills dir. The date of the pages is that of SOURCE_DATE_EPOCH, where
// it is set, so that the same source makes the same pages.
func write(dir string) error {
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil { //nolint:gosec // the folder is the one that the caller wants filled
			return err
		}
	}
	for _, c := range cli.Programs() {
		c.DisableAutoGenTag = true
		header := &doc.GenManHeader{Section: "1", Source: "harvest " + c.Version, Manual: "harvest"}
		if err := doc.GenManTree(c, header, man); err != nil {
			return fmt.Errorf("man pages of %s: %w", c.Name(), err)
		}
		if err := complete(c, completions); err != nil {
			return fmt.Errorf("completions of %s: %w", c.Name(), err)
		}
	}
	return nil
}

// complete writes the completions under the names by which shells find them.
func complete(c *cobra.Command, dir string) error {
	path := func(name string) string { return filepath.Join(dir, fmt.Sprintf(name, c.Name())) }
	if err := c.GenBashCompletionFileV2(path("%s.bash"), true); err != nil {
		return err
	}
	if err := c.GenZshCompletionFile(path("_%s")); err != nil {
		return err
	}
	if err := c.GenFishCompletionFile(path("%s.fish"), true); err != nil {
		return err
	}
	return c.GenPowerShellCompletionFileWithDesc(path("%s.ps1"))
}
