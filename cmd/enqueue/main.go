// Command enqueue is described by `enqueue --help`.
package main

import (
	"os"

	"github.com/picharvest/picharvest/internal/cli"
)

func main() { os.Exit(cli.Main(cli.Enqueue)) }
