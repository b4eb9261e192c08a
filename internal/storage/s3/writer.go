package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum that every service takes; SHA-256 goes with it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"sync"

	"github.com/minio/minio-go/v7"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
)

var _ storage.Writer = (*writer)(nil)

const (
	// inMemory is what a Writer holds before it opens a file.
	inMemory = 1 << 20
	// keptBuffer is the largest buffer that is used again.
	keptBuffer = inMemory
	// uploads of one object, where its bytes were garbled on the way.
	uploads = 3
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// errEnded is a Writer used after its Commit or Abort.
var errEnded = errors.New("writer was committed or aborted before")

// sums are the checksums of an object and its length.
type sums struct {
	md5    string // in base64
	sha256 string // in hex
	size   int64
}

func sumsOf(data []byte) sums {
	m, s := md5.Sum(data), sha256.Sum256(data) //nolint:gosec // see the import
	return sums{base64.StdEncoding.EncodeToString(m[:]), hex.EncodeToString(s[:]), int64(len(data))}
}

// writer collects the bytes of one object in memory and, once they are many,
// in a temporary file.
type writer struct {
	to   *bucket
	buf  *bytes.Buffer // nil when the writer has ended
	file *os.File
	md5  hash.Hash
	sha  hash.Hash
	size int64
	err  error // of a Write
}

func newWriter(b *bucket) *writer {
	return &writer{to: b, buf: buffers.Get().(*bytes.Buffer), md5: md5.New(), sha: sha256.New()} //nolint:gosec // see the import
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.buf == nil {
		return 0, errEnded
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.file == nil && w.buf.Len()+len(p) > inMemory {
		if w.err = w.spill(); w.err != nil {
			return 0, w.err
		}
	}
	if w.file != nil {
		if _, err := w.file.Write(p); err != nil {
			w.err = temporary(err)
			return 0, w.err
		}
	} else {
		w.buf.Write(p)
	}
	w.md5.Write(p)
	w.sha.Write(p)
	w.size += int64(len(p))
	return len(p), nil
}

// spill moves what is held to a temporary file.
func (w *writer) spill() error {
	f, err := os.CreateTemp("", "harvest-*")
	if err != nil {
		return temporary(err)
	}
	w.file = f
	// Where that can be done now, nothing is left by a process that is killed.
	_ = os.Remove(f.Name())
	if _, err := f.Write(w.buf.Bytes()); err != nil {
		return temporary(err)
	}
	w.buf.Reset()
	return nil
}

// temporary is an error of the machine's folder for temporary files.
func temporary(err error) error {
	return failure.Newf(failure.ReasonStore, failure.Hold,
		"temporary folder %s, where large pictures wait for their upload: %w; make room, or name another by TMPDIR", os.TempDir(), err)
}

// Commit implements storage.Writer.
func (w *writer) Commit(ctx context.Context, key string) error {
	if w.buf == nil {
		return errEnded
	}
	defer func() { _ = w.Abort() }() // of what was uploaded nothing is needed any more
	if w.err != nil {
		return w.err
	}
	if err := check(ctx, key); err != nil {
		return err
	}
	var body io.ReadSeeker = bytes.NewReader(w.buf.Bytes())
	if w.file != nil {
		body = w.file
	}
	sum := sums{base64.StdEncoding.EncodeToString(w.md5.Sum(nil)), hex.EncodeToString(w.sha.Sum(nil)), w.size}
	opts := minio.PutObjectOptions{ContentType: contentType(key)}
	var err error
	for range uploads {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return temporary(err)
		}
		if err = w.to.put(ctx, key, body, sum, opts); !isGarbled(err) {
			return err
		}
	}
	return err
}

// Abort implements storage.Writer.
func (w *writer) Abort() error {
	if w.buf == nil {
		return nil
	}
	if w.buf.Cap() <= keptBuffer {
		w.buf.Reset()
		buffers.Put(w.buf)
	}
	w.buf = nil
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name()) // mostly it has no name any more
	}
	return nil
}

// put puts an object by one request. The service compares both checksums with
// what it got and refuses what differs.
func (b *bucket) put(ctx context.Context, key string, body io.Reader, sum sums, opts minio.PutObjectOptions) error {
	if opts.ContentType == "" {
		opts.ContentType = "application/octet-stream"
	}
	// The hash of the whole goes with the request, in place of one for each
	// chunk of it.
	opts.DisableContentSha256 = true
	if _, err := b.core.PutObject(ctx, b.name, b.prefix+key, body, sum.size, sum.md5, sum.sha256, opts); err != nil {
		return b.fail(ctx, writing, key, err)
	}
	return nil
}

// contentType is what browsers are told of an object that is looked at past
// us.
func contentType(key string) string {
	switch ext := path.Ext(key); ext {
	case ".jpg":
		return "image/jpeg"
	case ".png", ".gif", ".webp":
		return fmt.Sprintf("image/%s", ext[1:])
	case ".json":
		return "application/json"
	}
	return ""
}
