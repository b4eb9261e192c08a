package names

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lines takes a text apart into its lines, in bounded memory.
type lines struct {
	label string
	text  *bufio.Reader
	// limit is the length of the longest line that is handed out whole; text
	// holds more.
	limit int
	// number of the line that was handed out last, from 1.
	number int64
	// afterCR is set where a line ended in CR: an LF that follows is a part
	// of that line's end.
	afterCR bool
	// cut is set where the last line was too long: its rest is not yet read.
	cut bool
	err error
}

// take returns the next line without its end, or the first l.limit of a
// longer one and whole false. The bytes are good until the next call.
func (l *lines) take() (raw []byte, whole bool, err error) {
	if err := l.skip(func([]byte) {}); err != nil {
		return nil, false, err
	}
	for scanned := 0; ; {
		window, _ := l.text.Peek(min(l.text.Buffered(), l.limit+1))
		if l.afterCR && len(window) > 0 {
			l.afterCR = false
			if window[0] == '\n' {
				l.discard(1)
				continue
			}
		}
		if i := bytes.IndexAny(window[scanned:], "\r\n"); i >= 0 {
			end := scanned + i
			l.afterCR = window[end] == '\r'
			l.discard(end + 1)
			l.number++
			return window[:end], true, nil
		}
		if len(window) > l.limit {
			l.cut = true
			l.discard(l.limit)
			l.number++
			return window[:l.limit], false, nil
		}
		scanned = len(window)
		if err := l.fill(scanned); err != nil {
			if errors.Is(err, io.EOF) && scanned > 0 {
				window, _ = l.text.Peek(scanned)
				l.discard(scanned)
				l.number++
				return window, true, nil
			}
			return nil, false, err
		}
	}
}

// skip passes over what is left of a line that was too long, its end included,
// and shows it to see, piece by piece.
func (l *lines) skip(see func([]byte)) error {
	for l.cut {
		window, _ := l.text.Peek(l.text.Buffered())
		if i := bytes.IndexAny(window, "\r\n"); i >= 0 {
			see(window[:i])
			l.cut, l.afterCR = false, window[i] == '\r'
			l.discard(i + 1)
			return nil
		}
		see(window)
		l.discard(len(window))
		if err := l.fill(0); err != nil {
			return err
		}
	}
	return nil
}

// fill waits for more than the n bytes that the buffer holds. What has
// arrived is looked at before more is waited for, so that a slow pipe's names
// are not held back. An error other than io.EOF says where the source broke.
func (l *lines) fill(n int) error {
	if l.err != nil {
		return l.err
	}
	if _, err := l.text.Peek(n + 1); err == io.EOF {
		l.err = io.EOF
	} else if err != nil {
		l.err = fmt.Errorf("%s: after line %d: %w", l.label, l.number, cause(err))
	}
	return l.err
}

// discard passes over n bytes that are in the buffer already, which cannot
// fail.
func (l *lines) discard(n int) { _, _ = l.text.Discard(n) }
