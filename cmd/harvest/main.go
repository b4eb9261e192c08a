// Command harvest is described by `harvest --help`.
package main

import (
	"os"

	"github.com/picharvest/picharvest/internal/cli"
)

func main() { os.Exit(cli.Main(cli.Harvest)) }
