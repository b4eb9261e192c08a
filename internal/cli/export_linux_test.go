package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/cli"
)

// TestNoBinaryForATerminal: what would garble a terminal is refused before
// anything is opened, with what to type instead.
func TestNoBinaryForATerminal(t *testing.T) {
	t.Parallel()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer terminal.Close()
	for _, format := range []string{"parquet", "webdataset"} {
		var said bytes.Buffer
		code := cli.Run(t.Context(), cli.Harvest, []string{"export", "--format", format, "--to", "-", "--data", t.TempDir()},
			cli.Streams{In: strings.NewReader(""), Out: terminal, Err: &said})
		if code != cli.ExitUsage || !strings.Contains(said.String(), "no text for a terminal") || !strings.Contains(said.String(), "--to F") {
			t.Errorf("%s: exit code %d, %s", format, code, &said)
		}
	}
}
