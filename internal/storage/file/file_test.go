package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
)

func open(t *testing.T, dir, owner string) *file.Store {
	t.Helper()
	s, err := file.New(dir, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// files returns the files below dir but the ID.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != ".harvest-store" {
			rel, _ := filepath.Rel(dir, p)
			found = append(found, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantHold(t *testing.T, err error, words ...string) {
	t.Helper()
	wantStore(t, err, failure.Hold, words...)
}

func wantStore(t *testing.T, err error, kind failure.Kind, words ...string) {
	t.Helper()
	f, ok := errors.AsType[*failure.Error](err)
	if !ok || f.Reason != failure.ReasonStore || f.Kind != kind {
		t.Fatalf("got error %v (%+v), want reason store, kind %s", err, f, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got error %q, want it to contain %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got error %q of several lines", err)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storage.Store {
		dir := filepath.Join(t.TempDir(), "deep", "pictures")
		s := open(t, dir, "worker-1")
		t.Cleanup(func() {
			for _, f := range files(t, dir) {
				if strings.HasPrefix(f, ".") {
					t.Errorf("left behind: %s", f)
				}
			}
		})
		return s
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, owner := range []string{"", "a/b", "a~b", "..\\x", "ü", strings.Repeat("a", 65)} {
		if _, err := file.New(dir, owner); err == nil {
			t.Errorf("owner %q: got no error", owner)
		}
	}
	_, err := file.New(plain, "w")
	if f := failure.From(err); f == nil || f.Reason != failure.ReasonStore || !strings.Contains(err.Error(), plain) {
		t.Errorf("a file for a folder: got %v, want reason store and the path", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".harvest-store"), []byte("garbage"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = file.New(dir, "w")
	wantHold(t, err, ".harvest-store")
}

func TestFirstUsesAgreeOnID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := file.New(dir, "w"+string(rune('a'+i)))
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if ids[i], err = s.ID(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("got different IDs: %q", ids)
		}
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	other, err := open(t, t.TempDir(), "w").ID(t.Context())
	if err != nil || other == ids[0] {
		t.Errorf("another store: got ID %q, %v; it has that of the first", other, err)
	}
}

// TestPlantedLinks: whatever links stand in the store, nothing outside it is
// written, read or removed.
func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.jpg")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir, "w")
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(dir, outside)
	if err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"absolute":         outside,
		"relative":         up,
		"files/secret.jpg": secret,
		"dangling":         filepath.Join(outside, "new"),
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}

	for _, batch := range []string{"absolute", "relative", "dangling"} {
		key := batch + "/secret.jpg"
		wantStore(t, storagetest.Put(t.Context(), s, key, []byte("overwritten")), failure.Temporary, filepath.Join(dir, batch))
		if _, _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("open %s: got no error", key)
		}
		_ = s.Delete(t.Context(), key)
	}
	if _, _, err := s.Open(t.Context(), "files/secret.jpg"); err == nil {
		t.Error("open of a link: got no error")
	}
	if err := storagetest.Put(t.Context(), s, "files/secret.jpg", []byte("inside")); err != nil {
		t.Errorf("put over a link: %v", err)
	}
	if got, err := storagetest.Get(t.Context(), s, "files/secret.jpg"); err != nil || string(got) != "inside" {
		t.Errorf("get: %q, %v", got, err)
	}

	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("the file outside: got %q, %v", got, err)
	}
	if got := files(t, outside); len(got) != 1 {
		t.Errorf("outside: got %q, want secret.jpg alone", got)
	}
}

// TestFolderReplaced: a folder that the store has open counts only while it
// is what stands at its path. What takes its place is looked at anew.
func TestFolderReplaced(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir, "w")
	put := func(key string) error { return storagetest.Put(t.Context(), s, key, []byte("x")) }
	if err := put("people/Lucy.jpg"); err != nil {
		t.Fatal(err)
	}
	people := filepath.Join(dir, "people")
	away := filepath.Join(outside, "people")
	if err := os.Rename(people, away); err != nil {
		t.Fatal(err)
	}
	if err := put("people/Lily.jpg"); err != nil {
		t.Errorf("moved away: %v", err)
	}
	if err := os.RemoveAll(people); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(away, people); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	wantStore(t, put("people/Lily.jpg"), failure.Temporary, people)
	if err := os.Remove(people); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".tmp")); err != nil {
		t.Fatal(err)
	}
	if err := put("people/Lily.jpg"); err != nil {
		t.Errorf("removed, temporary files too: %v", err)
	}
	if got := files(t, dir); len(got) != 1 || got[0] != "people/Lily.jpg" {
		t.Errorf("got %q, want people/Lily.jpg alone", got)
	}
	if got := files(t, outside); len(got) != 1 || got[0] != "people/Lucy.jpg" {
		t.Errorf("outside: got %q, want what was moved there alone", got)
	}
}

// TestManyFolders writes to more folders than stay open, by several writers.
func TestManyFolders(t *testing.T) {
	t.Parallel()
	const folders, writers = 700, 4
	dir := t.TempDir()
	s := open(t, dir, "w")
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range folders {
				key := storage.Key(fmt.Sprintf("batch%d", i), fmt.Sprintf("Name %d", n), 1, "jpg")
				if err := storagetest.Put(t.Context(), s, key, []byte("x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := len(files(t, dir)); got != folders*writers {
		t.Errorf("got %d files, want %d", got, folders*writers)
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	// Other tests of the package run beside it.
	if len(open) > 550 {
		t.Errorf("%d files are open, want about 300 folders", len(open))
	}
}

func TestFolderInTheWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, "w")
	if err := os.MkdirAll(filepath.Join(dir, "people", "Lucy.jpg", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := storagetest.Put(t.Context(), s, "people/Lucy.jpg", []byte("x"))
	wantStore(t, err, failure.Temporary, filepath.Join(dir, "people", "Lucy.jpg"))
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestFolderComesBack: a share that goes away holds everything up, also where
// its bare mount point stays, and is used again when it is back.
func TestFolderComesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pictures")
	s := open(t, dir, "w")
	put := func() error { return storagetest.Put(t.Context(), s, "people/Lucy.jpg", []byte("x")) }
	if err := put(); err != nil {
		t.Fatal(err)
	}
	// It is seen within a moment, not at once.
	refused := func() error {
		for deadline := time.Now().Add(time.Second); ; {
			if err := put(); err != nil || time.Now().After(deadline) {
				return err
			}
		}
	}
	away := dir + "-away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	wantHold(t, refused(), dir, "missing")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wantHold(t, put(), dir, "mount")
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("written to the bare mount point: %q", got)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	open(t, dir, "other")
	wantHold(t, put(), dir, "mount")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	// A copy is the same store: what counts is the ID.
	if err := os.CopyFS(dir, os.DirFS(away)); err != nil {
		t.Fatal(err)
	}
	if err := put(); err != nil {
		t.Fatalf("after the folder came back: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "people", "Lucy.jpg")); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRemoveTemps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, "alive-1")
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(storagetest.Picture(1, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dead~AAA", "dead~BBB", "dead-2~CCC", "not ours", "~x"} {
		if err := os.WriteFile(filepath.Join(dir, ".tmp", name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Another installation may share the folder.
	n, err := s.RemoveTemps(t.Context(), time.Hour, func(string) bool { return true })
	if n != 0 || err != nil {
		t.Errorf("got %d, %v, want none removed that was written to just now", n, err)
	}
	isDead := func(owner string) bool { return owner == "dead" }
	if n, err := s.CountTemps(t.Context(), 0, isDead); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2 counted", n, err)
	}
	asked := make(map[string]int)
	n, err = s.RemoveTemps(t.Context(), 0, func(owner string) bool {
		asked[owner]++
		return isDead(owner)
	})
	if n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2 removed", n, err)
	}
	if len(asked) != 2 || asked["dead"] != 1 || asked["dead-2"] != 1 {
		t.Errorf("got asked about %v, want once each about dead and dead-2", asked)
	}
	if left := files(t, dir); len(left) != 4 {
		t.Errorf("got %q left, want four files", left)
	}
	if err := w.Commit(t.Context(), "people/Lucy.jpg"); err != nil {
		t.Errorf("the file of the living: %v", err)
	}
}

func TestDeleteRemovesEmptyFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, "w")
	for range 2 {
		if err := storagetest.Put(t.Context(), s, "people/Lucy.jpg", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), "people/Lucy.jpg"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "people")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the empty folder: got %v, want it gone", err)
		}
	}
}

func TestOpenSeeks(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), "w")
	if err := storagetest.Put(t.Context(), s, "people/Lucy.jpg", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Open(t.Context(), "people/Lucy.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.(io.Seeker).Seek(7, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, []byte("789")) {
		t.Errorf("got %q, %v, want 789", got, err)
	}
}

func BenchmarkPut30kB(b *testing.B) {
	s, err := file.New(b.TempDir(), "w")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := storagetest.Picture(1, 30_000)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := storagetest.Put(b.Context(), s, storage.Key("people", "Han Meimei", i%100+1, "jpg"), data); err != nil {
				b.Error(err)
			}
		}
	})
}
