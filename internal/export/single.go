package export

import (
	"compress/gzip"
	"context"
	"io"

	"github.com/picharvest/picharvest/internal/storage"
)

// single writes the formats that are one file. The target knows its name.
type single struct {
	to    storage.Writer
	row   func(*item) error
	close []func() error
}

func newSingle(ctx context.Context, target Target, opts Options) (*single, error) {
	to, err := target.Create(ctx)
	if err != nil {
		return nil, err
	}
	s := &single{to: to}
	var w io.Writer = to
	if opts.Gzip {
		z := gzip.NewWriter(to)
		w, s.close = z, append(s.close, z.Close)
	}
	var end func() error
	switch opts.Format {
	case JSONL:
		lines := NewLines(w)
		end = lines.Close
		s.row = func(it *item) error {
			if !it.first {
				return nil
			}
			return lines.Write(*it.name)
		}
	case Parquet:
		table := newColumnar(w, opts.Images)
		end = table.close
		s.row = func(it *item) error { return table.row(it.row, it.data) }
	default:
		table := NewTable(w, opts.Table)
		end = table.Close
		s.row = func(it *item) error { return table.row(it.row) }
	}
	s.close = append([]func() error{end}, s.close...)
	return s, nil
}

func (s *single) add(_ context.Context, it *item) error { return s.row(it) }

func (s *single) end(ctx context.Context, _ *Report) error {
	for _, c := range s.close {
		if err := c(); err != nil {
			return err
		}
	}
	return s.to.Commit(ctx, "")
}

func (s *single) abort() error { return s.to.Abort() }
