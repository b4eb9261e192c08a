package worker

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// pictureHandler fetches one picture of a name and stores it.
type pictureHandler struct {
	db        *results.DB
	attempts  *attempts
	providers *roster
	hosts     *hosts
	leaving   context.Context
	log       *slog.Logger
	store     storage.Store
	// naming and sidecars are for batches that have no pictures yet.
	naming   storage.Naming
	sidecars bool
	checker  *picture.Checker
	licences licence.Config
	remover  Remover
	observer Observer
	stored   func(r tasks.Ref, bytes int64)
	// slots bound the pictures of this process.
	slots *slots
	// shelf holds pictures back while the store takes none.
	shelf *shelf

	mu    sync.Mutex
	bound map[bornBatch]kept
}

// kept is how a batch's pictures are kept.
type kept struct {
	// store is the ID of the store.
	store  string
	naming storage.Naming
	// sidecars is the batch where its pictures have sidecars, else nil.
	sidecars *results.Batch
}

// bornBatch is one life of a batch: a name that was deleted may be used again.
type bornBatch struct {
	name  string
	birth int64
}

// step returns one picture of a name as a step.
func (h *pictureHandler) step(r tasks.Ref, rank int) *pictureStep {
	return &pictureStep{pictureHandler: h, ref: r, rank: rank, free: func() {}, release: func() {}}
}

type pictureStep struct {
	*pictureHandler
	ref  tasks.Ref
	rank int
	// free gives the slot to the next picture; calling it again does nothing.
	free func()
	// release ends the claim on what was stored, when it is recorded.
	release func()
	// visit is at the first candidate's host, unless it was refused.
	visit   *visit
	refused error
	// given is how many candidates were refused for good when a later one
	// failed otherwise.
	given int
}

func (s *pictureStep) due(ctx context.Context, b results.Begun) (bool, error) {
	// A rank that the record does not have comes from a task that is not ours.
	if !slices.Contains(b.Record.Missing(), s.rank) || b.Record.State != results.Found {
		return false, nil
	}
	if _, err := s.providers.of(b); err != nil {
		return false, err
	}
	if err := s.shelf.enter(ctx, s.leaving); err != nil {
		return false, err
	}
	return true, s.checkStore(ctx, bornBatch{s.ref.Batch, b.Birth})
}

// checkStore makes sure that the batch's pictures lie in the store that is
// here: a folder that is not mounted must not be filled.
func (h *pictureHandler) checkStore(ctx context.Context, b bornBatch) error {
	// It says where the store is away, or another one.
	id, err := h.store.ID(ctx)
	if err != nil {
		return h.shelf.heed(err)
	}
	if k, ok := h.keptOf(b); ok && k.store == id {
		return nil
	}
	has, err := h.db.Bind(ctx, b.name, b.birth, results.Binding{Store: id, Names: h.naming.String(), Sidecars: h.sidecars})
	if err != nil {
		return err
	}
	if has.Store != id {
		// It may be bound anew.
		return failure.Newf(failure.ReasonStore, failure.Hold, "not the store of batch %q: not mounted? not shared?", b.name)
	}
	batch := results.Batch{Name: b.name, Names: has.Names}
	k := kept{store: id}
	if k.naming, err = batch.Naming(); err != nil {
		return failure.New(failure.ReasonStore, failure.Hold, err)
	}
	if has.Sidecars {
		if batch, err = h.db.Batch(ctx, b.name); err != nil {
			return err
		}
		k.sidecars = &batch
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound[b] = k
	return nil
}

// keptOf returns how the pictures of a batch are kept that passed checkStore.
func (h *pictureHandler) keptOf(b bornBatch) (kept, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.bound[b]
	return k, ok
}

// wait takes a slot, then waits for the host.
func (s *pictureStep) wait(ctx, leaving context.Context, b results.Begun) (func(), error) {
	if err := s.slots.acquire(ctx, leaving, s.ref.Lane == tasks.Express); err != nil {
		return nil, err
	}
	return s.visitFirst(ctx, leaving, b)
}

// visitFirst waits for the host of the first candidate in a slot that it has
// taken. The returned function gives both back.
func (s *pictureStep) visitFirst(ctx, leaving context.Context, b results.Begun) (func(), error) {
	s.free = sync.OnceFunc(s.slots.release)
	entered := false
	defer func() {
		if !entered {
			s.free() // after a panic too
		}
	}()
	rest, _ := s.candidates(b)
	s.enter(ctx, leaving, b, rest[0])
	if _, ok := errors.AsType[*failure.Error](s.refused); s.refused != nil && !ok {
		return nil, s.refused
	}
	entered = true // where it was refused another candidate may do
	return s.leave, nil
}

// leave gives back the slot and the place at the host.
func (s *pictureStep) leave() {
	s.visit.end()
	s.free()
}

// enter waits until a candidate may be asked for, where its licence is one that
// is taken.
func (s *pictureStep) enter(ctx, leaving context.Context, b results.Begun, rawURL string) {
	if e := s.licences.Check(b.Record.Lookup.Licence); e != nil {
		s.visit, s.refused = &visit{host: hostOf(rawURL)}, e
		return
	}
	s.visit, s.refused = s.hosts.visit(ctx, leaving, b.Provider, s.providers.must(b), rawURL, express(b))
}

// candidates returns those that were not refused for good in an earlier run,
// and how many were.
func (s *pictureStep) candidates(b results.Begun) (rest []string, refused int) {
	all := b.Record.Lookup.Pictures[s.rank-1]
	refused = min(b.Refused, len(all)-1)
	return all[refused:], refused
}

func (s *pictureStep) work(ctx context.Context, b results.Begun, _ func()) (string, error) {
	defer func() { s.release() }()
	p, host, err := s.download(ctx, b)
	if err == nil {
		return host, s.record(ctx, p)
	}
	s.notAgain(ctx, s.given)
	return host, err
}

// download stores the first candidate that can be had. It returns the host
// that it spoke with last.
func (s *pictureStep) download(ctx context.Context, b results.Begun) (p results.Picture, host string, err error) {
	var first error
	rest, refused := s.candidates(b)
	for i, candidate := range rest {
		p, next, err := s.candidate(ctx, b, i, candidate)
		if err == nil {
			p.Candidate = refused + i
			return p, next, nil
		}
		s.hosts.heed(ctx, next, err)
		err = s.hosts.judgePicture(ctx, b.Provider, s.providers.must(b), next, err, b.Tries == 0)
		e, ok := errors.AsType[*failure.Error](err)
		if !ok || e.Kind != failure.Final {
			s.given = refused + i
			return results.Picture{}, next, s.shelf.heed(err)
		}
		// Where every candidate is refused, the first, which was wanted most,
		// says why.
		if first == nil {
			first, host = err, next
		}
	}
	return results.Picture{}, host, first
}

func (s *pictureStep) record(ctx context.Context, p results.Picture) error {
	late, cancel := detached(ctx)
	defer cancel()
	ok, err := s.db.CommitPicture(late, s.ref, s.rank, p)
	if err != nil {
		return failure.New(failure.ReasonInternal, failure.Hold, err)
	}
	if ok {
		s.stored(s.ref, p.Bytes)
	} else {
		s.release()
		s.unwanted(late, p)
	}
	s.attempts.tell(late, s.ref, s.rank)
	return nil
}

func (s *pictureStep) fail(ctx context.Context, e *failure.Error, host string, exhausted bool) (bool, error) {
	return s.db.FailPicture(ctx, s.ref, s.rank, e, host, exhausted)
}

// notAgain notes that the first n candidates were refused for good.
func (s *pictureStep) notAgain(ctx context.Context, n int) {
	if n == 0 {
		return
	}
	late, cancel := detached(ctx)
	defer cancel()
	if err := s.db.RefuseCandidates(late, s.ref, s.rank, n); err != nil {
		s.log.Debug("candidates that were refused for good will be asked again", "batch", s.ref.Batch, "error", err)
	}
}

// candidate fetches the i-th of the candidates, and returns the host that it
// spoke with last. The first one's turn has come already.
func (s *pictureStep) candidate(ctx context.Context, b results.Begun, i int, rawURL string) (p results.Picture, host string, err error) {
	if i > 0 {
		s.enter(ctx, s.leaving, b, rawURL)
		defer s.visit.end()
	}
	if _, ok := errors.AsType[*failure.Error](s.refused); s.refused != nil && !ok {
		return p, s.visit.host, s.refused // its turn did not come
	}
	w := watch(s.observer, tasks.Pictures, s.visit.host)
	defer w.end()
	if err = s.refused; err == nil {
		p, err = s.fetch(ctx, b, rawURL, s.known(ctx, b, rawURL))
	}
	if err != nil {
		w.failed(err, ctx.Err() != nil)
	} else {
		w.stored(p)
	}
	return p, s.visit.host, err
}

// fetch downloads one candidate into the store, or leaves there what is known
// where that is still the same.
func (s *pictureStep) fetch(ctx context.Context, b results.Begun, rawURL string, k known) (results.Picture, error) {
	p := s.providers.must(b)
	request, err := p.Service.PictureRequest(rawURL)
	if err != nil {
		return results.Picture{}, err
	}
	k.condition(&request)
	request.OnRedirect = s.visit.redirect
	resp, err := p.Pictures.Do(ctx, request)
	if err != nil {
		return results.Picture{}, err
	}
	defer resp.Body.Close()
	unchanged := k.holds(resp)
	if unchanged {
		resp.Status = http.StatusOK // it is judged as the answer that it stands for
	}
	if err := s.visit.answered(resp); err != nil {
		return results.Picture{}, err
	}
	if unchanged {
		s.served(ctx, b)
		// The limits may have changed.
		was := k.picture
		return *was, s.checker.Takes(picture.Kind(was.Kind), was.Width, was.Height, was.Bytes)
	}
	stored, err := s.keep(ctx, b, resp.Body, k)
	stored.Validator = fetch.Validator(resp.Header)
	return stored, err
}

// keep copies body into the store while it is checked, and commits what passed.
func (s *pictureStep) keep(ctx context.Context, b results.Begun, body io.Reader, k known) (results.Picture, error) {
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
	s.served(ctx, b)
	s.leave() // others may ask while it is written
	p := results.Picture{
		Kind: string(info.Kind), Bytes: info.Bytes, Width: info.Width, Height: info.Height,
		SHA256: base64.RawURLEncoding.EncodeToString(info.SHA256[:]),
	}
	p.Key = k.key(p.SHA256, s.plainKey(b, info), s.ref.Generation)
	release, err := s.remover.Claim(ctx, p)
	if err != nil {
		return results.Picture{}, err
	}
	if !k.there || p.Key != k.picture.Key {
		if err := w.Commit(ctx, p.Key); err != nil {
			release()
			return results.Picture{}, err
		}
		s.shelf.stored()
	}
	s.release = release
	return p, nil
}

// served tells that the host has answered well, before what it sent is written:
// its failures are told at once, and would otherwise look like many in a row.
func (s *pictureStep) served(ctx context.Context, b results.Begun) {
	s.hosts.heed(ctx, s.visit.host, nil)
	// An answer is never held against anybody.
	_ = s.hosts.judgePicture(ctx, b.Provider, s.providers.must(b), s.visit.host, nil, b.Tries == 0)
}

// plainKey is the key that a picture has by itself.
func (s *pictureStep) plainKey(b results.Begun, info picture.Info) string {
	k, _ := s.keptOf(bornBatch{s.ref.Batch, b.Birth})
	return k.naming.Key(b.Record.Named(s.ref.Batch, s.rank, info.Kind.Ext(), info.SHA256))
}
