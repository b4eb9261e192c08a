package export_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/mem"
	"github.com/picharvest/picharvest/tasks"
)

// TestPicturesThatAreNotThere: a picture that the store lacks, or has with
// other bytes, is in no export; its row says so, and the report counts it.
func TestPicturesThatAreNotThere(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.add(w.done("good", "png"), w.done("missing", "png", "jpeg"), w.done("other bytes", "png"), w.done("cut", "png"),
		w.done("a folder", "png"))
	path := func(name string) string {
		return filepath.Join(w.dir, filepath.FromSlash(storage.Key(batch, name, 1, "png")))
	}
	data, err := os.ReadFile(path("other bytes"))
	if err != nil {
		t.Fatal(err)
	}
	data[7] ^= 1
	for _, err := range []error{
		os.Remove(path("missing")), os.WriteFile(path("other bytes"), data, 0o600), os.Truncate(path("cut"), 9),
		os.Remove(path("a folder")), os.Mkdir(path("a folder"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[export.Problem]int64{export.Missing: 1, export.Differs: 2, export.Unreadable: 1}
	wantRows := map[string]string{
		"good 1": "", "missing 1": "missing", "missing 2": "", "other bytes 1": "differs", "cut 1": "differs", "a folder 1": "unreadable",
	}
	for _, f := range []export.Format{export.WebDataset, export.Folder} {
		dir, report := w.export(export.Options{Format: f})
		if diff := cmp.Diff(want, report.Problems); diff != "" || report.Pictures != 2 || report.Whole() {
			t.Errorf("%s: %+v (-want +got):\n%s", f, report, diff)
		}
		rows := make(map[string]string)
		for _, r := range tableCells(t, filepath.Join(dir, export.TableFile)) {
			rows[r["name"]+" "+r["rank"]] = r["problem"]
			if (r["problem"] == "") != (r["file"] != "") {
				t.Errorf("%s: %s has the file %q and the problem %q", f, r["name"], r["file"], r["problem"])
			}
		}
		if diff := cmp.Diff(wantRows, rows); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f, diff)
		}
	}
	samples, _ := w.export(export.Options{Format: export.WebDataset})
	if got := len(fromShardsOf(t, samples)); got != 2 {
		t.Errorf("%d samples, want 2", got)
	}
	_, report := w.export(export.Options{Format: export.Parquet, Images: true})
	if diff := cmp.Diff(want, report.Problems); diff != "" {
		t.Errorf("parquet (-want +got):\n%s", diff)
	}
	// Where no picture is read none is missed.
	if _, report := w.export(export.Options{Format: export.CSV}); !report.Whole() {
		t.Errorf("csv: %+v", report)
	}
}

func tableCells(t *testing.T, path string) []map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, line := range all[1:] {
		row := make(map[string]string)
		for i, column := range all[0] {
			row[column] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func fromShardsOf(t *testing.T, dir string) []sample {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	var all []sample
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, readSamples(t, bytes.NewReader(data))...)
	}
	return all
}

// TestNamesThatChangeMeanwhile: a picture that is replaced between its record
// and its file is no fault of the store, and who is forgotten has no row.
func TestNamesThatChangeMeanwhile(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.add(w.done("stays", "png"), w.done("changes", "png"), w.done("is forgotten", "png"))
	src := w.source(results.Query{})
	again := src.Again
	src.Again = func(ctx context.Context, name string) (results.Record, error) {
		r, err := again(ctx, name)
		switch name {
		case "changes":
			r.Outcomes[1] = outcomeOf("elsewhere", "png", []byte("new"))
		case "is forgotten":
			err = results.ErrNoName
		}
		return r, err
	}
	for _, name := range []string{"changes", "is forgotten"} {
		if err := w.store.Delete(t.Context(), storage.Key(batch, name, 1, "png")); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "tree")
	report, err := export.Run(t.Context(), src, w.target(dir, export.Folder), export.Options{Format: export.Folder})
	if err != nil {
		t.Fatal(err)
	}
	rows := tableCells(t, filepath.Join(dir, export.TableFile))
	if report.Names != 2 || len(rows) != 2 || report.Problems[export.Changed] != 1 || rows[1]["problem"] != "changed" {
		t.Errorf("%+v, rows %v", report, rows)
	}
}

// TestNamesWithoutEnd: names whose pictures are still to come are left out
// and counted, those that are forgotten never appear, and those that cannot
// be read are told.
func TestNamesWithoutEnd(t *testing.T) {
	t.Parallel()
	w := setup(t)
	ctx := t.Context()
	w.add(w.done("done", "png"), w.done("garbage", "png"), w.done("retired", "png"), results.Record{Name: "queued", State: results.Queued},
		results.Record{Name: "found", State: results.Found, Lookup: answer(2)})
	b := w.batch()
	if _, err := w.db.Retire(ctx, b, tasks.Shard("retired", shards), []string{"retired"}); err != nil {
		t.Fatal(err)
	}
	_, err := w.db.Record(ctx, batch, tasks.Shard("garbage", shards), "garbage")
	if err != nil {
		t.Fatal(err)
	}
	key := fmt.Sprintf("harvest:{%s.%d}:records", batch, tasks.Shard("garbage", shards))
	if err := w.rdb.HSet(ctx, key, "garbage", "<html>").Err(); err != nil {
		t.Fatal(err)
	}
	for _, f := range export.Formats() {
		path, report := w.export(export.Options{Format: f})
		if report.Names != 2 || report.Unsettled != 2 || report.UnreadableNames != 1 || report.Whole() {
			t.Errorf("%s: %+v", f, report)
		}
		for file, text := range content(t, path) {
			if strings.Contains(text, "retired") || strings.Contains(text, "queued") {
				t.Errorf("%s %s has names that it should not have: %q", f, file, text)
			}
			if (f == export.CSV || f == export.JSONL) && !strings.Contains(text, "not readable") {
				t.Errorf("%s does not tell of what cannot be read: %s", f, text)
			}
		}
	}
	if _, report := w.export(export.Options{Format: export.CSV, Unsettled: true}); report.Names != 4 || report.Unsettled != 0 {
		t.Errorf("with those that have no end: %+v", report)
	}
	// A key of another program hides what is in it, and nothing else.
	if err := w.rdb.Set(ctx, fmt.Sprintf("harvest:{%s.0}:state:failed", batch), "garbage", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, report := w.export(export.Options{Format: export.CSV}); report.Names != 2 || !strings.Contains(report.Broken, "state:failed") {
		t.Errorf("with a broken key: %+v", report)
	}
}

// TestShards: a shard is as large as it may be and no larger, and a dry run
// counts the same.
func TestShards(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, size := range []export.ShardSize{{Pictures: 1}, {Pictures: 10}, {Bytes: 10_000}, {Bytes: 1}, {Bytes: 1e9}} {
		dir, report := w.export(export.Options{Format: export.WebDataset, Shard: size})
		var pictures int64
		for i, s := range report.Shards {
			info, err := os.Stat(filepath.Join(dir, s.URL))
			if err != nil {
				t.Fatal(err)
			}
			pictures += s.Pictures
			last := i == len(report.Shards)-1
			switch {
			case s.URL != fmt.Sprintf("%s-%06d.tar", batch, i), info.Size() != s.Bytes:
				t.Errorf("%+v: shard %d is %+v and has %d bytes", size, i, s, info.Size())
			case size.Pictures > 0 && s.Pictures != size.Pictures && !last, size.Bytes > 0 && s.Bytes > size.Bytes && s.Pictures > 1:
				t.Errorf("%+v: shard %d is %+v", size, i, s)
			}
		}
		if pictures != report.Pictures {
			t.Errorf("%+v: %d pictures in shards, %d in all", size, pictures, report.Pictures)
		}
		dry, err := export.Run(t.Context(), w.source(results.Query{}), nil, export.Options{Format: export.WebDataset, Shard: size, DryRun: true})
		if diff := cmp.Diff(report, dry); diff != "" || err != nil {
			t.Errorf("%+v (-real +dry): %v\n%s", size, err, diff)
		}
		var index struct {
			Kind      string           `json:"__kind__"`
			Version   int              `json:"wids_version"`
			ShardList []map[string]any `json:"shardlist"`
		}
		data, err := os.ReadFile(filepath.Join(dir, export.Manifest))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &index); err != nil || index.Kind != "wids-shard-index-v1" || index.Version != 1 || len(index.ShardList) != len(report.Shards) {
			t.Errorf("manifest %s: %v", data, err)
		}
	}
}

// TestStreams: an export goes to standard output as it comes.
func TestStreams(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, f := range []export.Format{export.CSV, export.JSONL, export.Parquet} {
		path, _ := w.export(export.Options{Format: f})
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := export.Run(t.Context(), w.source(results.Query{}), export.NewStream(&b), export.Options{Format: f}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s: the stream differs from the file", f)
		}
	}
	var b bytes.Buffer
	report, err := export.Run(t.Context(), w.source(results.Query{}), export.NewStream(&b), export.Options{Format: export.WebDataset, Shard: export.ShardSize{Pictures: 2}})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(readSamples(t, &b)); int64(got) != report.Pictures || got < 50 {
		t.Errorf("%d samples in the stream, %d pictures", got, report.Pictures)
	}
}

// TestLinks: a folder has the store's own files, also from a store by content
// and under readable names; and copies where a link leads elsewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	w := setup(t)
	data := []byte("the same bytes for both")
	key := hash(data)[:2] + "/" + hash(data) + ".png"
	o := w.stored(key, "png", data)
	for _, name := range []string{"Brus Lee", "brus lee"} {
		w.add(results.Record{Name: name, State: results.Done, Lookup: answer(1), Outcomes: map[int]results.Outcome{1: o}})
	}
	dir, _ := w.export(export.Options{Format: export.Folder})
	original, err := os.Stat(filepath.Join(w.dir, filepath.FromSlash(key)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Brus Lee.png", "brus lee~l.png"} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(fi, original) {
			t.Errorf("%s is no link", name)
		}
	}

	src := w.source(results.Query{})
	src.Pictures = elsewhere{src.Pictures, t.TempDir()}
	if err := os.WriteFile(src.Pictures.(elsewhere).Path(key), []byte("a stranger's"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "copies")
	if _, err := export.Run(t.Context(), src, w.target(dir, export.Folder), export.Options{Format: export.Folder}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "Brus Lee.png")); string(got) != string(data) || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, data)
	}
}

// elsewhere says of its files that they are in another folder.
type elsewhere struct {
	export.Pictures
	dir string
}

func (e elsewhere) Path(key string) string { return filepath.Join(e.dir, filepath.Base(key)) }

// TestAStoreOutOfReach ends the export and leaves nothing behind.
func TestAStoreOutOfReach(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, f := range []export.Format{export.Parquet, export.WebDataset, export.Folder} {
		src := w.source(results.Query{})
		reads := 0
		src.Pictures = picturesFunc(func(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
			return nil, storage.Info{}, failure.Newf(failure.ReasonStore, failure.Hold, "the bucket is away")
		})
		dir := t.TempDir()
		_, err := export.Run(t.Context(), src, w.target(filepath.Join(dir, "out"), f), export.Options{Format: f, Images: f == export.Parquet})
		if fail, ok := errors.AsType[*failure.Error](err); !ok || fail.Reason != failure.ReasonStore {
			t.Errorf("%s: got %v after %d reads", f, err, reads)
		}
		if left := content(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", f, left)
		}
	}
}

// TestInterrupted: an export whose context ends leaves nothing behind, and one
// that is killed is not seen.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, f := range export.Formats() {
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		_, err := export.Run(ctx, w.source(results.Query{}), w.target(filepath.Join(dir, "out"), f), export.Options{
			Format: f, Progress: func(r export.Report) {
				if r.Names == 10 {
					cancel()
				}
			},
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", f, err)
		}
		if left := content(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", f, left)
		}
	}
}

// endless is the environment variable that makes this program an export that
// stands still in the middle.
const endless = "HARVEST_TEST_EXPORT_TO"

func TestMain(m *testing.M) {
	if to := os.Getenv(endless); to != "" {
		standStill(to, export.Format(filepath.Ext(to)[1:]))
		return
	}
	os.Exit(m.Run())
}

// standStill exports names until one of them says so on standard output and
// waits for ever.
func standStill(to string, f export.Format) {
	src := manyNames(2000, 30_000)
	var target export.Target
	var err error
	if f.Many() {
		target, err = export.NewDir(to, false)
	} else {
		target, err = export.NewFile(to, false)
	}
	if err == nil {
		_, err = export.Run(context.Background(), src, target, export.Options{
			Format: f, Images: f == export.Parquet, Shard: export.ShardSize{Pictures: 100}, Progress: func(r export.Report) {
				if r.Names == 1000 {
					fmt.Println("half")
					select {}
				}
			},
		})
	}
	fmt.Println("not killed:", err)
}

// TestKilled: an export that is killed in the middle is not to be seen, and
// the same command again makes it.
func TestKilled(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range export.Formats() {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			to := filepath.Join(dir, "out."+string(f))
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), endless+"="+to)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			said := make([]byte, 5)
			if _, err := io.ReadFull(out, said); err != nil || string(said) != "half\n" {
				t.Fatalf("it says %q, %v", said, err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // it was killed
			if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is to be seen: %v", to, err)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 || left[0].Name()[0] != '.' {
				t.Errorf("left behind: %v, %v", left, err)
			}
			// A day later the next one takes it away.
			old := time.Now().Add(-25 * time.Hour)
			if err := os.Chtimes(filepath.Join(dir, left[0].Name()), old, old); err != nil {
				t.Fatal(err)
			}
			var target export.Target
			if f.Many() {
				target, err = export.NewDir(to, false)
			} else {
				target, err = export.NewFile(to, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := export.Run(t.Context(), manyNames(20, 100), target, export.Options{Format: f}); err != nil {
				t.Fatal(err)
			}
			if left, err = os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(to) {
				t.Errorf("after the next one: %v, %v", left, err)
			}
		})
	}
}

// manyNames are n done names, each with a picture of that many bytes, which
// are in no Redis and no store.
func manyNames(n, bytes int) export.Source {
	b := results.Batch{Name: batch, Provider: "people"}
	data := make([]byte, bytes)
	o := outcomeOf("ab/picture.png", "png", data)
	return export.Source{
		Batch: b,
		Records: func(yield func(results.Record, error) bool) {
			for i := range n {
				r := results.Record{
					Name: fmt.Sprintf("Name Number %07d", i), Line: int64(i + 1), State: results.Done, Generation: 1, Lane: tasks.Bulk,
					Lookup: answer(1), Outcomes: map[int]results.Outcome{1: o}, Updated: time.Unix(1_700_000_000, 0).UTC(),
				}
				if !yield(r, nil) {
					return
				}
			}
		},
		Again: func(context.Context, string) (results.Record, error) { return results.Record{}, results.ErrNoName },
		Describe: func(r results.Record) recordjson.Name {
			return recordjson.Of(b, r)
		},
		Pictures: picturesFunc(func(context.Context, string) (io.ReadCloser, storage.Info, error) { return inMemory(data) }),
	}
}

// TestMemory: what an export holds is bounded, whatever the pictures have. (By
// 100,000 names it is measured in package integration.)
//
// It is not parallel: other tests would be measured too.
func TestMemory(t *testing.T) {
	const (
		names   = 20_000
		allowed = 300 << 20 // of the 800 MB of pictures
	)
	for _, test := range []struct {
		opts    export.Options
		picture int
	}{
		{export.Options{Format: export.CSV}, 0},
		{export.Options{Format: export.Parquet, Images: true}, 40_000},
		{export.Options{Format: export.WebDataset}, 40_000},
	} {
		var most uint64
		test.opts.Progress = func(r export.Report) {
			if r.Names%5000 != 0 {
				return
			}
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		began := time.Now()
		report, err := export.Run(t.Context(), manyNames(names, test.picture), export.NewStream(io.Discard), test.opts)
		if err != nil || report.Names != names {
			t.Fatalf("%+v: %v", report, err)
		}
		t.Logf("%s, pictures of %d bytes: at most %d MB, %v", test.opts.Format, test.picture, most>>20, time.Since(began).Round(time.Millisecond))
		if most > allowed {
			t.Errorf("%s, pictures of %d bytes: %d MB in memory, want at most %d", test.opts.Format, test.picture, most>>20, allowed>>20)
		}
	}
}

// TestTargets: what is there already stays, unless it is to be replaced.
func TestTargets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("mine"), 0o600), os.Mkdir(at("empty"), 0o755), os.Mkdir(at("full"), 0o755),
		os.WriteFile(at("full/file"), []byte("mine"), 0o600), os.Mkdir(at("export"), 0o755), os.WriteFile(at("export/"+export.Manifest), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name      string
		format    export.Format
		force, ok bool
	}{
		{"new", export.CSV, false, true},
		{"file", export.CSV, false, false},
		{"empty", export.CSV, true, false},
		{"file", export.CSV, true, true},
		{"file", export.Folder, true, false},
		{"full", export.Folder, true, false},
		{"export", export.Folder, false, false},
		{"export", export.Folder, true, true},
		{"empty", export.Folder, false, true},
		{"no/such/folder", export.CSV, false, false},
		{"no/such/folder", export.Folder, false, false},
	} {
		var target export.Target
		var err error
		if test.format.Many() {
			target, err = export.NewDir(at(test.name), test.force)
		} else {
			target, err = export.NewFile(at(test.name), test.force)
		}
		if (err == nil) != test.ok {
			t.Errorf("%+v: got %v", test, err)
		}
		if err != nil {
			continue
		}
		if _, err := export.Run(t.Context(), manyNames(3, 100), target, export.Options{Format: test.format}); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if got := content(t, at("full")); got["/file"] != "mine" {
		t.Errorf("the folder holds %v", got)
	}
	if got := content(t, at("export")); len(got) != 5 || got["/"+export.Manifest] == "" {
		t.Errorf("the replaced export holds %d files", len(got))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// TestBuckets: exports among objects are those on disk, and one that breaks
// off leaves nothing.
func TestBuckets(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.crowd()
	for _, f := range export.Formats() {
		opts := export.Options{Format: f, Shard: export.ShardSize{Pictures: 9}}
		dir, _ := w.export(opts)
		want := make(map[string]string)
		for name, text := range content(t, dir) {
			want[strings.TrimPrefix(name, "/")] = text
		}
		name := ""
		if !f.Many() {
			name = "sole"
			want = map[string]string{name: want[""]}
		}
		objects := mem.New()
		to := func(force bool) (export.Target, error) { return export.NewBucket(t.Context(), objects, name, force) }
		target, err := to(false)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		broken := opts
		broken.Progress = func(r export.Report) {
			if r.Names == 20 {
				cancel()
			}
		}
		if _, err := export.Run(ctx, w.source(results.Query{}), target, broken); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", f, err)
		}
		cancel()
		if left := objectsIn(t, objects); len(left) > 0 {
			t.Errorf("%s: %d objects are left behind", f, len(left))
		}
		if target, err = to(false); err != nil {
			t.Fatal(err)
		}
		if _, err := export.Run(t.Context(), w.source(results.Query{}), target, opts); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, objectsIn(t, objects)); diff != "" {
			t.Errorf("%s (-disk +bucket):\n%s", f, diff)
		}
		if _, err := to(false); err == nil {
			t.Errorf("%s: what is there is written over", f)
		}
		if _, err := to(true); (err == nil) != (name != "") {
			t.Errorf("%s: with force: %v", f, err)
		}
	}
}

func objectsIn(t *testing.T, objects *mem.Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for e, err := range objects.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := objects.Open(t.Context(), e.Key)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Key] = string(data)
	}
	return all
}

// FuzzTable: whatever a record says, a reader gets it back, and no cell begins
// like a formula.
func FuzzTable(f *testing.F) {
	for _, s := range append(hostile(), "\tTAB", "\rCR", "line\r\nbreak", "\ufeff", "a\x00b") {
		f.Add(s, "x", true)
	}
	f.Fuzz(func(t *testing.T, name, attribution string, bom bool) {
		var b bytes.Buffer
		table := export.NewTable(&b, export.TableOptions{BOM: bom})
		n := recordjson.Name{Batch: batch, Name: name, Attribution: attribution, Pictures: []recordjson.Picture{{Rank: 1}, {Rank: 2}}}
		if err := errors.Join(table.Write(n), table.Close()); err != nil {
			t.Fatal(err)
		}
		text := strings.TrimPrefix(b.String(), "\ufeff")
		if bom == (text == b.String()) {
			t.Error("the byte order mark is wrong")
		}
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for column, want := range map[string]string{"name": name, "attribution": attribution} {
			got := rows[1][slices.Index(rows[0], column)]
			if got != "" && strings.ContainsRune("=+-@\t\r", rune(got[0])) {
				t.Errorf("cell %q is a formula", got)
			}
			// Go's reader takes CRLF within a cell for a line feed.
			want = strings.ReplaceAll(want, "\r\n", "\n")
			if got != want && got != "'"+want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
