//go:build integration

package integration

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/redistest"
)

// A refusal names what is wrong and what to do, in a line, soon, and leaves
// nothing half done.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const within = 20 * time.Second
	redis := redistest.Start(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := nobody.Addr().String()
	nobody.Close()

	run := []string{"harvest", "run", "--file", "names.txt", "--provider", "people"}
	enqueue := []string{"enqueue", "--file", "names.txt", "--redis", redis.URL()}
	enqueueFile := func(file string) []string { return []string{"enqueue", "--file", file, "--redis", redis.URL()} }
	for _, tt := range []struct {
		name  string
		files map[string]string // beside names.txt
		setup func(*machine)
		args  []string
		code  int
		says  []string
	}{
		{name: "no file", args: []string{"harvest", "run"}, code: 2, says: []string{"--file"}},
		{name: "missing file", args: enqueueFile("nowhere.txt"), code: 2, says: []string{"nowhere.txt"}},
		{name: "missing file, run", args: []string{"harvest", "run", "--file", "nowhere.txt"}, code: 2, says: []string{"nowhere.txt"}},
		{name: "empty file", files: map[string]string{"empty.txt": ""}, args: enqueueFile("empty.txt"), code: 2, says: []string{"empty.txt", "one name on each line"}},
		{name: "empty file, run", files: map[string]string{"empty.txt": ""}, args: []string{"harvest", "run", "--file", "empty.txt"}, code: 2, says: []string{"empty.txt"}},
		{name: "picture for names", files: map[string]string{"me.png": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"}, args: enqueueFile("me.png"), code: 2, says: []string{"me.png", "PNG"}},
		{name: "binary file", files: map[string]string{"b.txt": "a\x00\x01\x02\x00\x03"}, args: enqueueFile("b.txt"), code: 2, says: []string{"b.txt", "text"}},
		{name: "folder for names", setup: func(m *machine) { mkdir(t, m.path("folder")) }, args: enqueueFile("folder"), code: 2, says: []string{"folder"}},
		{name: "standard input without a batch", args: enqueueFile("-"), code: 2, says: []string{"--batch"}},
		{name: "batch name", args: append(slices.Clone(enqueue), "--batch", "a/b"), code: 2, says: []string{"a/b"}},
		{name: "unknown provider", args: append(slices.Clone(enqueue), "--provider", "peopel"), code: 2, says: []string{"peopel", "people"}},
		{name: "unknown provider, run", args: []string{"harvest", "run", "--file", "names.txt", "--provider", "peopel"}, code: 2, says: []string{"peopel", "people"}},
		{name: "names the demo does not know", files: map[string]string{"others.txt": "Ada Lovelace\n"}, args: []string{"harvest", "run", "--file", "others.txt"}, code: 2, says: []string{"Ada Lovelace", "--provider"}},
		{name: "contact missing, run", args: []string{"harvest", "run", "--file", "names.txt", "--provider", "wikipedia"}, code: 2, says: []string{"contact"}},
		{name: "unknown flag", args: []string{"worker", "--concurency", "5"}, code: 2, says: []string{"--concurency"}},
		{name: "unknown command", args: []string{"harvest", "sttaus"}, code: 2, says: []string{"sttaus", "status"}},
		{name: "unknown key", files: map[string]string{"harvest.yaml": "worker:\n  concurency: 5\n"}, args: enqueue, code: 2, says: []string{"harvest.yaml", "worker.concurency", "worker.concurrency"}},
		{name: "unknown key, run", files: map[string]string{"harvest.yaml": "worker:\n  concurency: 5\n"}, args: run, code: 2, says: []string{"worker.concurency"}},
		{name: "file that is no YAML", files: map[string]string{"harvest.yaml": "worker: [\n"}, args: run, code: 2, says: []string{"harvest.yaml"}},
		{name: "configuration missing", args: append(slices.Clone(run), "--config", "nowhere.yaml"), code: 2, says: []string{"nowhere.yaml"}},
		{name: "bad value", setup: func(m *machine) { m.set("HARVEST_WORKER_CONCURRENCY=many") }, args: run, code: 2, says: []string{"worker.concurrency", "many"}},
		{name: "two bad values", setup: func(m *machine) { m.set("HARVEST_WORKER_CONCURRENCY=0", "HARVEST_WORKER_MAX_ATTEMPTS=0") }, args: run, code: 2, says: []string{"worker.concurrency", "worker.max_attempts"}},
		{name: "bad address of a provider", setup: func(m *machine) { m.set("HARVEST_PROVIDERS_BASE_URLS=people=ftp://example.org") }, args: run, code: 2, says: []string{"people", "http"}},
		{name: "address of an unknown provider", setup: func(m *machine) { m.set("HARVEST_PROVIDERS_BASE_URLS=peopel=http://example.org") }, args: run, code: 2, says: []string{"peopel"}},
		{name: "bad URL of Redis", args: []string{"enqueue", "--file", "names.txt", "--redis", "http://example.org"}, code: 2, says: []string{"redis"}},
		{name: "URL of Redis that cannot be read", args: []string{"enqueue", "--file", "names.txt", "--redis", "redis://:pa/ss@127.0.0.1:6379"}, code: 2, says: []string{"redis"}},
		{name: "Redis out of reach", args: []string{"enqueue", "--file", "names.txt", "--redis", "redis://:secret@" + away}, code: 3, says: []string{away}},
		{name: "Redis out of reach, status", args: []string{"harvest", "status", "--redis", "redis://:secret@" + away}, code: 3, says: []string{away}},
		{name: "Redis out of reach, run", args: append(slices.Clone(run), "--redis", "redis://:secret@"+away), code: 3, says: []string{away}},
		{name: "file in place of the pictures", files: map[string]string{"harvest-data/pictures": ""}, args: run, code: 3, says: []string{"pictures"}},
		{name: "file in place of the pictures, worker", files: map[string]string{"harvest-data/pictures": ""}, args: []string{"worker", "--redis", redis.URL()}, code: 3, says: []string{"pictures"}},
		{name: "file in place of the data", files: map[string]string{"harvest-data": ""}, args: run, code: 3, says: []string{"harvest-data"}},
		{name: "no data yet", args: []string{"harvest", "results"}, code: 2, says: []string{"harvest-data", "harvest run"}},
		{name: "unknown batch", setup: func(m *machine) { m.ok("harvest", "run", "--file", "names.txt") }, args: []string{"harvest", "status", "nmaes"}, code: 2, says: []string{"nmaes", "names"}},
		{name: "unknown state", setup: func(m *machine) { m.ok("harvest", "run", "--file", "names.txt") }, args: []string{"harvest", "results", "--state", "faild"}, code: 2, says: []string{"faild", "failed"}},
		{name: "nobody to be asked", setup: func(m *machine) { m.ok("harvest", "run", "--file", "names.txt") }, args: []string{"harvest", "delete", "names"}, code: 2, says: []string{"--yes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.write("names.txt", "Brus Lee\n")
			for name, text := range tt.files {
				m.write(name, text)
			}
			if tt.setup != nil {
				tt.setup(m)
			}
			before := list(t, m.dir)
			e := m.run(tt.args[0], tt.args[1:]...)
			if e.code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", e.code, tt.code, e)
			}
			if e.took > within {
				t.Errorf("it took %v, want at most %v", e.took, within)
			}
			if e.stdout != "" {
				t.Errorf("a refusal on stdout: %s", e.stdout)
			}
			for _, want := range tt.says {
				if !strings.Contains(e.stderr, want) {
					t.Errorf("stderr does not say %q:\n%s", want, e.stderr)
				}
			}
			for _, never := range []string{"secret", "pa/ss", "goroutine", "panic", "Usage:"} {
				if strings.Contains(e.stderr, never) {
					t.Errorf("stderr says %q:\n%s", never, e.stderr)
				}
			}
			if lines := strings.Count(strings.TrimSpace(e.stderr), "\n") + 1; lines > 5 {
				t.Errorf("stderr has %d lines, want a clear one:\n%s", lines, e.stderr)
			}
			if after := list(t, m.dir); !slices.Equal(before, after) {
				t.Errorf("files before: %q\nafter: %q", before, after)
			}
		})
	}
	t.Cleanup(func() {
		if n := redis.Client().DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys are in Redis after refusals alone", n)
		}
	})
}

// A batch belongs to one provider, and the refusal names the cure.
func TestOtherProviderRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("names.txt", "Brus Lee\n")
	m.ok("harvest", "run", "--file", "names.txt")
	before := m.results("names")
	e := m.run("harvest", "run", "--file", "names.txt", "--provider", "github")
	if e.code != 2 || !strings.Contains(e.stderr, "--batch names-github") {
		t.Errorf("want exit code 2 and the cure: %s", e)
	}
	if after := m.results("names"); len(after) != 1 || after[0].State != "done" || before[0].Name != after[0].Name {
		t.Errorf("records %+v, before %+v", after, before)
	}

	m.onRedis()
	m.ok("enqueue", "--file", "names.txt")
	e = m.run("enqueue", "--file", "names.txt", "--provider", "github")
	if e.code != 2 || !strings.Contains(e.stderr, "--batch names-github") {
		t.Errorf("want exit code 2 and the cure: %s", e)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// list returns all files and folders below dir.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
