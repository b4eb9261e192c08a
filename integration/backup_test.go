//go:build integration

package integration

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// What was backed up in mid-run, Redis first and then the store, goes on from
// there on another machine, as the manual says.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Skip("redis-cli is not installed")
	}
	const n = 600
	takeHeavy(t)
	m := newMachine(t)
	s := m.onRedis()
	d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "100ms")
	m.asking(d)
	names := m.writeNames("names.txt", n)
	m.start("worker", "--concurrency", "5").says("worker started")
	m.ok("enqueue", "--file", "names.txt")
	eventually(t, soon, "some are asked for", func() bool { return d.counts().Pictures >= n/10 })

	restored := newMachine(t).asking(d)
	backup := t.TempDir()
	if out, err := exec.Command(cli, "-s", s.Addr(), "--rdb", filepath.Join(backup, "dump.rdb")).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --rdb: %v\n%s", err, out)
	}
	struck := m.status("names").settled()
	copyFiles(t, restored.path("harvest-data", "pictures"), m.path("harvest-data", "pictures"))
	if struck == n {
		t.Fatal("all was done before the backup")
	}

	again := redistest.Start(t, "--dir", backup, "--appendonly", "no")
	if err := again.Client().ConfigSet(t.Context(), "appendonly", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	restored.set("HARVEST_REDIS_URL=" + again.URL())
	restored.writeNames("names.txt", n)
	if s := restored.status("names"); s.Names != n || s.settled() == 0 || s.settled() == n {
		t.Fatalf("restored: %+v, want some of %d settled", s, n)
	}
	restored.start("worker")
	restored.ok("enqueue", "--file", "names.txt", "--wait")
	restored.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	restored.ok("harvest", "verify", "names")
}

// copyFiles copies a folder in which others write; what is gone meanwhile was
// a temporary file.
func copyFiles(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
