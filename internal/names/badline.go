package names

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Reason is a stable word for why a line is no name.
type Reason string

// The reasons. A line that has several gets ReasonTooLong before
// ReasonInvalidUTF8, and these before the others, of which the first character
// at fault decides.
const (
	// ReasonTooLong is a name over MaxNameBytes or a line over MaxLineBytes.
	ReasonTooLong Reason = "too_long"
	// ReasonInvalidUTF8 is a byte that belongs to no character.
	ReasonInvalidUTF8 Reason = "invalid_utf8"
	// ReasonTab is a tab within the name: the file has columns, and which one
	// is the name is not ours to guess.
	ReasonTab Reason = "tab"
	// ReasonControl is NUL, ESC or another control character, C1 included, or
	// Unicode's line or paragraph separator.
	ReasonControl Reason = "control"
	// ReasonReplacement is U+FFFD: a converter, ours for half a UTF-16 pair
	// included, had lost a character before, so the name is not the real one.
	ReasonReplacement Reason = "replacement"
	// ReasonBidi is an explicit embedding, override or isolate (U+202A to
	// U+202E, U+2066 to U+2069), which makes a name look like another.
	// Right-to-left names need none, and the marks U+200E, U+200F and U+061C
	// are left in them.
	ReasonBidi Reason = "bidi"
	// ReasonInvisible is a line of format characters alone, or a byte order
	// mark within a name.
	ReasonInvisible Reason = "invisible"
	// ReasonComment is a name in a table that begins with #: as a line it
	// would be a comment.
	ReasonComment Reason = "comment"
	// ReasonNoName is a row without a name in its column.
	ReasonNoName Reason = "no_name"
	// ReasonFields is a row with more or fewer fields than the header.
	ReasonFields Reason = "fields"
	// ReasonQuotes is a quote that is not closed, or text behind one that is.
	ReasonQuotes Reason = "quotes"
	// ReasonJSON is a line that is no JSON object.
	ReasonJSON Reason = "json"
)

// Explain returns the reason in words for a user.
func (r Reason) Explain() string {
	switch r {
	case ReasonTooLong:
		return fmt.Sprintf("longer than %d bytes", MaxNameBytes)
	case ReasonInvalidUTF8:
		return "not valid UTF-8"
	case ReasonTab:
		return "a tab within the name (one name on a line, no columns)"
	case ReasonControl:
		return "a control character"
	case ReasonReplacement:
		return "a character was lost when the file was converted (U+FFFD)"
	case ReasonBidi:
		return "a character that overrides the direction of text"
	case ReasonInvisible:
		return "an invisible name or mark"
	case ReasonComment:
		return "a name that begins with #, as comments do"
	case ReasonNoName:
		return "no name in its column"
	case ReasonFields:
		return "not as many fields as the header"
	case ReasonQuotes:
		return "a quote that is not closed, or text behind a closing quote"
	case ReasonJSON:
		return "no JSON object"
	}
	return string(r)
}

// BadLine is a line that is no name. It ends nothing: the stream goes on.
type BadLine struct {
	// Number is the line's place in the file, from 1.
	Number int64
	// Last is the last line of a row that has several, else 0.
	Last   int64
	Reason Reason
	// Excerpt is the beginning of the line in Go's quotes, at most 300 bytes
	// and safe for terminals and logs. It ends in an ellipsis behind the
	// quotes if the line has more.
	Excerpt string
}

// Error returns number, reason and excerpt in words for a user.
func (b *BadLine) Error() string {
	if b.Last > b.Number {
		return fmt.Sprintf("lines %d to %d: %s: %s", b.Number, b.Last, b.Reason.Explain(), b.Excerpt)
	}
	return fmt.Sprintf("line %d: %s: %s", b.Number, b.Reason.Explain(), b.Excerpt)
}

// Rejects writes bad lines for a person or a program to look at, one on each
// line: number, tab, the reason's word, tab, excerpt.
type Rejects struct {
	w *bufio.Writer
}

// NewRejects returns a Rejects that writes to w, in blocks. The caller calls
// Flush at the end and closes w.
func NewRejects(w io.Writer) *Rejects {
	return &Rejects{w: bufio.NewWriter(w)}
}

// Write adds b. An error of the writer below may come later, at the latest
// from Flush.
func (r *Rejects) Write(b *BadLine) error {
	_, err := fmt.Fprintf(r.w, "%d\t%s\t%s\n", b.Number, b.Reason, b.Excerpt)
	return err
}

// Flush hands on what Write has gathered.
func (r *Rejects) Flush() error { return r.w.Flush() }

// Check returns why name is none that a Reader would hand out, or "".
func Check(name string) Reason {
	b := []byte(name)
	switch {
	case len(trim(b)) != len(b), len(b) == 0:
		return ReasonInvisible
	case b[0] == '#':
		return ReasonComment
	}
	return check(b)
}

// trim drops white space from both ends, and byte order marks, which stand at
// the beginning of a line where files were joined.
func trim(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || b[0] < utf8.RuneSelf && b[len(b)-1] < utf8.RuneSelf {
		return b
	}
	return bytes.TrimFunc(b, func(c rune) bool { return unicode.IsSpace(c) || c == '\ufeff' })
}

// check returns why the trimmed b is no name, or "".
func check(b []byte) Reason {
	if len(b) > MaxNameBytes {
		return ReasonTooLong
	}
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return checkRunes(b)
		}
	}
	return ""
}

// checkRunes is check for what is not plain ASCII.
func checkRunes(b []byte) Reason {
	if !utf8.Valid(b) {
		return ReasonInvalidUTF8
	}
	visible := false
	for len(b) > 0 {
		c, size := utf8.DecodeRune(b)
		b = b[size:]
		switch {
		case c == '\t':
			return ReasonTab
		case unicode.IsControl(c), c == '\u2028', c == '\u2029':
			return ReasonControl
		case c == utf8.RuneError:
			return ReasonReplacement
		case c >= '\u202a' && c <= '\u202e', c >= '\u2066' && c <= '\u2069':
			return ReasonBidi
		case c == '\ufeff':
			return ReasonInvisible
		}
		visible = visible || !unicode.Is(unicode.Cf, c)
	}
	if !visible {
		return ReasonInvisible
	}
	return ""
}

// excerptBytes is how much of a line an excerpt shows; quoting makes at most
// four of one.
const excerptBytes = 64

func excerpt(b []byte) string {
	if len(b) <= excerptBytes {
		return strconv.Quote(string(b))
	}
	end := excerptBytes
	for end > excerptBytes-utf8.UTFMax && !utf8.RuneStart(b[end]) {
		end--
	}
	return strconv.Quote(string(b[:end])) + "…"
}
