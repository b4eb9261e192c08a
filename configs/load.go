package configs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/nearest"
)

const (
	envPrefix = "HARVEST_"
	// envIgnored is for variables that tests read.
	envIgnored = envPrefix + "TEST_"

	originDefault = "default"
)

// Options say where Load looks.
type Options struct {
	// File must exist where it is named. Default: the first file of SearchPath
	// that exists, or none.
	File string
	// Flags are the command's flags by the keys that they set. One that the
	// user did not give, or that is nil, sets nothing.
	Flags map[string]*pflag.Flag
	// Environ is in the form of os.Environ. Default nil: that of the process.
	Environ []string
	// SearchPath lists the files that may be there. Default nil: SearchPath().
	SearchPath []string
}

// SearchPath returns the files that Load looks for, the first one first.
func SearchPath() []string {
	path := []string{"harvest.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		path = append(path, filepath.Join(dir, "harvest", "config.yaml"))
	}
	return append(path, "/etc/harvest/config.yaml")
}

// Loaded is the settings and where they came from.
type Loaded struct {
	Settings Settings
	// File is the configuration file that was read, "" if none.
	File string
	// Warnings are lines for the user, without secrets.
	Warnings []string

	origins layer
}

// Problem is one thing that is wrong with the settings.
type Problem struct {
	// Origin is the place to mend: FILE:LINE, a variable, a flag.
	Origin string
	// Text names the key and says what to write.
	Text string
}

// String returns "origin: text".
func (p Problem) String() string { return p.Origin + ": " + p.Text }

// Error is every problem of the settings. Each mention of a secret is
// redacted.
type Error struct{ Problems []Problem }

// Error returns one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// setting is a value and where it came from.
type setting struct {
	value  any
	origin string
}

// layer is the settings of one source, by key.
type layer map[string]setting

// Load reads the settings: flags go before environment, environment before
// file, file before defaults. Its only error is an *Error with all problems.
func Load(o Options) (*Loaded, error) {
	l := &loader{known: newSchema(), merged: layer{}, out: &Loaded{}}
	base := readDocument(originDefault, defaults, l.known)
	for key, s := range base.settings {
		l.merged[key] = setting{s.value, originDefault}
	}
	l.base = base.settings
	l.file(o)
	l.environment(o)
	l.flags(o)
	l.secretFiles()
	l.decode()
	if len(l.problems) > 0 {
		return nil, &Error{l.problems}
	}
	l.out.origins = l.merged
	return l.out, nil
}

type loader struct {
	known       schema
	base        layer
	merged      layer
	definitions []lookup.Inline
	problems    []Problem
	out         *Loaded
}

func (l *loader) problem(origin, format string, args ...any) {
	l.problems = append(l.problems, Problem{origin, fmt.Sprintf(format, args...)})
}

// add puts a layer above those before it.
func (l *loader) add(above layer) {
	for key, s := range above {
		l.merged[key] = s
	}
	for key, s := range above {
		other := alternatives[key]
		if _, both := above[other]; other != "" && !both && s.value != "" {
			l.merged[other] = setting{l.base[other].value, originDefault}
		}
	}
}

func (l *loader) file(o Options) {
	path, data, err := findFile(o)
	if err != nil {
		l.problem(path, "%v", err)
	}
	if data == nil {
		return
	}
	l.out.File = path
	doc := readDocument(path, data, l.known)
	l.problems = append(l.problems, doc.problems...)
	l.definitions = doc.definitions
	l.add(doc.settings)
	l.warnOfReaders(path, doc.settings)
}

// findFile returns the file to read and what is in it, nil if there is none.
func findFile(o Options) (path string, data []byte, err error) {
	search := o.SearchPath
	if search == nil {
		search = SearchPath()
	}
	if o.File != "" {
		search = []string{o.File}
	}
	for _, path := range search {
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) && o.File == "" {
			continue
		}
		return path, data, err
	}
	return "", nil, nil
}

// readFile returns what is in path, never nil without an error.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = errors.New("is a folder: name the file")
	}
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("is longer than %d bytes", maxFileBytes)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		// The path is told beside the error.
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return nil, err
	}
	return append([]byte{}, data...), nil
}

// warnOfReaders warns where everybody may read a file with secrets.
func (l *loader) warnOfReaders(path string, settings layer) {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o004 == 0 {
		return
	}
	for _, key := range l.known.keys() {
		text, _ := settings[key].value.(string)
		if redact(key, text) != text {
			l.out.Warnings = append(l.out.Warnings, fmt.Sprintf(
				"%s: %s holds a secret and everybody may read the file: chmod 600 %s", settings[key].origin, key, path))
		}
	}
}

func (l *loader) environment(o Options) {
	environ := o.Environ
	if environ == nil {
		environ = os.Environ()
	}
	keys := map[string]string{}
	for key := range l.known.types {
		keys[envName(key)] = key
	}
	above := layer{}
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, envIgnored) {
			continue
		}
		key, ok := keys[name]
		if !ok {
			l.warnOfVariable(name, keys)
			continue
		}
		if text == "" {
			continue
		}
		v, errs := convert(key, l.known.types[key], input{kind: textInput, text: text})
		if errs != nil {
			for _, err := range errs {
				l.problem(name, "%v", err)
			}
			continue
		}
		above[key] = setting{v, name}
	}
	l.add(above)
}

func (l *loader) warnOfVariable(name string, keys map[string]string) {
	hint := ""
	if name == envName(definitionsKey) {
		hint = ": definitions can stand in a file only"
	} else if near := nearest.Word(name, slices.Sorted(maps.Keys(keys))); near != "" {
		hint = ": did you mean " + near + "?"
	}
	l.out.Warnings = append(l.out.Warnings, fmt.Sprintf("%s is no setting%s", shownKey("", name), hint))
}

// flags reads the flags that were given. A key that does not exist is a
// mistake in the command.
func (l *loader) flags(o Options) {
	above := layer{}
	for _, key := range slices.Sorted(maps.Keys(o.Flags)) {
		flag, t := o.Flags[key], l.known.types[key]
		if t == nil {
			panic("configs: a flag for the unknown key " + key)
		}
		if flag == nil || !flag.Changed {
			continue
		}
		origin := "flag --" + flag.Name
		in := input{kind: textInput, text: flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			in = input{kind: listInput, list: list.GetSlice()}
		}
		v, errs := convert(key, t, in)
		if errs != nil {
			for _, err := range errs {
				l.problem(origin, "%v", err)
			}
			continue
		}
		above[key] = setting{v, origin}
	}
	l.add(above)
}

// secretFiles puts the contents of files in the place of their keys.
func (l *loader) secretFiles() {
	for _, fileKey := range l.known.keys() {
		key, from := secretFiles[fileKey], l.merged[fileKey]
		path, _ := from.value.(string)
		if key == "" || path == "" {
			continue
		}
		if l.merged[key].value != "" {
			l.problem(from.origin, "%s and %s exclude each other: set one", key, fileKey)
			continue
		}
		data, err := readFile(path)
		if err != nil {
			l.problem(from.origin, "%s: %s: %v", fileKey, path, err)
			continue
		}
		secret := strings.TrimRight(string(data), "\r\n")
		if secret == "" {
			l.problem(from.origin, "%s: %s is empty", fileKey, path)
		}
		l.merged[key] = setting{secret, from.origin}
	}
}

// decode fills the settings and asks the packages that own them. A setting
// that could not be read has the value of the source below.
func (l *loader) decode() {
	v := viper.New()
	for key, s := range l.merged {
		if secretFiles[key] == "" {
			v.Set(key, s.value)
		}
	}
	strict := func(c *mapstructure.DecoderConfig) { c.WeaklyTypedInput, c.DecodeHook = false, nil }
	if err := v.UnmarshalExact(&l.out.Settings, strict); err != nil {
		// Every value had its type checked against the same struct.
		panic("configs: " + err.Error())
	}
	l.out.Settings.Providers.Definitions = l.definitions
	for _, err := range flatten(l.out.Settings.Validate()) {
		l.problems = append(l.problems, l.locate(err))
	}
}

var keyInText = regexp.MustCompile(`[a-z_]+(\.[a-z_]+)+|^[a-z_]+`)

// locate finds the places of the keys and sections that err speaks of, and of
// maps whose entries it speaks of. A word without a dot is a key only where
// err begins with it.
func (l *loader) locate(err error) Problem {
	if p, ok := errors.AsType[*lookup.Problem](err); ok {
		return Problem{fmt.Sprintf("%s:%d", p.File, p.Line), p.Text}
	}
	keys := l.known.keys()
	var origins []string
	for _, word := range keyInText.FindAllString(err.Error(), -1) {
		for _, key := range keys {
			from := l.merged[key].origin
			meant := key == word || strings.HasPrefix(key, word+".") || strings.HasPrefix(word, key+".")
			if meant && from != "" && from != originDefault && !slices.Contains(origins, from) {
				origins = append(origins, from)
			}
		}
	}
	if len(origins) == 0 {
		origins = []string{originDefault}
	}
	return Problem{strings.Join(origins, ", "), err.Error()}
}
