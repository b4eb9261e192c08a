package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/redistest"
)

// within bounds every wait; none takes that long.
const within = 60 * time.Second

// secret stands wherever a secret can.
const secret = "hunter2-secret"

// settings are the defaults, on a Redis and a demo of the test's own.
func settings(t *testing.T, environ ...string) configs.Settings {
	t.Helper()
	dir := t.TempDir()
	loaded, err := configs.Load(configs.Options{SearchPath: []string{}, Environ: append([]string{
		"HARVEST_DATA=" + dir, "HARVEST_WORKER_LISTEN=127.0.0.1:0", "HARVEST_REDIS_DURABILITY=managed",
	}, environ...)})
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Settings
}

// serveDemo serves the demo until the test ends.
func serveDemo(t *testing.T, cfg demo.Config) (address string) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	d, err := demo.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := d.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		d.Close()
	})
	return ln.Addr().String()
}

// watched is a worker that is being watched.
type watched struct {
	t     *testing.T
	app   *app.App
	gate  *gate.Gate
	drain func()
}

// startWatched runs a worker until the test ends or drain is called.
func startWatched(t *testing.T, s configs.Settings) *watched {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	watch, err := app.NewWatch(t.Context(), s, log)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), s, app.Server, log)
	if err != nil {
		t.Fatal(err)
	}
	a.Watch = watch
	catalogue, err := app.Catalogue(s)
	if err != nil {
		t.Fatal(err)
	}
	w, closeWorker, err := a.Worker(t.Context(), catalogue, "", app.Told{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	g := a.Gate()
	t.Cleanup(func() {
		drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		g.Close()
		for _, end := range []func() error{closeWorker, watch.Close, func() error { return a.Close(context.Background()) }} {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
	return &watched{t: t, app: a, gate: g, drain: drain}
}

// get returns the status and the text of an answer.
func (w *watched) get(path string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.app.Watch.Addr()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// until polls for an answer.
func (w *watched) until(path, what string, ok func(status int, text string) bool) string {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for {
		status, text := w.get(path)
		if ok(status, text) {
			return text
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: still not %s; it says %d:\n%s", path, what, status, text)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.FailNow()
		}
	}
}

func (w *watched) enqueue(batch string, lines ...string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), batch+".txt")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	f, err := names.Open(file, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := w.app.Enqueuer().Enqueue(w.t.Context(), enqueuer.Job{Batch: batch, Provider: "people", Label: file, Names: f}); err != nil {
		w.t.Fatal(err)
	}
}

var metricName = regexp.MustCompile(`\b(?:harvest|asynq|process|go)_[a-z0-9_]+`)

// namesIn returns the metrics that an expression asks for. What a histogram
// is asked by has a suffix of its own.
func namesIn(expr string) []string {
	var all []string
	for _, n := range metricName.FindAllString(expr, -1) {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			n = strings.TrimSuffix(n, suffix)
		}
		all = append(all, n)
	}
	return all
}

// asked returns where each metric is asked for: on the dashboard, in the
// alerts and in the documentation.
func asked(t *testing.T) map[string]string {
	t.Helper()
	where := make(map[string]string)
	note := func(place, expr string) {
		for _, n := range namesIn(expr) {
			where[n] = place
		}
	}
	read := func(path ...string) []byte {
		b, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read("deploy", "grafana", "harvest.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			if len(namesIn(target.Expr)) == 0 {
				t.Errorf("panel %q asks for nothing: %s", p.Title, target.Expr)
			}
			note("panel "+p.Title, target.Expr)
		}
	}
	var alerts struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(read("deploy", "prometheus", "alerts.yaml"))))
	dec.KnownFields(true)
	if err := dec.Decode(&alerts); err != nil {
		t.Fatal(err)
	}
	for _, r := range alerts.Groups[0].Rules {
		if r.Alert == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
			t.Errorf("alert %q lacks its name, severity or summary", r.Alert)
		}
		note("alert "+r.Alert, r.Expr)
	}
	for _, line := range regexp.MustCompile("(?m)^\\| `([a-z_]+)`").FindAllSubmatch(read("docs", "operations.md"), -1) {
		note("docs/operations.md", string(line[1]))
	}
	return where
}

// Every metric that the dashboard, the alerts and the documentation name is
// one that a worker shows after it did work.
func TestEveryMetricThatIsNamedExists(t *testing.T) {
	t.Parallel()
	address := serveDemo(t, demo.Config{People: 20, UnknownRate: 0.2})
	w := startWatched(t, settings(t,
		"HARVEST_REDIS_URL="+redistest.Start(t).URL(),
		"HARVEST_PROVIDERS_BASE_URLS=people=http://"+address,
		"HARVEST_PICTURE_HOSTS="+address+"=in_flight:4;per_day:100000",
	))
	ctx := t.Context()
	w.enqueue("names", "Brus Lee", "Jack Chen", "nobody at all")
	if err := w.gate.Hold(ctx, "held.example", time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := w.gate.Report(ctx, gate.Ask{Host: "refuses.example", Breaker: "staff"}, failure.ReasonCredentials, true); err != nil {
		t.Fatal(err)
	}
	text := w.until("/metrics", "two pictures, two hosts in trouble, and nothing open", func(_ int, text string) bool {
		return strings.Contains(text, `harvest_pictures_total{host="`+address+`",reason="",status="stored"} 2`) &&
			strings.Contains(text, `harvest_names_open{batch=""} 0`) && !strings.Contains(text, `harvest_names_open{batch="names"}`) &&
			strings.Contains(text, `harvest_breaker_open{host="refuses.example",provider="staff",reason="credentials"} 1`) &&
			strings.Contains(text, `harvest_host_not_before_timestamp_seconds{host="held.example"}`)
	})
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	where := asked(t)
	if len(where) < 30 {
		t.Errorf("only %d metrics are named anywhere", len(where))
	}
	for name, place := range where {
		if families[name] == nil {
			t.Errorf("%s names %s, which does not exist", place, name)
		}
	}
	for name := range families {
		if strings.HasPrefix(name, "harvest_") || strings.HasPrefix(name, "asynq_") {
			if where[name] == "" {
				t.Errorf("%s stands neither in docs/operations.md nor on the dashboard", name)
			}
		}
	}
	for _, line := range []string{
		`harvest_lookups_total{host="` + address + `",reason="",status="found"} 2`,
		`harvest_lookups_total{host="` + address + `",reason="",status="not_found"} 1`,
		`asynq_tasks_processed_total{queue="lookup-people-express"} 3`,
		`harvest_host_in_flight_limit{host="` + address + `"} 4`,
		`harvest_workers 1`, `harvest_redis_up 1`, `harvest_batches 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// Readiness follows Redis and the drain; health follows neither; and a secret
// is in none of what is served.
func TestReadinessAndSecrets(t *testing.T) {
	t.Parallel()
	server := redistest.StartTCP(t, "--requirepass", secret)
	address := serveDemo(t, demo.Config{})
	w := startWatched(t, settings(t,
		"HARVEST_REDIS_URL=redis://:"+secret+"@"+server.Addr(),
		"HARVEST_PROVIDERS_BASE_URLS=people=http://"+address, "GITHUB_TOKEN="+secret,
	))
	ready := func(status int, _ string) bool { return status == http.StatusOK }
	if text := w.until("/readyz", "ready", ready); !strings.Contains(text, "redis: ok\nstore: ok\nqueues: ok (no queue yet") {
		t.Errorf("before anything was enqueued: got %q", text)
	}
	w.enqueue("names", "Brus Lee")
	w.until("/readyz", "ready with a queue", func(_ int, text string) bool { return strings.Contains(text, "queues: ok (1 served)") })
	w.until("/metrics", "a picture stored", func(_ int, text string) bool { return strings.Contains(text, `status="stored"} 1`) })

	store := w.app.Settings.PicturesFolder()
	if err := os.Rename(store, store+".away"); err != nil {
		t.Fatal(err)
	}
	w.until("/readyz", "unready without the store", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "redis: ok\nstore: not ready (")
	})
	if err := os.Rename(store+".away", store); err != nil {
		t.Fatal(err)
	}

	server.Pause()
	w.until("/readyz", "unready without Redis", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "redis: not ready")
	})
	if status, text := w.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz without Redis: got %d %q, want 200", status, text)
	}
	w.until("/metrics", "those of this process alone", func(status int, text string) bool {
		return status == http.StatusOK && strings.Contains(text, "harvest_redis_up 0") &&
			strings.Contains(text, "harvest_pictures_in_flight 0") && !strings.Contains(text, "asynq_queue_size")
	})
	server.Resume()
	w.until("/readyz", "ready again", ready)

	w.drain()
	w.until("/readyz", "unready while it stops", func(status int, text string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(text, "stopping")
	})
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		if _, text := w.get(path); strings.Contains(text, secret) {
			t.Errorf("%s has a secret:\n%s", path, text)
		}
	}
}

// A second worker on one machine goes on without a port; an address that was
// asked for and is taken is an error that says what to do.
func TestAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	s := settings(t)
	first, err := app.NewWatch(t.Context(), s, log)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	s.Worker.Listen = first.Addr()
	second, err := app.NewWatch(t.Context(), s, log)
	if err == nil || second != nil || !strings.Contains(err.Error(), "worker.listen: "+first.Addr()) {
		t.Errorf("got %v, %v, want an error that names the setting", second, err)
	}
	s.Worker.Listen = "none"
	if none, err := app.NewWatch(t.Context(), s, log); none != nil || err != nil {
		t.Errorf("none: got %v, %v, want nothing", none, err)
	}
}
