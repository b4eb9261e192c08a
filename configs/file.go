package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/internal/lookup"
)

// maxFileBytes bounds a configuration file and a file with a secret.
const maxFileBytes = 1 << 20

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	plainKey  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}`)
)

// document is what a configuration file says.
type document struct {
	settings    layer
	definitions []lookup.Inline
	problems    []Problem
}

// readDocument reads the YAML in data. Keys that are not in known, doubled
// keys and values of the wrong form are problems; all are found. A key without
// a value counts as left out.
func readDocument(name string, data []byte, known schema) document {
	r := &reader{name: name, data: data, known: known, doc: document{settings: layer{}}}
	if root := r.root(); root != nil {
		r.section(root, "")
	}
	return r.doc
}

type reader struct {
	name  string
	data  []byte
	known schema
	doc   document
}

func (r *reader) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.name, n.Line) }

func (r *reader) problem(origin, format string, args ...any) {
	r.doc.problems = append(r.doc.problems, Problem{origin, fmt.Sprintf(format, args...)})
}

// root returns the top of the file's one document, or nil if there is none.
func (r *reader) root() *yaml.Node {
	if len(r.data) > maxFileBytes {
		r.problem(r.name, "longer than %d bytes: this is no configuration file", maxFileBytes)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(r.data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := dec.Decode(&more); err == nil {
		r.problem(r.at(&more), "a second document begins here: keep one")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	return doc.Content[0]
}

// syntax reports an error of the YAML parser, which quotes the names of
// anchors and tags: they may be the begin of a password.
func (r *reader) syntax(err error) {
	origin, text := r.name, err.Error()
	if m := yamlError.FindStringSubmatch(text); m != nil {
		text = m[2]
		if m[1] != "" {
			origin += ":" + m[1]
		}
	}
	if strings.Contains(text, "anchor") || strings.Contains(text, "alphabetic") || strings.Contains(text, "tag") || strings.ContainsAny(text, "'`\"") && strings.Contains(text, "!") {
		text = "what begins with *, & or ! must stand in quotes"
	}
	r.problem(origin, "not YAML: %s", text)
}

// section reads the keys below prefix.
func (r *reader) section(n *yaml.Node, prefix string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		where := "the file"
		if prefix != "" {
			where = strings.TrimSuffix(prefix, ".")
		}
		r.problem(r.at(n), "%s: give keys and values, as in harvest config show", where)
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if first, ok := seen[name.Value]; ok {
			r.problem(r.at(name), "%s stands on line %d already", shownKey(prefix, name.Value), first)
			continue
		}
		seen[name.Value] = name.Line
		r.entry(prefix+name.Value, prefix, name, value)
	}
}

func (r *reader) entry(key, prefix string, name, value *yaml.Node) {
	plain := name.Kind == yaml.ScalarNode && !strings.Contains(name.Value, ".")
	switch t := r.known.types[key]; {
	case plain && r.known.sections[key]:
		r.section(value, key+".")
	case plain && key == definitionsKey:
		r.definitions(value)
	case plain && t != nil:
		if isNull(resolve(value)) {
			return
		}
		in, err := readInput(value)
		if err != nil {
			r.problem(r.at(name), "%s: %v", key, err)
			return
		}
		v, errs := convert(key, t, in)
		if errs != nil {
			for _, err := range errs {
				r.problem(r.at(name), "%v", err)
			}
			return
		}
		r.doc.settings[key] = setting{v, r.at(name)}
	default:
		r.unknown(prefix, name)
	}
}

func (r *reader) unknown(prefix string, name *yaml.Node) {
	key, shown := prefix+name.Value, shownKey(prefix, name.Value)
	if i := strings.LastIndexByte(key, '.'); r.known.types[key] != nil && prefix == "" {
		r.problem(r.at(name), "%s: write %s: below %s:", shown, key[i+1:], key[:i])
		return
	}
	hint := "harvest config show lists all"
	if near := r.known.nearestKey(key); near != "" {
		hint = "did you mean " + near + "?"
	}
	r.problem(r.at(name), "unknown key %s: %s", shown, hint)
}

// shownKey returns a key for messages. What does not look like one is cut: a
// forgotten space makes a key of a value.
func shownKey(prefix, name string) string {
	if word := plainKey.FindString(name); word != name {
		name = word + "…"
	}
	return prefix + name
}

// readInput returns what stands at n: a text, a list of texts, or a map of
// texts or of maps of texts.
func readInput(n *yaml.Node) (input, error) { return readNested(n, 2) }

// readNested reads at most depth maps within each other: an alias may lead
// back to where it stands.
func readNested(n *yaml.Node, depth int) (input, error) {
	n = resolve(n)
	switch n.Kind {
	case yaml.ScalarNode:
		return input{kind: textInput, text: n.Value}, nil
	case yaml.SequenceNode:
		in := input{kind: listInput}
		for _, item := range n.Content {
			if item = resolve(item); item.Kind != yaml.ScalarNode || isNull(item) {
				return input{}, errors.New("each item must be one value")
			}
			in.list = append(in.list, item.Value)
		}
		return in, nil
	}
	in := input{kind: mapInput, entries: map[string]input{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], resolve(n.Content[i+1])
		flat := value.Kind == yaml.ScalarNode || value.Kind == yaml.MappingNode && depth > 1
		if name.Kind != yaml.ScalarNode || !flat || isNull(value) {
			return input{}, errors.New("each entry must be name: value")
		}
		if _, ok := in.entries[name.Value]; ok {
			return input{}, fmt.Errorf("%s stands there twice", shownKey("", name.Value))
		}
		entry, err := readNested(value, depth-1)
		if err != nil {
			return input{}, err
		}
		in.entries[name.Value] = entry
	}
	return in, nil
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// definitions keeps each definition as YAML of its own.
func (r *reader) definitions(n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.problem(r.at(n), "%s: give a list of definitions, each beginning with - name:", definitionsKey)
		return
	}
	for i, item := range n.Content {
		text, err := r.cut(item)
		if err != nil {
			r.problem(r.at(item), "%s: %v", definitionsKey, err)
			continue
		}
		r.doc.definitions = append(r.doc.definitions, lookup.Inline{
			File: fmt.Sprintf("%s %s[%d]", r.name, definitionsKey, i), YAML: text,
		})
	}
}

// cut returns the YAML of item. It is taken from the file as it stands, below
// empty lines, so that messages about it have the file's line numbers; where
// the form does not allow that, it is written anew.
func (r *reader) cut(item *yaml.Node) ([]byte, error) {
	lines := bytes.SplitAfter(r.data, []byte("\n"))
	indent, first := item.Column-1, item.Line-1
	if item.Kind == yaml.MappingNode && first < len(lines) && indent <= len(lines[first]) {
		var text bytes.Buffer
		text.WriteString(strings.Repeat("\n", first))
		text.WriteString(strings.Repeat(" ", indent))
		text.Write(lines[first][indent:])
		for _, line := range lines[first+1:] {
			content := bytes.TrimLeft(line, " ")
			if len(line)-len(content) < indent && len(bytes.TrimSpace(content)) > 0 && content[0] != '#' {
				break
			}
			text.Write(line)
		}
		var again yaml.Node
		if yaml.Unmarshal(text.Bytes(), &again) == nil && len(again.Content) == 1 && same(again.Content[0], item) {
			return text.Bytes(), nil
		}
	}
	return yaml.Marshal(item)
}

// same says whether a and b say the same, wherever they stand.
func same(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Kind == yaml.AliasNode || a.Tag != b.Tag || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
