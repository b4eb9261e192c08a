package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/storage"
)

// Target is where an export goes.
type Target interface {
	// Create begins a file. Commit gives it its name: one element, in a
	// target of many files.
	Create(ctx context.Context) (storage.Writer, error)
	// Finish shows the export when all its files were committed.
	Finish(ctx context.Context) error
	// Discard removes what there is of it.
	Discard() error
}

// ExistsError says that something is there already.
type ExistsError struct {
	Path string
	// Cure says what to do.
	Cure string
}

// Error names the cure.
func (e *ExistsError) Error() string { return e.Path + " is there already: " + e.Cure }

// part is in the names of what is not whole yet.
const part = ".part-"

// leftFor is how old what a killed export left is before the next one to the
// same place removes it.
const leftFor = 24 * time.Hour

// removeLeft removes what killed exports to path left behind.
func removeLeft(path string) {
	dir, prefix := filepath.Dir(path), hidden(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // making something there will say why
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), prefix) && time.Since(info.ModTime()) > leftFor {
			// What stays is not whole and is not seen.
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// hidden is how the names of unfinished exports to path begin.
func hidden(path string) string {
	base := filepath.Base(path)
	return "." + strings.ToValidUTF8(base[:min(len(base), 100)], "") + part
}

// File is a target of one file. What is no plain file, such as a pipe, is
// written to as it is.
type File struct {
	path  string
	force bool
}

// NewFile returns the target at path. Errors are [*ExistsError], unless force
// says to replace a file, and those of the file system.
func NewFile(path string, force bool) (*File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f := &File{path, force}
	if err := f.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, err
	}
	removeLeft(path)
	return f, nil
}

func (f *File) check() error {
	fi, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir():
		return &ExistsError{f.path, "it is a folder; give the name of a file in it"}
	case fi.Mode().IsRegular() && !f.force:
		return &ExistsError{f.path, "give --force to replace it, or another name"}
	}
	return nil
}

// Create implements Target.
func (f *File) Create(context.Context) (storage.Writer, error) {
	if fi, err := os.Stat(f.path); err == nil && !fi.Mode().IsRegular() {
		w, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &stream{buf: bufio.NewWriterSize(w, bufferSize), close: w.Close}, nil
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), hidden(f.path)+"*")
	if err != nil {
		return nil, err
	}
	return newLocal(temp, func(string) (string, error) { return f.path, f.check() }), nil
}

// Finish implements Target: a file is whole when it was committed.
func (f *File) Finish(context.Context) error { return nil }

// Discard implements Target: a file that was not committed is not there.
func (f *File) Discard() error { return nil }

// Dir is a target of many files: a folder that is there when it is whole.
type Dir struct {
	path    string
	temp    string
	replace bool
}

// NewDir returns the target at path: nothing, an empty folder or, with force,
// a folder that an export made, which is replaced.
func NewDir(path string, force bool) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if d.replace, err = d.check(force); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return nil, err
	}
	removeLeft(path)
	return d, nil
}

// check reports whether there is something to be replaced.
func (d *Dir) check(force bool) (bool, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if fi, serr := os.Stat(d.path); serr == nil && !fi.IsDir() {
		return false, &ExistsError{d.path, "it is no folder; give another name"}
	}
	if err != nil {
		return false, err
	}
	_, merr := os.Stat(filepath.Join(d.path, Manifest))
	switch {
	case len(entries) == 0:
		return true, nil
	case merr != nil:
		return false, &ExistsError{d.path, "it holds files and is no export; give a folder that is empty or not there"}
	case !force:
		return false, &ExistsError{d.path, "give --force to replace that export, or another name"}
	}
	return true, nil
}

// begin makes the folder under its hidden name.
func (d *Dir) begin() error {
	if d.temp != "" {
		return nil
	}
	temp, err := os.MkdirTemp(filepath.Dir(d.path), hidden(d.path)+"*")
	d.temp = temp
	return err
}

// Create implements Target.
func (d *Dir) Create(context.Context) (storage.Writer, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(d.temp, part+"*")
	if err != nil {
		return nil, err
	}
	return newLocal(temp, func(name string) (string, error) { return filepath.Join(d.temp, name), nil }), nil
}

// put writes a small file, or makes it a second name of the one at link, whose
// bytes are these. Unlike a committed one it may be lost in a power cut.
func (d *Dir) put(name string, data []byte, link string, same os.FileInfo) error {
	if err := d.begin(); err != nil {
		return err
	}
	to := filepath.Join(d.temp, name)
	if link != "" && os.Link(link, to) == nil {
		// Somebody may have planted a link in the store that leads elsewhere.
		if fi, err := os.Lstat(to); err == nil && os.SameFile(fi, same) {
			return nil
		}
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // an export is for others to read
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Finish implements Target.
func (d *Dir) Finish(context.Context) error {
	if err := d.begin(); err != nil {
		return err
	}
	if err := os.Chmod(d.temp, 0o755); err != nil { //nolint:gosec // an export is for others to read
		return err
	}
	if err := syncFolder(d.temp); err != nil {
		return err
	}
	if d.replace {
		old, err := os.MkdirTemp(filepath.Dir(d.path), hidden(d.path)+"*")
		if err != nil {
			return err
		}
		if err := os.Rename(d.path, filepath.Join(old, "old")); err != nil {
			return errors.Join(err, os.Remove(old))
		}
		defer func() { _ = os.RemoveAll(old) }() // what stays is found as what a killed export left
	}
	if err := os.Rename(d.temp, d.path); err != nil {
		return err
	}
	d.temp = ""
	return syncFolder(filepath.Dir(d.path))
}

// Discard implements Target.
func (d *Dir) Discard() error {
	if d.temp == "" {
		return nil
	}
	return os.RemoveAll(d.temp)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Not every system syncs folders; the rename was done either way.
	_ = f.Sync()
	return nil
}

// bufferSize is what is written at once.
const bufferSize = 256 << 10

// local writes a file under a temporary name.
type local struct {
	f     *os.File
	buf   *bufio.Writer
	place func(name string) (string, error)
	ended bool
}

func newLocal(f *os.File, place func(string) (string, error)) *local {
	return &local{f: f, buf: bufio.NewWriterSize(f, bufferSize), place: place}
}

// Write implements io.Writer.
func (l *local) Write(p []byte) (int, error) { return l.buf.Write(p) }

// Commit implements storage.Writer.
func (l *local) Commit(_ context.Context, name string) error {
	if l.ended {
		return errEnded
	}
	l.ended = true
	// What CreateTemp makes is for its owner alone.
	for _, step := range []func() error{l.buf.Flush, func() error { return l.f.Chmod(0o644) }, l.f.Sync} {
		if err := step(); err != nil {
			return errors.Join(err, l.remove())
		}
	}
	if err := l.f.Close(); err != nil {
		return errors.Join(err, os.Remove(l.f.Name()))
	}
	path, err := l.place(name)
	if err == nil {
		err = os.Rename(l.f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(l.f.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

// Abort implements storage.Writer.
func (l *local) Abort() error {
	if l.ended {
		return nil
	}
	l.ended = true
	return l.remove()
}

func (l *local) remove() error { return errors.Join(l.f.Close(), os.Remove(l.f.Name())) }

var errEnded = errors.New("the file was committed or aborted before")

// Stream is a target that is written to as it comes, such as standard output.
// It takes one file.
type Stream struct{ w io.Writer }

// NewStream returns a Stream to w.
func NewStream(w io.Writer) *Stream { return &Stream{w} }

// Create implements Target.
func (s *Stream) Create(context.Context) (storage.Writer, error) {
	return &stream{buf: bufio.NewWriterSize(s.w, bufferSize), close: func() error { return nil }}, nil
}

// Finish implements Target.
func (s *Stream) Finish(context.Context) error { return nil }

// Discard implements Target: what was read cannot be taken back.
func (s *Stream) Discard() error { return nil }

type stream struct {
	buf   *bufio.Writer
	close func() error
	ended bool
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (int, error) { return s.buf.Write(p) }

// Commit implements storage.Writer.
func (s *stream) Commit(context.Context, string) error {
	if s.ended {
		return errEnded
	}
	s.ended = true
	return errors.Join(s.buf.Flush(), s.close())
}

// Abort implements storage.Writer.
func (s *stream) Abort() error {
	if s.ended {
		return nil
	}
	s.ended = true
	return s.close()
}

// nowhere takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) Create(context.Context) (storage.Writer, error) {
	return &stream{buf: bufio.NewWriter(io.Discard), close: func() error { return nil }}, nil
}
func (nowhere) Finish(context.Context) error { return nil }
func (nowhere) Discard() error               { return nil }

var (
	_ Target = (*File)(nil)
	_ Target = (*Dir)(nil)
	_ Target = (*Stream)(nil)
	_ Target = nowhere{}
)

// commitText writes a small file into target.
func commitText(ctx context.Context, target Target, name string, data []byte) error {
	w, err := target.Create(ctx)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), w.Abort())
	}
	return w.Commit(ctx, name)
}
