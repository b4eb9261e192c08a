package lookup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/nearest"
)

// Catalogue is every definition that a user may choose from.
type Catalogue struct {
	entries map[string]*Entry
}

// Entry is one definition and where it comes from.
type Entry struct {
	*Definition
	// File is where the definition stands, for people.
	File string
	// BuiltIn says that it came with the program.
	BuiltIn bool
	// Replaces says that it is a user's own and stands for the built-in one
	// of the same name.
	Replaces bool

	yaml  []byte
	files fs.FS
}

// YAML returns the definition as it was written. It holds no secrets.
func (e *Entry) YAML() []byte { return bytes.Clone(e.yaml) }

// Sources are the places that definitions come from.
type Sources struct {
	// BuiltIn holds the *.yaml that come with the program, and their samples.
	BuiltIn fs.FS
	// Folder holds the user's *.yaml and *.yml; nil where there is none.
	// FolderName is its name in messages.
	Folder     fs.FS
	FolderName string
	// Inline are definitions from the configuration file.
	Inline []Inline
}

// Inline is one definition that does not stand in a file of its own.
type Inline struct {
	// File names its place in messages, such as "harvest.yaml providers[0]".
	File string
	YAML []byte
}

// NewCatalogue reads all definitions of s. A user's definition replaces the
// built-in one of its name; two of the user's own with one name are refused.
// The error joins the problems of all files.
func NewCatalogue(s Sources) (*Catalogue, error) {
	c := &Catalogue{entries: map[string]*Entry{}}
	var problems []error
	note := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	if s.BuiltIn != nil {
		note(c.addFolder(s.BuiltIn, "built-in", true))
	}
	if s.Folder != nil {
		note(c.addFolder(s.Folder, s.FolderName, false))
	}
	for _, in := range s.Inline {
		note(c.add(in.File, in.YAML, nil, false))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return c, nil
}

// Names returns the names of all definitions in order.
func (c *Catalogue) Names() []string {
	return slices.Sorted(maps.Keys(c.entries))
}

// Get returns the definition of that name. The error for an unknown one names
// the nearest and lists all.
func (c *Catalogue) Get(name string) (*Entry, error) {
	if e, ok := c.entries[name]; ok {
		return e, nil
	}
	names := c.Names()
	hint := ""
	if n := nearest.Word(name, names); n != "" {
		hint = fmt.Sprintf(": did you mean %s?", n)
	}
	return nil, fmt.Errorf("no provider %q%s (there are %s)", printable(name, 64), hint, strings.Join(names, ", "))
}

// NewEntry reads one definition that stands alone: file is its name in
// messages, and files has its samples, nil where there is no such folder.
func NewEntry(file string, data []byte, files fs.FS) (*Entry, error) {
	d, err := Parse(file, data)
	if err != nil {
		return nil, err
	}
	return &Entry{Definition: d, File: file, yaml: data, files: files}, nil
}

// CheckSamples extracts from all recorded answers and returns a *Problem for
// each that cannot be read, that the definition takes for a failure, or that
// yields another verdict than it is to mean. Where the paths of the pictures
// lead nowhere, it says so.
func (e *Entry) CheckSamples() error {
	var problems []error
	for _, s := range e.Samples {
		note := func(format string, args ...any) {
			problems = append(problems, &Problem{File: e.File, Line: s.Line, Text: fmt.Sprintf(format, args...)})
		}
		reply, err := e.Sample(s)
		if err != nil {
			note("%v", err)
			continue
		}
		a, err := e.Extract(s.Name, reply)
		switch {
		case err != nil:
			note("the recorded answer about %q: %v", s.Name, err)
		case a.Verdict == s.Verdict:
		case s.Verdict == Found && a.Verdict == NoPicture:
			note("the recorded answer about %q is to mean found, and the paths in pictures.from lead to nothing in it: %s", s.Name, e.pathWords())
		default:
			note("the recorded answer about %q is to mean %s and comes out as %s: see answer.not_found and pictures.from", s.Name, s.Verdict, a.Verdict)
		}
	}
	return errors.Join(problems...)
}

// found is what the recorded answers that mean found have brought.
type found struct {
	some, then bool
	attributes map[string]bool
}

func (f *found) add(a Answer) {
	if a.Verdict != Found {
		return
	}
	f.some, f.then = true, f.then || a.Then != ""
	for _, attr := range a.Attributes {
		f.attributes[attr.Name] = true
	}
}

// Unseen returns a *Problem for each path that leads to nothing in any recorded
// answer. It may be right all the same: not every record has everything.
func (e *Entry) Unseen() []error {
	f := found{attributes: make(map[string]bool)}
	for _, s := range e.Samples {
		reply, err := e.Sample(s)
		if err != nil {
			continue // CheckSamples says so
		}
		if a, err := e.Extract(s.Name, reply); err == nil {
			f.add(a)
		}
	}
	if !f.some {
		return nil
	}
	var problems []error
	note := func(key, path string) {
		problems = append(problems, &Problem{File: e.File, Line: e.lineOf(path), Text: fmt.Sprintf(
			"%s: %s leads to nothing in any recorded answer: is it right?", key, path)})
	}
	for _, rule := range e.attributes {
		if !f.attributes[rule.name] {
			note("attributes."+rule.name, rule.path)
		}
	}
	if e.then != nil && !f.then {
		note("then.path", e.then.path)
	}
	return problems
}

// lineOf returns the first line of the definition with this key or value.
func (e *Entry) lineOf(text string) int {
	at := regexp.MustCompile("(?m)(^|[ {,\\['\"])" + regexp.QuoteMeta(text)).FindIndex(e.yaml)
	if at == nil {
		return 1
	}
	return 1 + bytes.Count(e.yaml[:at[1]], []byte("\n"))
}

// CheckNeeds is [Definition.Check] with a *Problem for each, at its line.
func (e *Entry) CheckNeeds(contact string, secrets SecretFunc) error {
	var problems []error
	note := func(line int, err error) {
		if err != nil {
			problems = append(problems, &Problem{File: e.File, Line: line, Text: err.Error()})
		}
	}
	note(e.lineOf("contact:"), e.CheckContact(contact))
	for _, s := range e.Secrets {
		note(e.lineOf(s.Name+":"), e.checkSecret(s, secrets))
	}
	return errors.Join(problems...)
}

// pathWords lists the paths of the pictures.
func (e *Entry) pathWords() string {
	var paths []string
	for _, rules := range e.Pictures.from {
		for _, r := range rules {
			paths = append(paths, r.path)
		}
	}
	return strings.Join(paths, ", ")
}

// Sample returns the recorded answer s of the definition.
func (e *Entry) Sample(s Sample) (Reply, error) {
	if e.files == nil {
		return Reply{}, fmt.Errorf("provider %s stands in %s and has no folder for samples: move it to a file in the providers' folder", e.Name, e.File)
	}
	r, err := e.sampleFile(s.File)
	if err != nil {
		return Reply{}, err
	}
	if s.Then != "" {
		second, err := e.sampleFile(s.Then)
		if err != nil {
			return Reply{}, err
		}
		r.Then = &second
	}
	r.URL, err = e.url.filledIn().expand(e.BaseURL, s.Name)
	if err != nil {
		return Reply{}, fmt.Errorf("sample %s of provider %s: %w", s.File, e.Name, err)
	}
	return r, nil
}

func (e *Entry) sampleFile(name string) (Reply, error) {
	data, err := fs.ReadFile(e.files, name)
	if err != nil {
		return Reply{}, fmt.Errorf("sample of provider %s: %w", e.Name, err)
	}
	r, err := ParseSample(data)
	if err != nil {
		return Reply{}, fmt.Errorf("sample %s of provider %s: %w", name, e.Name, err)
	}
	return r, nil
}

func (c *Catalogue) addFolder(files fs.FS, name string, builtIn bool) error {
	found, err := fs.ReadDir(files, ".")
	if err != nil {
		return fmt.Errorf("providers in %s: %w", name, err)
	}
	var problems []error
	for _, f := range found {
		if ext := path.Ext(f.Name()); f.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		file := path.Join(name, f.Name())
		data, err := fs.ReadFile(files, f.Name())
		if err == nil {
			err = c.add(file, data, files, builtIn)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (c *Catalogue) add(file string, data []byte, files fs.FS, builtIn bool) error {
	e, err := NewEntry(file, data, files)
	if err != nil {
		return err
	}
	e.BuiltIn = builtIn
	if old := c.entries[e.Name]; old != nil {
		if !old.BuiltIn || builtIn {
			return fmt.Errorf("%s and %s both define provider %s: rename one", old.File, file, e.Name)
		}
		e.Replaces = true
	}
	c.entries[e.Name] = e
	return nil
}
