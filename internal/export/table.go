package export

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/picharvest/picharvest/internal/recordjson"
)

// TableOptions change how a table is written.
type TableOptions struct {
	// BOM begins it with a byte order mark, by which Excel knows UTF-8.
	BOM bool
	// Cell, if set, is what becomes of each cell, for a terminal.
	Cell func(string) string
}

// byteOrderMark is U+FEFF in UTF-8.
const byteOrderMark = "\ufeff"

// Table writes CSV (RFC 4180, but lines end with a line feed alone: the writer
// for CRLF changes the line breaks within cells): a line of column names, then
// a [Row] a line. A cell that a spreadsheet would take for a formula begins with an apostrophe.
type Table struct {
	w     io.Writer
	csv   *csv.Writer
	opts  TableOptions
	begun bool
}

// NewTable returns a Table that writes to w.
func NewTable(w io.Writer, opts TableOptions) *Table {
	return &Table{w: w, csv: csv.NewWriter(w), opts: opts}
}

// Write writes the rows of one name.
func (t *Table) Write(n recordjson.Name) error {
	rows, err := Rows(n)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := t.row(r); err != nil {
			return err
		}
	}
	return nil
}

// row writes one row.
func (t *Table) row(r Row) error {
	if err := t.begin(); err != nil {
		return err
	}
	cells := r.cells()
	for i, c := range cells {
		if c = safeCell(c); t.opts.Cell != nil {
			c = t.opts.Cell(c)
		}
		cells[i] = c
	}
	return t.csv.Write(cells)
}

// begin writes the line of column names, once.
func (t *Table) begin() error {
	if t.begun {
		return nil
	}
	t.begun = true
	if t.opts.BOM {
		if _, err := io.WriteString(t.w, byteOrderMark); err != nil {
			return err
		}
	}
	return t.csv.Write(columns())
}

// Close writes what is left, and the column names where there was no row. It
// does not close what it writes to.
func (t *Table) Close() error {
	if err := t.begin(); err != nil {
		return err
	}
	t.csv.Flush()
	return t.csv.Error()
}

// safeCell keeps a spreadsheet from taking a cell for a formula.
func safeCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
