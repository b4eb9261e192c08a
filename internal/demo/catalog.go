package demo

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	maxLineBytes  = 1 << 20
	byteOrderMark = "\ufeff"
)

// The people files that a folder may have; at most one of them.
var peopleFiles = []string{"people.json", "people.jsonl"}

// loadCatalog reads the people of a folder or a file. Pictures are only
// looked at; they are read when they are asked for, through an os.Root, so
// that no link leads out of the folder.
func loadCatalog(path string) (*directory, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("demo.catalog: %w", err)
	}
	dir, file := path, ""
	if !info.IsDir() {
		dir, file = filepath.Split(path)
		dir = filepath.Clean(dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("demo.catalog: %w", err)
	}

	l := &loader{directory: newDirectory(), lines: make(map[string]int)}
	l.root = root
	if file != "" {
		err = l.readPeople(file, nil)
	} else {
		err = l.readFolder()
	}
	if err == nil && len(l.people) == 0 {
		err = errors.New("nobody is in it")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("demo.catalog: %s: %w", path, err), root.Close())
	}
	return l.directory, nil
}

// loader fills a directory.
type loader struct {
	*directory
	lines map[string]int // by name, for what is told about duplicates
}

// entry is one person as a catalog has it.
type entry struct {
	Name    string `json:"name"`
	Age     text   `json:"age"`
	Career  string `json:"career"`
	Picture string `json:"picture"`
}

// text is a string that may be written as a number.
type text string

// UnmarshalJSON takes a JSON string or number, and null as "".
func (t *text) UnmarshalJSON(data []byte) error {
	if data[0] == '"' || string(data) == "null" {
		return json.Unmarshal(data, (*string)(t))
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return errors.New("want a string or a number")
	}
	*t = text(n)
	return nil
}

// readFolder adds the people of the people file, then those who only have a
// picture, by file name.
func (l *loader) readFolder() error {
	files, err := fs.ReadDir(l.root.FS(), ".")
	if err != nil {
		return err
	}
	byName := make(map[string]string)
	var list string
	for _, f := range files {
		name := f.Name()
		if slices.Contains(peopleFiles, name) {
			if list != "" {
				return fmt.Errorf("it has %s and %s; keep one", list, name)
			}
			list = name
			continue
		}
		ext := filepath.Ext(name)
		if !isPictureFile(name) || strings.HasPrefix(name, ".") {
			continue
		}
		person := strings.TrimSuffix(name, ext)
		if other, taken := byName[person]; taken {
			return fmt.Errorf("%s and %s are pictures of one name; keep one", other, name)
		}
		byName[person] = name
	}

	if list != "" {
		if err := l.readPeople(list, byName); err != nil {
			return err
		}
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), filepath.Ext(f.Name()))
		if _, listed := l.byName[name]; listed || byName[name] != f.Name() {
			continue
		}
		if err := l.addEntry(entry{Name: name, Picture: f.Name()}); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return nil
}

// readPeople adds the people of a file. Who has no picture there gets that of
// pictures, file names by name. Errors begin with file and line.
func (l *loader) readPeople(file string, pictures map[string]string) error {
	f, _, _, err := openRegular(l.root, file)
	if err != nil {
		return err
	}
	defer f.Close()

	read := map[string]func(io.Reader, func(int, entry) error) (int, error){
		".json": readJSON, ".jsonl": readJSONLines, ".csv": readCSV,
	}[strings.ToLower(filepath.Ext(file))]
	if read == nil {
		return fmt.Errorf("%s is neither .json, .jsonl nor .csv", file)
	}
	in := bufio.NewReader(f)
	if head, _ := in.Peek(len(byteOrderMark)); string(head) == byteOrderMark {
		_, _ = in.Discard(len(byteOrderMark)) // what was peeked is there
	}
	line, err := read(in, func(line int, e entry) error {
		if e.Picture == "" {
			e.Picture = pictures[e.Name]
		}
		if first, twice := l.lines[e.Name]; twice {
			return fmt.Errorf("%q is on line %d already", e.Name, first)
		}
		l.lines[e.Name] = line
		return l.addEntry(e)
	})
	if err != nil {
		return fmt.Errorf("%s:%d: %w", file, line, err)
	}
	return nil
}

// addEntry checks e and adds it with its picture.
func (l *loader) addEntry(e entry) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	p := person{Name: e.Name, Age: string(e.Age), Career: e.Career}
	if e.Picture == "" {
		l.add(p, nil)
		return nil
	}
	file := filepath.FromSlash(e.Picture)
	if !filepath.IsLocal(file) {
		return fmt.Errorf("picture %q is not a path within the catalog's folder", e.Picture)
	}
	f, _, _, err := openRegular(l.root, file)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("picture: %w", err)
	}
	k, ok := kindOf(head[:n])
	if !ok {
		return fmt.Errorf("picture %q is neither jpeg, png, gif nor webp", e.Picture)
	}
	l.add(p, &picture{kind: k, file: file})
	return nil
}

// openRegular opens a regular file below root and returns its size and time.
func openRegular(root *os.Root, file string) (f *os.File, size int64, modified time.Time, err error) {
	// Stat comes first: to open a named pipe would wait for its writer.
	info, err := root.Stat(file)
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, 0, time.Time{}, fmt.Errorf("%s: %w", file, perr.Err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, time.Time{}, fmt.Errorf("%s is no regular file", file)
	}
	f, err = root.Open(file)
	return f, info.Size(), info.ModTime(), err
}

// The readers call add for each person with its line, and stop at the first
// error, which they return with the line it is on.

func readJSON(r io.Reader, add func(int, entry) error) (line int, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return 1, err
	}
	lineAt := func(offset int64) int { return 1 + bytes.Count(data[:offset], []byte("\n")) }

	// A first pass over the whole has exact places for what is no JSON.
	var shape []struct{}
	err = json.Unmarshal(data, &shape)
	if serr, ok := errors.AsType[*json.SyntaxError](err); ok {
		return lineAt(max(0, serr.Offset-1)), err
	}
	if terr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return lineAt(max(0, terr.Offset-1)), fmt.Errorf("want an array of people, found: %s", terr.Value)
	}

	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return 1, errors.New("want an array of people") // null, which Unmarshal takes
	}
	line, counted := 1, int64(0)
	for dec.More() {
		begin := dec.InputOffset()
		for bytes.IndexByte([]byte(" \t\r\n,"), data[begin]) >= 0 {
			begin++
		}
		line += bytes.Count(data[counted:begin], []byte("\n"))
		counted = begin
		var e entry
		if err := dec.Decode(&e); err != nil {
			return line, err
		}
		if err := add(line, e); err != nil {
			return line, err
		}
	}
	return 0, nil
}

func readJSONLines(r io.Reader, add func(int, entry) error) (line int, err error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxLineBytes)
	for sc.Scan() {
		line++
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		dec.DisallowUnknownFields()
		var e entry
		if err := dec.Decode(&e); err != nil {
			return line, err
		}
		if _, err := dec.Token(); err != io.EOF {
			return line, errors.New("more than one value on the line")
		}
		if err := add(line, e); err != nil {
			return line, err
		}
	}
	return line + 1, sc.Err()
}

func readCSV(r io.Reader, add func(int, entry) error) (line int, err error) {
	rows := csv.NewReader(r)
	header, err := rows.Read()
	if err != nil {
		return 1, fmt.Errorf("header row: %w", err)
	}
	for i, h := range header {
		if !slices.Contains([]string{"name", "age", "career", "picture"}, h) {
			return 1, fmt.Errorf("unknown column %.40q; known are name, age, career, picture", h)
		}
		if slices.Contains(header[:i], h) {
			return 1, fmt.Errorf("column %q is there twice", h)
		}
	}
	if !slices.Contains(header, "name") {
		return 1, errors.New("there is no column name")
	}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return 0, nil
		}
		if perr, ok := errors.AsType[*csv.ParseError](err); ok {
			return perr.Line, perr.Err
		}
		if err != nil {
			return line + 1, err
		}
		line, _ = rows.FieldPos(0)
		var e entry
		for i, field := range row {
			switch header[i] {
			case "name":
				e.Name = field
			case "age":
				e.Age = text(field)
			case "career":
				e.Career = field
			case "picture":
				e.Picture = field
			}
		}
		if err := add(line, e); err != nil {
			return line, err
		}
	}
}

// kindOf returns the kind that a file begins as.
func kindOf(head []byte) (kind, bool) {
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xd8\xff")):
		return kindJPEG, true
	case bytes.HasPrefix(head, []byte("\x89PNG\r\n\x1a\n")):
		return kindPNG, true
	case bytes.HasPrefix(head, []byte("GIF87a")), bytes.HasPrefix(head, []byte("GIF89a")):
		return kindGIF, true
	case len(head) >= 12 && string(head[:4]) == "RIFF" && string(head[8:12]) == "WEBP":
		return kindWebP, true
	}
	return kind{}, false
}

// isPictureFile says whether a file's extension is that of a picture.
func isPictureFile(name string) bool {
	return slices.Contains([]string{".jpg", ".jpeg", ".png", ".gif", ".webp"}, strings.ToLower(filepath.Ext(name)))
}
