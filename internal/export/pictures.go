package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/semaphore"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// Pictures reads the pictures of a store. Open is [storage.Store]'s.
type Pictures interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
}

// Problem is what keeps a picture out of an export.
type Problem string

// The problems. The words stand in exports.
const (
	// Missing: the record tells of a picture, and the store has none.
	Missing Problem = "missing"
	// Differs: the store has other bytes than the record tells of.
	Differs Problem = "differs"
	// Unreadable: the store has it and it cannot be read.
	Unreadable Problem = "unreadable"
	// Changed: the name got another picture while it was exported.
	Changed Problem = "changed"
)

const (
	// maxInMemory is the most bytes of pictures in memory; a larger picture is
	// there alone.
	maxInMemory = 128 << 20
	// readers is how many pictures are read at once.
	readers = 16
)

// loader reads pictures ahead of who writes them.
type loader struct {
	pictures Pictures
	// again reads a record anew, of a name whose picture is not what it
	// should be.
	again  func(ctx context.Context, name string) (results.Record, error)
	memory *semaphore.Weighted
	files  *semaphore.Weighted
}

// loaded is a picture's bytes, or why there are none.
type loaded struct {
	data []byte
	// file is what the store's file is, where the store can say.
	file    os.FileInfo
	problem Problem
	// gone: the name was forgotten meanwhile.
	gone bool
	// weight is what release gives back.
	weight int64
}

// reserve waits for room for the picture. It must be called in the order in
// which pictures are written, or what is written last could hold the room that
// the first one waits for.
func (l *loader) reserve(ctx context.Context, p *recordjson.Picture) (int64, error) {
	weight := min(max(p.Bytes, 0), maxInMemory)
	return weight, l.memory.Acquire(ctx, weight)
}

func (l *loader) release(weight int64) { l.memory.Release(weight) }

// load reads a picture and compares it with its record. An error means that
// the store is out of reach.
func (l *loader) load(ctx context.Context, name string, p *recordjson.Picture) (loaded, error) {
	if err := l.files.Acquire(ctx, 1); err != nil {
		return loaded{}, err
	}
	defer l.files.Release(1)
	got, err := l.read(ctx, p)
	if err != nil || got.problem == "" {
		return got, err
	}
	r, err := l.again(ctx, name)
	switch {
	case errors.Is(err, results.ErrNoName), errors.Is(err, results.ErrNoBatch), err == nil && r.Forgotten:
		return loaded{gone: true}, nil
	case err != nil && !results.IsRecordError(err):
		return loaded{}, err
	}
	if now := r.Outcomes[p.Rank].Picture; now == nil || now.Key != p.Key || now.Hex() != p.SHA256 {
		got.problem = Changed
	}
	return got, nil
}

func (l *loader) read(ctx context.Context, p *recordjson.Picture) (loaded, error) {
	f, info, err := l.pictures.Open(ctx, p.Key)
	if err != nil {
		return l.failed(ctx, p, err)
	}
	defer f.Close()
	if info.Size != p.Bytes {
		return loaded{problem: Differs}, nil
	}
	data := make([]byte, info.Size)
	switch _, err := io.ReadFull(f, data); {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return loaded{problem: Differs}, nil
	case err != nil:
		return l.failed(ctx, p, err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.SHA256 {
		return loaded{problem: Differs}, nil
	}
	got := loaded{data: data}
	if onDisk, ok := f.(interface{ Stat() (os.FileInfo, error) }); ok {
		if got.file, err = onDisk.Stat(); err != nil {
			return l.failed(ctx, p, err)
		}
	}
	return got, nil
}

// failed tells a picture that cannot be had from a store that cannot be used.
func (l *loader) failed(ctx context.Context, p *recordjson.Picture, err error) (loaded, error) {
	fail, ok := errors.AsType[*failure.Error](err)
	switch {
	case ctx.Err() != nil:
		return loaded{}, context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist):
		return loaded{problem: Missing}, nil
	case ok && fail.Kind == failure.Hold:
		return loaded{}, fmt.Errorf("read %s: %w", p.Key, err)
	}
	return loaded{problem: Unreadable}, nil
}
