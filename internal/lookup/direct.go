package lookup

import (
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/internal/failure"
)

// direct makes the pictures' URL of a definition that asks nobody.
type direct struct {
	// verbatim is the column, or "" for the name, that is the whole URL.
	verbatim *string
	url      urlTemplate
}

// pictureAt is where the URL stands in the record that takes the place of an
// answer.
const pictureAt = "picture"

// Asks reports whether d has a lookup at all. One that has none takes the
// picture's URL from the name and its columns.
func (d *Definition) Asks() bool { return d.direct == nil }

// Direct returns the answer about q of a definition that asks nobody.
func (d *Definition) Direct(q Query) (Answer, error) { return d.direct.answer(d, q) }

func (r *direct) columns() []string {
	if r.verbatim == nil {
		return r.url.columns()
	}
	if *r.verbatim == "" {
		return nil
	}
	return []string{*r.verbatim}
}

// readDirect reads pictures.url.
func (p *parser) readDirect(n *yaml.Node, d *Definition) {
	s := p.line(n, "pictures.url")
	if s == "" {
		return
	}
	s = p.template(n, "pictures.url", s)
	d.direct = &direct{}
	if s == "{name}" {
		d.direct.verbatim = new(string)
		return
	}
	if len(s) > 2 && s[0] == '{' && s[len(s)-1] == '}' {
		if column, ok := columnHole(s[1 : len(s)-1]); ok {
			d.direct.verbatim = &column
			return
		}
	}
	t, err := parseRowTemplate(s)
	switch {
	case err != nil:
		p.failf(n, "pictures.url: %v", err)
	case t.base && d.BaseURL == "":
		p.failf(n, "pictures.url uses {base}: say what it stands for in base_url, at the top of the file")
	case !t.hasHole():
		p.failf(n, "pictures.url is the same for every name: put {name} or {column.X} into its path or query")
	}
	d.direct.url = t
}

// answer makes an answer of what q says: its paths lead into an object with
// name, column and picture, which is the URL.
func (r *direct) answer(d *Definition, q Query) (Answer, error) {
	picture, err := r.picture(d, q)
	if err != nil {
		return Answer{}, failure.Newf(failure.ReasonBadURL, failure.Final, "picture of %s: %w", d.Name, err)
	}
	columns := make(map[string]string, len(q.Columns))
	for _, c := range q.Columns {
		columns[c.Name] = c.Value
	}
	doc, err := json.Marshal(map[string]any{"name": q.Name, "column": columns, pictureAt: picture})
	if err != nil {
		return Answer{}, fmt.Errorf("columns of %q: %w", q.Name, err)
	}
	return d.take(q, answers{first: gjson.ParseBytes(doc)})
}

// picture returns the URL, "" where the column that is all of it is empty: the
// name has no picture then.
func (r *direct) picture(d *Definition, q Query) (string, error) {
	if r.verbatim == nil {
		t, err := r.url.forQuery(q)
		if err != nil {
			return "", err
		}
		return t.expand(d.BaseURL, q.Name)
	}
	if *r.verbatim == "" {
		return q.Name, nil
	}
	v, err := q.column(*r.verbatim)
	if err != nil && !q.ColumnsTruncated {
		return "", nil
	}
	return v, err
}
