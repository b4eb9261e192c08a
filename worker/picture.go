package worker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// pictureHandler fetches one picture of a name and stores it.
type pictureHandler struct {
	db        *results.DB
	providers map[string]*Provider
	hosts     *hosts
	leaving   context.Context
	store     storage.Store
	naming    Naming
	checker   *picture.Checker

	mu    sync.Mutex
	bound map[bornBatch]string
}

// bornBatch is one life of a batch: a name that was deleted may be used again.
type bornBatch struct {
	name  string
	birth int64
}

// step returns one picture of a name as a step.
func (h *pictureHandler) step(r tasks.Ref, rank int) step { return &pictureStep{h, r, rank} }

type pictureStep struct {
	*pictureHandler
	ref  tasks.Ref
	rank int
}

func (s *pictureStep) due(ctx context.Context, b results.Begun) (bool, error) {
	// A rank that the record does not have comes from a task that is not ours.
	if !slices.Contains(b.Record.Missing(), s.rank) || b.Record.State != results.Found {
		return false, nil
	}
	if s.providers[b.Provider] == nil {
		return false, fmt.Errorf("no definition of provider %q", b.Provider)
	}
	return true, s.checkStore(ctx, bornBatch{s.ref.Batch, b.Birth})
}

// checkStore makes sure that the batch's pictures lie in the store that is
// here: a folder that is not mounted must not be filled.
func (h *pictureHandler) checkStore(ctx context.Context, b bornBatch) error {
	id, err := h.store.ID(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	has, ok := h.bound[b]
	h.mu.Unlock()
	if !ok {
		if has, err = h.db.Bind(ctx, b.name, b.birth, id); err != nil {
			return err
		}
		h.mu.Lock()
		h.bound[b] = has
		h.mu.Unlock()
	}
	if has != id {
		return failure.Newf(failure.ReasonStore, failure.Hold, "not the store of batch %q: not mounted? not shared?", b.name)
	}
	return nil
}

func (s *pictureStep) wait(ctx, leaving context.Context, b results.Begun) (func(), error) {
	first := b.Record.Lookup.Pictures[s.rank-1][0]
	return s.hosts.enter(ctx, leaving, s.hosts.picture(s.providers[b.Provider], first))
}

func (s *pictureStep) work(ctx context.Context, b results.Begun) (string, error) {
	var host string
	var first error
	for i, candidate := range b.Record.Lookup.Pictures[s.rank-1] {
		p, err := s.candidate(ctx, s.providers[b.Provider], i, candidate)
		if err == nil {
			p.Candidate = i
			return host, s.record(ctx, p)
		}
		next := hostOf(candidate)
		e, ok := errors.AsType[*failure.Error](err)
		if !ok || e.Kind != failure.Final {
			s.hosts.heed(ctx, next, err)
			return next, err
		}
		// Where every candidate is refused, the first, which was wanted most,
		// says why.
		if first == nil {
			first, host = err, next
		}
	}
	return host, first
}

func (s *pictureStep) record(ctx context.Context, p results.Picture) error {
	late, cancel := detached(ctx)
	defer cancel()
	if _, err := s.db.CommitPicture(late, s.ref, s.rank, p); err != nil {
		return failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	return nil
}

func (s *pictureStep) fail(ctx context.Context, e *failure.Error, host string, exhausted bool) (bool, error) {
	return s.db.FailPicture(ctx, s.ref, s.rank, e, host, exhausted)
}

// candidate fetches the i-th candidate. The first one's turn has come already.
func (s *pictureStep) candidate(ctx context.Context, p *Provider, i int, rawURL string) (results.Picture, error) {
	if i > 0 {
		done, err := s.hosts.enter(ctx, s.leaving, s.hosts.picture(p, rawURL))
		if err != nil {
			return results.Picture{}, err
		}
		defer done()
	}
	return s.fetch(ctx, p, rawURL)
}

// fetch downloads one candidate into the store.
func (s *pictureStep) fetch(ctx context.Context, p *Provider, rawURL string) (results.Picture, error) {
	request, err := p.Service.PictureRequest(rawURL)
	if err != nil {
		return results.Picture{}, err
	}
	resp, err := p.Pictures.Do(ctx, request)
	if err != nil {
		return results.Picture{}, err
	}
	defer resp.Body.Close()
	if e := fetch.StatusError(resp, time.Now()); e != nil {
		return results.Picture{}, e
	}
	return s.keep(ctx, resp.Body)
}

// keep copies body into the store while it is checked, and commits what passed.
func (s *pictureStep) keep(ctx context.Context, body io.Reader) (results.Picture, error) {
	w, err := s.store.Create(ctx)
	if err != nil {
		return results.Picture{}, err
	}
	// What it could complain about is a file that is left; the error that
	// led here matters more. After Commit it does nothing.
	defer func() { _ = w.Abort() }()
	info, err := s.checker.Check(ctx, body, w)
	if err != nil {
		return results.Picture{}, err
	}
	key := s.naming(s.ref.Batch, s.ref.Name, s.rank, info)
	if err := w.Commit(ctx, key); err != nil {
		return results.Picture{}, err
	}
	return results.Picture{
		Kind: string(info.Kind), Bytes: info.Bytes, Width: info.Width, Height: info.Height,
		SHA256: base64.RawURLEncoding.EncodeToString(info.SHA256[:]), Key: key,
	}, nil
}
