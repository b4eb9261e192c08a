package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// json writes the names of the batches as JSON lines.
func (l listing) json(ctx context.Context, w io.Writer, batches []results.Batch, q results.Query) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	written := 0
	for _, b := range batches {
		n, err := l.jsonLines(ctx, enc, b, q)
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		written += n
	}
	if err := out.Flush(); err != nil || written > 0 {
		return err
	}
	if err := l.explainNone(ctx, batches, q); err != nil {
		return err
	}
	return nil
}

func (l listing) jsonLines(ctx context.Context, enc *json.Encoder, b results.Batch, q results.Query) (int, error) {
	store := l.a.PicturesPlace(ctx, b)
	n := 0
	for r, err := range l.a.DB.Each(ctx, b, q) {
		if isKeyError(err) {
			break // it comes last, and a warning told of it
		}
		if l.limit > 0 && n == l.limit {
			break
		}
		if r.Forgotten {
			continue
		}
		n++
		var j recordjson.Name
		switch {
		case err == nil:
			j = describe(b, r, store)
			l.away.shown(b, store, r)
		case results.IsRecordError(err):
			j = recordjson.Unreadable(b, r, err)
		default:
			return n, err
		}
		if err := enc.Encode(j); err != nil {
			return n, err
		}
	}
	return n, nil
}

// describe is the JSON of a record, with the files of its pictures in a store,
// or without where that is "".
func describe(b results.Batch, r results.Record, store string) recordjson.Name {
	n := recordjson.Of(b, r)
	for i, p := range n.Pictures {
		if p.Key != "" && store != "" {
			n.Pictures[i].File = app.PicturePath(store, p.Key)
		}
	}
	return n
}
