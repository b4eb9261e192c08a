package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/results"
)

// failedOnly makes q select names that failed, in whole or in part.
func failedOnly(q results.Query) (results.Query, error) {
	given := q.States
	if q.State != "" {
		given = []results.State{q.State}
	}
	if len(given) == 0 {
		q.States = []results.State{results.Failed, results.Partial}
	}
	for _, st := range given {
		if st != results.Failed && st != results.Partial {
			return q, usagef("--errors-to writes names that failed, and those that are %s did not: leave --state out, or give failed or partial", st)
		}
	}
	return q, nil
}

// errorsTo writes the names that q selects to path as a names file.
func (l listing) errorsTo(ctx context.Context, env *Env, batches []results.Batch, q results.Query, path string) error {
	var n int64
	write := func(w io.Writer) error {
		out := bufio.NewWriter(w)
		for _, b := range batches {
			k, err := l.names(ctx, out, b, q)
			if err != nil {
				return err
			}
			n += k
		}
		return out.Flush()
	}
	if path == names.Stdin {
		return write(env.Out)
	}
	err := replaceFile(path, write)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return usagef("--errors-to: %w", err)
	}
	if err != nil {
		return err
	}
	if n == 0 {
		if err := l.explainNone(ctx, batches, q); err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Err, "%s written to %s", nameCount(n), path)
	if n > 0 && len(batches) == 1 {
		fmt.Fprintf(env.Err, "; try them again: %s", next(l.a, "retry", batches[0].Name))
	}
	fmt.Fprintln(env.Err)
	return nil
}

func (l listing) names(ctx context.Context, out io.Writer, b results.Batch, q results.Query) (int64, error) {
	var n int64
	for r, err := range l.a.DB.Each(ctx, b, q) {
		if isKeyError(err) {
			break // it comes last, and a warning told of it
		}
		if l.limit > 0 && n == int64(l.limit) {
			break
		}
		// One that cannot be read has come to nothing good.
		if err != nil && !results.IsRecordError(err) {
			return n, err
		}
		n++
		if _, err := fmt.Fprintln(out, r.Name); err != nil {
			return n, err
		}
	}
	return n, nil
}

// replaceFile writes a file that is there when it is whole: under another
// name in the same folder, then in its place. What is no plain file, such as a
// pipe, is written to as it is.
func replaceFile(path string, write func(io.Writer) error) error {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	// What CreateTemp makes is for its owner alone.
	for _, step := range []func() error{func() error { return f.Chmod(0o644) }, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
