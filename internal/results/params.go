package results

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Params are values that a batch gives to its provider, by name. They belong
// to the batch from its creation to its end. Only those are kept that are not
// the provider's defaults.
type Params map[string]string

// ParamsError says that a batch has other params.
type ParamsError struct {
	Batch       string
	Has, Wanted Params
}

// Error names the cure.
func (e *ParamsError) Error() string {
	return fmt.Sprintf("batch %q has %s, not %s: leave --param out to go on with it, or give the names another batch by --batch",
		e.Batch, e.Has.words(), e.Wanted.words())
}

func (p Params) words() string {
	if len(p) == 0 {
		return "the provider's default params"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		words = append(words, fmt.Sprintf("--param %s=%q", name, p[name]))
	}
	return strings.Join(words, " ")
}

// encode writes p as it is kept: "" where there are none, and equal params
// equally.
func (p Params) encode() string {
	if len(p) == 0 {
		return ""
	}
	s, err := encode(map[string]string(p))
	if err != nil {
		panic(err) // strings alone
	}
	return s
}

// DecodeParams reads what Begun has. Anything else is no params.
func DecodeParams(s string) Params {
	var p Params
	if json.Unmarshal([]byte(s), &p) != nil {
		return nil
	}
	return p
}
