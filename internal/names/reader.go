// Package names turns a names file into a stream of names, one to a line, and
// says by number which lines are no names. It also holds the rule that makes
// a batch's name out of a file's.
//
// A file is UTF-8 text, or UTF-16 that starts with a byte order mark, plain or
// gzip. LF, CRLF and CR each end a line. A line is a whole name: there are no
// columns and no quotes. White space at its ends is dropped; blank lines and
// lines that then start with # are skipped and counted. What is left is handed
// out exactly as it stands, without normalisation and without a change of
// case, or is a bad line for one of the Reasons.
//
// The package keeps no names: it finds no duplicates and knows nothing of
// batches beyond what they may be called.
package names

import (
	"bufio"
	"fmt"
	"io"
)

const (
	// MaxNameBytes is the length of the longest name, in bytes of UTF-8,
	// without the white space around it.
	MaxNameBytes = 256

	// MaxLineBytes is the length of the longest line that is looked at whole,
	// white space included, in bytes of UTF-8. A longer one is a comment if
	// its beginning says so and too long otherwise, even where all but a
	// short name of it is white space.
	MaxLineBytes = 4096
)

// Line is one good line, or row.
type Line struct {
	// Number is the line's place in the file, from 1, with every line
	// counted, blank ones and comments included. A row has that of the line
	// where it begins.
	Number int64
	// Name is valid UTF-8 of 1 to MaxNameBytes bytes, without white space at
	// its ends and without control characters.
	Name string
	// Columns are the row's other values that are not empty, in the file's
	// order: names and values of at most MaxColumnBytes bytes together.
	Columns []Column
	// Truncated says that values were left out for want of that room.
	Truncated bool
}

// Totals counts the lines, or rows, met so far. Lines is the sum of the
// others. The header of a table is none.
type Totals struct {
	Lines    int64
	Names    int64
	Blank    int64
	Comments int64
	Bad      int64
}

// Reader hands out the names of one source. It holds less than 1 MiB whatever
// the source sends. It is not safe for concurrent use.
type Reader struct {
	lines  *lines
	totals Totals
}

// NewReader returns a Reader over src once the first 4 KiB of text, or all
// there is, have shown that it is one. Otherwise the error is ErrNotText,
// ErrEmpty or what reading src gave, in one line that starts with label.
func NewReader(label string, src io.Reader) (*Reader, error) {
	text, err := openText(src, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	return newReader(label, text), nil
}

func newReader(label string, text *bufio.Reader) *Reader {
	return &Reader{lines: &lines{label: label, text: text, limit: MaxLineBytes}}
}

// Next returns the next name. A *BadLine stands for one line and the stream
// goes on behind it; io.EOF is the end; any other error is final, and a line
// that it cut short is not handed out.
func (r *Reader) Next() (Line, error) {
	for {
		raw, whole, err := r.lines.take()
		if err != nil {
			return Line{}, err
		}
		r.totals.Lines++
		b := trim(raw)
		switch {
		case len(b) > 0 && b[0] == '#':
			r.totals.Comments++
			continue
		case len(b) == 0 && whole:
			r.totals.Blank++
			continue
		}
		reason := ReasonTooLong
		if whole {
			reason = check(b)
		}
		if reason != "" {
			r.totals.Bad++
			return Line{}, &BadLine{Number: r.totals.Lines, Reason: reason, Excerpt: excerpt(b)}
		}
		r.totals.Names++
		return Line{Number: r.totals.Lines, Name: string(b)}, nil
	}
}

// Totals returns the counts of what Next has met.
func (r *Reader) Totals() Totals { return r.totals }
