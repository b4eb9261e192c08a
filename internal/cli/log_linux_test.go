package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/picharvest/picharvest/internal/cli"
)

// A service logs text on a terminal and JSON elsewhere, unless the settings say
// which.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	const text, asJSON = "text", "json"
	for _, tt := range []struct {
		format   string
		terminal bool
		want     string
	}{
		{"auto", true, text}, {"auto", false, asJSON}, {"json", true, asJSON}, {"text", false, text},
	} {
		t.Run(fmt.Sprintf("%s, terminal %v", tt.format, tt.terminal), func(t *testing.T) {
			t.Parallel()
			from, to := pipe(t)
			if tt.terminal {
				from, to = terminal(t)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				// Nobody is there: it says so and waits.
				cli.Run(ctx, cli.Harvest, []string{"worker", "--redis", "redis://127.0.0.1:1", "--listen", "none", "--log-format", tt.format,
					"--data", t.TempDir()}, cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: to})
			}()
			line, err := bufio.NewReader(from).ReadString('\n')
			cancel()
			<-ended
			if err != nil {
				t.Fatal(err)
			}
			got := text
			if json.Valid([]byte(line)) {
				got = asJSON
			}
			if got != tt.want || !strings.Contains(line, "waiting for Redis") {
				t.Errorf("got %q, want %s that says what it waits for", line, tt.want)
			}
		})
	}
}

func pipe(t *testing.T) (from, to *os.File) {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close(); to.Close() })
	return from, to
}

// terminal returns what reads what is written to a terminal, and the terminal.
func terminal(t *testing.T) (from, to *os.File) {
	t.Helper()
	from, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { from.Close() })
	number, err := unix.IoctlGetInt(int(from.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(from.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		to, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { to.Close() })
	return from, to
}
