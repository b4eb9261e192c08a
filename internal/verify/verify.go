// Package verify compares what records say is stored with what the store
// holds, by reading it. It changes nothing; who repairs stands elsewhere:
// [results.DB.Reopen] for pictures, package removal for files.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/sidecar"
	"github.com/picharvest/picharvest/internal/storage"
)

// Mark says how a file and the records agree; the marks are those of rclone.
type Mark string

// The marks.
const (
	Same      Mark = "=" // the file is what the record says
	Missing   Mark = "-" // the record has it, the store has not
	Orphan    Mark = "+" // the store has it, no record of any batch has
	Different Mark = "*" // the file has other bytes than the record says
	Failed    Mark = "!" // the file, or the record, could not be read
)

// Pictures is what is read of a store.
type Pictures interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
	List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error]
}

// Finding is one file, or one record that cannot be read.
type Finding struct {
	Mark Mark
	// Key of the file, "" for a record that cannot be read.
	Key   string
	Bytes int64
	// Name and Rank of the picture, "" and 0 for an orphan; Record is what it
	// stands in.
	Name   string
	Rank   int
	Record results.Record
	// Sidecar: it is the file beside the picture of that name and rank.
	Sidecar bool
	// Err says why the mark is Failed.
	Err error
}

// Summary counts the findings.
type Summary struct {
	// Same, Missing and Different are pictures.
	Same, Missing, Orphans, Different, Failed int64
	// Sidecars are those that are missing or tell something else.
	Sidecars int64
	// Bytes of pictures that were read and are the same.
	Bytes int64
}

// Clean reports whether every file is what the records say.
func (s Summary) Clean() bool {
	return s.Missing+s.Orphans+s.Different+s.Failed+s.Sidecars == 0
}

// Checker compares.
type Checker struct {
	DB       *results.DB
	Pictures Pictures
	// AtOnce is how many files are read at a time, at least 1.
	AtOnce int
	// SizeOnly compares sizes and reads no bytes.
	SizeOnly bool
	// Sidecars compares the files beside pictures as well. Of a picture that is
	// not the same, its sidecar is written anew with it and not looked at.
	Sidecars bool
}

// settling is how long a picture may be in the store before its record says so.
const settling = 10 * time.Minute

// Batch compares a batch with the store and calls tell with every finding, one
// at a time: those of one name together, else in no order. tell may open names
// of the batch again. Memory is bounded: 8 bytes for each picture of
// any batch. Of a batch that is at work, pictures that are not recorded yet
// are no findings, nor files of the last ten minutes. The error is one that
// ended the comparison.
func (c Checker) Batch(ctx context.Context, b results.Batch, tell func(Finding) error) (Summary, error) {
	var (
		sum Summary
		mu  sync.Mutex
	)
	naming, err := b.Naming()
	if err != nil {
		return sum, err
	}
	known := &keySet{seed: maphash.MakeSeed()}
	note := func(f Finding) error {
		switch {
		case f.Sidecar && (f.Mark == Missing || f.Mark == Different):
			sum.Sidecars++
		case f.Mark == Failed:
			sum.Failed++
		case f.Sidecar:
		case f.Mark == Same:
			sum.Same++
			sum.Bytes += f.Bytes
		case f.Mark == Missing:
			sum.Missing++
		case f.Mark == Orphan:
			sum.Orphans++
		case f.Mark == Different:
			sum.Different++
		}
		return tell(f)
	}
	err = c.records(ctx, b, naming, func(ofName []Finding) error {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range ofName {
			// What tell opens again has no record of the file any more.
			known.add(f.Key)
			if err := note(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return sum, err
	}
	return sum, c.orphans(ctx, b, naming.ByContent(), known, note)
}

// records compares every stored picture of the batch's records with its file.
func (c Checker) records(ctx context.Context, b results.Batch, naming storage.Naming, note func(ofName []Finding) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(c.AtOnce, 1))
	var last results.Position
	for r, err := range c.DB.Each(ctx, b, results.Query{}) {
		if ctx.Err() != nil {
			break
		}
		if results.IsRecordError(err) {
			g.Go(func() error { return note([]Finding{{Mark: Failed, Name: r.Name, Err: err}}) })
			continue
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		// A name that changes its state meanwhile comes once more.
		if r.Forgotten || r.Line < last.Line || r.Line == last.Line && r.Name <= last.Name {
			continue
		}
		last = results.Position{Line: r.Line, Name: r.Name}
		g.Go(func() error {
			found := c.record(ctx, r)
			if c.Sidecars {
				found = append(found, c.besides(ctx, b, naming, r, found)...)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return note(found)
		})
	}
	return g.Wait()
}

// record compares the stored pictures of one name.
func (c Checker) record(ctx context.Context, r results.Record) []Finding {
	var found []Finding
	for _, rank := range slices.Sorted(maps.Keys(r.Outcomes)) {
		p := r.Outcomes[rank].Picture
		if p == nil {
			continue
		}
		f := Finding{Key: p.Key, Bytes: p.Bytes, Name: r.Name, Rank: rank, Record: r}
		f.Mark, f.Err = c.file(ctx, *p)
		found = append(found, f)
	}
	return found
}

// maxSidecar bounds what is read of a sidecar: one of ours is a few KB.
const maxSidecar = 1 << 20

// besides compares the sidecars of a name's pictures that are the same.
func (c Checker) besides(ctx context.Context, b results.Batch, naming storage.Naming, r results.Record, pictures []Finding) []Finding {
	if r.State.Open() || r.Refresh != nil {
		return nil // they come when it is settled
	}
	wanted, err := sidecar.Of(b, naming, r)
	var found []Finding
	for _, p := range pictures {
		want, has := wanted[p.Key]
		if p.Mark != Same || !has && err == nil {
			continue
		}
		f := Finding{Key: storage.SidecarKey(p.Key), Bytes: int64(len(want)), Name: r.Name, Rank: p.Rank, Record: r, Sidecar: true, Mark: Failed, Err: err}
		if err == nil {
			f.Mark, f.Err = c.beside(ctx, f.Key, want)
		}
		found = append(found, f)
	}
	return found
}

// beside compares one sidecar with what it should tell.
func (c Checker) beside(ctx context.Context, key string, want []byte) (Mark, error) {
	f, _, err := c.Pictures.Open(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return Missing, nil
	}
	if err != nil {
		return Failed, err
	}
	defer f.Close()
	if c.SizeOnly {
		return Same, nil
	}
	got, err := io.ReadAll(io.LimitReader(f, maxSidecar))
	switch {
	case err != nil:
		return Failed, err
	case !sidecar.Same(got, want):
		return Different, nil
	}
	return Same, nil
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// file compares one file with what is recorded of it.
func (c Checker) file(ctx context.Context, p results.Picture) (Mark, error) {
	f, info, err := c.Pictures.Open(ctx, p.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return Missing, nil
	}
	if err != nil {
		return Failed, err
	}
	defer f.Close()
	if info.Size != p.Bytes {
		return Different, nil
	}
	if c.SizeOnly {
		return Same, nil
	}
	h := sha256.New()
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	// The wrapper hides what would make a copy of its own size.
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, buf[:]); err != nil {
		return Failed, err
	}
	if hex.EncodeToString(h.Sum(nil)) != p.Hex() {
		return Different, nil
	}
	return Same, nil
}

// orphans finds files that no record refers to: in the batch's folder, and, where
// its pictures are by content, among those. A sidecar is its picture's.
func (c Checker) orphans(ctx context.Context, b results.Batch, content bool, known *keySet, note func(Finding) error) error {
	began := time.Now()
	counts, err := c.DB.Counts(ctx, b)
	if err != nil {
		return err
	}
	err = c.DB.StoredKeys(ctx, func(keys []string) {
		for _, key := range keys {
			known.add(key)
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(known.hashes)
	folders := []string{storage.Folder(b.Name) + "/"}
	if content {
		for i := range 256 {
			folders = append(folders, fmt.Sprintf("%02x/", i))
		}
	}
	for i, folder := range folders {
		for e, err := range c.Pictures.List(ctx, folder) {
			if err != nil {
				return err
			}
			switch {
			case known.has(e.Key), known.hasPictureOf(e.Key):
			case i > 0 && !storage.IsContentKey(e.Key):
			case (counts.Open() > 0 || i > 0) && e.ModTime.After(began.Add(-settling)):
			default:
				if err := note(Finding{Mark: Orphan, Key: e.Key, Bytes: e.Size}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// keySet knows keys by their hash: of a million against a million, one in
// ten million runs takes one key for another.
type keySet struct {
	seed   maphash.Seed
	hashes []uint64 // sorted when has is called
}

func (k *keySet) add(key string) { k.hashes = append(k.hashes, maphash.String(k.seed, key)) }

func (k *keySet) hasPictureOf(sidecar string) bool {
	key, ok := storage.PictureOf(sidecar)
	return ok && k.has(key)
}

func (k *keySet) has(key string) bool {
	_, ok := slices.BinarySearch(k.hashes, maphash.String(k.seed, key))
	return ok
}
