// Package storagetest holds every storage.Store to its contract. It is used
// by the tests of implementations alone.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"

	"github.com/picharvest/picharvest/internal/storage"
)

// Run runs the suite. newStore returns an empty store each time and cleans up
// after itself by t.Cleanup. What only one kind of store can show, such as a
// full disk, is tested beside it.
func Run(t *testing.T, newStore func(t *testing.T) storage.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s storage.Store)
	}{
		{"what is committed is read back", readsBack},
		{"nothing is seen before commit", unseenBeforeCommit},
		{"an aborted writer leaves nothing", abort},
		{"a writer ends once", endsOnce},
		{"a key is replaced whole", replaces},
		{"an open reader keeps its file", readerKeepsFile},
		{"many commits of one key leave one whole", oneKeyAtOnce},
		{"many keys at once", manyKeysAtOnce},
		{"a missing key is fs.ErrNotExist", missing},
		{"delete", deletes},
		{"bad keys are refused", badKeys},
		{"a context that ended is told", endedContext},
		{"the ID stays", identity},
		{"what is stored is listed", lists},
		{"a listing ends when it is told to", endedListing},
		{"a probe leaves nothing", probes},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, newStore(t))
		})
	}
}

// Put stores data under key.
func Put(ctx context.Context, s storage.Store, key string, data []byte) error {
	w, err := s.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Commit(ctx, key)
}

// Get returns what is stored under key.
func Get(ctx context.Context, s storage.Store, key string) ([]byte, error) {
	r, info, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && int64(len(data)) != info.Size {
		err = fmt.Errorf("%s: %d bytes, but Open says %d", key, len(data), info.Size)
	}
	return data, err
}

// Picture returns n bytes that differ for every seed.
func Picture(seed, n int) []byte {
	p := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func mustPut(t *testing.T, s storage.Store, key string, data []byte) {
	t.Helper()
	if err := Put(t.Context(), s, key, data); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func wantContent(t *testing.T, s storage.Store, key string, want []byte) {
	t.Helper()
	got, err := Get(t.Context(), s, key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("get %s: got %d bytes that differ, want %d", key, len(got), len(want))
	}
}

func wantMissing(t *testing.T, s storage.Store, key string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("stat %s: got %v, want fs.ErrNotExist", key, err)
	}
}

func readsBack(t *testing.T, s storage.Store) {
	sizes := []int{0, 1, 30_000, 256<<10 - 1, 256 << 10, 256<<10 + 1, 3<<20 + 17}
	for i, n := range sizes {
		key := storage.Key("people", "Han Meimei", i+1, "jpg")
		want := Picture(i, n)
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for rest := want; len(rest) > 0; {
			part := rest[:min(len(rest), 32<<10)]
			if got, err := w.Write(part); err != nil || got != len(part) {
				t.Fatalf("write: got %d, %v, want %d", got, err, len(part))
			}
			rest = rest[len(part):]
		}
		if err := w.Commit(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, key, want)
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Size != int64(n) || info.ModTime.IsZero() {
			t.Fatalf("stat: got %+v, %v, want size %d", info, err, n)
		}
	}
	key := storage.ContentKey([32]byte{0xab}, "webp")
	mustPut(t, s, key, Picture(99, 100))
	wantContent(t, s, key, Picture(99, 100))
}

func unseenBeforeCommit(t *testing.T, s storage.Store) {
	key := storage.Key("people", "Li Lei", 1, "png")
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(Picture(1, 1<<20)); err != nil {
		t.Fatal(err)
	}
	wantMissing(t, s, key)
	if err := w.Commit(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, key, Picture(1, 1<<20))
}

func abort(t *testing.T, s storage.Store) {
	key := storage.Key("people", "Li Lei", 1, "png")
	mustPut(t, s, key, []byte("before"))
	for _, n := range []int{0, 10, 1 << 20} {
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(Picture(2, n)); err != nil {
			t.Fatal(err)
		}
		if err := w.Abort(); err != nil {
			t.Fatalf("abort: %v", err)
		}
		if err := w.Abort(); err != nil {
			t.Fatalf("second abort: %v", err)
		}
	}
	wantContent(t, s, key, []byte("before"))
}

func endsOnce(t *testing.T, s storage.Store) {
	for _, end := range []string{"commit", "abort"} {
		key := storage.Key("people", "Lucy", 1, "png")
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("once")); err != nil {
			t.Fatal(err)
		}
		if end == "commit" {
			err = w.Commit(t.Context(), key)
		} else {
			err = w.Abort()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("more")); err == nil {
			t.Errorf("write after %s: got no error", end)
		}
		if err := w.Commit(t.Context(), storage.Key("people", "Lily", 1, "png")); err == nil {
			t.Errorf("commit after %s: got no error", end)
		}
		if err := w.Abort(); err != nil {
			t.Errorf("abort after %s: %v", end, err)
		}
		wantMissing(t, s, storage.Key("people", "Lily", 1, "png"))
	}
	wantContent(t, s, storage.Key("people", "Lucy", 1, "png"), []byte("once"))
}

func replaces(t *testing.T, s storage.Store) {
	key := storage.Key("people", "Jim Green", 1, "gif")
	for i, n := range []int{2 << 20, 10, 300 << 10} {
		mustPut(t, s, key, Picture(i, n))
		wantContent(t, s, key, Picture(i, n))
	}
}

func readerKeepsFile(t *testing.T, s storage.Store) {
	key := storage.Key("people", "Jim Green", 1, "gif")
	before := Picture(1, 1<<20)
	mustPut(t, s, key, before)
	r, _, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, key, Picture(2, 1<<20))
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(head, rest...), before) {
		t.Error("a reader that was open saw bytes of the file that came after")
	}
}

func oneKeyAtOnce(t *testing.T, s storage.Store) {
	const writers, rounds = 8, 5
	key := storage.Key("people", "Kate Green", 1, "jpg")
	possible := make(map[string]bool)
	for i := range writers {
		possible[string(Picture(i, 1000*(i+1)))] = true
	}
	mustPut(t, s, key, Picture(0, 1000))
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range rounds {
				if err := Put(t.Context(), s, key, Picture(i, 1000*(i+1))); err != nil {
					t.Errorf("put: %v", err)
				}
				got, err := Get(t.Context(), s, key)
				if err != nil || !possible[string(got)] {
					t.Errorf("get: got %d bytes that nobody wrote, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func manyKeysAtOnce(t *testing.T, s storage.Store) {
	const writers, each = 8, 20
	key := func(w, i int) string {
		return storage.Key(fmt.Sprintf("batch%d", i%3), fmt.Sprintf("Name %d of %d", i, w), 1, "jpg")
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := Put(t.Context(), s, key(w, i), Picture(w*each+i, 500)); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for w := range writers {
		for i := range each {
			wantContent(t, s, key(w, i), Picture(w*each+i, 500))
		}
	}
}

func missing(t *testing.T, s storage.Store) {
	mustPut(t, s, storage.Key("people", "Jim Green", 1, "gif"), nil)
	for _, key := range []string{
		storage.Key("people", "Nobody", 1, "gif"),
		storage.Key("nowhere", "Jim Green", 1, "gif"),
		"people",
	} {
		if _, _, err := s.Open(t.Context(), key); err == nil || key != "people" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: got %v, want fs.ErrNotExist", key, err)
		}
		if _, err := s.Stat(t.Context(), key); err == nil || key != "people" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat %s: got %v, want fs.ErrNotExist", key, err)
		}
	}
}

func deletes(t *testing.T, s storage.Store) {
	one, two := storage.Key("people", "Jim Green", 1, "gif"), storage.Key("people", "Jim Green", 2, "gif")
	mustPut(t, s, one, []byte("1"))
	mustPut(t, s, two, []byte("2"))
	for range 2 {
		if err := s.Delete(t.Context(), one); err != nil {
			t.Fatalf("delete: %v", err)
		}
		wantMissing(t, s, one)
		wantContent(t, s, two, []byte("2"))
	}
	if err := s.Delete(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), storage.Key("nowhere", "Jim Green", 1, "gif")); err != nil {
		t.Errorf("delete in a folder that never was: %v", err)
	}
	mustPut(t, s, one, []byte("again"))
	wantContent(t, s, one, []byte("again"))
}

func badKeys(t *testing.T, s storage.Store) {
	for _, key := range []string{
		"", ".", "..", "/", "/etc/passwd", "../outside.jpg", "a/../../outside.jpg", "a//b.jpg", "a/./b.jpg", "a/",
		`a\..\..\b.jpg`, "a/\x00.jpg", "a/\n.jpg", ".harvest-store", ".tmp/a", "a/.hidden", "a/\xff.jpg",
	} {
		if err := Put(t.Context(), s, key, []byte("bad")); err == nil {
			t.Errorf("put %q: got no error", key)
		}
		if _, _, err := s.Open(t.Context(), key); err == nil {
			t.Errorf("open %q: got no error", key)
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("stat %q: got no error", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete %q: got no error", key)
		}
	}
}

func endedContext(t *testing.T, s storage.Store) {
	key := storage.Key("people", "Jim Green", 1, "gif")
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	why := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := w.Commit(ctx, key); !errors.Is(err, why) {
		t.Errorf("commit: got %v, want %v", err, why)
	}
	if _, err := s.Create(ctx); !errors.Is(err, why) {
		t.Errorf("create: got %v, want %v", err, why)
	}
	if _, _, err := s.Open(ctx, key); !errors.Is(err, why) {
		t.Errorf("open: got %v, want %v", err, why)
	}
	if _, err := s.Stat(ctx, key); !errors.Is(err, why) {
		t.Errorf("stat: got %v, want %v", err, why)
	}
	if err := s.Delete(ctx, key); !errors.Is(err, why) {
		t.Errorf("delete: got %v, want %v", err, why)
	}
	if _, err := s.ID(ctx); !errors.Is(err, why) {
		t.Errorf("ID: got %v, want %v", err, why)
	}
	wantMissing(t, s, key)
}

func identity(t *testing.T, s storage.Store) {
	first, err := s.ID(t.Context())
	if err != nil || len(first) < 16 {
		t.Fatalf("ID: got %q, %v", first, err)
	}
	mustPut(t, s, storage.Key("people", "Jim Green", 1, "gif"), nil)
	second, err := s.ID(t.Context())
	if err != nil || second != first {
		t.Errorf("ID again: got %q, %v, want %q", second, err, first)
	}
}

// listed returns the sizes of what is listed, by key.
func listed(t *testing.T, s storage.Store, prefix string) map[string]int64 {
	t.Helper()
	got := make(map[string]int64)
	for e, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		if _, twice := got[e.Key]; twice {
			t.Errorf("list %q: %s comes twice", prefix, e.Key)
		}
		if e.ModTime.IsZero() {
			t.Errorf("list %q: %s has no time", prefix, e.Key)
		}
		got[e.Key] = e.Size
	}
	return got
}

func lists(t *testing.T, s storage.Store) {
	if got := listed(t, s, ""); len(got) > 0 {
		t.Fatalf("an empty store lists %v", got)
	}
	// More than a page of any service.
	const many = 1100
	want := make(map[string]int64)
	var wg sync.WaitGroup
	for w := range 8 {
		for i := w; i < many; i += 8 {
			want[storage.Key("people", fmt.Sprintf("Name %d & co", i), 1, "jpg")] = int64(i % 7)
		}
		wg.Go(func() {
			for i := w; i < many; i += 8 {
				if err := Put(t.Context(), s, storage.Key("people", fmt.Sprintf("Name %d & co", i), 1, "jpg"), Picture(i, i%7)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	other := storage.Key("people2", "Ünal Ğ", 1, "png")
	mustPut(t, s, other, []byte("x"))
	content := storage.ContentKey([32]byte{0xab}, "webp")
	mustPut(t, s, content, []byte("xy"))

	got := listed(t, s, "people/")
	for key, size := range want {
		if n, ok := got[key]; !ok || n != size {
			t.Errorf("list people/: %s: got %d, %v, want %d", key, n, ok, size)
		}
	}
	if len(got) != many {
		t.Errorf("list people/: got %d files, want %d", len(got), many)
	}
	all := listed(t, s, "")
	if len(all) != many+2 || all[other] != 1 || all[content] != 2 {
		t.Errorf("list all: got %d files, with %d and %d bytes, want %d", len(all), all[other], all[content], many+2)
	}
	if got := listed(t, s, "nobody/"); len(got) > 0 {
		t.Errorf("list nobody/: got %v", got)
	}
	for _, bad := range []string{"people", "../", "/", "a/../b/", ".tmp/"} {
		for e, err := range s.List(t.Context(), bad) {
			if err == nil {
				t.Errorf("list %q: got %s, want an error", bad, e.Key)
			}
		}
	}
}

func endedListing(t *testing.T, s storage.Store) {
	for i := range 5 {
		mustPut(t, s, storage.Key("people", "Lucy", i+1, "jpg"), nil)
	}
	n := 0
	for range s.List(t.Context(), "") {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("listing went on to %d", n)
	}
	why := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	var last error
	for _, err := range s.List(ctx, "") {
		last = err
	}
	if !errors.Is(last, why) {
		t.Errorf("list: got %v, want %v", last, why)
	}
}

func probes(t *testing.T, s storage.Store) {
	for range 2 {
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := listed(t, s, ""); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
}
