package lookup

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/filter"
)

// maxURLBytes is the longest URL that is asked, or that a picture may have.
const maxURLBytes = 8 << 10

// urlTemplate is a URL with holes. {base} may stand at its start. {name} may
// stand in the path or in the query and is always escaped for the place where
// it stands, so that no name can reach beyond its own segment or value.
// Filters follow the name: {name|lower}, {name|underscore} (a space becomes
// "_"), {name|md5} (the MD5 of what the filters above made of it, in
// hexadecimal; md5:2 is its first two digits) and {name|slashes} (the slash
// stays a slash, for services whose names have several segments).
//
// Where the template is filled from an answer, {value} stands for {name}; that
// of a next page may have both.
type urlTemplate struct {
	words []string // what may stand in the holes: name, value, or both
	base  bool
	parts []templatePart
}

// templatePart is literal text, then the name where hole is set.
type templatePart struct {
	literal string
	hole    bool
	word    int    // which of the words it is filled with
	column  string // or the column, see filled
	query   bool
	filters filter.Filters
}

func (t urlTemplate) usesBase() bool { return t.base }

// parseTemplate reads s, whose holes are {name}. Its error says what to write
// instead.
func parseTemplate(s string) (urlTemplate, error) { return parseHoles(s, "name") }

// parseValueTemplate reads s, which has at least one {value}.
func parseValueTemplate(s string) (urlTemplate, error) {
	t, err := parseHoles(s, "value")
	if err == nil && !t.hasHole() {
		err = errors.New("does not use the value: put {value} into its path or query")
	}
	return t, err
}

// parseNextTemplate reads s, which has at least one {value} and may have
// {name}.
func parseNextTemplate(s string) (urlTemplate, error) {
	t, err := parseHoles(s, "name", "value")
	if err == nil && !slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.hole && p.word == 1 }) {
		err = errors.New("does not use the value: put {value} into its path or query")
	}
	return t, err
}

func (t urlTemplate) hasHole() bool {
	return slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.hole })
}

func parseHoles(s string, words ...string) (urlTemplate, error) {
	return parseHolesOf(s, false, words...)
}

func parseHolesOf(s string, columns bool, words ...string) (urlTemplate, error) {
	t := urlTemplate{words: words}
	word := words[len(words)-1]
	rest, ok := strings.CutPrefix(s, "{base}")
	t.base = ok
	query := false
	for {
		literal, tail, found := strings.Cut(rest, "{")
		if err := checkLiteral(literal, word); err != nil {
			return t, err
		}
		query = query || strings.Contains(literal, "?")
		if !found {
			t.parts = append(t.parts, templatePart{literal: literal})
			break
		}
		inner, after, closed := strings.Cut(tail, "}")
		if !closed {
			return t, fmt.Errorf(`a "{" has no "}": write {%s}`, word)
		}
		p, err := parseHole(inner, columns, words)
		if err != nil {
			return t, err
		}
		if p.filters.Slashes && query {
			return t, fmt.Errorf("{%s} stands in the query: slashes is for the path alone", inner)
		}
		p.literal, p.hole, p.query = literal, true, query
		t.parts = append(t.parts, p)
		rest = after
	}
	if err := t.checkPlaces(); err != nil {
		return t, err
	}
	example, err := t.filledIn().expand("http://host", slices.Repeat([]string{"name"}, len(words))...)
	if err != nil {
		return t, errors.New(`holds a path segment "." or ".."`)
	}
	if _, err := url.Parse(example); err != nil {
		return t, errors.New("is not a URL: a % is written as %25")
	}
	return t, nil
}

func parseHole(s string, columns bool, words []string) (p templatePart, err error) {
	inner, _, _ := strings.Cut(s, "|")
	column, fromRow := columnHole(inner)
	word := inner
	switch p.word = slices.Index(words, inner); {
	case p.word >= 0:
	case fromRow && columns:
		p.word, p.column = 0, column
	case fromRow:
		return p, fmt.Errorf("{%s} may stand in request.url and pictures.url alone", inner)
	case inner == "base":
		return p, errors.New("{base} may only stand at the start")
	default:
		if columns {
			words = append(slices.Clone(words), columnPrefix+"NAME")
		}
		return p, fmt.Errorf("unknown {%s}: known are {base} and {%s}", s, strings.Join(words, "} and {"))
	}
	_, p.filters, err = filter.Parse(s)
	if errors.Is(err, filter.ErrUnknown) {
		err = fmt.Errorf("%w; the %s is escaped for its place by itself", err, word)
	}
	return p, err
}

func checkLiteral(s, word string) error {
	for _, c := range []byte(s) {
		switch {
		case c == '}':
			return fmt.Errorf(`a "}" has no "{": write {%s}, or %%7D for the character`, word)
		case c == '#':
			return errors.New(`"#" would never be sent: leave it out`)
		case c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' || c == '^' || c == '`':
			return fmt.Errorf("the character %q may not stand in a URL: write it as %%%02X", string(rune(c)), c)
		}
	}
	return nil
}

// checkPlaces holds that the origin is fixed before the first hole.
func (t urlTemplate) checkPlaces() error {
	head := t.parts[0].literal
	if t.base {
		if head != "" && head[0] != '/' && head[0] != '?' || head == "" && t.parts[0].hole {
			return errors.New("after {base} comes a / or a ?")
		}
		return nil
	}
	scheme, rest, ok := strings.Cut(head, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return errors.New("must start with {base}, http:// or https://")
	}
	if t.parts[0].hole && !strings.ContainsAny(rest, "/?") {
		return fmt.Errorf("{%s} may stand in the path or in the query, not in the host", t.words[t.parts[0].word])
	}
	_, err := t.origin("")
	return err
}

// origin returns the URL up to its path.
func (t urlTemplate) origin(base string) (*url.URL, error) {
	head := t.parts[0].literal
	if t.base {
		head = base
	}
	u, err := url.Parse(head)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL")
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("holds a user or password: put the secret under secrets and use it in a header")
	}
	return u, nil
}

// expand returns the URL for the values of the template's words. It refuses an
// empty one, one that would be a dot segment, since servers fold such whether
// escaped or not, and those that make the URL longer than 8 KB.
func (t urlTemplate) expand(base string, values ...string) (string, error) {
	word := strings.Join(t.words, " and the ")
	var b strings.Builder
	if t.base {
		b.WriteString(base)
	}
	for i, v := range values {
		if v == "" {
			return "", fmt.Errorf("the %s is empty", t.words[i])
		}
	}
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.hole {
			b.WriteString(p.escape(values[p.word]))
		}
	}
	s := b.String()
	if len(s) > maxURLBytes {
		return "", fmt.Errorf("the %s makes a URL of %d bytes, at most %d are sent", word, len(s), maxURLBytes)
	}
	path, _, _ := strings.Cut(s, "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "", fmt.Errorf(`the %s makes a path segment "." or "..", which cannot be asked for`, word)
		}
	}
	return s, nil
}

func (p templatePart) escape(name string) string {
	name = p.filters.Apply(name)
	switch {
	case p.query:
		// A "+" for the space is understood by forms only, %20 by everyone.
		return strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	case p.filters.Slashes:
		return strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
	default:
		return url.PathEscape(name)
	}
}
