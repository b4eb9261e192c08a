package export_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/tasks"
)

// world is a batch in a Redis, with its pictures in a folder.
type world struct {
	t     *testing.T
	rdb   redis.UniversalClient
	db    *results.DB
	store *file.Store
	dir   string
	lines int64
}

const (
	batch  = "crew"
	shards = 3
)

func setup(t *testing.T) *world {
	t.Helper()
	return newWorld(t, redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()}))
}

func newWorld(t *testing.T, rdb redis.UniversalClient) *world {
	t.Helper()
	t.Cleanup(func() { _ = rdb.Close() })
	dir := filepath.Join(t.TempDir(), "pictures")
	store, err := file.New(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &world{t: t, rdb: rdb, db: results.New(rdb, ""), store: store, dir: dir}
}

// batch returns the batch as it is now.
func (w *world) batch() results.Batch {
	w.t.Helper()
	b, err := w.db.Batch(w.t.Context(), batch)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// add puts records into the batch as they are.
func (w *world) add(records ...results.Record) {
	w.t.Helper()
	e, err := w.db.Open(w.t.Context(), batch, "people", "crew.txt", shards)
	if err != nil {
		w.t.Fatal(err)
	}
	byShard := make(map[int][]results.Record)
	for _, r := range records {
		w.lines++
		r.Line, r.Generation, r.Lane, r.Updated = w.lines, 1, tasks.Bulk, time.Unix(1_700_000_000, 0).UTC()
		byShard[tasks.Shard(r.Name, shards)] = append(byShard[tasks.Shard(r.Name, shards)], r)
	}
	for s, all := range byShard {
		if _, err := e.Import(w.t.Context(), s, all); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := e.Close(w.t.Context(), true); err != nil {
		w.t.Fatal(err)
	}
}

// stored stores bytes and returns the picture that a record has of them.
func (w *world) stored(key, kind string, data []byte) results.Outcome {
	w.t.Helper()
	out, err := w.store.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := out.Write(data); err != nil {
		w.t.Fatal(err)
	}
	if err := out.Commit(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
	return outcomeOf(key, kind, data)
}

func outcomeOf(key, kind string, data []byte) results.Outcome {
	sum := sha256.Sum256(data)
	return results.Outcome{Picture: &results.Picture{
		Kind: kind, Bytes: int64(len(data)), Width: 3, Height: 4, Key: key, SHA256: base64.RawURLEncoding.EncodeToString(sum[:]),
	}}
}

// done is a name with pictures under its own keys, each of other bytes.
func (w *world) done(name string, kinds ...string) results.Record {
	r := results.Record{Name: name, State: results.Done, Lookup: answer(len(kinds)), Outcomes: map[int]results.Outcome{}}
	for i, kind := range kinds {
		data := []byte(strings.Repeat(fmt.Sprintf("%s %d of %s;", kind, i+1, name), 40))
		r.Outcomes[i+1] = w.stored(storage.Key(batch, name, i+1, ext(kind)), kind, data)
	}
	return r
}

func ext(kind string) string {
	if kind == "jpeg" {
		return "jpg"
	}
	return kind
}

// answer is what a provider says of a name with n pictures.
func answer(n int) *results.Lookup {
	l := &results.Lookup{
		Attributes: []results.Attribute{{Name: "zip", Value: "<&>\u2028\"ü"}, {Name: "formula", Value: "=1+1"}, {Name: "", Value: ""}},
		Licence:    "CC BY 4.0", Attribution: "@someone, \"quoted\"\nand broken", Source: "http://a.test/?a=1&b=2",
	}
	for i := range n {
		l.Pictures = append(l.Pictures, []string{fmt.Sprintf("http://a.test/%d.jpg?x=1&y=2", i+1)})
	}
	return l
}

// hostile names are those that files, tables and archives stumble over.
func hostile() []string {
	return []string{
		"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", `"quoted"`, "semi;colon,comma", "../../etc/passwd", "/etc/passwd", "con", "CON.jpg",
		"a.b.c.jpg", "name.tar", "export.json", "names.csv", "Brus Lee", "brus lee", "BRUS LEE", "Björk", "Bjo\u0308rk", "أم كلثوم",
		"韩梅梅", "👩‍🚀", "'apostrophe", "a\\b", "%2e%2e", "-rf", "--checkpoint-action=exec", ".", "..", "$(id)",
		strings.Repeat("x", 256),
	}
}

// crowd adds names in every state that is settled.
func (w *world) crowd() {
	w.t.Helper()
	var records []results.Record
	for i, name := range hostile() {
		kinds := [][]string{{"jpeg"}, {"png", "gif"}, {"webp", "jpeg", "png"}}[i%3]
		records = append(records, w.done(name, kinds...))
	}
	partial := w.done("partial", "png")
	partial.Columns = []results.Attribute{{Name: "born", Value: "=1900"}}
	partial.State, partial.Lookup = results.Partial, answer(2)
	partial.Outcomes[2] = results.Outcome{Failure: &results.Failure{Reason: failure.ReasonTimeout, Exhausted: true, Host: "a.test", Message: "=slow"}}
	stale := w.done("stale", "gif")
	stale.Stale = &results.Staleness{Since: time.Unix(1_700_000_100, 0).UTC(), Failure: results.Failure{Reason: failure.ReasonNetwork, Host: "a.test"}}
	records = append(records, partial, stale,
		results.Record{Name: "refused", State: results.Failed, Lookup: answer(1), Outcomes: map[int]results.Outcome{
			1: {Failure: &results.Failure{Reason: failure.ReasonMissing, Host: "a.test", Message: "404"}}}},
		results.Record{Name: "failed", State: results.Failed, Failure: &results.Failure{Reason: failure.ReasonTimeout, Host: "a.test", Message: "slow"}},
		results.Record{Name: "not found", State: results.NotFound, Lookup: &results.Lookup{}},
		results.Record{Name: "no picture", State: results.NoPicture, Lookup: answer(0)},
	)
	w.add(records...)
}

// source is the batch, for a run.
func (w *world) source(q results.Query) export.Source {
	w.t.Helper()
	b := w.batch()
	return export.Source{
		Batch:   b,
		Records: w.db.Each(w.t.Context(), b, q),
		Again:   func(ctx context.Context, name string) (results.Record, error) { return w.db.Get(ctx, b, name) },
		Describe: func(r results.Record) recordjson.Name {
			return recordjson.Of(b, r)
		},
		Pictures: w.store,
	}
}

// export runs an export of everything to a new place and returns the place.
func (w *world) export(opts export.Options) (string, export.Report) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "out."+string(opts.Format))
	report, err := export.Run(w.t.Context(), w.source(results.Query{}), w.target(path, opts.Format), opts)
	if err != nil {
		w.t.Fatalf("%s: %v", opts.Format, err)
	}
	return path, report
}

func (w *world) target(path string, f export.Format) export.Target {
	w.t.Helper()
	var target export.Target
	var err error
	if f.Many() {
		target, err = export.NewDir(path, false)
	} else {
		target, err = export.NewFile(path, false)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return target
}

// picturesFunc is a store of pictures that nobody stored.
type picturesFunc func(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)

func (f picturesFunc) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	return f(ctx, key)
}

func inMemory(data []byte) (io.ReadCloser, storage.Info, error) {
	return io.NopCloser(bytes.NewReader(data)), storage.Info{Size: int64(len(data))}, nil
}

// content is all that stands in a folder or file, by path.
func content(t *testing.T, path string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		all[strings.TrimPrefix(p, path)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
