package demo

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameBytes is the longest name that anybody has, as in a names file.
const maxNameBytes = 256

// person is one record. Picture is the path of the picture at this server, or
// "" where there is none.
type person struct {
	Name, Age, Career, Picture string
}

// directory is the people that are kept one by one: built in, or a catalog's.
type directory struct {
	people   []person
	byName   map[string]int // index into people
	pictures map[string]picture
	root     *os.Root // where pictures without data are; nil when built in
}

// picture is a listed person's picture: data, or a file below the root.
type picture struct {
	owner string
	kind  kind
	data  []byte
	etag  string // of data
	file  string
}

// Close releases the catalog's folder.
func (d *directory) Close() error {
	if d.root == nil {
		return nil
	}
	return d.root.Close()
}

// add appends p and its picture, whose path it makes from the person's number.
func (d *directory) add(p person, pic *picture) {
	if pic != nil {
		file := strconv.Itoa(len(d.people)+1) + pic.kind.ext
		pic.owner = p.Name
		d.pictures[file] = *pic
		p.Picture = picturesPath + file
	}
	d.byName[p.Name] = len(d.people)
	d.people = append(d.people, p)
}

func newDirectory() *directory {
	return &directory{byName: make(map[string]int), pictures: make(map[string]picture)}
}

// builtIn returns the three people of the exercise. Their pictures are of
// three kinds, so that the smallest run meets them all.
func builtIn() (*directory, error) {
	d := newDirectory()
	for _, b := range []struct {
		person
		kind  kind
		style style
	}{
		{person{Name: "Han Meimei", Age: "28", Career: "teacher"}, kindJPEG, style{hair: hairLong, colors: colors{
			rgb(0xf6, 0xd5, 0x8c), rgb(0x2b, 0x1d, 0x1a), rgb(0xf2, 0xc9, 0xa4), rgb(0xc2, 0x3b, 0x4e), rgb(0x24, 0x1a, 0x18)}}},
		{person{Name: "Brus Lee", Age: "30", Career: "engineer"}, kindPNG, style{hair: hairShort, glasses: true, colors: colors{
			rgb(0x9c, 0xc9, 0xe8), rgb(0x1d, 0x1b, 0x22), rgb(0xe8, 0xb8, 0x8c), rgb(0x2f, 0x5d, 0x50), rgb(0x1a, 0x17, 0x1c)}}},
		{person{Name: "Jack Chen", Age: "35", Career: "actor"}, kindGIF, style{hair: hairCap, colors: colors{
			rgb(0xc9, 0xe2, 0xb3), rgb(0x6b, 0x3f, 0x9a), rgb(0xdb, 0xa5, 0x76), rgb(0xe0, 0x8a, 0x2e), rgb(0x26, 0x1c, 0x14)}}},
	} {
		data, err := b.style.encode(b.kind)
		if err != nil {
			return nil, fmt.Errorf("draw %s: %w", b.Name, err)
		}
		d.add(b.person, &picture{kind: b.kind, data: data, etag: etagOf(data)})
	}
	return d, nil
}

// checkName says why name cannot be asked for, or nil.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name is missing")
	case len(name) > maxNameBytes:
		return fmt.Errorf("name %.40q… has %d bytes, more than %d", name, len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("name %q has control characters", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("name %q has blanks around it", name)
	}
	return nil
}
