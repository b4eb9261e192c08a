package cli

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/export"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// docs/json.md is a promise: every key that is written is in it, every key
// in it is written, and italics mean that a key may be left out.
func TestJSONKeysAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, v := range map[string]any{
		"## `harvest results --json`":        recordjson.Name{},
		"A picture:":                         recordjson.Picture{},
		"An event of the history:":           recordjson.Event{},
		"Stale:":                             recordjson.Stale{},
		"## `harvest status --json`":         statusJSON{},
		"A refresh:":                         results.Refreshed{},
		"## `harvest status --hosts --json`": hostJSON{},
		"A limit:":                           quotaJSON{},
		"A breaker:":                         breakerJSON{},
		"## `harvest enqueue --json`":        enqueueJSON{},
		"## `harvest doctor --json`":         app.Finding{},
		"## `harvest verify --json`":         verifyJSON{},
		"## `harvest duplicates --json`":     duplicateJSON{},
		"## `harvest export --json`":         exportJSON{},
		"A shard:":                           export.Shard{},
	} {
		want := keysOf(reflect.TypeOf(v))
		got := documented(t, string(doc), heading)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("docs/json.md, %s (-code +docs):\n%s", heading, diff)
		}
	}
}

// keysOf returns the JSON keys of a struct and whether each may be left out.
func keysOf(t reflect.Type) map[string]bool {
	keys := make(map[string]bool)
	for f := range t.Fields() {
		if f.Anonymous {
			for k, v := range keysOf(f.Type) {
				keys[k] = v
			}
			continue
		}
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys[name] = strings.Contains(opts, "omit")
	}
	return keys
}

var tableRow = regexp.MustCompile(`(?m)^\| (\*?)(\w+)\*? \|`)

// documented returns the keys of the first table behind heading.
func documented(t *testing.T, doc, heading string) map[string]bool {
	t.Helper()
	_, rest, ok := strings.Cut(doc, heading)
	if !ok {
		t.Fatalf("docs/json.md has no %q", heading)
	}
	start := strings.Index(rest, "|---|---|\n")
	table, _, _ := strings.Cut(rest[start:], "\n\n")
	keys := make(map[string]bool)
	for _, m := range tableRow.FindAllStringSubmatch(table, -1) {
		keys[m[2]] = m[1] == "*"
	}
	return keys
}
