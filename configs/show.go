package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
)

// originColumn is where origins begin, if the line leaves room.
const originColumn = 40

// Show writes the settings that hold as YAML, in the order of config.yaml and
// with every secret redacted. With origin, each value's line ends with where
// it came from: "# flag --redis-url", "# HARVEST_REDIS_URL", "# FILE:LINE" or
// "# default". Of the definitions in the file it shows the names.
func (l *Loaded) Show(w io.Writer, origin bool) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(defaults, &doc); err != nil {
		return fmt.Errorf("built-in config.yaml: %w", err)
	}
	p := &printer{loaded: l, origin: origin}
	if err := p.section(doc.Content[0], ""); err != nil {
		return err
	}
	_, err := w.Write(p.out.Bytes())
	return err
}

// Init writes the commented config.yaml to path, with its folder where there
// is none, readable by its owner alone since secrets may be added to it. It
// never replaces a file: the error is then fs.ErrExist.
func Init(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("configuration folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and was left alone: move it away or name another file: %w", path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	_, err = f.Write(defaults)
	return errors.Join(err, f.Close())
}

type printer struct {
	loaded *Loaded
	origin bool
	out    bytes.Buffer
}

func (p *printer) section(n *yaml.Node, prefix string) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		key, indent := prefix+name, strings.Repeat("  ", strings.Count(prefix, "."))
		switch s, ok := p.loaded.origins[key]; {
		case ok:
			text, err := formatValue(key, s.value)
			if err != nil {
				return err
			}
			p.line(indent+name+": "+text, s.origin)
		case key == definitionsKey:
			p.definitions(indent+name+":", p.loaded.Settings.Providers.Definitions)
		default:
			p.out.WriteString(indent + name + ":\n")
			if err := p.section(value, key+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *printer) line(text, origin string) {
	if p.origin {
		text = fmt.Sprintf("%-*s # %s", originColumn-1, text, origin)
	}
	p.out.WriteString(text + "\n")
}

// definitions names the definitions only: their headers may hold what a file
// may say and a screen may not.
func (p *printer) definitions(name string, defs []lookup.Inline) {
	if len(defs) == 0 {
		p.line(name+" []", originDefault)
		return
	}
	p.out.WriteString(name + "\n")
	for _, d := range defs {
		// They were parsed when they were loaded.
		if def, err := lookup.Parse(d.File, d.YAML); err == nil {
			p.line("    - name: "+def.Name, d.File)
		}
	}
}

// formatValue writes v on one line of YAML.
func formatValue(key string, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return formatText(redact(key, v))
	case bool, int, float64:
		return fmt.Sprint(v), nil
	case int64:
		return formatSize(key, v), nil
	case time.Duration:
		return formatDuration(v), nil
	case []int:
		items := make([]string, len(v))
		for i, n := range v {
			items[i] = strconv.Itoa(n)
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	case []string:
		items := make([]string, len(v))
		for i, item := range v {
			text, err := formatText(item)
			if err != nil {
				return "", err
			}
			items[i] = text
		}
		return "[" + strings.Join(items, ", ") + "]", nil
	case map[string]string:
		var items []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			quoted, err1 := formatText(name)
			text, err2 := formatText(redact(key, v[name]))
			if err := errors.Join(err1, err2); err != nil {
				return "", err
			}
			items = append(items, quoted+": "+text)
		}
		return "{" + strings.Join(items, ", ") + "}", nil
	case map[string]gate.Limits:
		var items []string
		for _, host := range slices.Sorted(maps.Keys(v)) {
			quoted, err := formatText(host)
			if err != nil {
				return "", err
			}
			items = append(items, quoted+": "+formatLimits(v[host]))
		}
		return "{" + strings.Join(items, ", ") + "}", nil
	}
	return "", fmt.Errorf("%s: settings cannot be of type %T", key, v)
}

// formatText writes s as a YAML scalar on one line, fit for a flow list too.
func formatText(s string) (string, error) {
	n := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if s == "" || strings.ContainsAny(s, ",[]{}\n\r\t") {
		n.Style = yaml.DoubleQuotedStyle
	}
	text, err := yaml.Marshal(&n)
	return strings.TrimSuffix(string(text), "\n"), err
}

// formatDuration writes d without the zeros of Duration.String.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
