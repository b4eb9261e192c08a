package lookup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Param is a value that a user may give to a provider.
type Param struct {
	Name string
	// Default holds where none is given. A param without one is required.
	Default     string
	Required    bool
	Description string
}

// String is the param as a command line has it, for messages.
func (p Param) String() string {
	switch {
	case p.Required && p.Description != "":
		return fmt.Sprintf("%s, which is required: %s", p.Name, p.Description)
	case p.Required:
		return p.Name + ", which is required"
	}
	return fmt.Sprintf("%s (default %s)", p.Name, p.Default)
}

const (
	maxParams = 32
	// maxParamBytes bounds the value of a param.
	maxParamBytes = 1024
	// noValue stands for a required param until there is a value.
	noValue = "param"
)

var (
	paramName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	paramHole = regexp.MustCompile(`\{param\.([^{}]*)\}`)
	hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// MissingParamError says that a provider cannot be asked without a param.
type MissingParamError struct {
	Provider string
	Param    Param
}

// Error names the cure.
func (e *MissingParamError) Error() string {
	what := ""
	if e.Param.Description != "" {
		what = ": " + e.Param.Description
	}
	return fmt.Sprintf("provider %s needs --param %s=VALUE%s", e.Provider, e.Param.Name, what)
}

// WithParams returns d with the values of its params, those that are not given
// by their defaults. A param that d does not have, one that is missing (a
// [*MissingParamError]) and a value that makes no URL are refused.
func (d *Definition) WithParams(values map[string]string) (*Definition, error) {
	given := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		i := slices.IndexFunc(d.Params, func(p Param) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("provider %s has no param %q: %s", d.Name, printable(name, 64), d.paramWords())
		}
		if err := checkParam(values[name]); err != nil {
			return nil, fmt.Errorf("provider %s, --param %s: %w", d.Name, name, err)
		}
		if p := d.Params[i]; p.Required || values[name] != p.Default {
			given[name] = values[name]
		}
	}
	for _, p := range d.Params {
		if _, ok := given[p.Name]; p.Required && !ok {
			return nil, &MissingParamError{Provider: d.Name, Param: p}
		}
	}
	if maps.Equal(given, d.given) {
		return d, nil
	}
	c, err := parse(d.file, d.data, given)
	if err != nil {
		return nil, fmt.Errorf("provider %s with %s: %w", d.Name, paramsGiven(given), err)
	}
	if d.otherBase {
		return c.WithBaseURL(d.BaseURL)
	}
	return c, nil
}

// Given returns the values of params that are not the defaults; never nil.
func (d *Definition) Given() map[string]string {
	given := maps.Clone(d.given)
	if given == nil {
		given = make(map[string]string)
	}
	return given
}

// Missing returns a [*MissingParamError] for the first required param that d
// has no value of, nil where there is none.
func (d *Definition) Missing() error {
	for _, p := range d.Params {
		if _, ok := d.given[p.Name]; p.Required && !ok {
			return &MissingParamError{Provider: d.Name, Param: p}
		}
	}
	return nil
}

func (d *Definition) paramWords() string {
	if len(d.Params) == 0 {
		return "it takes none"
	}
	words := make([]string, len(d.Params))
	for i, p := range d.Params {
		words[i] = p.String()
	}
	return "it has " + strings.Join(words, "; ")
}

func paramsGiven(given map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(given)) {
		words = append(words, fmt.Sprintf("--param %s=%q", name, given[name]))
	}
	return strings.Join(words, " ")
}

func checkParam(value string) error {
	switch {
	case value == "":
		return errors.New("its value is empty: leave the param out, or give one")
	case len(value) > maxParamBytes:
		return fmt.Errorf("its value has %d bytes, at most %d are taken", len(value), maxParamBytes)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return errors.New("its value is no line of text")
	}
	return nil
}

// params reads the params, and takes the values that were given for them.
func (p *parser) params(n *yaml.Node, d *Definition) {
	pairs := p.pairs(n, "params")
	if len(pairs) > maxParams {
		p.failf(n, "params: %d are too many: write at most %d", len(pairs), maxParams)
		return
	}
	for _, pair := range pairs {
		param := Param{Name: pair.key.Value, Required: true}
		where := "params." + param.Name
		if !paramName.MatchString(param.Name) {
			p.failf(pair.key, "params: %q is no name for a param: write a-z, 0-9 and _, a letter first", param.Name)
			continue
		}
		p.mapping(pair.value, where,
			field{"default", false, func(n *yaml.Node) {
				param.Default, param.Required = p.line(n, where+".default"), false
			}},
			field{"description", false, func(n *yaml.Node) { param.Description = p.line(n, where+".description") }},
		)
		d.Params = append(d.Params, param)
		value, ok := p.given[param.Name]
		switch {
		case ok:
		case param.Required:
			value = noValue
		default:
			value = param.Default
		}
		p.values[param.Name] = value
	}
}

// fillBase puts params into a base URL. A value may be one label of the host
// there.
func (p *parser) fillBase(n *yaml.Node, s string) string {
	return p.fillParams(n, "base_url", s, func(name, value string, _ bool) string {
		if !hostLabel.MatchString(value) {
			p.failf(n, "base_url: %q cannot stand in the name of a host, so it is none for {param.%s}: write a-z, 0-9 and -", value, name)
			return noValue
		}
		return value
	})
}

// template puts params into a URL template, escaped for their place as names
// are. A template that is one param and nothing else is that param's value.
func (p *parser) template(n *yaml.Node, where, s string) string {
	if m := paramHole.FindStringSubmatch(s); m != nil && m[0] == s {
		if _, given := p.given[m[1]]; !given && p.values[m[1]] == noValue {
			return "https://host.invalid/{name}"
		}
		return p.fillParams(n, where, s, func(_, value string, _ bool) string { return value })
	}
	return p.fillParams(n, where, s, func(_, value string, query bool) string {
		if query {
			return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
		}
		return url.PathEscape(value)
	})
}

// fillParams replaces the params in s by what write makes of their values.
func (p *parser) fillParams(n *yaml.Node, where, s string, write func(name, value string, query bool) string) string {
	var b strings.Builder
	at := 0
	for _, m := range paramHole.FindAllStringSubmatchIndex(s, -1) {
		name := s[m[2]:m[3]]
		value, ok := p.values[name]
		if !ok {
			known := slices.Sorted(maps.Keys(p.values))
			p.failf(n, "%s: no param %q: declare it as params: {%s: {default: VALUE}}%s", where, name, name, oneOf(known))
			value = noValue
		}
		b.WriteString(s[at:m[0]])
		b.WriteString(write(name, value, strings.Contains(s[:m[0]], "?")))
		at = m[1]
	}
	b.WriteString(s[at:])
	return b.String()
}

func oneOf(known []string) string {
	if len(known) == 0 {
		return ""
	}
	return ", or write one of " + strings.Join(known, ", ")
}

// hash is that of a definition's text with the values that were given.
func (p *parser) hash(data []byte) [32]byte {
	h := sha256.New()
	h.Write(data)
	for _, name := range slices.Sorted(maps.Keys(p.given)) {
		fmt.Fprintf(h, "%q=%q", name, p.given[name]) // never fails
	}
	return [32]byte(h.Sum(nil))
}
