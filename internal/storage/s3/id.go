package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	// idKey is the object that holds the store's ID and a newline. It is data
	// at rest.
	idKey = ".harvest-store"
	// idFor is how long an ID that was read is relied on.
	idFor = time.Minute
)

var idPattern = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// takeID returns the ID of the store, giving it one where it has none. Of
// several processes that do so at once one wins, and all return its ID.
func (s *Store) takeID(ctx context.Context) (string, error) {
	id, err := s.readID(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	data := []byte(rand.Text() + "\n")
	var once minio.PutObjectOptions
	once.SetMatchETagExcept("*")
	err = s.put(ctx, idKey, bytes.NewReader(data), sumsOf(data), once)
	if notForTwo(err) {
		return "", failure.Newf(failure.ReasonStore, failure.Hold,
			"picture store %s: its service knows no conditional writes (If-None-Match), by which two workers that begin at once agree on the store's ID; put an object %s there yourself that holds the line %s",
			s.place, s.prefix+idKey, bytes.TrimSpace(data))
	}
	if err != nil && !isTaken(err) {
		return "", err
	}
	// Read in any case: a service that ignores the condition has let the last
	// one win.
	return s.readID(ctx)
}

// readID returns the ID that stands in the bucket.
func (b *bucket) readID(ctx context.Context) (string, error) {
	body, _, err := b.open(ctx, idKey)
	if err != nil {
		return "", b.unlisted(ctx, err)
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, 100))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(data))
	if !idPattern.MatchString(id) {
		return "", failure.Newf(failure.ReasonStore, failure.Hold, "%s/%s holds no store ID; restore it, or remove it to give the store a new one", b.place, idKey)
	}
	return id, nil
}

// sameID makes sure that the bucket is the one that this process began with.
func (s *Store) sameID(ctx context.Context) error {
	id, err := s.readID(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return failure.Newf(failure.ReasonStore, failure.Hold,
			"picture store %s has lost its ID (%s): it was emptied, or made anew; start again to use it as a new one", s.place, idKey)
	case err != nil:
		return err
	case id != s.id:
		return failure.Newf(failure.ReasonStore, failure.Hold, "picture store %s is not the one that this process began with; start again to use it", s.place)
	}
	return nil
}

// unlisted tells which right a refused read lacks: without that to list, a
// service refuses to tell of an object that is not there.
func (b *bucket) unlisted(ctx context.Context, err error) error {
	if !isDenied(err) {
		return err
	}
	if lerr := b.mayList(ctx); lerr != nil {
		return lerr
	}
	return err
}
