package worker_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/png"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// within bounds every wait of these tests; none of them takes that long.
const within = 60 * time.Second

// lookupFunc is a lookup service in one function.
type lookupFunc func(ctx context.Context, name string) (lookup.Answer, error)

func (f lookupFunc) Revalidate(ctx context.Context, q lookup.Query, _ string) (lookup.Answer, bool, error) {
	a, err := f(ctx, q.Name)
	return a, false, err
}

func (lookupFunc) PictureRequest(url string) (fetch.Request, error) {
	return fetch.Request{URL: url}, nil
}

// found is the answer with one picture for each list of candidates.
func found(pictures ...[]string) lookup.Answer {
	a := lookup.Answer{Verdict: lookup.Found, Attributes: []lookup.Attribute{{Name: "age", Value: "30"}}}
	for _, candidates := range pictures {
		a.Pictures = append(a.Pictures, lookup.Picture{Candidates: candidates})
	}
	return a
}

// rig is one Redis, one store and one site of pictures, and the workers on them.
type rig struct {
	t         testing.TB
	rdb       redis.UniversalClient
	db        *results.DB
	breaker   gate.Breaker
	client    *asynq.Client
	inspector *asynq.Inspector
	namespace string
	store     storage.Store
	site      *site
	log       *logBook
	cfg       worker.Config
	providers map[string]*worker.Provider
	limits    func(host string) gate.Limits
	honours   func(host string) bool
	tags      robots.Config
	licences  licence.Config
	kinds     []string
	settled   func(string, results.Record)
	remover   worker.Remover
	observer  worker.Observer
	naming    string
	sidecars  bool
}

// onBoth runs test on a real Redis and on miniredis.
func onBoth(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, redistest.Start(t).Client(), ""))
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, newMiniRig(t))
	})
}

func newMiniRig(t *testing.T) *rig {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	return newRig(t, rdb, "two")
}

func newRig(t testing.TB, rdb redis.UniversalClient, namespace string) *rig {
	t.Helper()
	store, err := file.New(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r := &rig{
		t: t, rdb: rdb, db: results.New(rdb, namespace), namespace: namespace, store: store,
		client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb),
		site: newSite(t), log: &logBook{}, cfg: worker.DefaultConfig(), providers: make(map[string]*worker.Provider),
		limits: func(string) gate.Limits { return gate.Limits{} },
	}
	// Nothing counts as down but what refuses its credentials.
	r.breaker = gate.Breaker{After: 1 << 30, Delay: 500 * time.Millisecond, MaxDelay: time.Second, Ramp: 4}
	r.cfg.PollInterval = 5 * time.Millisecond
	r.cfg.RetryDelay, r.cfg.MaxRetryDelay = time.Millisecond, 10*time.Millisecond
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		return found([]string{r.site.url(name)}), nil
	})
	return r
}

// provide adds a provider, or replaces it.
func (r *rig) provide(name string, f lookupFunc) *worker.Provider {
	r.t.Helper()
	p, idle, err := newProvider(f)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(idle)
	r.providers[name] = p
	return p
}

func newProvider(f lookupFunc) (p *worker.Provider, closeIdle func(), err error) {
	client, err := fetch.New(fetch.Config{UserAgent: "test", Timeout: 20 * time.Second, MaxBytes: 1 << 20, MaxRedirects: 5})
	if err != nil {
		return nil, nil, err
	}
	return &worker.Provider{Host: "lookup.test", Service: f, Pictures: client, Robots: client}, client.CloseIdle, nil
}

// naming returns the rule of that text.
func naming(t testing.TB, s string) storage.Naming {
	t.Helper()
	n, err := storage.ParseNaming(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r *rig) worker() *worker.Worker {
	r.t.Helper()
	cfg := picture.DefaultConfig()
	cfg.MinSide = 4
	if r.kinds != nil {
		cfg.Kinds = r.kinds
	}
	checker, err := picture.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cfg.Validate(); err != nil {
		r.t.Fatal(err)
	}
	g := gate.New(r.rdb, r.namespace, gate.Options{Breaker: r.breaker})
	r.t.Cleanup(g.Close)
	return worker.New(r.cfg, worker.Deps{
		Gate: g, HostLimits: r.limits, HonoursRobots: r.honours, Tags: r.tags, Licences: r.licences,
		Redis: r.rdb, Queue: r.client, Namespace: r.namespace, DB: r.db, Providers: r.providers,
		Store: r.store, Naming: naming(r.t, cmp.Or(r.naming, storage.NamesReadable)), Sidecars: r.sidecars, Checker: checker, Logger: slog.New(r.log), Settled: r.settled,
		Observer: r.observer, Remover: cmp.Or[worker.Remover](r.remover, removal.New(removal.Deps{DB: r.db, Store: r.store, Namespace: r.namespace})),
	})
}

// start runs a worker until the returned function is called or the test ends.
func (r *rig) start(first ...string) (stop func()) {
	r.t.Helper()
	return r.run(r.worker(), first...)
}

func (r *rig) run(w *worker.Worker, first ...string) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, first...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Errorf("the worker ended with %v", err)
			}
		case <-time.After(within):
			r.t.Error("the worker does not stop")
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// hurry makes due every retry of the rig's queues, until the test ends.
func (r *rig) hurry() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				for _, q := range r.queues() {
					// An error comes again.
					_, _ = r.inspector.RunAllRetryTasks(q)
					_, _ = r.inspector.RunAllScheduledTasks(q)
				}
			}
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done })
}

func (r *rig) queues() []string {
	names, err := r.inspector.Queues()
	if err != nil {
		return nil
	}
	return names
}

// add puts names into a batch, without tasks.
func (r *rig) add(batch, provider string, names ...string) []tasks.Ref {
	r.t.Helper()
	ctx := r.t.Context()
	e, err := r.db.Open(ctx, batch, provider, "names.txt", 1)
	if err != nil {
		r.t.Fatal(err)
	}
	lines := make([]results.Line, len(names))
	for i, n := range names {
		lines[i] = results.Line{Number: int64(i + 1), Name: n}
	}
	var refs []tasks.Ref
	for chunk := range slices.Chunk(lines, 500) {
		added, err := e.Add(ctx, 0, chunk)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, a := range added {
			refs = append(refs, a.Ref)
		}
	}
	if err := e.Close(ctx, true); err != nil {
		r.t.Fatal(err)
	}
	return refs
}

// enqueue puts names into a batch with their lookup tasks.
func (r *rig) enqueue(batch, provider string, names ...string) []tasks.Ref {
	r.t.Helper()
	refs := r.add(batch, provider, names...)
	for _, ref := range refs {
		r.lookupTask(provider, ref)
	}
	return refs
}

func (r *rig) lookupTask(provider string, ref tasks.Ref) {
	r.t.Helper()
	task, err := tasks.NewLookupTask(r.namespace, provider, ref)
	r.push(task, err)
}

func (r *rig) pictureTask(ref tasks.Ref, rank int) {
	r.t.Helper()
	task, err := tasks.NewPictureTask(r.namespace, ref, rank)
	r.push(task, err)
}

func (r *rig) push(task *asynq.Task, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.client.EnqueueContext(r.t.Context(), task); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) queue(kind tasks.Kind, provider string) string {
	return tasks.Queue{Namespace: r.namespace, Kind: kind, Provider: provider, Lane: tasks.Express}.String()
}

// until polls for something that the system does by itself.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	until(r.t, what, ok)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still not: %s", what)
		}
	}
}

// finished waits for the end of a batch and returns its counts without zeros.
func (r *rig) finished(batch string) results.Counts {
	r.t.Helper()
	var c results.Counts
	r.until("batch "+batch+" finished", func() bool {
		b, err := r.db.Batch(r.t.Context(), batch)
		if err != nil {
			r.t.Fatal(err)
		}
		if c, err = r.db.Counts(r.t.Context(), b); err != nil {
			r.t.Fatal(err)
		}
		return b.Finished(c)
	})
	for st, n := range c {
		if n == 0 {
			delete(c, st)
		}
	}
	return c
}

func (r *rig) record(batch, name string) results.Record {
	r.t.Helper()
	rec, err := r.db.Record(r.t.Context(), batch, 0, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

// info is what asynq knows of a queue; of one that it has never seen, nothing.
func (r *rig) info(queue string) *asynq.QueueInfo {
	r.t.Helper()
	if !slices.Contains(r.queues(), queue) {
		return &asynq.QueueInfo{}
	}
	info, err := r.inspector.GetQueueInfo(queue)
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// empty waits until asynq has nothing to do any more.
func (r *rig) empty() {
	r.t.Helper()
	r.until("queues empty", func() bool {
		for _, q := range r.queues() {
			if i := r.info(q); i.Pending+i.Active+i.Retry+i.Scheduled > 0 {
				return false
			}
		}
		return true
	})
}

// reply is one canned answer of a site.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// site is a server of pictures. What it was not told it answers with a
// picture, and it remembers what was asked.
type site struct {
	server *httptest.Server

	mu      sync.Mutex
	asked   map[string]int
	replies map[string][]reply
	hook    func(path string)
}

func newSite(t testing.TB) *site {
	s := &site{asked: make(map[string]int), replies: make(map[string][]reply)}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// answer sets the answers for a path; the last one stays.
func (s *site) answer(path string, replies ...reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies["/"+path] = replies
}

func (s *site) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	s.asked[q.URL.Path]++
	a := reply{status: http.StatusOK, body: pixels(8)}
	if list := s.replies[q.URL.Path]; len(list) > 0 {
		a = list[0]
		if len(list) > 1 {
			s.replies[q.URL.Path] = list[1:]
		}
	}
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(q.URL.Path)
	}
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may have left
}

func (s *site) url(path string) string {
	return s.server.URL + "/" + strings.ReplaceAll(path, " ", "%20")
}

func (s *site) host() string { return strings.TrimPrefix(s.server.URL, "http://") }

func (s *site) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked["/"+path]
}

// pixels returns a png of n by n pixels.
func pixels(n int) []byte {
	img := image.NewGray(image.Rect(0, 0, n, n))
	img.SetGray(0, 0, color.Gray{Y: 200})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// gifPixels returns a gif of n by n pixels.
func gifPixels(n int) []byte {
	var b bytes.Buffer
	if err := gif.Encode(&b, image.NewPaletted(image.Rect(0, 0, n, n), color.Palette{color.Black, color.White}), nil); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// logBook is a slog.Handler that keeps the lines from level info up.
type logBook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBook) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (l *logBook) Handle(_ context.Context, rec slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", rec.Level, rec.Message)
	rec.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

func (l *logBook) WithAttrs([]slog.Attr) slog.Handler { return l }

func (l *logBook) WithGroup(string) slog.Handler { return l }

// with returns the lines that contain text.
func (l *logBook) with(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(s string) bool { return !strings.Contains(s, text) })
}

// counter counts by key.
type counter struct {
	mu sync.Mutex
	m  map[string]int
}

func (c *counter) add(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[string]int)
	}
	c.m[key]++
	return c.m[key]
}

func (c *counter) get(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[key]
}
