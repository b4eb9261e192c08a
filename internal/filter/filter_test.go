package filter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/filter"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	for hole, want := range map[string]string{
		"name":                      "Ada LOVELACE/x",
		"name|lower":                "ada lovelace/x",
		"name|underscore|lower":     "ada_lovelace/x",
		"name|slashes":              "Ada LOVELACE/x",
		"name|md5":                  "43c12e584d0391f88549b6630763e83a",
		"name|underscore|md5:2":     "f0",
		"column.full name|lower":    "ada lovelace/x",
		"name|lower|underscore|md5": "9e71b1be5685a005f59ba63352a6bc41",
	} {
		word, f, err := filter.Parse(hole)
		if err != nil || !strings.HasPrefix(hole, word) {
			t.Fatalf("%s: got %q, %v", hole, word, err)
		}
		if got := f.Apply("Ada LOVELACE/x"); got != want {
			t.Errorf("%s: got %q, want %q", hole, got, want)
		}
	}
}

func TestWhatIsNoFilter(t *testing.T) {
	t.Parallel()
	for hole, want := range map[string]string{
		"name|":            "write {name} or a filter after it",
		"name|md5:0":       "write md5:1 to md5:32",
		"name|md5:33":      "write md5:1 to md5:32",
		"name|md5:x":       "write md5:1 to md5:32",
		"name|upper":       `unknown filter "upper" in {name|upper}: known are lower`,
		"name|lower:2":     `unknown filter "lower:2"`,
		"name|lower|upper": `unknown filter "upper"`,
	} {
		_, _, err := filter.Parse(hole)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, filter.ErrUnknown) != strings.HasPrefix(want, "unknown") {
			t.Errorf("%s: got %v, want %q", hole, err, want)
		}
	}
}
