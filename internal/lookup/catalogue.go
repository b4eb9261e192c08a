package lookup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
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

// Sample returns the recorded answer s of the definition.
func (e *Entry) Sample(s Sample) (Reply, error) {
	if e.files == nil {
		return Reply{}, fmt.Errorf("provider %s stands in %s and has no folder for samples: move it to a file in the providers' folder", e.Name, e.File)
	}
	data, err := fs.ReadFile(e.files, s.File)
	if err != nil {
		return Reply{}, fmt.Errorf("sample of provider %s: %w", e.Name, err)
	}
	r, err := ParseSample(data)
	if err != nil {
		return Reply{}, fmt.Errorf("sample %s of provider %s: %w", s.File, e.Name, err)
	}
	r.URL, err = e.url.expand(e.BaseURL, s.Name)
	if err != nil {
		return Reply{}, fmt.Errorf("sample %s of provider %s: %w", s.File, e.Name, err)
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
	d, err := Parse(file, data)
	if err != nil {
		return err
	}
	e := &Entry{Definition: d, File: file, BuiltIn: builtIn, yaml: data, files: files}
	if old := c.entries[d.Name]; old != nil {
		if !old.BuiltIn || builtIn {
			return fmt.Errorf("%s and %s both define provider %s: rename one", old.File, file, d.Name)
		}
		e.Replaces = true
	}
	c.entries[d.Name] = e
	return nil
}
