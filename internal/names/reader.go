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
	"bytes"
	"errors"
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

// Line is one good line.
type Line struct {
	// Number is the line's place in the file, from 1, with every line
	// counted, blank ones and comments included.
	Number int64
	// Name is valid UTF-8 of 1 to MaxNameBytes bytes, without white space at
	// its ends and without control characters.
	Name string
}

// Totals counts the lines met so far. Lines is the sum of the others.
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
	label  string
	text   *bufio.Reader
	totals Totals
	// afterCR is set where a line ended in CR: an LF that follows is a part
	// of that line's end.
	afterCR bool
	// cut is set where the last line was too long: its rest is not yet read.
	cut bool
	err error
}

// NewReader returns a Reader over src once the first 4 KiB of text, or all
// there is, have shown that it is one. Otherwise the error is ErrNotText,
// ErrEmpty or what reading src gave, in one line that starts with label.
func NewReader(label string, src io.Reader) (*Reader, error) {
	text, err := openText(src)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	return &Reader{label: label, text: text}, nil
}

// Next returns the next name. A *BadLine stands for one line and the stream
// goes on behind it; io.EOF is the end; any other error is final, and a line
// that it cut short is not handed out.
func (r *Reader) Next() (Line, error) {
	for {
		raw, whole, err := r.take()
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

// take returns the next line without its end, or the first MaxLineBytes of a
// longer one and whole false. The bytes are good until the next call.
func (r *Reader) take() (raw []byte, whole bool, err error) {
	if r.cut {
		if err := r.skipLine(); err != nil {
			return nil, false, err
		}
	}
	for scanned := 0; ; {
		window, _ := r.text.Peek(min(r.text.Buffered(), MaxLineBytes+1))
		if r.afterCR && len(window) > 0 {
			r.afterCR = false
			if window[0] == '\n' {
				r.discard(1)
				continue
			}
		}
		if i := bytes.IndexAny(window[scanned:], "\r\n"); i >= 0 {
			end := scanned + i
			r.afterCR = window[end] == '\r'
			r.discard(end + 1)
			return window[:end], true, nil
		}
		if len(window) > MaxLineBytes {
			r.cut = true
			r.discard(MaxLineBytes)
			return window[:MaxLineBytes], false, nil
		}
		scanned = len(window)
		if err := r.fill(scanned); err != nil {
			if errors.Is(err, io.EOF) && scanned > 0 {
				window, _ = r.text.Peek(scanned)
				r.discard(scanned)
				return window, true, nil
			}
			return nil, false, err
		}
	}
}

// skipLine passes over what is left of a line, its end included.
func (r *Reader) skipLine() error {
	for {
		window, _ := r.text.Peek(r.text.Buffered())
		if i := bytes.IndexAny(window, "\r\n"); i >= 0 {
			r.cut, r.afterCR = false, window[i] == '\r'
			r.discard(i + 1)
			return nil
		}
		r.discard(len(window))
		if err := r.fill(0); err != nil {
			return err
		}
	}
}

// fill waits for more than the n bytes that the buffer holds. What has
// arrived is looked at before more is waited for, so that a slow pipe's names
// are not held back. An error other than io.EOF says where the source broke.
func (r *Reader) fill(n int) error {
	if r.err != nil {
		return r.err
	}
	if _, err := r.text.Peek(n + 1); err == io.EOF {
		r.err = io.EOF
	} else if err != nil {
		r.err = fmt.Errorf("%s: after line %d: %w", r.label, r.totals.Lines, cause(err))
	}
	return r.err
}

// discard passes over n bytes that are in the buffer already, which cannot
// fail.
func (r *Reader) discard(n int) { _, _ = r.text.Discard(n) }
