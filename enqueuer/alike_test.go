package enqueuer

import (
	"fmt"
	"testing"
)

func TestAlike(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		names []string
		want  int64
	}{
		"none":               {[]string{"Ada", "Bob", "Ad", "Adá"}, 0},
		"doubles are no two": {[]string{"Ada", "Ada", "Ada"}, 0},
		"case":               {[]string{"Ada", "Bob", "ADA", "aDa", "Ada"}, 3},
		"Unicode form":       {[]string{"Ren\u00e9", "Rene\u0301", "Rene"}, 2},
		"both":               {[]string{"REN\u00c9", "Rene\u0301"}, 2},
		"letters that fold":  {[]string{"Stra\u00dfe", "STRASSE", "\u03c3", "\u03c2"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAlike()
			for _, n := range tt.names {
				a.add(n)
			}
			if got, some := a.groups(); got != tt.want || (got > 0) != (len(some) > 0) {
				t.Errorf("%d alike in %v, want %d", got, some, tt.want)
			}
		})
	}
}

// Many names are told apart, but for those that are
// alike.
func TestAlikeAmongMany(t *testing.T) {
	t.Parallel()
	a := newAlike()
	for i := range 300_000 {
		a.add(fmt.Sprintf("name number %d", i))
	}
	a.add("NAME number 7")
	if got, some := a.groups(); got != 2 || len(some) != 1 {
		t.Errorf("%d alike in %v, want 2", got, some)
	}
}
