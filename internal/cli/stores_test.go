package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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

// denying answers as a service does where a right is missing: reading an object
// whose key has this text.
type denying struct {
	http.Handler
	text atomic.Pointer[string]
}

func (d *denying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if text := d.text.Load(); text != nil && r.Method == http.MethodGet && strings.Contains(r.URL.Path, *text) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
		return
	}
	d.Handler.ServeHTTP(w, r)
}

// TestStores takes a batch through its life, in a folder and in a bucket, by
// readable names and by a template with sidecars: each fault that is planted is
// found by verify, and put right.
func TestStores(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("shelf"); err != nil {
		t.Fatal(err)
	}
	front := &denying{Handler: gofakes3.New(backend).Server()}
	service := httptest.NewServer(front)
	t.Cleanup(service.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", bucketSecret)
	const template = "{batch}/{attr.career}/{name}{-rank}.{ext}"
	readable := keysOf{"names/Han Meimei.jpg", "names/Brus Lee.png", "names/Jack Chen.gif"}
	sorted := keysOf{"names/teacher/Han Meimei.jpg", "names/engineer/Brus Lee.png", "names/actor/Jack Chen.gif"}
	for _, tc := range []struct {
		name   string
		bucket bool
		naming string
		keys   keysOf
	}{
		{"folder", false, storage.NamesReadable, readable},
		{"bucket", true, storage.NamesReadable, readable},
		{"folder by template", false, template, sorted},
		{"bucket by template", true, template, sorted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.naming == template {
				t.Setenv("HARVEST_STORAGE_NAMES", template)
				t.Setenv("HARVEST_STORAGE_SIDECAR", "true")
			}
			folder := filepath.Join(t.TempDir(), "pictures")
			l := storeLife{
				harvest: harvest{t, filepath.Join(t.TempDir(), "data"), folder},
				shown:   folder, keys: tc.keys, sidecars: tc.naming == template,
			}
			if tc.bucket {
				l.store, l.shown = "s3://shelf/p?endpoint="+service.URL, "s3://shelf/p"
			}
			l.open()
			l.run(func() (undo func()) {
				if tc.bucket {
					front.text.Store(&tc.keys.lee)
					return func() { front.text.Store(nil) }
				}
				// As a disk that fails: the name is there and cannot be read.
				path := filepath.Join(folder, filepath.FromSlash(tc.keys.lee))
				l.must(os.Rename(path, path+".aside"))
				l.must(os.Mkdir(path, 0o700))
				return func() {
					l.must(os.Remove(path))
					l.must(os.Rename(path+".aside", path))
				}
			})
		})
	}
}

// keysOf are the keys of the three names of the demo.
type keysOf struct{ han, lee, chen string }

// storeLife is the life of a batch in a store.
type storeLife struct {
	harvest
	shown    string
	keys     keysOf
	sidecars bool
	pictures storage.Store
	names    string
}

func (l *storeLife) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// open opens the store beside the commands.
func (l *storeLife) open() {
	l.t.Helper()
	at, err := storage.ParseLocation(l.store)
	l.must(err)
	if at.Scheme == storage.SchemeS3 {
		l.pictures, err = s3.New(l.t.Context(), s3.Config{Location: at}, "test")
	} else {
		l.pictures, err = file.New(l.store, "test")
	}
	l.must(err)
	l.t.Cleanup(func() { l.pictures.Close() })
	l.names = filepath.Join(l.t.TempDir(), "names.txt")
	l.must(os.WriteFile(l.names, []byte("Han Meimei\nBrus Lee\nJack Chen\n"), 0o600))
}

func (l *storeLife) harvestAgain(args ...string) string {
	l.t.Helper()
	_, said := l.do(0, append([]string{"run", "--file", l.names, "--quiet"}, args...)...)
	return said
}

// marks returns what verify finds, by key.
func (l *storeLife) marks(want int) map[string]string {
	l.t.Helper()
	out, _ := l.do(want, "verify", "names", "--all", "--json")
	marks := make(map[string]string)
	for line := range strings.Lines(out) {
		var f struct{ Mark, Key string }
		l.must(json.Unmarshal([]byte(line), &f))
		marks[f.Key] = f.Mark
	}
	return marks
}

// beside adds the marks of sidecars to those of pictures.
func (l *storeLife) beside(marks map[string]string, sidecars ...string) map[string]string {
	for i := 0; l.sidecars && i < len(sidecars); i += 2 {
		marks[storage.SidecarKey(sidecars[i])] = sidecars[i+1]
	}
	return marks
}

func (l *storeLife) has(want ...string) {
	l.t.Helper()
	var got []string
	for e, err := range l.pictures.List(l.t.Context(), "") {
		l.must(err)
		got = append(got, e.Key)
	}
	if l.sidecars {
		for _, key := range want {
			want = append(want, storage.SidecarKey(key))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		l.t.Errorf("the store has %q, want %q", got, want)
	}
}

func (l *storeLife) run(unreadable func() (undo func())) {
	t, k, ctx := l.t, l.keys, l.t.Context()
	l.harvestAgain()
	l.has(k.han, k.lee, k.chen)
	out, _ := l.do(0, "results", "names", "--json")
	if want := l.shown + "/" + k.lee; !strings.Contains(filepath.ToSlash(out), filepath.ToSlash(want)) {
		t.Errorf("results do not show %s:\n%s", want, out)
	}
	l.do(0, "verify", "names")

	whole, err := storagetest.Get(ctx, l.pictures, k.chen)
	l.must(err)
	other := slices.Clone(whole)
	other[len(other)/2] ^= 1
	l.must(l.pictures.Delete(ctx, k.han))
	l.must(storagetest.Put(ctx, l.pictures, k.chen, other))
	l.must(storagetest.Put(ctx, l.pictures, "names/Nobody.jpg", whole))
	undo := unreadable()
	want := l.beside(map[string]string{k.han: "-", k.lee: "!", k.chen: "*", "names/Nobody.jpg": "+"})
	if _, broken := l.pictures.(*file.Store); broken {
		want[k.lee+".aside"] = "+"
	}
	if got := l.marks(1); !maps.Equal(got, want) {
		t.Errorf("got marks %v, want %v", got, want)
	}
	undo()
	l.do(2, "verify", "names", "--remove-orphans") // nobody is there to be asked
	_, said := l.do(0, "verify", "names", "--repair", "--remove-orphans", "--yes")
	if !strings.Contains(said, "2 names enqueued to fetch 2 pictures again") || !strings.Contains(said, "1 file removed") {
		t.Errorf("got %s", said)
	}
	l.harvestAgain()
	if got, err := storagetest.Get(ctx, l.pictures, k.chen); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("the other bytes stayed: %d, %v", len(got), err)
	}
	l.has(k.han, k.lee, k.chen)
	if l.sidecars {
		l.loseSidecars()
	}
	same := l.beside(map[string]string{k.han: "=", k.lee: "=", k.chen: "="}, k.han, "=", k.lee, "=", k.chen, "=")
	if got := l.marks(0); !maps.Equal(got, same) {
		t.Errorf("got marks %v, want %v", got, same)
	}
	if said := l.harvestAgain("--refresh"); !strings.Contains(said, "3 unchanged") {
		t.Errorf("refreshed: %s", said)
	}
	l.has(k.han, k.lee, k.chen)
	l.exports()

	// An emptied store is met with the way back.
	for e, err := range l.pictures.List(ctx, "") {
		l.must(err)
		defer func() { _ = l.pictures.Delete(ctx, e.Key) }()
		l.must(l.pictures.Delete(ctx, e.Key))
	}
	if _, said := l.do(0, "run", "--file", l.names); !strings.Contains(said, "harvest verify names --repair") {
		t.Errorf("the emptied store is not told of: %s", said)
	}
	l.do(0, "verify", "names", "--repair")
	l.harvestAgain()
	l.do(0, "verify", "names")

	l.do(0, "forget", "Brus Lee", "--yes")
	l.has(k.han, k.chen)
	l.do(0, "verify", "names")
	l.do(0, "delete", "names", "--pictures", "--yes")
	l.has()
}

// loseSidecars plants every fault of sidecars and repairs them.
func (l *storeLife) loseSidecars() {
	t, k, ctx := l.t, l.keys, l.t.Context()
	told, err := storagetest.Get(ctx, l.pictures, storage.SidecarKey(k.han))
	l.must(err)
	if !bytes.Contains(told, []byte(`"career": "teacher"`)) || !bytes.Contains(told, []byte(`"key": "`+k.han+`"`)) {
		t.Errorf("the sidecar is %s", told)
	}
	l.must(l.pictures.Delete(ctx, storage.SidecarKey(k.lee)))
	l.must(storagetest.Put(ctx, l.pictures, storage.SidecarKey(k.chen), bytes.ReplaceAll(told, []byte("Han"), []byte("Ham"))))
	l.must(storagetest.Put(ctx, l.pictures, "names/Nobody.jpg.json", told))
	want := map[string]string{
		k.han: "=", k.lee: "=", k.chen: "=", storage.SidecarKey(k.han): "=", storage.SidecarKey(k.lee): "-", storage.SidecarKey(k.chen): "*",
		"names/Nobody.jpg.json": "+",
	}
	if got := l.marks(1); !maps.Equal(got, want) {
		t.Errorf("got marks %v, want %v", got, want)
	}
	if _, said := l.do(0, "verify", "names", "--repair", "--remove-orphans", "--yes"); !strings.Contains(said, "2 sidecars written") || !strings.Contains(said, "1 file removed") {
		t.Errorf("got %s", said)
	}
}

// exports writes every format from the store: the same pictures each time.
func (l *storeLife) exports() {
	t, dir := l.t, l.t.TempDir()
	for _, format := range []string{"csv", "jsonl", "parquet", "webdataset", "folder"} {
		to := filepath.Join(dir, "names."+format)
		if _, said := l.do(0, "export", "names", "--format", format, "--to", to); !strings.Contains(said, "3 names, 3 rows, 3 pictures") {
			t.Errorf("%s: %s", format, said)
		}
	}
	whole, err := storagetest.Get(t.Context(), l.pictures, l.keys.han)
	l.must(err)
	if got, err := os.ReadFile(filepath.Join(dir, "names.folder", "Han Meimei.jpg")); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("the folder has %d bytes of Han Meimei, %v; want %d", len(got), err, len(whole))
	}
}

// TestImportByTemplate: a batch that is moved keeps its naming, and a line may
// claim the files of its own name alone.
func TestImportByTemplate(t *testing.T) {
	t.Parallel()
	const template = "{batch}/{column.team}/{name}.{ext}"
	line := func(name, naming, key string) string {
		return fmt.Sprintf(`{"batch":"staff","provider":"people","name":%q,"names":%q,"line":1,"state":"done","generation":1,"updated":"2026-01-01T00:00:00Z",`+
			`"columns":{"team":"Sales"},"pictures":[{"rank":1,"url":"http://a.test/1","key":%q,"kind":"jpeg","bytes":7,"width":1,"height":1,"sha256":%q}]}`+"\n",
			name, naming, key, strings.Repeat("aa", 32))
	}
	dir := t.TempDir()
	lines := filepath.Join(dir, "staff.jsonl")
	if err := os.WriteFile(lines, []byte(line("Ada", template, "staff/sales/Ada.jpg")+
		line("Bob", template, "staff/sales/Ada.jpg")+line("Cyd", "readable", "staff/sales/Cyd.jpg")+line("Dan", "{batch}/{moon}.{ext}", "staff/Dan.jpg")), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	data := filepath.Join(dir, "data")
	if code := cli.Run(t.Context(), cli.Harvest, []string{"import", lines, "--data", data}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}); code != 1 {
		t.Fatalf("import: %d\n%s", code, &out)
	}
	for _, want := range []string{
		`line 2: picture 1: key "staff/sales/Ada.jpg" is not that of this picture`, `line 3: picture 1: key "staff/sales/Cyd.jpg" is not`,
		`line 4: names: "{batch}/{moon}.{ext}": unknown {moon}`, "batch staff: 1 new",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said:\n%s", want, &out)
		}
	}
	h := harvest{t, data, filepath.Join(dir, "pictures")}
	if got, _ := h.do(0, "results", "staff", "--json"); !strings.Contains(got, `"names":"`+template+`"`) {
		t.Errorf("the naming is lost: %s", got)
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
