package demo

import (
	"slices"
	"testing"
)

func TestMadeUpNames(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted(givenNames[:]) || len(slices.Compact(slices.Clone(givenNames[:]))) != len(givenNames) {
		t.Error("given names are not sorted, or one is there twice")
	}
	if nameCount < MaxPeople {
		t.Errorf("%d names for %d people", nameCount, MaxPeople)
	}
	// A name that leads back to its number belongs to no other number.
	for n := 0; n < nameCount; n += 13 {
		name := madeUpName(n)
		if got, ok := madeUpNumber(name); !ok || got != n {
			t.Fatalf("%q of %d leads back to %d, %t", name, n, got, ok)
		}
	}
}

func FuzzMadeUpNumber(f *testing.F) {
	for _, s := range []string{"Ada Bababa", "Zoe Wowowo", "Ada bababa", "Ada ", " Bababa", "Ada Bababa ", "Ada Bäbab", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := madeUpNumber(name)
		if ok && (n < 0 || n >= nameCount || madeUpName(n) != name) {
			t.Errorf("%q is taken for number %d, which is %q", name, n, madeUpName(max(0, n)))
		}
	})
}

func BenchmarkMadeUpPicture(b *testing.B) {
	m, err := newMadeUp(1000, 30_000)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = (n + 1) % m.count
		m.withPicture(n, func([]byte) {})
	}
}
