package lookup

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxURLBytes is the longest URL that is asked, or that a picture may have.
const maxURLBytes = 8 << 10

// urlTemplate is a URL with holes. {base} may stand at its start. {name} may
// stand in the path or in the query and is always escaped for the place where
// it stands, so that no name can reach beyond its own segment or value.
// Filters follow the name: {name|lower}, {name|underscore} (a space becomes
// "_") and {name|slashes} (the slash stays a slash, for services whose names
// have several segments).
type urlTemplate struct {
	base  bool
	parts []templatePart
}

// templatePart is literal text, then the name where hole is set.
type templatePart struct {
	literal string
	hole    bool
	query   bool
	lower   bool
	under   bool
	slashes bool
}

func (t urlTemplate) usesBase() bool { return t.base }

// parseTemplate reads s. Its error says what to write instead.
func parseTemplate(s string) (urlTemplate, error) {
	var t urlTemplate
	rest, ok := strings.CutPrefix(s, "{base}")
	t.base = ok
	query := false
	for {
		literal, tail, found := strings.Cut(rest, "{")
		if err := checkLiteral(literal); err != nil {
			return t, err
		}
		query = query || strings.Contains(literal, "?")
		if !found {
			t.parts = append(t.parts, templatePart{literal: literal})
			break
		}
		inner, after, closed := strings.Cut(tail, "}")
		if !closed {
			return t, errors.New(`a "{" has no "}": write {name}`)
		}
		p, err := parseHole(inner)
		if err != nil {
			return t, err
		}
		if p.slashes && query {
			return t, errors.New("{name|slashes} stands in the query: it is for the path alone")
		}
		p.literal, p.hole, p.query = literal, true, query
		t.parts = append(t.parts, p)
		rest = after
	}
	if err := t.checkPlaces(); err != nil {
		return t, err
	}
	example, err := t.expand("http://host", "name")
	if err != nil {
		return t, errors.New(`holds a path segment "." or ".."`)
	}
	if _, err := url.Parse(example); err != nil {
		return t, errors.New("is not a URL: a % is written as %25")
	}
	return t, nil
}

func parseHole(s string) (templatePart, error) {
	var p templatePart
	word, filters, _ := strings.Cut(s, "|")
	switch word {
	case "name":
	case "base":
		return p, errors.New("{base} may only stand at the start")
	default:
		return p, fmt.Errorf("unknown {%s}: known are {base} and {name}", s)
	}
	if filters == "" && strings.Contains(s, "|") {
		return p, fmt.Errorf("{%s} ends in a bar: write {name} or a filter after it", s)
	}
	for f := range strings.SplitSeq(filters, "|") {
		switch f {
		case "":
		case "lower":
			p.lower = true
		case "underscore":
			p.under = true
		case "slashes":
			p.slashes = true
		default:
			return p, fmt.Errorf("unknown filter %q in {%s}: known are lower, underscore, slashes; the name is escaped for its place by itself", f, s)
		}
	}
	return p, nil
}

func checkLiteral(s string) error {
	for _, c := range []byte(s) {
		switch {
		case c == '}':
			return errors.New(`a "}" has no "{": write {name}, or %7D for the character`)
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
		return errors.New("{name} may stand in the path or in the query, not in the host")
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

// expand returns the URL for name. It refuses an empty name, one that would
// be a dot segment, since servers fold such whether escaped or not, and one
// that makes the URL longer than 8 KB.
func (t urlTemplate) expand(base, name string) (string, error) {
	if name == "" {
		return "", errors.New("the name is empty")
	}
	var b strings.Builder
	if t.base {
		b.WriteString(base)
	}
	for _, p := range t.parts {
		b.WriteString(p.literal)
		if p.hole {
			b.WriteString(p.escape(name))
		}
	}
	s := b.String()
	if len(s) > maxURLBytes {
		return "", fmt.Errorf("the name makes a URL of %d bytes, at most %d are sent", len(s), maxURLBytes)
	}
	path, _, _ := strings.Cut(s, "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "", errors.New(`the name makes a path segment "." or "..", which cannot be asked for`)
		}
	}
	return s, nil
}

func (p templatePart) escape(name string) string {
	if p.lower {
		name = strings.ToLower(name)
	}
	if p.under {
		name = strings.ReplaceAll(name, " ", "_")
	}
	switch {
	case p.query:
		// A "+" for the space is understood by forms only, %20 by everyone.
		return strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	case p.slashes:
		return strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
	default:
		return url.PathEscape(name)
	}
}
