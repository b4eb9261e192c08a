package storage

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/filter"
)

// element is one element of a key, or what the file's name begins with.
type element []piece

// piece is literal text, or a hole.
type piece struct {
	literal string
	word    string // of the hole; "" for literal text
	filters filter.Filters
}

// fill returns the element's text for a picture, and whether it is plain: all
// that varies in it is digits and small letters a to f of a fixed number, or a
// number that stands alone, so that no two are equal when folded.
func (e element) fill(p Named) (text string, plain bool) {
	var b strings.Builder
	plain = true
	for _, part := range e {
		value := part.literal
		if part.word != "" {
			value = cmp.Or(part.filters.Apply(p.value(part.word)), missing)
			plain = plain && (part.filters.MD5 > 0 || slices.Contains([]string{"batch", "rank", "sha256"}, part.word))
		}
		b.WriteString(value)
	}
	return b.String(), plain
}

// value returns what is to be put into a hole.
func (p Named) value(word string) string {
	kind, key, _ := strings.Cut(word, ".")
	switch {
	case word == "batch":
		return Folder(p.Batch)
	case word == "name":
		return p.Name
	case word == "rank":
		return strconv.Itoa(p.Rank)
	case word == "sha256":
		return hex.EncodeToString(p.SHA256[:])
	case kind == "attr" && p.Attribute != nil:
		return p.Attribute(key)
	case kind == "column" && p.Column != nil:
		return p.Column(key)
	}
	return ""
}

// tellsNames reports whether elements of different names differ.
func (e element) tellsNames() bool {
	names := 0
	for _, p := range e {
		switch {
		case p.word == "name" && p.filters == filter.Filters{}:
			names++
		case p.word != "" && p.word != "batch":
			return false
		}
	}
	return names == 1
}

// comesLater reports whether the element needs the answer or the bytes.
func (e element) comesLater() bool {
	return slices.ContainsFunc(e, func(p piece) bool { return p.word == "sha256" || strings.HasPrefix(p.word, "attr.") })
}

func (e element) has(word string) bool {
	return slices.ContainsFunc(e, func(p piece) bool { return p.word == word })
}

// holes counts the holes.
func (e element) holes() int {
	n := 0
	for _, p := range e {
		if p.word != "" {
			n++
		}
	}
	return n
}

// parseElements reads a template as the elements of a path.
func parseElements(s string) ([]element, error) {
	elements := []element{nil}
	for rest := s; rest != ""; {
		literal, tail, found := strings.Cut(rest, "{")
		if err := checkTemplateText(literal); err != nil {
			return nil, err
		}
		for i, text := range strings.Split(literal, "/") {
			if i > 0 {
				elements = append(elements, nil)
			}
			if text != "" {
				last := &elements[len(elements)-1]
				*last = append(*last, piece{literal: text})
			}
		}
		if !found {
			break
		}
		hole, after, closed := strings.Cut(tail, "}")
		if !closed {
			return nil, errors.New(`a "{" has no "}": write {name}`)
		}
		p, err := parseNamingHole(hole)
		if err != nil {
			return nil, err
		}
		last := &elements[len(elements)-1]
		*last = append(*last, p)
		rest = after
	}
	return elements, nil
}

func checkTemplateText(s string) error {
	for _, r := range s {
		switch {
		case r == '}':
			return errors.New(`a "}" has no "{": write {name}`)
		case r != '/' && (r > '~' || !isHarmlessRune(r)):
			return fmt.Errorf("the character %q may not stand in a name that every system takes: write letters from a to z, digits, spaces and ' - . , ( ) & _", r)
		}
	}
	return nil
}

func parseNamingHole(s string) (piece, error) {
	word, filters, err := filter.Parse(s)
	if err != nil {
		return piece{}, err
	}
	kind, key, dotted := strings.Cut(word, ".")
	switch {
	case slices.Contains([]string{"batch", "rank", "-rank", "ext"}, word):
		if filters != (filter.Filters{}) {
			return piece{}, fmt.Errorf("{%s} takes no filter: write {%s}", s, word)
		}
	case word == "name", word == "sha256":
	case dotted && key != "" && (kind == "attr" || kind == "column"):
	default:
		return piece{}, fmt.Errorf("unknown {%s}: known are {batch}, {name}, {rank}, {-rank}, {sha256}, {attr.NAME}, {column.NAME} and {ext}", s)
	}
	if filters.Slashes {
		return piece{}, fmt.Errorf("{%s}: slashes is for URLs: here a slash in a value never makes a folder, so write {%s}", s, word)
	}
	return piece{word: word, filters: filters}, nil
}

// arrange makes n of the elements of a template.
func (n *Naming) arrange(elements []element) error {
	if first := elements[0]; len(elements) < 2 || len(first) != 1 || first[0].word != "batch" {
		return errors.New("it does not begin with {batch}/, so that batches would write over each other's pictures: put {batch}/ in front")
	}
	if len(elements) > maxElements {
		return fmt.Errorf("it has %d folders, at most %d are taken: leave some out", len(elements)-1, maxElements-1)
	}
	n.folders, n.stem = elements[1:len(elements)-1], elements[len(elements)-1]
	if err := n.takeExt(); err != nil {
		return err
	}
	if err := n.takeRank(); err != nil {
		return err
	}
	for i, e := range append(slices.Clone(n.folders), n.stem) {
		if len(e) == 0 && (i < len(n.folders) || n.rank != rankPlain) {
			return errors.New("it has a folder or file without a name: put {name} there")
		}
		if err := e.check(); err != nil {
			return err
		}
		if n.own < 0 && e.tellsNames() {
			n.own = i
		}
	}
	return nil
}

// takeExt takes .{ext} off the stem.
func (n *Naming) takeExt() error {
	end := len(n.stem) - 1
	if end < 1 || n.stem[end].word != "ext" || !strings.HasSuffix(n.stem[end-1].literal, ".") {
		return errors.New("it does not end with .{ext}: write .{ext} at its end")
	}
	dot := n.stem[end-1].literal
	n.stem = slices.Clone(n.stem[:end-1])
	if dot != "." {
		n.stem = append(n.stem, piece{literal: strings.TrimSuffix(dot, ".")})
	}
	return nil
}

// takeRank takes the rank off the stem, or finds it in a folder.
func (n *Naming) takeRank() error {
	end := len(n.stem) - 1
	switch {
	case end < 0:
		return nil // arrange says so
	case n.stem[end].word == "-rank":
		n.rank, n.stem = rankDashed, n.stem[:end]
	case n.stem[end].word == "rank":
		n.rank, n.stem = rankPlain, n.stem[:end]
		if end > 0 && n.stem[end-1].word == "" {
			n.separator, n.stem = n.stem[end-1].literal, n.stem[:end-1]
		}
		if err := n.checkSeparator(); err != nil {
			return err
		}
	case slices.ContainsFunc(n.folders, func(e element) bool { return e.has("rank") && e.holes() == 1 }):
		n.rank = rankAbove
	}
	for i, e := range append(slices.Clone(n.folders), n.stem) {
		if e.has("-rank") {
			return errors.New("{-rank} stands at the end of the file's name only: write {name}{-rank}.{ext}")
		}
		if e.has("rank") && (i == len(n.folders) || e.holes() > 1) {
			return errors.New("{rank} stands at the end of the file's name or as a folder of its own: write {name}-{rank}.{ext} or {name}/{rank}.{ext}")
		}
	}
	return nil
}

// checkSeparator reports why the number of a rank would not be told from what
// stands before it.
func (n *Naming) checkSeparator() error {
	s := n.separator
	switch {
	case len(s) > maxSeparator:
		return fmt.Errorf("%q before {rank} has more than %d bytes: shorten it", s, maxSeparator)
	case len(n.stem) == 0 && !isHarmless(s+"1", maxBase, asFolder):
		return fmt.Errorf("%q before {rank} makes a name that some systems do not take: write another word", s)
	case len(n.stem) > 0 && (s == "" || !strings.Contains(" '-.,()&_", s[:1]) || strings.Contains("0123456789", s[len(s)-1:])):
		return errors.New("{rank} runs into what stands before it: write -{rank}, or {-rank}, which leaves the first picture without a number")
	}
	return nil
}

// check reports why the element's own text makes a bad name.
func (e element) check() error {
	if len(e) == 0 {
		return nil
	}
	var b strings.Builder
	for _, p := range e {
		switch {
		case p.word == "ext":
			return errors.New("{ext} stands at the end only: write .{ext} there")
		case p.word == "":
			b.WriteString(p.literal)
		case p.filters.MD5 > 0:
			b.WriteString(strings.Repeat("1", p.filters.MD5))
		default:
			b.WriteString("1")
		}
	}
	if !isHarmless(b.String(), maxBase, asFolder) {
		return fmt.Errorf("a name made like %q is one that some systems do not take: begin it with a letter or a digit, end it with neither a dot nor a space, and shorten it", b.String())
	}
	return nil
}
