// Command worker is described by `worker --help`.
package main

import (
	"os"

	"github.com/picharvest/picharvest/internal/cli"
)

func main() { os.Exit(cli.Main(cli.Worker)) }
