package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/cli"
)

// serveWithin bounds every wait of these tests.
const serveWithin = 30 * time.Second

// command is a running command.
type command struct {
	t      *testing.T
	out    bytes.Buffer
	err    *watched
	cancel context.CancelFunc
	code   chan int
}

func start(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &command{t: t, err: &watched{grew: make(chan struct{}, 1)}, cancel: cancel, code: make(chan int, 1)}
	go func() {
		c.code <- cli.Run(ctx, cli.Harvest, args, cli.Streams{In: strings.NewReader(""), Out: &c.out, Err: c.err})
	}()
	return c
}

// end stops the command and returns its exit code.
func (c *command) end() int {
	c.t.Helper()
	c.cancel()
	select {
	case code := <-c.code:
		return code
	case <-time.After(serveWithin):
		c.t.Fatalf("the command did not end:\n%s", c.err)
	}
	return 0
}

// says waits for words on stderr and returns what they hold.
func (c *command) says(words string) string {
	c.t.Helper()
	m := c.err.wait(c.t, regexp.MustCompile(words))
	return m[len(m)-1]
}

// watched is a stderr that can be waited for.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	grew chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.grew <- struct{}{}:
	default:
	}
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *watched) wait(t *testing.T, words *regexp.Regexp) []string {
	t.Helper()
	deadline := time.After(serveWithin)
	for {
		if m := words.FindStringSubmatch(w.String()); m != nil {
			return m
		}
		select {
		case <-w.grew:
		case <-deadline:
			t.Fatalf("stderr never said %s:\n%s", words, w)
		}
	}
}

func request(t *testing.T, method, url string, status int, v any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("%s %s: got %s, want %d: %s", method, url, res.Status, status, data)
	}
	if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatalf("%s %s: %v: %s", method, url, err, data)
		}
	}
}

// A run shows its pictures while it runs and after, does what is retried
// there, and is itself a lookup service for another run.
func TestRunServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := filepath.Join(dir, "names.txt")
	if err := os.WriteFile(names, []byte("Brus Lee\nNobody Atall\nJack Chen\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := start(t, "run", "--file", names, "--provider", "people", "--serve", "--web-listen", "127.0.0.1:0", "--data", filepath.Join(dir, "first"))
	url := first.says(`is shown at (http://127\.0\.0\.1:\d+)/\n`)
	first.says(`the pages stay at ` + url + `/ until Ctrl-C`)
	var b struct {
		State  string
		States map[string]int
	}
	request(t, http.MethodGet, url+"/api/v1/batches/names", 200, &b)
	if b.State != "finished" || b.States["done"] != 2 || b.States["not_found"] != 1 {
		t.Errorf("the batch by the API: got %+v", b)
	}
	request(t, http.MethodPost, url+"/api/v1/batches/names/retry?state=not_found", 200, nil)
	for b.State = ""; b.State != "finished" || b.States["not_found"] != 1; {
		if t.Context().Err() != nil {
			t.Fatal("what was retried there is never tried")
		}
		request(t, http.MethodGet, url+"/api/v1/batches/names", 200, &b)
	}

	config := filepath.Join(dir, "second.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "providers: {base_urls: {people: %s/people}}\n", url), 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, "run", "--config", config, "--file", names, "--provider", "people", "--data", filepath.Join(dir, "second"))
	select {
	case code := <-second.code:
		if code != cli.ExitOK {
			t.Errorf("a harvest of a harvest: got exit code %d: %s", code, second.err)
		}
	case <-time.After(serveWithin):
		t.Fatalf("a harvest of a harvest does not end: %s", second.err)
	}
	for _, file := range []string{"Brus Lee.png", "Jack Chen.gif"} {
		want, err := os.ReadFile(filepath.Join(dir, "first", "pictures", "names", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "second", "pictures", "names", file))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s of the second harvest: got %d bytes, %v, want the %d of the first", file, len(got), err, len(want))
		}
	}
	if code := first.end(); code != cli.ExitOK {
		t.Errorf("Ctrl-C afterwards: got exit code %d: %s", code, first.err)
	}
}

// The exit code of a run that stayed is that of its names.
func TestRunServeKeepsTheExitCode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := filepath.Join(dir, "names.txt")
	if err := os.WriteFile(names, []byte("Brus Lee\nNobody Atall\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, "run", "--file", names, "--provider", "people", "--fail-on", "not_found", "--serve", "--web-listen", "127.0.0.1:0", "--data", dir)
	c.says(`the pages stay`)
	if code := c.end(); code != cli.ExitFailed {
		t.Errorf("got exit code %d, want %d: %s", code, cli.ExitFailed, c.err)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	c := start(t, "serve", "--listen", "0.0.0.0:0", "--data", t.TempDir())
	url := c.says(`sign in with (http://\S+\?token=\S+)\n`)
	if strings.Count(c.err.String(), "token=") != 1 {
		t.Errorf("the token is told more than once:\n%s", c.err)
	}
	plain, _, _ := strings.Cut(url, "?")
	request(t, http.MethodGet, plain+"api/v1/batches", 401, nil)
	if code := c.end(); code != cli.ExitOK {
		t.Errorf("Ctrl-C: got exit code %d: %s", code, c.err)
	}
}
