package configs

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/nearest"
)

// hosts returns limits by host, never nil. A text has them in the form
// HOST=per_second:5;in_flight:3,… and an entry's limits may be such a text
// too. What can be a host is gate's business.
func (in input) hosts() (map[string]gate.Limits, error) {
	pairs, err := in.pairs()
	if err != nil {
		return nil, err
	}
	var errs []error
	hosts := map[string]gate.Limits{}
	for _, host := range slices.Sorted(maps.Keys(pairs)) {
		l, err := pairs[host].limits()
		for _, e := range flatten(err) {
			errs = append(errs, fmt.Errorf("%.80s: %w", host, e))
		}
		hosts[host] = l
	}
	return hosts, errors.Join(errs...)
}

// limits returns the limits of one host.
func (in input) limits() (gate.Limits, error) {
	entries := in.entries
	if in.kind == textInput {
		entries = map[string]input{}
		for item := range strings.SplitSeq(in.text, ";") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			name, value, ok := strings.Cut(item, ":")
			if !ok {
				return gate.Limits{}, fmt.Errorf("%.40q is no limit: write in_flight:3, or per_second:5;in_flight:3", item)
			}
			name = strings.TrimSpace(name)
			if _, twice := entries[name]; twice {
				return gate.Limits{}, fmt.Errorf("%s stands there twice", shownKey("", name))
			}
			entries[name] = input{kind: textInput, text: strings.TrimSpace(value)}
		}
	}
	var l gate.Limits
	var errs []error
	keys := limitKeys()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		i := slices.Index(keys, name)
		if i < 0 {
			hint := "the limits are " + strings.Join(keys, ", ")
			if near := nearest.Word(name, keys); near != "" {
				hint = "did you mean " + near + "?"
			}
			errs = append(errs, fmt.Errorf("unknown limit %s: %s", shownKey("", name), hint))
			continue
		}
		n, err := parseInt(entries[name].text, math.MaxInt32)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is %.40q: give a whole number", name, entries[name].text))
			continue
		}
		reflect.ValueOf(&l).Elem().Field(i).SetInt(n)
	}
	return l, errors.Join(errs...)
}

// limitKeys returns the keys of gate.Limits in the order of its fields.
func limitKeys() []string {
	var keys []string
	for f := range reflect.TypeFor[gate.Limits]().Fields() {
		keys = append(keys, f.Tag.Get("mapstructure"))
	}
	return keys
}

// formatLimits writes the limits that there are as YAML on one line.
func formatLimits(l gate.Limits) string {
	var items []string
	for i, key := range limitKeys() {
		if n := reflect.ValueOf(l).Field(i).Int(); n != 0 {
			items = append(items, fmt.Sprintf("%s: %d", key, n))
		}
	}
	return "{" + strings.Join(items, ", ") + "}"
}
