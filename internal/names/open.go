package names

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

var errFolder = errors.New("it is a folder; give one text file")

// File is an open names file. Close it at the end.
type File struct {
	*Reader
	closer io.Closer
}

// Open opens the names file at path, a named pipe included, or reads stdin if
// path is Stdin. It returns before any name is read, and refuses in one line
// what is missing, unreadable, a folder, empty (ErrEmpty) or no text
// (ErrNotText); the causes of the system, such as fs.ErrNotExist, can be
// asked for with errors.Is.
//
// Opening a pipe waits for its writer, and reading it for 4 KiB or its end.
func Open(path string, stdin io.Reader) (*File, error) {
	if path == Stdin {
		r, err := NewReader("standard input", stdin)
		if err != nil {
			return nil, err
		}
		return &File{Reader: r, closer: io.NopCloser(stdin)}, nil
	}
	label := fmt.Sprintf("names file %q", path)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	r, err := newFileReader(label, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &File{Reader: r, closer: f}, nil
}

// Close closes the file. It leaves standard input open.
func (f *File) Close() error { return f.closer.Close() }

func newFileReader(label string, f *os.File) (*Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s: %w", label, errFolder)
	}
	return NewReader(label, f)
}

// cause drops the operation and the path from an error, which names both
// already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
