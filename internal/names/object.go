package names

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// objectReader hands out the names of a file with a JSON object on each line.
type objectReader struct {
	lines  *lines
	table  *Table
	totals Totals
	// first is the line by which the columns are known, until it is handed out.
	first       []byte
	firstNumber int64
}

// newObjectReader reads the first object, whose keys are the columns. One
// that others have besides is kept all the same.
func newObjectReader(l *lines, column string) (*objectReader, *Table, error) {
	o := &objectReader{lines: l, table: &Table{Format: JSONL}}
	for {
		raw, whole, err := l.take()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: not one JSON object", l.label)
		}
		if err != nil {
			return nil, nil, err
		}
		b := trim(raw)
		if len(b) == 0 && whole {
			o.totals.Lines++
			o.totals.Blank++
			continue
		}
		if reason := o.check(b, whole); reason != "" {
			return nil, nil, fmt.Errorf("%s: line %d: %s: %s; for a list of names give --format lines",
				l.label, l.number, reason.Explain(), excerpt(b))
		}
		o.first, o.firstNumber = bytes.Clone(b), l.number
		break
	}
	gjson.ParseBytes(o.first).ForEach(func(key, _ gjson.Result) bool {
		if columnName([]byte(key.Str)) == "" && !slices.Contains(o.table.Columns, key.Str) {
			o.table.Columns = append(o.table.Columns, key.Str)
		}
		return true
	})
	i, err := nameColumn(l.label, o.table.Columns, column)
	if err != nil {
		return nil, nil, err
	}
	o.table.Name = o.table.Columns[i]
	return o, o.table, nil
}

// Next implements [Source].
func (o *objectReader) Next() (Line, error) {
	if o.first != nil {
		b := o.first
		o.first = nil
		return o.object(b, true, o.firstNumber)
	}
	for {
		raw, whole, err := o.lines.take()
		if err != nil {
			return Line{}, err
		}
		b := trim(raw)
		if len(b) == 0 && whole {
			o.totals.Lines++
			o.totals.Blank++
			continue
		}
		return o.object(b, whole, o.lines.number)
	}
}

// Totals implements [Source].
func (o *objectReader) Totals() Totals { return o.totals }

func (o *objectReader) check(b []byte, whole bool) Reason {
	switch {
	case !whole:
		return ReasonTooLong
	case !utf8.Valid(b):
		return ReasonInvalidUTF8
	case b[0] != '{' || !gjson.ValidBytes(b):
		return ReasonJSON
	}
	return ""
}

// object makes a name of one object. Of a key that stands twice the first
// counts.
func (o *objectReader) object(b []byte, whole bool, number int64) (Line, error) {
	o.totals.Lines++
	r := newRow(number)
	reason := o.check(b, whole)
	if reason == "" {
		reason = r.take(b, o.table.Name)
	}
	if reason != "" {
		o.totals.Bad++
		return Line{}, &BadLine{Number: number, Reason: reason, Excerpt: excerpt(b)}
	}
	o.totals.Names++
	return r.line, nil
}

// take fills the row from an object.
func (r *row) take(b []byte, column string) Reason {
	var name []byte
	seen := make(map[string]bool)
	gjson.ParseBytes(b).ForEach(func(key, value gjson.Result) bool {
		switch {
		case seen[key.Str]:
			return true
		case key.Str == column:
			if value.Type == gjson.String || value.Type == gjson.Number {
				name = trim([]byte(textOf(value)))
			}
		case columnName([]byte(key.Str)) != "":
			r.line.Truncated = true
		default:
			r.add(key.Str, string(trim([]byte(textOf(value)))))
		}
		seen[key.Str] = true
		return true
	})
	r.line.Name = string(name)
	return nameOf(name)
}

// textOf is a value as text: a list or an object is its JSON, null is nothing.
func textOf(v gjson.Result) string {
	switch v.Type {
	case gjson.Null:
		return ""
	case gjson.String:
		return v.Str
	case gjson.True, gjson.False:
		return v.String()
	}
	return v.Raw
}
