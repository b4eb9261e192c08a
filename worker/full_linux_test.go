package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage/file"
)

// TestAFullDisk: 200 pictures on a disk for a few of them. The worker waits and
// goes on by itself when there is room, and hardly any picture is fetched in
// vain.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a file system needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	r := newMiniRig(t)
	store, err := file.New(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r.store = store
	const names = 200
	body := pixels(8)
	var all []string
	for i := range names {
		n := fmt.Sprint("n", i)
		all = append(all, n)
		r.site.answer(n, reply{status: 200, body: body})
	}
	// What fills the disk beside the pictures leaves room for some.
	ballast := filepath.Join(dir, ".ballast")
	if err := os.WriteFile(ballast, make([]byte, 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	r.enqueue("names", "people", all...)
	r.hurry()
	began := time.Now()
	r.start()
	r.until("the disk is full", func() bool { return len(r.log.with("no pictures are fetched")) > 0 })
	r.until("every name is looked up", func() bool { return r.counts("names")[results.Queued] == 0 })
	full := r.counts("names")
	if full[results.Done] == 0 || full[results.Done] == names {
		t.Errorf("counts are %v when the disk is full, want some done", full)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(results.Counts{results.Done: names}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	asked := 0
	for _, n := range all {
		asked += r.site.count(n)
	}
	t.Logf("%d of %d were done when the disk was full; %d requests in all; %s", full[results.Done], names, asked, time.Since(began))
	if asked >= 3*names {
		t.Errorf("%d requests for %d pictures, want fewer than 3 each", asked, names)
	}
	if n := len(r.log.with("no pictures are fetched")); n > 3 {
		t.Errorf("the log says %d times that the store is full", n)
	}
}
