package worker

import (
	"context"
	"time"

	"github.com/picharvest/picharvest/internal/sidecar"
	"github.com/picharvest/picharvest/tasks"
)

// besideWithin bounds the writing of sidecars after a task's own time is over.
const besideWithin = time.Minute

// beside brings the sidecars of the task's name up to date, where its batch has
// any. Nothing is due before the name is settled; each run that leaves it
// settled calls this once it has said so, so that a crash in between costs no
// sidecar.
func (h *pictureHandler) beside(ctx context.Context, r tasks.Ref, birth int64) error {
	k, _ := h.keptOf(bornBatch{r.Batch, birth})
	if k.sidecars == nil {
		return nil // or nothing of the batch was ever stored by this process
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), besideWithin)
	defer cancel()
	return h.shelf.heed(sidecar.Write(late, h.db, h.store, *k.sidecars, r.Name))
}

// recall makes beside know the batch of a task that another process did and did
// not live to end. Where that cannot be now, `harvest verify` finds what is
// missing.
func (h *pictureHandler) recall(ctx context.Context, r tasks.Ref, birth int64) {
	born := bornBatch{r.Batch, birth}
	if _, ok := h.keptOf(born); ok {
		return
	}
	b, err := h.db.Batch(ctx, r.Batch)
	if err == nil && b.Birth == birth && b.Sidecars {
		err = h.checkStore(ctx, born)
	}
	if err != nil {
		h.log.Debug("look whether pictures have their sidecars", "batch", r.Batch, "error", err)
	}
}
