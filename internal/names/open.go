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

// Source hands out the names of one file.
type Source interface {
	// Next returns the next name. A [*BadLine] stands for one line or row and
	// the stream goes on behind it; io.EOF is the end; any other error is
	// final.
	Next() (Line, error)
	// Totals returns the counts of what Next has met.
	Totals() Totals
}

var (
	_ Source = (*Reader)(nil)
	_ Source = (*tableReader)(nil)
	_ Source = (*objectReader)(nil)
)

// File is an open names file. Close it at the end.
type File struct {
	Source
	// Table is its header, nil where it has none.
	Table  *Table
	closer io.Closer
}

// Open is [OpenAs] for a file whose form its name tells.
func Open(path string, stdin io.Reader) (*File, error) { return OpenAs(path, stdin, Form{}) }

// OpenAs opens the names file at path, a named pipe included, or reads stdin
// if path is Stdin. It returns before any name is read, and refuses in one line
// what is missing, unreadable, a folder, empty (ErrEmpty) or no text
// (ErrNotText); the causes of the system, such as fs.ErrNotExist, can be
// asked for with errors.Is. A table without a column for the names is a
// [*ColumnError].
//
// Opening a pipe waits for its writer, and reading it for 4 KiB or its end.
func OpenAs(path string, stdin io.Reader, form Form) (*File, error) {
	if path == Stdin {
		return form.read("standard input", path, stdin, io.NopCloser(stdin))
	}
	label := fmt.Sprintf("names file %q", path)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	file, err := form.readFile(label, path, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return file, nil
}

// Close closes the file. It leaves standard input open.
func (f *File) Close() error { return f.closer.Close() }

func (f Form) readFile(label, path string, file *os.File) (*File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s: %w", label, errFolder)
	}
	return f.read(label, path, file, file)
}

// cause drops the operation and the path from an error, which names both
// already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
