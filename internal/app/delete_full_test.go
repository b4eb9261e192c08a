package app_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
	"github.com/picharvest/picharvest/tasks"
)

// A full Redis takes no mark of what is removed: the batch goes all the same,
// with its pictures but for those that another batch has by content.
func TestDeletePicturesOnAFullRedis(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	loaded, err := configs.Load(configs.Options{SearchPath: []string{}, Environ: []string{"HARVEST_DATA=" + t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	s := loaded.Settings
	server := redistest.Start(t)
	s.Redis.URL = server.URL()
	a, err := app.Open(ctx, s, app.Server, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(context.Background()) })
	store, err := file.New(s.PicturesFolder(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })

	own := storage.Key("names", "Ada", 1, "png")
	alone, shared := storage.ContentKey([32]byte{1}, "png"), storage.ContentKey([32]byte{2}, "png")
	hash := func(b byte) string { sum := [32]byte{b}; return base64.RawURLEncoding.EncodeToString(sum[:]) }
	for batch, pictures := range map[string]map[string]results.Picture{
		"names":  {"Ada": {Key: own, SHA256: hash(3)}, "Bob": {Key: alone, SHA256: hash(1)}, "Cyd": {Key: shared, SHA256: hash(2)}},
		"others": {"Cyd": {Key: shared, SHA256: hash(2)}},
	} {
		e, err := a.DB.Open(ctx, batch, "people", "names.txt", 1)
		if err != nil {
			t.Fatal(err)
		}
		line := int64(0)
		for name, p := range pictures {
			line++
			p.Kind, p.Bytes = "png", 1
			if err := storagetest.Put(ctx, store, p.Key, []byte("x")); err != nil {
				t.Fatal(err)
			}
			r := results.Record{
				Name: name, State: results.Done, Generation: 1, Line: line, Lane: tasks.Express, Updated: time.Unix(1, 0),
				Lookup: &results.Lookup{Pictures: [][]string{{"http://a.test/1"}}}, Outcomes: map[int]results.Outcome{1: {Picture: &p}},
			}
			if name == "Ada" {
				// What the batch takes is what its deletion gives back.
				r.Lookup.Attributes = []results.Attribute{{Name: "a", Value: strings.Repeat("x", 6<<20)}}
			}
			if _, err := e.Import(ctx, 0, []results.Record{r}); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	b, err := a.DB.Batch(ctx, "names")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Client().ConfigSet(ctx, "maxmemory", "4mb").Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Client().Set(ctx, "k", "v", 0).Err(); err == nil {
		t.Fatal("Redis is not full")
	}
	report, err := a.DeletePictures(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	if report.Names != 3 || report.Pictures != 2 || report.Shared != 1 {
		t.Errorf("got %+v, want 3 names, 2 pictures and 1 shared", report)
	}
	for e, err := range store.List(ctx, "") {
		if err != nil || e.Key != shared {
			t.Errorf("left behind: %s, %v", e.Key, err)
		}
	}
}
