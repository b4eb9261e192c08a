package configs

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/gate"
)

// input is a setting as it was written: a text, a list of texts, or a map. All
// sources come down to this, so that a value is read alike wherever it stands.
type input struct {
	kind    inputKind
	text    string
	list    []string
	entries map[string]input
}

type inputKind uint8

const (
	textInput inputKind = iota + 1
	listInput
	mapInput
)

// convert returns in as a value of type t, which is one that newSchema finds,
// or all that is wrong with it. Each error begins with the key and shows no
// secret.
func convert(key string, t reflect.Type, in input) (any, []error) {
	v, err := convertTo(key, t, in)
	if err == nil {
		return v, nil
	}
	shown := ""
	if in.kind == textInput && t.Kind() != reflect.Map && !mayHoldSecret(key) {
		shown = fmt.Sprintf(" is %.40q", in.text)
	}
	errs := flatten(err)
	for i, e := range errs {
		errs[i] = fmt.Errorf("%s%s: %w", key, shown, e)
	}
	return nil, errs
}

func convertTo(key string, t reflect.Type, in input) (any, error) {
	switch t {
	case reflect.TypeFor[[]string]():
		return in.items()
	case reflect.TypeFor[[]int]():
		items, err := in.items()
		if err != nil {
			return nil, err
		}
		var list []int
		for _, item := range items {
			n, err := parseInt(item, math.MaxInt32)
			if err != nil {
				return nil, fmt.Errorf("%.40q is none: give whole numbers", item)
			}
			list = append(list, int(n))
		}
		return list, nil
	case reflect.TypeFor[map[string]string]():
		return in.texts()
	case reflect.TypeFor[map[string]gate.Limits]():
		return in.hosts()
	}
	if in.kind != textInput {
		return nil, errors.New("give one value, not a list or section")
	}
	switch t {
	case reflect.TypeFor[string]():
		return in.text, nil
	case reflect.TypeFor[bool]():
		b, err := strconv.ParseBool(in.text)
		if err != nil {
			return nil, errors.New("give true or false")
		}
		return b, nil
	case reflect.TypeFor[int]():
		n, err := parseInt(in.text, math.MaxInt32)
		if err != nil {
			return nil, errors.New("give a whole number")
		}
		return int(n), nil
	case reflect.TypeFor[int64]():
		return parseSize(key, in.text)
	case reflect.TypeFor[float64]():
		return parseRatio(in.text)
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(in.text)
		if err != nil {
			return nil, errors.New("give a duration with its unit, such as 500ms, 30s or 1h30m")
		}
		return d, nil
	}
	return nil, fmt.Errorf("settings cannot be of type %s", t)
}

// items returns a list; a text has its items between commas.
func (in input) items() ([]string, error) {
	switch in.kind {
	case listInput:
		return in.list, nil
	case mapInput:
		return nil, errors.New("give a list, not a section")
	}
	var items []string
	for item := range strings.SplitSeq(in.text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items, nil
}

// pairs returns a map, never nil; a text has its pairs as name=value between
// commas.
func (in input) pairs() (map[string]input, error) {
	if in.kind == mapInput {
		return in.entries, nil
	}
	items, err := in.items()
	if err != nil {
		return nil, err
	}
	pairs := map[string]input{}
	for _, item := range items {
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, errors.New("give name: value in a file, name=value,… elsewhere")
		}
		if _, twice := pairs[name]; twice {
			return nil, fmt.Errorf("%s stands there twice", shownKey("", name))
		}
		pairs[name] = input{kind: textInput, text: strings.TrimSpace(value)}
	}
	return pairs, nil
}

// texts returns a map of texts, never nil.
func (in input) texts() (map[string]string, error) {
	pairs, err := in.pairs()
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for name, value := range pairs {
		if value.kind != textInput {
			return nil, errors.New("each entry must be name: value")
		}
		texts[name] = value.text
	}
	return texts, nil
}

// parseInt reads a decimal number from -limit to limit; digits may be grouped
// by underscores.
func parseInt(text string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || n > limit || n < -limit {
		return 0, errors.New("no number")
	}
	return n, nil
}

// parseRatio reads a ratio as a number, 1.5, or as two, 3:2.
func parseRatio(text string) (float64, error) {
	first, second, two := strings.Cut(text, ":")
	n, err := strconv.ParseFloat(strings.TrimSpace(first), 64)
	d := 1.0
	if two && err == nil {
		d, err = strconv.ParseFloat(strings.TrimSpace(second), 64)
	}
	ratio := n / d
	if err != nil || math.IsNaN(ratio) || math.IsInf(ratio, 0) {
		return 0, errors.New("give a number such as 1.5, or two such as 3:2")
	}
	return ratio, nil
}

type unit struct {
	name string
	size int64
}

var (
	// byteUnits stand largest first and before any suffix of theirs.
	byteUnits  = []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}
	pixelUnits = []unit{{"MP", 1e6}}
)

func units(key string) []unit {
	if strings.HasSuffix(key, "_pixels") {
		return pixelUnits
	}
	return byteUnits
}

// ParseBytes reads a number of bytes as the settings write it: 500000, 500kB,
// 32MiB.
func ParseBytes(text string) (int64, error) { return parseSize("bytes", text) }

// FormatBytes writes n as [ParseBytes] reads it, in the largest unit that is
// exact.
func FormatBytes(n int64) string { return formatSize("bytes", n) }

// parseSize reads a number of bytes or pixels, with or without a unit.
func parseSize(key, text string) (int64, error) {
	number, size := text, int64(1)
	for _, u := range units(key) {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, size = strings.TrimSpace(n), u.size
			break
		}
	}
	n, err := parseInt(number, math.MaxInt64/size)
	if err != nil {
		if strings.HasSuffix(key, "_pixels") {
			return 0, errors.New("give a number, or one of megapixels such as 50MP")
		}
		return 0, errors.New("give a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB")
	}
	return n * size, nil
}

// formatSize writes n as parseSize reads it, in the largest unit that is exact.
func formatSize(key string, n int64) string {
	for _, u := range units(key) {
		if n != 0 && n%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
