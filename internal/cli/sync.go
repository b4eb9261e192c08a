package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/removal"
)

// mostSurplus is the part of a batch, one in so many, above which --sync
// removes nothing that --yes did not allow: more than that is rather a file
// that lost its end than people who left.
const mostSurplus = 10

// syncBatch removes the names of the batch that its file has no more.
func syncBatch(ctx context.Context, env *Env, a *app.App, in *namesFile, seen *enqueuer.Seen, report enqueuer.Report, yes bool) (removal.Report, error) {
	surplus, err := a.Enqueuer().Surplus(ctx, in.batch, seen)
	if err != nil {
		return removal.Report{}, notSynced(in, err)
	}
	if surplus.Names == 0 {
		return removal.Report{}, nil
	}
	what := fmt.Sprintf("sync %s: forget %s of %s that %s no longer has, with their pictures (%s)",
		in.batch, count(surplus.Names), nameCount(surplus.Total), in.path, examples(surplus))
	if report.Bad > 0 {
		what += fmt.Sprintf("; note that %s of it", areLines(int(report.Bad)))
	}
	if !yes && surplus.Names*mostSurplus > surplus.Total {
		return removal.Report{}, usagef("%s: more than a tenth of the batch; give --yes if that is right. Names were added and none was removed", what)
	}
	if err := confirm(ctx, env, what, yes); err != nil {
		return removal.Report{}, fmt.Errorf("%w (names were added and none was removed)", err)
	}
	b, err := a.DB.Batch(ctx, in.batch)
	if err != nil {
		return removal.Report{}, err
	}
	r, closeStore, err := a.Remover(ctx, b)
	if err != nil {
		return removal.Report{}, err
	}
	defer closeQuietly(closeStore)
	gone, err := r.Names(ctx, b, surplus.Each(a.DB))
	if err != nil {
		return gone, fmt.Errorf("after %s: %w", removedWords(gone), notSynced(in, err))
	}
	return gone, nil
}

// notSynced says what to do where nothing can be removed.
func notSynced(in *namesFile, err error) error {
	switch {
	case errors.Is(err, enqueuer.ErrNoNames):
		return usagef("sync %s: %s has no name, so nothing was removed; to remove all of them: harvest delete %s --pictures", in.batch, in.path, in.batch)
	case errors.Is(err, enqueuer.ErrShared):
		return &coded{ExitFailed, fmt.Errorf("sync %s: %w, so what is surplus cannot be told and nothing more was removed; the same command again, when it is alone", in.batch, err)}
	}
	return fmt.Errorf("sync %s: %w (the same command again goes on)", in.batch, err)
}

// examples names a few of the surplus names.
func examples(s *enqueuer.Surplus) string {
	words := make([]string, len(s.Examples))
	for i, n := range s.Examples {
		words[i] = printable(n)
	}
	if s.Names > int64(len(words)) {
		words = append(words, "…")
	}
	return strings.Join(words, ", ")
}
