package health_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen serves on a free port of this machine until the test ends.
func listen(t *testing.T) *health.Server {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "some_metric 1\n") })
	s, err := health.Listen(t.Context(), "127.0.0.1:0", metrics, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask returns status and text of an answer.
func ask(t *testing.T, s *health.Server, method, path, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func well(detail string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return detail, nil }
}

func TestBeforeItIsTold(t *testing.T) {
	t.Parallel()
	s := listen(t)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/": 200, "/other": 404} {
		if got, text := ask(t, s, "GET", path, ""); got != want {
			t.Errorf("%s: got %d %q, want %d", path, got, text, want)
		}
	}
	if got, _ := ask(t, s, "POST", "/metrics", ""); got != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d, want 405", got)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		checks []health.Check
		status int
		want   string
	}{
		"all well": {
			[]health.Check{{"redis", well("")}, {"queues", well("4 served")}},
			200, "redis: ok\nqueues: ok (4 served)\n",
		},
		"one fails": {
			[]health.Check{
				{"redis", func(context.Context) (string, error) { return "", errors.New("refused\x1b[31m\nforged: ok") }},
				{"queues", well("")},
			},
			503, "redis: not ready (refused [31m forged: ok)\nqueues: ok\n",
		},
		"one hangs": {
			[]health.Check{
				{"redis", func(ctx context.Context) (string, error) {
					<-ctx.Done()
					<-t.Context().Done() // it does not heed its context
					return "", nil
				}},
				{"queues", well("4 served")},
			},
			503, "redis: not ready (does not answer)\nqueues: ok (4 served)\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := listen(t)
			s.Watch(nil, test.checks...)
			status, text := ask(t, s, "GET", "/readyz", "")
			if status != test.status || text != test.want {
				t.Errorf("got %d %q, want %d %q", status, text, test.status, test.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s, board := listen(t), new(health.Board)
	s.Watch(board.Err, health.Check{Name: "redis", Do: func(context.Context) (string, error) { return "", errors.New("away") }})
	if status, text := ask(t, s, "GET", "/healthz", ""); status != 200 {
		t.Errorf("Redis is away: got %d %q, want 200", status, text)
	}
	board.Set("crash recovery", errors.New("a message cannot be read"))
	board.Set("loop", errors.New("stands still"))
	status, text := ask(t, s, "GET", "/healthz", "")
	if status != 503 || !strings.Contains(text, "crash recovery: a message cannot be read\nloop: stands still") {
		t.Errorf("two parts are ill: got %d %q, want 503 and both", status, text)
	}
	board.Set("loop", nil)
	board.Set("crash recovery", nil)
	if status, text := ask(t, s, "GET", "/healthz", ""); status != 200 {
		t.Errorf("well again: got %d %q, want 200", status, text)
	}
}

func TestForeignHostNames(t *testing.T) {
	t.Parallel()
	s := listen(t)
	for host, want := range map[string]int{
		"evil.example": 421, "evil.example:9464": 421, "127.0.0.1.evil.example": 421, "10.0.0.1": 421,
		"localhost": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "[::1]:9464": 200, "127.9.9.9:80": 200,
	} {
		if got, _ := ask(t, s, "GET", "/metrics", host); got != want {
			t.Errorf("Host %s: got %d, want %d", host, got, want)
		}
	}
}
