package removal

import (
	"context"
	"encoding/base64"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
)

// contents removes those of the files that no record refers to. One that
// somebody is storing at this moment stays: he keeps it, or removes it
// himself.
func (r *Remover) contents(ctx context.Context, files []content) (rep Report, err error) {
	if len(files) == 0 {
		return Report{}, nil
	}
	var mu sync.Mutex
	claims := make(map[string]*results.Claim)
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		for _, c := range claims {
			// A claim that is not given back ends by itself.
			err = errors.Join(err, c.Release(late))
		}
	}()
	claim, cctx := errgroup.WithContext(ctx)
	claim.SetLimit(atOnce)
	alone := make(map[string]content)
	tried := make(map[string]bool)
	for _, f := range files {
		if f.hash == "" {
			continue
		}
		alone[f.key] = f
		if tried[f.hash] {
			continue
		}
		tried[f.hash] = true
		claim.Go(func() error {
			c, ok, err := r.DB.ClaimToRemove(cctx, f.hash)
			if ok {
				mu.Lock()
				defer mu.Unlock()
				claims[f.hash] = &c
			}
			return err
		})
	}
	if err := claim.Wait(); err != nil {
		return rep, err
	}
	for key, f := range alone {
		if claims[f.hash] == nil {
			rep.Shared++
			delete(alone, key)
		}
	}
	if len(alone) == 0 {
		return rep, nil
	}
	err = r.DB.StoredKeys(ctx, func(keys []string) {
		for _, key := range keys {
			if _, ok := alone[key]; ok {
				rep.Shared++
				delete(alone, key)
			}
		}
	})
	if err != nil {
		return rep, err
	}
	remove, rctx := errgroup.WithContext(ctx)
	remove.SetLimit(atOnce)
	for _, f := range alone {
		remove.Go(func() error {
			// The look may have taken longer than the claim lasts.
			if !claims[f.hash].Valid() {
				return errSlow
			}
			if err := r.file(rctx, f.key, results.Picture{SHA256: f.hash}.Hex(), false); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			rep.Pictures++
			rep.Bytes += f.bytes
			return nil
		})
	}
	return rep, remove.Wait()
}

// File is a file of the store.
type File struct {
	Key   string
	Bytes int64
	// SHA256 in hex, by which its thumbnails go; "" where it is not known.
	SHA256 string
}

// Orphans removes those of the files that no record of any batch refers to,
// some thousands at a time, and says what went. A file under a name's own key
// must be one that nobody is about to record.
func (r *Remover) Orphans(ctx context.Context, files []File) (Report, error) {
	var (
		shared []content
		own    = make(map[string]File)
	)
	for _, f := range files {
		if sum, ok := storage.ContentOf(f.Key); ok {
			shared = append(shared, content{base64.RawURLEncoding.EncodeToString(sum[:]), f.Key, f.Bytes})
		} else {
			own[f.Key] = f
		}
	}
	rep, err := r.contents(ctx, shared)
	if err != nil || len(own) == 0 {
		return rep, err
	}
	err = r.DB.StoredKeys(ctx, func(keys []string) {
		for _, key := range keys {
			delete(own, key)
			delete(own, storage.SidecarKey(key))
		}
	})
	if err != nil {
		return rep, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, f := range own {
		g.Go(func() error { return r.file(ctx, f.Key, f.SHA256, false) })
	}
	if err := g.Wait(); err != nil {
		return rep, err
	}
	for _, f := range own {
		rep.Pictures++
		rep.Bytes += f.Bytes
	}
	return rep, nil
}

// errSlow says that a look took too long to be relied on.
var errSlow = errors.New("reading all records took so long that their pictures may be in use again; try once more when Redis is less busy")

// contentQueue gathers contents that are to be removed one by one, so that
// all that came while one look was under way are served by the next.
type contentQueue struct {
	mu      sync.Mutex
	looking sync.Mutex
	next    *contentBatch
}

type contentBatch struct {
	files []content
	done  bool
	rep   Report
	err   error
}

// do removes f, together with others, by remove.
func (q *contentQueue) do(ctx context.Context, f content, remove func(context.Context, []content) (Report, error)) (Report, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &contentBatch{}
	}
	mine := q.next
	mine.files = append(mine.files, f)
	q.mu.Unlock()

	q.looking.Lock()
	defer q.looking.Unlock()
	if mine.done {
		return mine.rep, mine.err
	}
	q.mu.Lock()
	q.next = nil
	q.mu.Unlock()
	mine.rep, mine.err = remove(ctx, mine.files)
	mine.done = true
	return mine.rep, mine.err
}

// Claim keeps the file of a picture from being removed while it is stored and
// its record is written; release ends that. A picture under a name's own key
// needs no claim. Where the content is about to be removed the error is a
// *failure.Error of kind Hold: a moment later it can be stored.
func (r *Remover) Claim(ctx context.Context, p results.Picture) (release func(), err error) {
	if !storage.IsContentKey(p.Key) {
		return func() {}, nil
	}
	c, ok, err := r.DB.ClaimToStore(ctx, p.SHA256)
	if err != nil {
		return nil, failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	if !ok {
		return nil, failure.Newf(failure.ReasonInternal, failure.Hold, "its content is being removed at this moment")
	}
	return func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		// What could go wrong ends by itself.
		_ = c.Release(late)
	}, nil
}
