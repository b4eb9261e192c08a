// Package sidecar is the JSON file that stands beside a stored picture and
// tells what it shows, under which licence and by whom: the name in the form of
// package recordjson, with this picture alone. It is for those who meet the
// file without Redis; nothing here reads one but to compare it.
package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"

	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// Store is what sidecars are written to.
type Store interface {
	Create(ctx context.Context) (storage.Writer, error)
	Delete(ctx context.Context, key string) error
}

// Write brings the sidecars of a name of the batch up to date: each picture of
// its settled record that is the name's own gets one, and one of a picture
// that went meanwhile goes. Of a name that is open or being refreshed nothing
// is written yet. It may be called at any time, also beside itself and beside
// what takes the name away: whoever writes last looks again. The error is the
// store's or Redis's; then it is simply called again.
func Write(ctx context.Context, db *results.DB, store Store, b results.Batch, name string) error {
	naming, err := b.Naming()
	if err != nil {
		return err
	}
	var written map[string][]byte
	for {
		rec, err := db.Get(ctx, b, name)
		gone := errors.Is(err, results.ErrNoName)
		if results.IsRecordError(err) {
			return nil // there is nothing that could be said of it
		}
		if err != nil && !gone {
			return err
		}
		for key := range written {
			if gone || !rec.Keeps(key) {
				if err := store.Delete(ctx, storage.SidecarKey(key)); err != nil {
					return err
				}
			}
		}
		if gone || rec.Forgotten || rec.State.Open() || rec.Refresh != nil {
			return nil
		}
		files, err := Of(b, naming, rec)
		if err != nil || maps.EqualFunc(files, written, bytes.Equal) {
			return err
		}
		for key, data := range files {
			if err := put(ctx, store, storage.SidecarKey(key), data); err != nil {
				return err
			}
		}
		written = files
	}
}

// Of returns the sidecars of a settled record of the batch by the keys of their
// pictures: those that are the name's own.
func Of(b results.Batch, naming storage.Naming, r results.Record) (map[string][]byte, error) {
	files := make(map[string][]byte)
	j := recordjson.Of(b, r)
	for _, p := range j.Pictures {
		if !p.Stored() || !naming.IsKeyOf(p.Key, b.Name, r.Name) {
			continue
		}
		one := j
		one.Pictures = []recordjson.Picture{p}
		var err error
		if files[p.Key], err = encode(one); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Same reports whether a sidecar tells what wanted does, one that [Of] made. When
// and how it came to be so may differ: a name that was asked again to no effect
// needs no other file.
func Same(got, wanted []byte) bool {
	a, aok := lasting(got)
	b, bok := lasting(wanted)
	return aok && bok && bytes.Equal(a, b)
}

// lasting is what a sidecar tells of name and picture, without their history.
func lasting(data []byte) ([]byte, bool) {
	var j recordjson.Name
	if err := json.Unmarshal(data, &j); err != nil || len(j.Pictures) != 1 {
		return nil, false
	}
	kept := recordjson.Name{
		Batch: j.Batch, Provider: j.Provider, Name: j.Name, Params: j.Params, Names: j.Names, Columns: j.Columns, ColumnsCut: j.ColumnsCut,
		Attributes: j.Attributes, Truncated: j.Truncated, Licence: j.Licence, Attribution: j.Attribution, Source: j.Source,
		Pictures: j.Pictures,
	}
	kept.Pictures[0].Validator = ""
	rest, err := encode(kept)
	return rest, err == nil
}

// encode writes a name as one readable document.
func encode(j recordjson.Name) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(j)
	return b.Bytes(), err
}

func put(ctx context.Context, store Store, key string, data []byte) error {
	w, err := store.Create(ctx)
	if err != nil {
		return err
	}
	// After Commit it does nothing.
	defer func() { _ = w.Abort() }()
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Commit(ctx, key)
}
