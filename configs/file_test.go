package configs

import (
	"testing"

	"github.com/picharvest/picharvest/internal/lookup"
)

// FuzzReadDocument holds that no file makes the reader panic, and that what it
// cuts out can be read.
func FuzzReadDocument(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(defaults)
	f.Add([]byte("a: &a [*a]\nredis: *a\n<<: *a\n? [x]\n: y\n"))
	f.Add([]byte("providers:\n  definitions:\n  - name: x\n\n   # y\n    z: |\n      1\n  -\n   {a: &b c, d: *b}\n"))
	f.Add([]byte("providers: {definitions: [a, {b: c}, [d]]}\n---\n"))
	f.Add([]byte("picture: {hosts: &h {\"*.a\": {in_flight: 1}, b: *h, c: per_day:1;x}}\n"))
	known := newSchema()
	f.Fuzz(func(t *testing.T, data []byte) {
		doc := readDocument("f", data, known)
		for _, d := range doc.definitions {
			// Its verdict does not matter here.
			_, _ = lookup.Parse(d.File, d.YAML)
		}
		for _, p := range doc.problems {
			if p.Origin == "" || p.Text == "" {
				t.Errorf("problem without place or words: %q", p)
			}
		}
	})
}
