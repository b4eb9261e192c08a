package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

const (
	// idleWithin is how long a deletion waits for workers to let go of a
	// batch. They do within 2 s; one that died never does.
	idleWithin = 5 * time.Second
	idlePoll   = 50 * time.Millisecond
)

// DeletePictures removes a batch with its pictures and what was made of them:
// of those that were in flight none stays, and of those that others have by
// content all do. It says what went, also when it ends with an error; cut off,
// it is simply called again. It refuses where the pictures are not here.
func (a *App) DeletePictures(ctx context.Context, b results.Batch) (removal.Report, error) {
	r, closeStore, err := a.Remover(ctx, b)
	if err != nil {
		return removal.Report{}, err
	}
	report, err := a.deletePictures(ctx, r, b.Name)
	if results.RedisFull(err) {
		report, err = a.deleteFromFull(ctx, r, b)
	}
	return report, errors.Join(err, closeStore())
}

func (a *App) deletePictures(ctx context.Context, r *removal.Remover, batch string) (removal.Report, error) {
	if _, err := a.DB.Condemn(ctx, batch); err != nil {
		return removal.Report{}, err
	}
	if err := a.waitIdle(ctx, batch); err != nil {
		return removal.Report{}, err
	}
	report, err := r.Batch(ctx, batch)
	if err != nil {
		return report, err
	}
	// What no record tells of, such as the pictures of one that could not be
	// read. While the batch is there the command can be repeated.
	if err := removeFolder(ctx, r.Store, batch); err != nil {
		return report, err
	}
	if err := a.DB.Delete(ctx, batch); err != nil {
		return report, err
	}
	// A worker that was slow may have stored one more; from now on it takes
	// back what it stored.
	return report, removeFolder(ctx, r.Store, batch)
}

// deleteFromFull is for a Redis that takes no mark of what is being removed.
// What the batch's records refer to is noted in a temporary file; then the
// records go, which makes room, and then the files. Cut off after the records
// went, it leaves pictures by content behind that harvest verify of another
// batch shows as nobody's.
func (a *App) deleteFromFull(ctx context.Context, r *removal.Remover, b results.Batch) (removal.Report, error) {
	var report removal.Report
	noted, err := os.CreateTemp("", "harvest-*")
	if err != nil {
		return report, fmt.Errorf("note what is to be deleted: %w", err)
	}
	defer func() { _ = errors.Join(noted.Close(), os.Remove(noted.Name())) }()
	out := bufio.NewWriter(noted)
	enc := json.NewEncoder(out)
	for rec, err := range a.DB.Each(ctx, b, results.Query{}) {
		if results.IsRecordError(err) {
			continue
		}
		if err != nil {
			return report, err
		}
		report.Names++
		for _, p := range rec.Stored() {
			if err := enc.Encode(removal.File{Key: p.Key, Bytes: p.Bytes, SHA256: p.Hex()}); err != nil {
				return report, fmt.Errorf("note what is to be deleted: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return removal.Report{}, fmt.Errorf("note what is to be deleted: %w", err)
	}
	if err := a.DB.Delete(ctx, b.Name); err != nil {
		return removal.Report{}, err
	}
	if err := a.waitIdle(ctx, b.Name); err != nil {
		return report, err
	}
	if _, err := noted.Seek(0, io.SeekStart); err != nil {
		return report, fmt.Errorf("read what is to be deleted: %w", err)
	}
	const page = 20_000
	var files []removal.File
	flush := func() error {
		rep, err := r.Orphans(ctx, files)
		report.Pictures += rep.Pictures
		report.Bytes += rep.Bytes
		report.Shared += rep.Shared
		files = files[:0]
		return err
	}
	for dec := json.NewDecoder(bufio.NewReader(noted)); ; {
		var f removal.File
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return report, fmt.Errorf("read what is to be deleted: %w", err)
		}
		if files = append(files, f); len(files) == page {
			if err := flush(); err != nil {
				return report, err
			}
		}
	}
	if err := flush(); err != nil {
		return report, err
	}
	return report, removeFolder(ctx, r.Store, b.Name)
}

// removedAtOnce is how many files of a folder are removed at a time.
const removedAtOnce = 16

// removeFolder removes every file in a batch's folder.
func removeFolder(ctx context.Context, store storage.Store, batch string) error {
	// Whether a listing goes on over what is removed meanwhile no store
	// promises: the last look finds nothing.
	for {
		found := false
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(removedAtOnce)
		for e, err := range store.List(ctx, storage.Folder(batch)+"/") {
			if err == nil && gctx.Err() == nil {
				found = true
				g.Go(func() error { return store.Delete(gctx, e.Key) })
				continue
			}
			g.Go(func() error { return err })
			break
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("delete the pictures: %w", err)
		}
		if !found {
			return nil
		}
	}
}

// waitIdle waits until no worker has a task of the batch in hand, for at most
// idleWithin.
func (a *App) waitIdle(ctx context.Context, batch string) error {
	for deadline := time.Now().Add(idleWithin); ; {
		n, err := a.inFlight(batch)
		if err != nil || n == 0 || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(idlePoll):
		}
	}
}

// inFlight counts the tasks of a batch that workers have in hand.
func (a *App) inFlight(batch string) (int, error) {
	inspector := asynq.NewInspectorFromRedisClient(a.Conn.Plain)
	queues, err := inspector.Queues()
	if err != nil {
		return 0, fmt.Errorf("list the queues: %w", err)
	}
	n := 0
	for _, name := range queues {
		if q, ok := tasks.ParseQueue(name); !ok || q.Namespace != a.Conn.Namespace {
			continue
		}
		const size = 1000
		for page := 1; ; page++ {
			active, err := inspector.ListActiveTasks(name, asynq.PageSize(size), asynq.Page(page))
			if err != nil {
				return 0, fmt.Errorf("list what is in flight in queue %s: %w", name, err)
			}
			for _, info := range active {
				if ref, _, err := step(info); err == nil && ref.Batch == batch {
					n++
				}
			}
			if len(active) < size {
				break
			}
		}
	}
	return n, nil
}
