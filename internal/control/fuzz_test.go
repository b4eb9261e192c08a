package control

import (
	"testing"

	"github.com/picharvest/picharvest/internal/results"
)

// FuzzCursor: a cursor that is none is refused, and one that was made leads
// back to where it was made.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "MiBOb2JvZHk", "%%%", "LTEgeA", formatCursor(results.Position{Line: 7, Name: "a b\x00c"})} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseCursor(s)
		if err != nil || s == "" {
			return
		}
		if p.Line < 0 {
			t.Errorf("parseCursor(%q): got line %d", s, p.Line)
		}
		again, err := parseCursor(formatCursor(p))
		if err != nil || again != p {
			t.Errorf("cursor of %+v: got %+v, %v", p, again, err)
		}
	})
}
