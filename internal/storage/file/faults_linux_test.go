package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
)

// tmpfs mounts a file system of its own, which only root may.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a file system needs root: %v", err)
	}
	t.Cleanup(func() {
		// A process that another test is just starting holds all that is open
		// until it is another program.
		err := unix.Unmount(dir, 0)
		for deadline := time.Now().Add(5 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
			err = unix.Unmount(dir, 0)
		}
		if err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// TestDiskFull: nothing partial is seen or left, and it goes on by itself
// when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, "size=1m")
	s := open(t, dir, "w")
	data := storagetest.Picture(1, 60_000)
	stored := 0
	var err error
	for err == nil && stored < 100 {
		if err = storagetest.Put(t.Context(), s, storage.Key("people", "Lucy", stored+1, "jpg"), data); err == nil {
			stored++
		}
	}
	wantHold(t, err, dir, "no space left", "make room")
	wantHold(t, storagetest.Put(t.Context(), s, "people/Large.jpg", storagetest.Picture(2, 2<<20)), dir, "make room")
	wantStored := func(n int) {
		t.Helper()
		if got := files(t, dir); len(got) != n {
			t.Fatalf("got %d files %q, want %d whole ones", len(got), got, n)
		}
	}
	wantStored(stored)
	for i := range stored {
		got, err := storagetest.Get(t.Context(), s, storage.Key("people", "Lucy", i+1, "jpg"))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("picture %d: got %d bytes, %v", i+1, len(got), err)
		}
	}
	if err := s.Delete(t.Context(), storage.Key("people", "Lucy", 1, "jpg")); err != nil {
		t.Fatal(err)
	}
	if err := storagetest.Put(t.Context(), s, "people/Lily.jpg", data); err != nil {
		t.Errorf("with room: %v", err)
	}
	wantStored(stored)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := tmpfs(t, "")
	s := open(t, dir, "w")
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	wantHold(t, storagetest.Put(t.Context(), s, "people/Lucy.jpg", nil), dir, "read-only")
	_, err := file.New(dir, "other")
	wantHold(t, err, dir, "read-only")
	_, err = file.New(filepath.Join(dir, "deeper"), "other")
	wantHold(t, err, filepath.Join(dir, "deeper"), "read-only")
	remount(0)
	if err := storagetest.Put(t.Context(), s, "people/Lucy.jpg", nil); err != nil {
		t.Errorf("writable again: %v", err)
	}
}

// TestMountInside: a rename cannot cross file systems, and only the names in
// that folder are to blame.
func TestMountInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, "w")
	inner := filepath.Join(dir, "people")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", inner, "tmpfs", 0, ""); err != nil {
		t.Skipf("mounting a file system needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(inner, 0) })
	wantStore(t, storagetest.Put(t.Context(), s, "people/Lucy.jpg", nil), failure.Temporary, inner, "mount")
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}

// TestNoPermission works as a user who may not write there.
func TestNoPermission(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{".", "deeper"} {
		errs := make(chan error)
		go func() {
			// As root, the thread becomes nobody. It is never unlocked and
			// ends with the goroutine.
			runtime.LockOSThread()
			if os.Geteuid() == 0 {
				if _, err := unix.SetfsuidRetUid(65534); err != nil {
					errs <- err
					return
				}
			}
			_, err := file.New(filepath.Join(dir, sub), "w")
			errs <- err
		}()
		wantHold(t, <-errs, dir, "let this user write")
	}
}

const killedDir = "HARVEST_TEST_KILLED_DIR"

// TestKilled kills a process that writes as fast as it can, again and again.
// What it said it had stored is there, whole; nothing else is but temporary
// files, which go with one call.
func TestKilled(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(killedDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	const kills = 20
	dir := t.TempDir()
	for i := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir, fmt.Sprintf("HARVEST_TEST_OWNER=dead-%d", i))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		buf := make([]byte, 4096)
		for lines := 0; lines < 3+i; {
			n, err := out.Read(buf)
			said.Write(buf[:n])
			lines += bytes.Count(buf[:n], []byte("\n"))
			if err != nil {
				t.Fatalf("the writer ended by itself: %v\n%s", err, said.String())
			}
		}
		_ = cmd.Process.Kill()
		_, _ = said.ReadFrom(out)
		_ = cmd.Wait()

		for line := range strings.Lines(said.String()) {
			key, whole := strings.CutSuffix(line, "\n")
			if !whole {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, key)); err != nil {
				t.Errorf("said to be stored: %v", err)
			}
		}
	}

	s := open(t, dir, "alive")
	if _, err := s.RemoveTemps(t.Context(), 0, func(owner string) bool { return strings.HasPrefix(owner, "dead-") }); err != nil {
		t.Fatal(err)
	}
	for _, key := range files(t, dir) {
		var seed int
		if _, err := fmt.Sscanf(filepath.Base(key), "Number %d.jpg", &seed); err != nil {
			t.Errorf("left behind: %s", key)
			continue
		}
		got, err := storagetest.Get(t.Context(), s, key)
		if err != nil || !bytes.Equal(got, storagetest.Picture(seed, pictureSize(seed))) {
			t.Errorf("%s: got %d bytes, %v, want a whole picture", key, len(got), err)
		}
	}
}

// pictureSize makes every third picture too large for a Writer's memory.
func pictureSize(seed int) int { return 30_000 + seed%3/2*400_000 }

// writeUntilKilled is the process that is killed. It tells each key that is
// stored on a line of its own.
func writeUntilKilled(t *testing.T, dir string) {
	s, err := file.New(dir, os.Getenv("HARVEST_TEST_OWNER"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		key := storage.Key("people", fmt.Sprintf("Number %d", i%50), 1, "jpg")
		if err := storagetest.Put(t.Context(), s, key, storagetest.Picture(i%50, pictureSize(i%50))); err != nil {
			t.Fatal(err)
		}
		fmt.Println(key)
	}
}
