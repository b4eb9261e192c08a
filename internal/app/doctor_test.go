package app_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// examined returns what a doctor finds.
func examined(t *testing.T, s configs.Settings, x app.Examination) ([]app.Finding, error) {
	t.Helper()
	var found []app.Finding
	err := app.Examine(t.Context(), s, x, func(ctx context.Context) (*app.App, error) {
		return app.Open(ctx, s, app.Read, slog.New(slog.DiscardHandler))
	}, func(f app.Finding) { found = append(found, f) })
	return found, err
}

// findings returns those with a verdict, a line each.
func findings(all []app.Finding, v app.Verdict) string {
	var b strings.Builder
	for _, f := range all {
		if f.Verdict == v {
			fmt.Fprintf(&b, "%s: %s; %s\n", f.Check, f.Detail, f.Cure)
		}
	}
	return b.String()
}

// Each fault is found, with the word for it and what to do, and what can be
// repaired is well after --repair.
func TestDoctor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare  func(t *testing.T, w *ward)
		redis    []string
		problem  string
		warning  string
		repaired string
		batch    string
		settings []string
	}{
		"all well": {prepare: func(*testing.T, *ward) {}},
		"no store": {prepare: func(t *testing.T, w *ward) { w.remove(t) }, warning: "is no picture store yet"},
		"redis keeps none": {prepare: func(_ *testing.T, w *ward) { w.s.Redis.Durability = redisconn.DurabilityCheck },
			redis: []string{"--appendonly", "no"}, warning: "set appendonly yes"},
		"redis evicts": {prepare: func(*testing.T, *ward) {}, redis: []string{"--maxmemory-policy", "allkeys-lru"},
			settings: []string{"HARVEST_REDIS_ALLOW_EVICTION=true"}, problem: "maxmemory-policy allkeys-lru"},
		"redis is nearly full": {prepare: func(t *testing.T, w *ward) {
			w.do(t, "SETRANGE", "large", 50<<20, "x")
			w.do(t, "CONFIG", "SET", "maxmemory", w.used(t)*100/85)
		}, warning: "raise maxmemory"},
		"rights are missing": {prepare: func(t *testing.T, w *ward) {
			w.do(t, "ACL", "SETUSER", "default", "resetkeys", "~harvest:*", "~asynq:*", "resetchannels", "&harvest:*")
		}, problem: "may not publish on channels asynq:*"},
		"names wait and no worker lives": {prepare: func(t *testing.T, w *ward) { w.add(t, 0, "Ada") }, problem: "start one: harvest worker"},
		"names without tasks": {prepare: func(t *testing.T, w *ward) { w.alive(t); w.add(t, time.Hour, "Ada", "Bob") },
			problem: "2 names wait, and have no task in any queue: Ada, Bob", repaired: "2 names wait"},
		"a message that cannot be decoded": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.inHand(t, w.add(t, time.Hour, "Ada")[0], "garbage", true)
		}, problem: "1 messages cannot be decoded", repaired: "1 messages cannot be decoded"},
		"a task in hand without a lease": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.inHand(t, w.add(t, time.Hour, "Ada")[0], "", false)
		}, problem: "1 tasks are in hand without a lease", repaired: "1 tasks are in hand without a lease"},
		"files that a worker left which was killed": {prepare: func(t *testing.T, w *ward) {
			left := filepath.Join(w.s.PicturesFolder(), ".tmp", "gone-1~AAAA1")
			if err := os.MkdirAll(filepath.Dir(left), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			long := time.Now().Add(-time.Hour)
			if err := os.Chtimes(left, long, long); err != nil {
				t.Fatal(err)
			}
		}, problem: "store: 1 temporary files of workers that are gone", repaired: "store: 1 temporary files"},
		"a key of another program in a batch": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.add(t, 0, "Ada")
			w.do(t, "SET", "harvest:{names.0}:state:done", "x")
		}, problem: "key harvest:{names.0}:state:done in Redis holds a string"},
		"a key of another program in a queue": {prepare: func(t *testing.T, w *ward) {
			w.do(t, "SADD", "asynq:queues", "picture-bulk")
			w.do(t, "SET", "asynq:{picture-bulk}:active", "x")
		}, problem: "look who wrote that key"},
		"another program's queue": {prepare: func(t *testing.T, w *ward) {
			w.do(t, "SADD", "asynq:queues", "default")
			w.do(t, "SET", "asynq:{default}:active", "x")
		}},
		"a record that is none": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.add(t, 0, "Ada")
			w.do(t, "HSET", "harvest:{names.0}:records", "Ada", "x")
		}, problem: "1 records cannot be read", batch: "names"},
		"an enqueuer that died": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			e, err := w.app.DB.Open(t.Context(), "names", "people", "names.txt", 1)
			if err == nil {
				err = e.Close(t.Context(), false)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, warning: "interrupted: names.txt was not read to its end; enqueue or run the same file again"},
		"another store": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.add(t, 0, "Ada")
			w.do(t, "HSET", "harvest:{names.0}:batch", "store", "ANOTHER")
		}, problem: "its pictures are in the store ANOTHER"},
		"an unknown provider": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.add(t, 0, "Ada")
			w.do(t, "HSET", "harvest:{names.0}:batch", "provider", "nobody")
		}, problem: "provider nobody"},
		"a provider without its contact": {prepare: func(t *testing.T, w *ward) {
			w.alive(t)
			w.add(t, 0, "Ada")
			w.do(t, "HSET", "harvest:{names.0}:batch", "provider", "wikipedia")
		}, problem: "set --contact"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t, tc.redis, tc.settings...)
			tc.prepare(t, w)
			found, err := examined(t, w.s, app.Examination{Batch: tc.batch})
			if err != nil {
				t.Fatalf("%v\n%v", err, found)
			}
			for v, want := range map[app.Verdict]string{app.Problem: tc.problem, app.Warning: tc.warning} {
				if got := findings(found, v); (got == "") != (want == "") || !strings.Contains(got, want) {
					t.Errorf("each %s found:\n%swant one with %q", v, got, want)
				}
			}
			if tc.repaired == "" {
				return
			}
			found, err = examined(t, w.s, app.Examination{Repair: true})
			if got := findings(found, app.Repaired); err != nil || !strings.Contains(got, tc.repaired) {
				t.Errorf("repaired, with error %v:\n%swant %q", err, got, tc.repaired)
			}
			// What was moved aside leaves a name without a task.
			_, err = examined(t, w.s, app.Examination{Repair: true})
			if err != nil {
				t.Error(err)
			}
			found, err = examined(t, w.s, app.Examination{})
			if got := findings(found, app.Problem); err != nil || got != "" {
				t.Errorf("problems after the repair, with error %v:\n%s", err, got)
			}
		})
	}
}

func TestDoctorWithoutRedisOrStore(t *testing.T) {
	t.Parallel()
	w := newWard(t, nil)
	s := w.s
	s.Redis.URL = "redis://user:" + secret + "@127.0.0.1:1"
	found, err := examined(t, s, app.Examination{})
	got := findings(found, app.Problem)
	if err == nil || !strings.Contains(got, "127.0.0.1:1") || strings.Contains(got+err.Error(), secret) {
		t.Errorf("found, with error %v:\n%s", err, got)
	}
	s = w.s
	s.Storage.URL = filepath.Join(t.TempDir(), "store")
	if err := os.MkdirAll(filepath.Join(s.Storage.URL, ".harvest-store"), 0o755); err != nil {
		t.Fatal(err)
	}
	found, err = examined(t, s, app.Examination{})
	if got := findings(found, app.Problem); err == nil || !strings.Contains(got, s.Storage.URL) || !strings.Contains(findings(found, app.Well), "redis") {
		t.Errorf("found, with error %v:\n%s; want the store named, and Redis looked at", err, got)
	}
	if _, err := examined(t, w.s, app.Examination{Batch: "nobody"}); !errors.Is(err, results.ErrNoBatch) {
		t.Errorf("an unknown batch: %v", err)
	}
}

// ward is an installation to be examined, with a store and a Redis that are
// well.
type ward struct {
	s      configs.Settings
	server *redistest.Server
	app    *app.App
}

func newWard(t *testing.T, redisArgs []string, environ ...string) *ward {
	t.Helper()
	server := redistest.Start(t, redisArgs...)
	w := &ward{s: settings(t, append([]string{"HARVEST_REDIS_URL=" + server.URL()}, environ...)...), server: server}
	if _, err := app.CheckStore(t.Context(), w.s); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.app, err = app.Open(t.Context(), w.s, app.Server, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.app.Close(context.Background()) })
	return w
}

func (w *ward) do(t *testing.T, args ...any) {
	t.Helper()
	if err := w.app.Conn.Plain.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func (w *ward) used(t *testing.T) int64 {
	t.Helper()
	servers, err := w.app.Conn.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return servers[0].Used
}

func (w *ward) remove(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(w.s.PicturesFolder()); err != nil {
		t.Fatal(err)
	}
}

// alive makes it seem that a worker lives.
func (w *ward) alive(t *testing.T) {
	t.Helper()
	if _, err := w.app.DB.Present(t.Context(), "worker-1"); err != nil {
		t.Fatal(err)
	}
}

// add puts names into a batch, without tasks, that have stood there for age.
func (w *ward) add(t *testing.T, age time.Duration, names ...string) []tasks.Ref {
	t.Helper()
	ctx := t.Context()
	e, err := w.app.DB.Open(ctx, "names", "people", "names.txt", 1)
	if err != nil {
		t.Fatal(err)
	}
	var refs []tasks.Ref
	for i, name := range names {
		added, err := e.Add(ctx, 0, []results.Line{{Number: int64(i + 1), Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, added[0].Ref)
		since := time.Now().Add(-age).Unix()
		w.do(t, "HSET", "harvest:{names.0}:records", name, fmt.Sprintf("1 1 queued %d express 0 0 0 %d - - -", i+1, since))
	}
	if err := e.Close(ctx, true); err != nil {
		t.Fatal(err)
	}
	return refs
}

// inHand enqueues a lookup, with another message if that is not empty, and
// takes it as a worker that died a while ago did.
func (w *ward) inHand(t *testing.T, ref tasks.Ref, message string, lease bool) {
	t.Helper()
	task, err := tasks.NewLookupTask("", "people", ref)
	if err != nil {
		t.Fatal(err)
	}
	info, err := asynq.NewClientFromRedisClient(w.app.Conn.Plain).Enqueue(task)
	if err != nil {
		t.Fatal(err)
	}
	key := func(what string) string { return "asynq:{" + info.Queue + "}:" + what }
	w.do(t, "LMOVE", key("pending"), key("active"), "RIGHT", "LEFT")
	w.do(t, "HSET", key("t:"+info.ID), "state", "active")
	if message != "" {
		w.do(t, "HSET", key("t:"+info.ID), "msg", message)
	}
	if lease {
		w.do(t, "ZADD", key("lease"), time.Now().Add(-time.Minute).Unix(), info.ID)
	}
}
