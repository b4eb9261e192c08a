package lookup

import (
	"fmt"
	"strings"
)

// columnPrefix begins the holes that are filled from the name's row.
const columnPrefix = "column."

// columns returns the columns that t is filled with.
func (t urlTemplate) columns() []string {
	var names []string
	for _, p := range t.parts {
		if p.column != "" {
			names = append(names, p.column)
		}
	}
	return names
}

// filled returns t with the columns that value knows in their places, each
// escaped as a name is there.
func (t urlTemplate) filled(value func(column string) (string, error)) (urlTemplate, error) {
	if len(t.columns()) == 0 {
		return t, nil
	}
	c := t
	c.parts = nil
	before := ""
	for _, p := range t.parts {
		p.literal = before + p.literal
		before = ""
		if p.column != "" {
			v, err := value(p.column)
			if err != nil {
				return c, err
			}
			before = p.literal + p.escape(v)
			continue
		}
		c.parts = append(c.parts, p)
	}
	if before != "" {
		c.parts = append(c.parts, templatePart{literal: before})
	}
	return c, nil
}

// forQuery returns t for what q says.
func (t urlTemplate) forQuery(q Query) (urlTemplate, error) { return t.filled(q.column) }

// filledIn returns t with a word in the place of each column.
func (t urlTemplate) filledIn() urlTemplate {
	c, _ := t.filled(func(string) (string, error) { return "column", nil })
	return c
}

// column returns the value of a column, or why there is none.
func (q Query) column(name string) (string, error) {
	for _, c := range q.Columns {
		if c.Name == name {
			return c.Value, nil
		}
	}
	if q.ColumnsTruncated {
		return "", fmt.Errorf("the column %q was left out, since 2 KB of columns are kept of a name: leave long ones out of the file", printable(name, 64))
	}
	return "", fmt.Errorf("the column %q is empty", printable(name, 64))
}

// parseRowTemplate reads s, whose holes are {name} and {column.X}.
func parseRowTemplate(s string) (urlTemplate, error) { return parseHolesOf(s, true, "name") }

// columnHole returns the column that a hole names.
func columnHole(s string) (string, bool) {
	name, ok := strings.CutPrefix(s, columnPrefix)
	return name, ok && name != ""
}

// Columns returns the columns of the names file that d asks with.
func (d *Definition) Columns() []string {
	if d.direct != nil {
		return d.direct.columns()
	}
	return d.url.columns()
}
