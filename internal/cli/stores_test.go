package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/picharvest/picharvest/internal/cli"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/storage/s3"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
)

const bucketSecret = "topSECRETtopSECRET"

// harvest runs a command on one data folder and one store.
type harvest struct {
	t           *testing.T
	data, store string
}

func (h harvest) do(want int, args ...string) (out, err string) {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(args, "--data", h.data)
	if args[0] != "status" && args[0] != "retry" {
		args = append(args, "--storage", h.store)
	}
	code := cli.Run(h.t.Context(), cli.Harvest, args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	if code != want {
		h.t.Fatalf("harvest %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, &stdout, &stderr)
	}
	if strings.Contains(stdout.String()+stderr.String(), bucketSecret) {
		h.t.Errorf("harvest %s: the secret is told", strings.Join(args, " "))
	}
	return stdout.String(), stderr.String()
}

// TestStores takes a batch through its life in a folder and in a bucket: each
// fault that is planted is found by verify, and put right.
func TestStores(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("shelf"); err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(service.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", bucketSecret)

	folder := filepath.Join(t.TempDir(), "pictures")
	bucket := "s3://shelf/p?endpoint=" + service.URL
	for _, tc := range []struct {
		name, url, shown string
		open             func(t *testing.T) storage.Store
	}{
		{"folder", folder, folder, func(t *testing.T) storage.Store {
			s, err := file.New(folder, "test")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}},
		{"bucket", bucket, "s3://shelf/p", func(t *testing.T) storage.Store {
			l, err := storage.ParseLocation(bucket)
			if err != nil {
				t.Fatal(err)
			}
			s, err := s3.New(t.Context(), s3.Config{Location: l}, "test")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := harvest{t, filepath.Join(t.TempDir(), "data"), tc.url}
			names := filepath.Join(t.TempDir(), "names.txt")
			if err := os.WriteFile(names, []byte("Han Meimei\nBrus Lee\nJack Chen\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			run := func() { h.do(0, "run", "--file", names, "--quiet") }
			run()
			out, _ := h.do(0, "results", "names", "--json")
			if want := tc.shown + "/names/Brus Lee.png"; !strings.Contains(filepath.ToSlash(out), filepath.ToSlash(want)) {
				t.Errorf("results do not show %s:\n%s", want, out)
			}
			h.do(0, "verify", "names")

			store := tc.open(t)
			t.Cleanup(func() { store.Close() })
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(store.Delete(t.Context(), "names/Brus Lee.png"))
			whole, err := storagetest.Get(t.Context(), store, "names/Jack Chen.gif")
			must(err)
			other := slices.Clone(whole)
			other[len(other)/2] ^= 1
			must(storagetest.Put(t.Context(), store, "names/Jack Chen.gif", other))
			must(storagetest.Put(t.Context(), store, "names/Nobody.jpg", whole))

			out, _ = h.do(1, "verify", "names", "--all", "--json")
			marks := make(map[string]string)
			for line := range strings.Lines(out) {
				var f struct{ Mark, Key string }
				must(json.Unmarshal([]byte(line), &f))
				marks[f.Key] = f.Mark
			}
			want := map[string]string{"names/Han Meimei.jpg": "=", "names/Brus Lee.png": "-", "names/Jack Chen.gif": "*", "names/Nobody.jpg": "+"}
			if fmt.Sprint(marks) != fmt.Sprint(want) {
				t.Errorf("got marks %v, want %v", marks, want)
			}
			h.do(2, "verify", "names", "--remove-orphans") // nobody is there to be asked
			_, said := h.do(0, "verify", "names", "--repair", "--remove-orphans", "--yes")
			if !strings.Contains(said, "2 names enqueued to fetch 2 pictures again") || !strings.Contains(said, "1 file removed") {
				t.Errorf("got %s", said)
			}
			run()
			h.do(0, "verify", "names")
			if got, err := storagetest.Get(t.Context(), store, "names/Jack Chen.gif"); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("the other bytes stayed: %d, %v", len(got), err)
			}

			// An emptied store is met with the way back.
			for e, err := range store.List(t.Context(), "") {
				must(err)
				defer func() { _ = store.Delete(t.Context(), e.Key) }()
				must(store.Delete(t.Context(), e.Key))
			}
			if _, said := h.do(0, "run", "--file", names); !strings.Contains(said, "harvest verify names --repair") {
				t.Errorf("the emptied store is not told of: %s", said)
			}
			h.do(0, "verify", "names", "--repair")
			run()
			h.do(0, "verify", "names")

			h.do(0, "delete", "names", "--pictures", "--yes")
			for e, err := range store.List(t.Context(), "") {
				t.Errorf("left behind: %s, %v", e.Key, err)
			}
		})
	}
}

// TestRebind: a store that was replaced is told, and bound by command alone.
func TestRebind(t *testing.T) {
	t.Parallel()
	h := harvest{t, filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "pictures")}
	names := filepath.Join(t.TempDir(), "names.txt")
	if err := os.WriteFile(names, []byte("Han Meimei\nBrus Lee\nJack Chen\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.do(0, "run", "--file", names, "--quiet")
	if err := os.RemoveAll(h.store); err != nil {
		t.Fatal(err)
	}
	if _, said := h.do(3, "verify", "names"); !strings.Contains(said, "harvest verify names --rebind") {
		t.Errorf("got %s", said)
	}
	if _, said := h.do(2, "run", "--file", names); !strings.Contains(said, "--rebind --repair") {
		t.Errorf("got %s", said)
	}
	h.do(2, "verify", "names", "--rebind")
	h.do(0, "verify", "names", "--rebind", "--repair", "--yes")
	h.do(0, "run", "--file", names, "--quiet")
	h.do(0, "verify", "names")
}

// TestDuplicates: equal pictures are found by their hash, over names and ranks.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	h := harvest{t, filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "pictures")}
	dir := t.TempDir()
	lines := filepath.Join(dir, "in.jsonl")
	var b bytes.Buffer
	for i, hash := range []string{"aa", "bb", "aa", "cc", "bb", "aa"} {
		name := fmt.Sprintf("Name %c", 'A'+i)
		fmt.Fprintf(&b, `{"batch":"names","provider":"people","name":%q,"line":%d,"state":"done","generation":1,"updated":"2026-01-01T00:00:00Z",`+
			`"pictures":[{"rank":1,"url":"http://a.test/1","key":%q,"kind":"jpeg","bytes":7,"width":1,"height":1,"sha256":%q}]}`+"\n",
			name, i+1, storage.Key("names", name, 1, "jpg"), strings.Repeat(hash, 32))
	}
	if err := os.WriteFile(lines, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := cli.Run(t.Context(), cli.Harvest, []string{"import", lines, "--data", h.data}, cli.Streams{In: strings.NewReader(""), Out: &b, Err: &b}); code != 0 {
		t.Fatalf("import: %d\n%s", code, &b)
	}
	to := filepath.Join(dir, "equal.txt")
	h.do(0, "duplicates", "names", "--names-to", to)
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	want := "# 3 equal pictures of 7 B each, sha256 " + strings.Repeat("aa", 32) + "\nName A\nName C\nName F\n" +
		"# 2 equal pictures of 7 B each, sha256 " + strings.Repeat("bb", 32) + "\nName B\nName E\n"
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if out, _ := h.do(0, "duplicates", "names", "--json"); strings.Count(out, "\n") != 5 || strings.Contains(out, "Name D") {
		t.Errorf("got %s", out)
	}
	out, said := h.do(0, "duplicates", "names")
	if !strings.Contains(out, "Name A, Name C, Name F") || !strings.Contains(said, "5 pictures of batch names have 2 contents") {
		t.Errorf("got %s%s", out, said)
	}
}
