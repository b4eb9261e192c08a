// Package removal takes things away: names with all that is kept of them, and
// picture files that nobody refers to. It is the one place that deletes a
// stored picture. Whom to remove is decided by others; it asks nobody.
//
// A name goes in three steps, each safe to repeat: its record is retired, so
// that nothing in flight is recorded any more; its pictures, thumbnails and
// queued tasks go; then the record goes. Whoever is interrupted in between
// does the same again and finds in the retired record what is left to do.
//
// A file under a name's own key goes with the name. A file by content goes
// when no record of any batch has its hash; see [results.DB.ClaimToRemove]
// for why none can come into being meanwhile. To know it takes one look at
// every record, a few seconds for a million, whether for one file or for
// thousands.
package removal

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// Thumbnails removes what was made of a picture to be shown.
type Thumbnails interface {
	// Remove removes the thumbnails of the picture with that SHA-256, in hex.
	Remove(ctx context.Context, sha256 string) error
}

// Tasks removes queued tasks.
type Tasks interface {
	// Delete removes those of the tasks of a queue that are waiting or archived
	// and returns how many there were. What is running is left alone. It is
	// fastest where the tasks that wait longest come first.
	Delete(ctx context.Context, queue string, ids []string) (int64, error)
	// DeleteBatch does so with all tasks of a batch.
	DeleteBatch(ctx context.Context, batch string) (int64, error)
}

// Deps is what a Remover works on.
type Deps struct {
	DB    *results.DB
	Store storage.Store
	// Thumbnails and Tasks may be nil.
	Thumbnails Thumbnails
	Tasks      Tasks
	// Namespace of the queues.
	Namespace string
}

// Remover removes names and pictures. It is safe for concurrent use, beside
// any number of others and of workers.
type Remover struct {
	Deps
	queue contentQueue
	// whole: the batch goes, and its folder with it.
	whole bool
}

// New returns a Remover.
func New(deps Deps) *Remover { return &Remover{Deps: deps} }

// Report says what was removed.
type Report struct {
	Names    int64
	Pictures int64
	Bytes    int64
	// Shared pictures stayed, since others have the same content.
	Shared int64
	// Tasks that were queued or archived.
	Tasks int64
}

func (r *Report) add(o Report) {
	r.Names += o.Names
	r.Pictures += o.Pictures
	r.Bytes += o.Bytes
	r.Shared += o.Shared
	r.Tasks += o.Tasks
}

const (
	// atOnce is how many files or tasks are removed at a time.
	atOnce = 16
	// maxHeld bounds the names that wait for one look at all records.
	maxHeld = 20_000
)

// Pages hands out the names to be removed, some hundreds of one shard at a
// time, as [results.DB.EachNames] does.
type Pages func(ctx context.Context, do func(ctx context.Context, shard int, names []string) error) error

// Names removes the names of the batch that pages hands out, and says what
// went, also when it ends with an error. Interrupted half-way it is simply
// called again. Memory is bounded, whatever their number.
func (r *Remover) Names(ctx context.Context, b results.Batch, pages Pages) (Report, error) {
	var sum Report
	var held []retired
	// A name that waits is cancelled meanwhile, and may be met again as such.
	waiting := make(map[string]bool)
	flush := func(ctx context.Context) error {
		rep, err := r.dropHeld(ctx, b, held)
		sum.add(rep)
		held = nil
		clear(waiting)
		return err
	}
	err := pages(ctx, func(ctx context.Context, shard int, page []string) error {
		page = slices.DeleteFunc(slices.Clone(page), func(n string) bool { return waiting[n] })
		records, err := r.DB.Retire(ctx, b, shard, page)
		if err != nil {
			return err
		}
		some := retired{shard: shard, names: page, records: int64(len(records))}
		if some.dropped, err = r.DB.DroppedOf(ctx, b.Name, shard, page); err != nil {
			return err
		}
		rep, contents, err := r.strip(ctx, b, shard, records, some.dropped)
		sum.add(rep)
		if err != nil {
			return err
		}
		some.contents = contents
		if len(contents) == 0 {
			rep, err := r.dropHeld(ctx, b, []retired{some})
			sum.add(rep)
			return err
		}
		held = append(held, some)
		for _, n := range page {
			waiting[n] = true
		}
		if len(waiting) >= maxHeld {
			return flush(ctx)
		}
		return nil
	})
	if err != nil {
		return sum, err
	}
	return sum, flush(ctx)
}

// Name removes one name of the batch; [results.ErrNoName] where there is none.
func (r *Remover) Name(ctx context.Context, b results.Batch, name string) (Report, error) {
	if _, err := r.DB.Get(ctx, b, name); err != nil && !results.IsRecordError(err) {
		return Report{}, err
	}
	return r.Names(ctx, b, func(ctx context.Context, do func(context.Context, int, []string) error) error {
		return do(ctx, tasks.Shard(name, b.Shards), []string{name})
	})
}

// Batch ends all work on the batch for good and removes every name of it. What
// is left is an empty batch, which is the caller's to delete when nothing else
// has to be done again after an interruption: see [results.DB.Delete]; and the
// files in the batch's folder that no record tells of, which are the caller's
// as well.
// Interrupted half-way it is simply called again.
func (r *Remover) Batch(ctx context.Context, batch string) (Report, error) {
	b, err := r.DB.Condemn(ctx, batch)
	if err != nil {
		return Report{}, err
	}
	var sum Report
	deps := r.Deps
	if r.Tasks != nil {
		// All at once, rather than name by name.
		if sum.Tasks, err = r.Tasks.DeleteBatch(ctx, batch); err != nil {
			return sum, err
		}
		deps.Tasks = nil
	}
	untasked := New(deps)
	untasked.whole = true
	for _, st := range results.States() {
		rep, err := untasked.Names(ctx, b, func(ctx context.Context, do func(context.Context, int, []string) error) error {
			return r.DB.EachNames(ctx, b, results.Query{State: st}, do)
		})
		sum.add(rep)
		if err != nil {
			return sum, err
		}
	}
	for shard := range b.Shards {
		rep, err := r.orphans(ctx, b, shard)
		sum.add(rep)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// orphans removes the dropped pictures of names that are no more.
func (r *Remover) orphans(ctx context.Context, b results.Batch, shard int) (Report, error) {
	var sum Report
	for {
		dropped, err := r.DB.Dropped(ctx, b.Name, shard)
		if err != nil || len(dropped) == 0 {
			return sum, err
		}
		some := retired{shard: shard, dropped: dropped}
		rep, contents, err := r.strip(ctx, b, shard, nil, dropped)
		sum.add(rep)
		if err != nil {
			return sum, err
		}
		some.contents = contents
		rep, err = r.dropHeld(ctx, b, []retired{some})
		sum.add(rep)
		if err != nil {
			return sum, err
		}
	}
}

// retired are names whose records wait until their contents are gone.
type retired struct {
	shard    int
	names    []string
	records  int64
	contents []content
	// dropped is what refreshes noted of these names.
	dropped []results.Dropped
}

// content is a picture whose file may belong to others with the same content.
type content struct {
	hash  string
	key   string
	bytes int64
}

// strip removes what belongs to retired names alone, in their records or
// dropped from them, and returns the contents that they may share with others.
func (r *Remover) strip(ctx context.Context, b results.Batch, shard int, records []results.Record, dropped []results.Dropped) (Report, []content, error) {
	var (
		rep      Report
		contents []content
		gone     atomic.Int64
	)
	naming, err := b.Naming()
	if err != nil {
		return rep, nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	own := make(map[string]bool)
	remove := func(name string, p results.Picture) {
		switch {
		case p.Key == "" || own[p.Key]:
		case naming.IsKeyOf(p.Key, b.Name, name):
			own[p.Key] = true
			rep.Pictures++
			rep.Bytes += p.Bytes
			g.Go(func() error { return r.file(ctx, p.Key, p.Hex(), b.Sidecars) })
		default:
			// By content, or come with an import under another batch's name.
			contents = append(contents, content{p.SHA256, p.Key, p.Bytes})
		}
	}
	for _, d := range dropped {
		remove(d.Ref.Name, d.Picture)
	}
	for _, rec := range records {
		for _, p := range rec.Stored() {
			remove(rec.Name, *p)
		}
		for _, rank := range unsettled(rec) {
			// A worker that died may have stored it and not said so.
			if naming.IsKnownBefore() {
				g.Go(func() error { return r.unsaid(ctx, b.Name, naming, rec, rank) })
			}
		}
	}
	if !naming.IsKnownBefore() && !naming.ByContent() && !r.whole {
		g.Go(func() error { return r.strays(ctx, b, naming, records, own) })
	}
	g.Go(func() error {
		n, err := r.tasks(ctx, b, shard, records)
		gone.Add(n)
		return err
	})
	err = g.Wait()
	rep.Tasks = gone.Load()
	return rep, contents, err
}

// file removes a file and what was made of it, its sidecar first: nothing leads
// to one without its picture.
func (r *Remover) file(ctx context.Context, key, hash string, sidecar bool) error {
	if sidecar {
		if err := r.Store.Delete(ctx, storage.SidecarKey(key)); err != nil {
			return err
		}
	}
	if err := r.Store.Delete(ctx, key); err != nil {
		return err
	}
	if r.Thumbnails == nil || hash == "" {
		return nil
	}
	return r.Thumbnails.Remove(ctx, hash)
}

// unsettled lists the ranks of a retired name whose outcome is still to come,
// in either generation.
func unsettled(rec results.Record) []int {
	ranks := rec.Missing()
	if rec.Refresh == nil {
		return ranks
	}
	if rec.Refresh.Lookup != nil {
		return append(ranks, rec.Refresh.Missing()...)
	}
	// Pictures are stored before their answer is recorded, and it mostly has
	// as many as the one before.
	for rank := range rec.Outcomes {
		ranks = append(ranks, rank)
	}
	return ranks
}

// unsaid removes what may have been stored for a picture of a retired name,
// beside the one that was shown if there was one.
func (r *Remover) unsaid(ctx context.Context, batch string, naming storage.Naming, rec results.Record, rank int) error {
	for _, kind := range picture.Kinds() {
		key := naming.Key(rec.Named(batch, rank, kind.Ext(), [sha256.Size]byte{}))
		if err := r.Store.Delete(ctx, key); err != nil {
			return err
		}
		if rec.Refresh == nil {
			continue
		}
		// Its work was done in the generation before that of the retired record.
		if err := r.Store.Delete(ctx, storage.RenewedKey(key, rec.Refresh.Generation-1)); err != nil {
			return err
		}
	}
	return nil
}

// strays removes the files of retired names that no record tells of, beside
// those that are being removed already: where a key depends on an answer,
// workers that died may have stored a picture under several.
func (r *Remover) strays(ctx context.Context, b results.Batch, naming storage.Naming, records []results.Record, own map[string]bool) error {
	owners := make(map[string]map[string]bool) // by folder
	for _, rec := range records {
		below := naming.Below(rec.Named(b.Name, 0, "", [sha256.Size]byte{}))
		if owners[below] == nil {
			owners[below] = make(map[string]bool)
		}
		owners[below][naming.OwnerOf(b.Name, rec.Name)] = true
	}
	for below, theirs := range owners {
		for e, err := range r.Store.List(ctx, below) {
			if err != nil {
				return err
			}
			key, _ := storage.PictureOf(e.Key)
			if owner, ok := naming.Owner(key, b.Name); !ok || !theirs[owner] || own[e.Key] {
				continue
			}
			if err := r.Store.Delete(ctx, e.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// maxTasks bounds the tasks of one name that are asked for.
	maxTasks = 2000
	// tasksAtOnce is how many tasks of a queue are removed in one trip.
	tasksAtOnce = 500
)

// tasks removes the tasks that were ever made for retired names and are still
// there: what an archive keeps of them has their names too.
func (r *Remover) tasks(ctx context.Context, b results.Batch, shard int, records []results.Record) (n int64, err error) {
	if r.Tasks == nil {
		return 0, nil
	}
	gathered := make(map[tasks.Queue][]string)
	remove := func(q tasks.Queue) error {
		gone, err := r.Tasks.Delete(ctx, q.String(), gathered[q])
		n += gone
		gathered[q] = gathered[q][:0]
		return err
	}
	for _, rec := range records {
		for q, id := range r.tasksOf(b, shard, rec) {
			if gathered[q] = append(gathered[q], id); len(gathered[q]) < tasksAtOnce {
				continue
			}
			if err := remove(q); err != nil {
				return n, err
			}
		}
	}
	for q := range gathered {
		if err := remove(q); err != nil {
			return n, err
		}
	}
	return n, nil
}

// tasksOf yields the tasks that may have been made for a retired name, newest
// first.
func (r *Remover) tasksOf(b results.Batch, shard int, rec results.Record) iter.Seq2[tasks.Queue, string] {
	return func(yield func(tasks.Queue, string) bool) {
		pictures, asked := 0, 0
		if rec.Lookup != nil {
			pictures = len(rec.Lookup.Pictures)
		}
		for epoch := b.Epoch; epoch >= b.Birth; epoch-- {
			// The last generation is that of the retired record; it has no tasks.
			for generation := rec.Generation - 1; generation >= 1; generation-- {
				ref := tasks.Ref{Batch: b.Name, Shard: shard, Epoch: epoch, Name: rec.Name, Generation: generation, Lane: rec.Lane}
				for rank := 0; rank <= pictures; rank++ {
					queue := tasks.Queue{Namespace: r.Namespace, Kind: tasks.Pictures, Lane: rec.Lane, Shard: shard}
					if rank == results.LookupRank {
						queue.Kind, queue.Provider = tasks.Lookups, b.Provider
					}
					if asked++; asked > maxTasks || !yield(queue, tasks.ID(ref, queue.Kind, rank)) {
						return
					}
				}
			}
		}
	}
}

// dropHeld removes the contents of retired names that nobody else has, then
// what is noted of them, their records last.
func (r *Remover) dropHeld(ctx context.Context, b results.Batch, held []retired) (Report, error) {
	var contents []content
	for _, h := range held {
		contents = append(contents, h.contents...)
	}
	rep, err := r.contents(ctx, contents)
	if err != nil {
		return rep, err
	}
	for _, h := range held {
		if err := r.DB.Removed(ctx, h.dropped...); err != nil {
			return rep, err
		}
		if err := r.DB.Forget(ctx, b, h.shard, h.names); err != nil {
			return rep, err
		}
		rep.Names += h.records
	}
	return rep, nil
}

// Unwanted removes the file of a picture that was stored for a name and whose
// commit was refused: the name was forgotten, cancelled or tried anew
// meanwhile. It stays where a record refers to it, or may be about to.
func (r *Remover) Unwanted(ctx context.Context, ref tasks.Ref, p results.Picture) error {
	if storage.IsContentKey(p.Key) {
		_, err := r.queue.do(ctx, content{p.SHA256, p.Key, p.Bytes}, r.contents)
		return err
	}
	rec, err := r.DB.Record(ctx, ref.Batch, ref.Shard, ref.Name)
	switch {
	case errors.Is(err, results.ErrNoName):
	case err != nil:
		return err
	case rec.Keeps(p.Key), rec.State.Open(), rec.Refresh != nil && !rec.Forgotten:
		// Another run may have stored it and not said so yet.
		return nil
	}
	return r.file(ctx, p.Key, p.Hex(), true)
}
