package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/web"
	"github.com/picharvest/picharvest/tasks"
)

// testConfig is the defaults on a free port, and for short lists.
func testConfig() web.Config {
	cfg := web.DefaultConfig()
	cfg.Listen, cfg.MaxUploadBytes = "127.0.0.1:0", 1<<20
	return cfg
}

// fixture is a server over a Redis and a store of its own.
type fixture struct {
	t     *testing.T
	redis *redistest.Server
	db    *results.DB
	store *file.Store
	srv   *web.Server
	// url has no slash at its end.
	url    string
	client *http.Client
	// checked is client with every exchange with the API held to openapi.yaml.
	checked *http.Client
	// logs is what the server logged, from debug on.
	logs *logs
	// stop ends the server and waits for it.
	stop func() error
}

func setup(t *testing.T, change ...func(*web.Config)) *fixture {
	t.Helper()
	cfg := testConfig()
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, redis: redistest.Start(t)}
	rdb := redis.NewClient(&redis.Options{
		Network: "unix", Addr: f.redis.Addr(), // the rest as package redisconn has it
		MaxRetries: 25, MaxRetryBackoff: 500 * time.Millisecond, ReadTimeout: 5 * time.Second,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	f.db = results.New(rdb, "")
	folder := t.TempDir()
	store, err := file.New(folder, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f.store = store
	f.logs = new(logs)
	log := slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := web.New(cfg, web.Deps{
		Control: control.New(control.Deps{
			DB: f.db, Enqueuer: enqueuer.New(enqueuer.Config{Shards: 1}, f.db, asynq.NewClientFromRedisClient(rdb), ""),
			Remover:  remover{f},
			Ping:     func(ctx context.Context) error { return rdb.Ping(ctx).Err() },
			Provider: "people", CheckProvider: knowsPeople, Place: "Redis at test", Logger: log,
		}),
		Pictures: file.NewReader(folder), Redis: rdb, Cache: t.TempDir(), Version: "1.2.3", Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.srv = srv
	ln, err := srv.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	var ended bool
	f.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-served
	}
	t.Cleanup(func() {
		if err := f.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	f.client = newClient(t, http.DefaultTransport.(*http.Transport).Clone())
	if cfg.Token != "" {
		f.do(f.client, http.MethodGet, "/?token="+cfg.Token, nil, nil)
	}
	f.checked = newClient(t, &described{t: t, next: f.client.Transport, router: description(t, f)})
	return f
}

// remover does what package app does, but for waiting for workers.
type remover struct{ f *fixture }

func (r remover) remover() *removal.Remover {
	return removal.New(removal.Deps{DB: r.f.db, Store: r.f.store})
}

func (r remover) DeletePictures(ctx context.Context, b results.Batch) (removal.Report, error) {
	report, err := r.remover().Batch(ctx, b.Name)
	return report, errors.Join(err, r.f.db.Delete(ctx, b.Name))
}

func (r remover) ForgetName(ctx context.Context, b results.Batch, name string) (removal.Report, error) {
	return r.remover().Name(ctx, b, name)
}

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func knowsPeople(name string) error {
	if name != "people" {
		return &control.InvalidError{Text: "no provider " + name}
	}
	return nil
}

// newClient returns a client that keeps cookies and follows no redirect.
func newClient(t *testing.T, rt http.RoundTripper) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	if transport, ok := rt.(*http.Transport); ok {
		t.Cleanup(transport.CloseIdleConnections)
	}
	return &http.Client{Transport: rt, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// description reads the API's description from the server itself.
func description(t *testing.T, f *fixture) routers.Router {
	t.Helper()
	rec := f.handle(http.MethodGet, "/api/v1/openapi.json")
	doc, err := openapi3.NewLoader().LoadFromData(rec)
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	doc.Servers = openapi3.Servers{{URL: f.url + "/api/v1"}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// handle asks the server with the token that it has, without a connection.
func (f *fixture) handle(method, path string) []byte {
	f.t.Helper()
	res, body := f.do(f.client, method, path, nil, nil)
	if res.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s: got %s: %s", method, path, res.Status, body)
	}
	return body
}

// described holds every exchange to the description.
type described struct {
	t      *testing.T
	next   http.RoundTripper
	router routers.Router
}

func (d *described) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(sent))
	route, params, err := d.router.FindRoute(again)
	if err != nil {
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			d.t.Errorf("%s %s is answered %s and not described", r.Method, r.URL, res.Status)
		}
		return res, nil
	}
	in := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	// What is described is not refused, and what is refused is not described.
	invalid := openapi3filter.ValidateRequest(r.Context(), in)
	if invalid != nil && res.StatusCode < http.StatusBadRequest {
		d.t.Errorf("%s %s is answered %s, and by its description it is wrong: %v", r.Method, r.URL, res.Status, invalid)
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: res.StatusCode, Header: res.Header,
		Body: io.NopCloser(bytes.NewReader(body)), Options: in.Options,
	})
	if err != nil {
		d.t.Errorf("the answer to %s %s (%s) is not the one described: %v\n%s", r.Method, r.URL, res.Status, err, body)
	}
	return res, nil
}

// do sends a request and returns the answer and its body.
func (f *fixture) do(c *http.Client, method, path string, body io.Reader, header http.Header) (*http.Response, []byte) {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	for k, v := range header {
		r.Header[k] = v
		if k == "Host" {
			r.Host = v[0]
		}
	}
	res, err := c.Do(r)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res, data
}

// api asks the API, holds the exchange to its description, and reads the
// answer into v.
func (f *fixture) api(method, path, body string, status int, v any) *http.Response {
	f.t.Helper()
	var r io.Reader
	header := http.Header{}
	if body != "" {
		r = strings.NewReader(body)
		header.Set("Content-Type", "text/plain")
	}
	res, data := f.do(f.checked, method, "/api/v1"+path, r, header)
	if res.StatusCode != status {
		f.t.Fatalf("%s %s: got %s, want %d: %s", method, path, res.Status, status, data)
	}
	if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			f.t.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return res
}

// add makes a batch of names, all queued.
func (f *fixture) add(batch string, names ...string) map[string]tasks.Ref {
	f.t.Helper()
	ctx := f.t.Context()
	e, err := f.db.Open(ctx, batch, "people", "names.txt", 1)
	if err != nil {
		f.t.Fatal(err)
	}
	lines := make([]results.Line, len(names))
	for i, n := range names {
		lines[i] = results.Line{Number: int64(i + 1), Name: n}
	}
	added, err := e.Add(ctx, 0, lines)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := e.Close(ctx, true); err != nil {
		f.t.Fatal(err)
	}
	refs := make(map[string]tasks.Ref)
	for i, a := range added {
		refs[names[i]] = a.Ref
	}
	return refs
}

// done stores a picture for a name and settles it.
func (f *fixture) done(ref tasks.Ref) []byte {
	f.t.Helper()
	ctx := f.t.Context()
	data := picture(f.t)
	_, err := f.db.CommitLookup(ctx, ref, results.Found, results.Lookup{
		Attributes: []results.Attribute{{Name: "age", Value: "32"}, {Name: "career", Value: "Actor"}},
		Pictures:   [][]string{{"https://pictures.example/" + ref.Batch + ".png"}}, Licence: "CC0", Attribution: "Somebody",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	key := storage.Key(ref.Batch, ref.Name, 1, ".png")
	w, err := f.store.Create(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		f.t.Fatal(err)
	}
	if err := w.Commit(ctx, key); err != nil {
		f.t.Fatal(err)
	}
	_, err = f.db.CommitPicture(ctx, ref, 1, results.Picture{
		Kind: "png", Bytes: int64(len(data)), Width: 2, Height: 2, SHA256: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", Key: key,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// failed settles a name by a failed lookup.
func (f *fixture) failed(ref tasks.Ref, reason failure.Reason, host string) {
	f.t.Helper()
	err := failure.Newf(reason, failure.Final, "%s from %s", reason, host)
	if _, err := f.db.FailLookup(f.t.Context(), ref, err, host, false); err != nil {
		f.t.Fatal(err)
	}
}

func picture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewRGBA(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// dump returns all that stands in Redis.
func (f *fixture) dump() map[string]string {
	f.t.Helper()
	ctx := f.t.Context()
	rdb := f.redis.Client()
	all := make(map[string]string)
	keys := rdb.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		value, err := rdb.Dump(ctx, keys.Val()).Result()
		if err != nil {
			f.t.Fatal(err)
		}
		all[keys.Val()] = value
	}
	if err := keys.Err(); err != nil {
		f.t.Fatal(err)
	}
	return all
}
