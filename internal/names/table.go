package names

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// tableReader hands out the names of a CSV file. Its rows are taken apart
// here because encoding/csv holds a whole field, and a quote that somebody
// forgot makes one field of the rest of the file.
type tableReader struct {
	lines  *lines
	table  *Table
	column int
	totals Totals
	fields fields
}

// newTableReader reads the header.
func newTableReader(l *lines, column string) (*tableReader, *Table, error) {
	t := &tableReader{lines: l, table: &Table{Format: CSV}}
	raw, whole, err := t.headerLine()
	if err != nil {
		return nil, nil, err
	}
	if t.table.Delimiter == 0 {
		t.table.Delimiter = guessDelimiter(raw)
	}
	t.fields.delimiter = t.table.Delimiter
	if err := t.gather(raw, whole); err != nil {
		return nil, nil, err
	}
	if t.fields.reason != "" {
		return nil, nil, fmt.Errorf("%s: its header cannot be read: %s; for a list without header give --format lines", l.label, t.fields.reason.Explain())
	}
	named := make(map[string]int)
	for i := range t.fields.ends {
		name := trim(t.fields.at(i))
		if len(name) == 0 {
			// Many programs write row numbers so.
			t.table.Columns = append(t.table.Columns, "")
			continue
		}
		if reason := columnName(name); reason != "" {
			return nil, nil, fmt.Errorf("%s: column %d of its header, %s, cannot be the name of one (%s); the first line must name the columns, each in at most %d bytes, or give --format lines",
				l.label, i+1, excerpt(name), reason.Explain(), MaxColumnNameBytes)
		}
		if other, ok := named[string(name)]; ok {
			return nil, nil, fmt.Errorf("%s: columns %d and %d are both called %s: rename one", l.label, other, i+1, excerpt(name))
		}
		named[string(name)] = i + 1
		t.table.Columns = append(t.table.Columns, string(name))
	}
	if t.column, err = nameColumn(l.label, t.table.Columns, column); err != nil {
		return nil, nil, err
	}
	t.table.Name = t.table.Columns[t.column]
	return t, t.table, nil
}

// errNoHeader: a table has not one line.
var errNoHeader = errors.New("no header: put the names of the columns on the first line")

// headerLine returns the first line with something on it, but that by which
// Excel tells the delimiter.
func (t *tableReader) headerLine() (raw []byte, whole bool, err error) {
	for {
		raw, whole, err = t.lines.take()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: %w", t.lines.label, errNoHeader)
		}
		if err != nil {
			return nil, false, err
		}
		line := trim(raw)
		if d, ok := bytes.CutPrefix(line, []byte("sep=")); ok && len(d) == 1 && strings.IndexByte(delimiters, d[0]) >= 0 {
			t.table.Delimiter = d[0]
			continue
		}
		if len(line) > 0 {
			return raw, whole, nil
		}
	}
}

// delimiters are those that are guessed, the likelier first.
const delimiters = ",;\t|"

// guessDelimiter returns the delimiter that stands most often in the header,
// outside of quotes.
func guessDelimiter(header []byte) byte {
	var counts [len(delimiters)]int
	quoted := false
	for _, c := range header {
		if c == '"' {
			quoted = !quoted
		}
		if i := strings.IndexByte(delimiters, c); i >= 0 && !quoted {
			counts[i]++
		}
	}
	best := 0
	for i, n := range counts {
		if n > counts[best] {
			best = i
		}
	}
	return delimiters[best]
}

// Next implements [Source].
func (t *tableReader) Next() (Line, error) {
	for {
		raw, whole, err := t.lines.take()
		if err != nil {
			return Line{}, err
		}
		number := t.lines.number
		begins := excerpt(raw)
		if err := t.gather(raw, whole); err != nil {
			return Line{}, err
		}
		t.totals.Lines++
		if t.fields.blank() {
			t.totals.Blank++
			continue
		}
		r, reason := t.row(number)
		if reason == "" {
			t.totals.Names++
			return r.line, nil
		}
		t.totals.Bad++
		bad := &BadLine{Number: number, Reason: reason, Excerpt: begins}
		if t.lines.number > number {
			bad.Last = t.lines.number
		}
		return Line{}, bad
	}
}

// Totals implements [Source].
func (t *tableReader) Totals() Totals { return t.totals }

// row makes a name of the fields, or says why there is none.
func (t *tableReader) row(number int64) (row, Reason) {
	r := newRow(number)
	if t.fields.reason != "" {
		return r, t.fields.reason
	}
	if len(t.fields.ends) != len(t.table.Columns) {
		return r, ReasonFields
	}
	name := trim(t.fields.at(t.column))
	if reason := nameOf(name); reason != "" {
		return r, reason
	}
	r.line.Name = string(name)
	for i, column := range t.table.Columns {
		value := trim(t.fields.at(i))
		switch {
		case i == t.column || column == "":
		case !utf8.Valid(value):
			return r, ReasonInvalidUTF8
		default:
			r.add(column, string(value))
		}
	}
	return r, ""
}

// gather takes the row apart that begins with raw, however many lines it has.
func (t *tableReader) gather(raw []byte, whole bool) error {
	f := &t.fields
	f.begin()
	for {
		f.feed(raw)
		if !whole {
			f.reason = ReasonTooLong
			if err := t.lines.skip(f.feed); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if f.state != quoted {
			break
		}
		var err error
		if raw, whole, err = t.lines.take(); errors.Is(err, io.EOF) {
			if f.reason == "" {
				f.reason = ReasonQuotes
			}
			break
		}
		if err != nil {
			return err
		}
		f.put('\n')
	}
	f.end()
	return nil
}

// fields are those of one row. They hold MaxRowBytes at most; what is more is
// looked at for its quotes and forgotten.
type fields struct {
	delimiter byte
	text      []byte
	ends      []int
	state     fieldState
	reason    Reason
}

// fieldState is where in a field the next byte stands.
type fieldState int

const (
	empty  fieldState = iota // at its beginning
	plain                    // in one without quotes
	quoted                   // within quotes
	closed                   // behind a quote that closes it, or is the first of two
)

func (f *fields) begin() {
	f.text, f.ends, f.state, f.reason = f.text[:0], f.ends[:0], empty, ""
}

// at returns field i.
func (f *fields) at(i int) []byte {
	from := 0
	if i > 0 {
		from = f.ends[i-1]
	}
	return f.text[from:f.ends[i]]
}

// blank reports whether there is nothing in any field.
func (f *fields) blank() bool { return f.reason == "" && len(trim(f.text)) == 0 }

func (f *fields) put(c byte) {
	if len(f.text) == MaxRowBytes {
		f.reason = ReasonTooLong
		return
	}
	f.text = append(f.text, c)
}

// end ends a field.
func (f *fields) end() {
	if len(f.ends) == MaxRowBytes {
		f.reason = ReasonTooLong
		return
	}
	f.ends, f.state = append(f.ends, len(f.text)), empty
}

func (f *fields) feed(b []byte) {
	for _, c := range b {
		switch {
		case f.state == quoted && c == '"':
			f.state = closed
		case f.state == quoted:
			f.put(c)
		case c == f.delimiter:
			f.end()
		case c == '"' && f.state == empty:
			f.state = quoted
		case c == '"' && f.state == closed:
			f.put(c)
			f.state = quoted
		case f.state == closed && c != ' ':
			if f.reason == "" {
				f.reason = ReasonQuotes
			}
		case f.state == closed:
		default:
			f.put(c)
			f.state = plain
		}
	}
}
