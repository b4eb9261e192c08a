package names

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/picharvest/picharvest/internal/nearest"
)

// Format is how a file holds names.
type Format string

// The formats. Lines is a name on each line, as package names describes it.
// CSV has a header, fields between a comma, semicolon, tab or bar, and quotes
// as RFC 4180 has them; JSONL has a JSON object on each line.
const (
	Lines Format = "lines"
	CSV   Format = "csv"
	JSONL Format = "jsonl"
)

// Formats lists the formats.
func Formats() []Format { return []Format{Lines, CSV, JSONL} }

const (
	// MaxRowBytes is the length of the longest row, in bytes of UTF-8.
	MaxRowBytes = 60 << 10
	// MaxColumnNameBytes is the length of the longest name of a column.
	MaxColumnNameBytes = 64
	// MaxColumnBytes bounds what is kept of a row's columns. A value that does
	// not fit is left out whole: half a URL leads nowhere.
	MaxColumnBytes = 2 << 10
)

// Form says how to read a file. The zero value goes by the file's name:
// .csv, .tsv, .jsonl and .ndjson, each perhaps with .gz behind it, and lines
// for any other.
type Form struct {
	Format Format
	// Column has the names of a table. Empty: the only column, or that which
	// is called name.
	Column string
	// Encoding of a text without byte order mark, by any of the labels of
	// https://encoding.spec.whatwg.org/#names-and-labels. Empty is UTF-8.
	Encoding string
}

// Column is one value of a row beside its name.
type Column struct{ Name, Value string }

// Table is the header of a table.
type Table struct {
	Format Format
	// Columns in their order: those of the header, or of the first object.
	Columns []string
	// Name is the column that has the names.
	Name string
	// Delimiter of a CSV file.
	Delimiter byte
}

// About says in words how the table is read, for a person to check.
func (t *Table) About() string {
	if t.Format == JSONL {
		return fmt.Sprintf("JSON lines; the names are in %q", t.Name)
	}
	if len(t.Columns) == 1 {
		return fmt.Sprintf("CSV with the one column %q, whose names begin on the next line; for a list without header give --format lines", t.Name)
	}
	between := map[byte]string{',': "commas", ';': "semicolons", '\t': "tabs", '|': "bars"}[t.Delimiter]
	return fmt.Sprintf("CSV with %s between %d columns; the names are in %q", between, len(t.Columns), t.Name)
}

// ColumnError says that it is not known which column of a table has the names.
type ColumnError struct {
	Label string
	// Wanted is the column that was asked for, "" where none was.
	Wanted  string
	Columns []string
}

// Error lists the columns.
func (e *ColumnError) Error() string {
	what := "which column has the names? give --column"
	if e.Wanted != "" {
		what = fmt.Sprintf("no column %q", e.Wanted)
		if n := nearest.Word(e.Wanted, e.Columns); n != "" {
			what += fmt.Sprintf(": did you mean %q?", n)
		}
	}
	return fmt.Sprintf("%s: %s (there are %s)", e.Label, what, ListColumns(e.Columns))
}

// maxListed bounds a list of columns for people.
const maxListed = 40

// ListColumns lists columns for people.
func ListColumns(columns []string) string {
	var words []string
	for i, c := range columns {
		if i == maxListed {
			words = append(words, fmt.Sprintf("%d more", len(columns)-i))
			break
		}
		words = append(words, strconv.Quote(c))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// Check reports what cannot be about the form of the file at path.
func (f Form) Check(path string) error {
	format, err := f.format(path)
	if err != nil {
		return err
	}
	if format == Lines && f.Column != "" {
		return fmt.Errorf("--column %s: a list of lines has no columns; give --format csv or jsonl", strconv.Quote(f.Column))
	}
	_, err = f.encoding()
	return err
}

func (f Form) format(path string) (Format, error) {
	switch f.Format {
	case Lines, CSV, JSONL:
		return f.Format, nil
	case "":
	default:
		return "", fmt.Errorf("unknown format %q: there are lines, csv and jsonl", string(f.Format))
	}
	name := strings.ToLower(filepath.Base(path))
	for strings.HasSuffix(name, ".gz") {
		name = strings.TrimSuffix(name, ".gz")
	}
	switch filepath.Ext(name) {
	case ".csv", ".tsv":
		return CSV, nil
	case ".jsonl", ".ndjson":
		return JSONL, nil
	}
	return Lines, nil
}

func (f Form) encoding() (encoding.Encoding, error) {
	if f.Encoding == "" {
		return nil, nil
	}
	enc, err := htmlindex.Get(f.Encoding)
	if err != nil {
		return nil, fmt.Errorf("unknown encoding %q: give utf-8, utf-16, latin1, windows-1252 or another of the web's", f.Encoding)
	}
	if name, err := htmlindex.Name(enc); err == nil && name == "utf-8" {
		// A decoder would hide what is no UTF-8.
		return nil, nil
	}
	return enc, nil
}

// read opens src, which closer closes.
func (f Form) read(label, path string, src io.Reader, closer io.Closer) (*File, error) {
	if err := f.Check(path); err != nil {
		return nil, err
	}
	format, err := f.format(path)
	if err != nil {
		return nil, err
	}
	enc, err := f.encoding()
	if err != nil {
		return nil, err
	}
	text, err := openText(src, enc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", label, cause(err))
	}
	file := &File{closer: closer}
	switch format {
	case CSV:
		file.Source, file.Table, err = newTableReader(&lines{label: label, text: text, limit: MaxRowBytes}, f.Column)
	case JSONL:
		file.Source, file.Table, err = newObjectReader(&lines{label: label, text: text, limit: MaxRowBytes}, f.Column)
	default:
		file.Source = newReader(label, text)
	}
	if err != nil {
		return nil, err
	}
	return file, nil
}

// nameColumn returns which of the columns has the names.
func nameColumn(label string, columns []string, wanted string) (int, error) {
	find := func(same func(string) bool) int {
		found := -1
		for i, c := range columns {
			if c != "" && same(c) {
				if found >= 0 {
					return -1
				}
				found = i
			}
		}
		return found
	}
	ways := []func(string) bool{
		func(c string) bool { return c == wanted },
		func(c string) bool { return strings.EqualFold(c, wanted) },
	}
	if wanted == "" {
		ways = []func(string) bool{
			func(string) bool { return true },
			func(c string) bool { return c == "name" },
			func(c string) bool { return strings.EqualFold(c, "name") },
		}
	}
	for _, way := range ways {
		if i := find(way); i >= 0 {
			return i, nil
		}
	}
	var named []string
	for _, c := range columns {
		if c != "" {
			named = append(named, c)
		}
	}
	return 0, &ColumnError{Label: label, Wanted: wanted, Columns: named}
}

// columnName returns what is wrong with the name of a column, or "".
func columnName(b []byte) Reason {
	if len(b) > MaxColumnNameBytes {
		return ReasonTooLong
	}
	return check(b)
}

// row gathers what is kept of a row.
type row struct {
	line Line
	room int
}

func newRow(number int64) row { return row{Line{Number: number}, MaxColumnBytes} }

// add keeps a column. One without a value is none.
func (r *row) add(name, value string) {
	switch {
	case value == "":
	case len(name)+len(value) > r.room:
		r.line.Truncated = true
	default:
		r.room -= len(name) + len(value)
		r.line.Columns = append(r.line.Columns, Column{name, value})
	}
}

// nameOf checks the name in a row.
func nameOf(b []byte) Reason {
	switch {
	case len(b) == 0:
		return ReasonNoName
	case b[0] == '#':
		return ReasonComment
	}
	return check(b)
}
