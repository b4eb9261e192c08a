package demo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Made-up names are one of 100 given names and three of 48 syllables, which
// makes 11,059,200. The n-th name is combination n*nameStep modulo that, and
// nameBack is the inverse of nameStep: neighbours look nothing alike, no two
// are equal, and a name leads back to its n without a list.
const (
	onsets    = "bdfklmnrstvw"
	vowels    = "aeio"
	syllables = len(onsets) * len(vowels)
	nameCount = len(givenNames) * syllables * syllables * syllables
	nameStep  = 7_368_787
	nameBack  = 10_818_523

	surnameBytes = 6
)

// givenNames are sorted.
var givenNames = [...]string{
	"Ada", "Alan", "Alma", "Amir", "Anna", "Arlo", "Asta", "Axel", "Bela", "Bina",
	"Bora", "Cara", "Carl", "Cora", "Dana", "Dara", "Dina", "Dora", "Edda", "Egon",
	"Elif", "Ella", "Elsa", "Emil", "Emma", "Enid", "Enno", "Erik", "Esra", "Etta",
	"Ewan", "Ezra", "Fay", "Finn", "Fred", "Gina", "Greta", "Gwen", "Hana", "Hugo",
	"Ida", "Igor", "Ilja", "Ines", "Inga", "Iris", "Ivan", "Ivo", "Jana", "Jens",
	"Joan", "Jona", "June", "Juri", "Kai", "Kara", "Karl", "Kian", "Kira", "Klara",
	"Lara", "Lars", "Lena", "Leon", "Levi", "Lina", "Lois", "Luca", "Lucy", "Luis",
	"Maja", "Marc", "Mary", "Maya", "Mia", "Mila", "Milo", "Mina", "Nele", "Nina",
	"Noah", "Nora", "Olga", "Omar", "Oona", "Otto", "Paul", "Pia", "Rana", "Rosa",
	"Ruth", "Sara", "Sven", "Tara", "Theo", "Tom", "Uma", "Vera", "Yuki", "Zoe",
}

var careers = [...]string{
	"architect", "astronomer", "baker", "botanist", "carpenter", "cartographer", "chemist", "cook",
	"dancer", "doctor", "editor", "electrician", "engineer", "farmer", "gardener", "geologist",
	"journalist", "judge", "librarian", "locksmith", "mechanic", "musician", "nurse", "painter",
	"photographer", "pilot", "plumber", "potter", "sailor", "tailor", "teacher", "translator",
}

// madeUp is the made-up people, numbers 0 to count-1. Nothing is kept for any
// one of them.
type madeUp struct {
	count     int
	templates []pngTemplate
	version   string    // changes with the templates
	buffers   sync.Pool // of *[]byte, for pictures
}

// newMadeUp prepares count people whose pictures have at least pictureBytes.
func newMadeUp(count, pictureBytes int) (*madeUp, error) {
	m := &madeUp{count: count, buffers: sync.Pool{New: func() any { return new([]byte) }}}
	if count == 0 {
		return m, nil
	}
	for hair := range hairKinds {
		for _, glasses := range []bool{false, true} {
			t, err := newTemplate(style{hair: hair, glasses: glasses}, pictureBytes)
			if err != nil {
				return nil, fmt.Errorf("prepare pictures of made-up people: %w", err)
			}
			m.templates = append(m.templates, t)
		}
	}
	m.version = strings.Trim(etagOf(m.templates[0].file), `"`)
	return m, nil
}

// person returns the record of a made-up name.
func (m *madeUp) person(name string) (person, bool) {
	n, ok := madeUpNumber(name)
	if !ok || n >= m.count {
		return person{}, false
	}
	h := mix(uint64(n))
	return person{
		Name:    name,
		Age:     strconv.Itoa(18 + int(h%50)),
		Career:  careers[h>>32%uint64(len(careers))],
		Picture: picturesPath + madeUpFile(n),
	}, true
}

// madeUpFile is the last element of the path of person n's picture; files
// count from one.
func madeUpFile(n int) string { return "m" + strconv.Itoa(n+1) + kindPNG.ext }

// number returns the person whose picture is at file.
func (m *madeUp) number(file string) (int, bool) {
	digits, ok := strings.CutPrefix(file, "m")
	if !ok {
		return 0, false
	}
	digits, _ = strings.CutSuffix(digits, kindPNG.ext)
	n, err := strconv.Atoi(digits)
	// Only the one spelling that madeUpFile has: no sign, no leading zero.
	if err != nil || n < 1 || n > m.count || madeUpFile(n-1) != file {
		return 0, false
	}
	return n - 1, true
}

// etag returns the ETag of person n's picture.
func (m *madeUp) etag(n int) string { return `"` + strconv.Itoa(n+1) + "-" + m.version + `"` }

// withPicture calls use with the picture of person n, whose bytes are good
// until use returns.
func (m *madeUp) withPicture(n int, use func([]byte)) {
	b := m.buffers.Get().(*[]byte)
	defer m.buffers.Put(b)
	t := m.templates[mix(uint64(n))%uint64(len(m.templates))]
	*b = t.appendTo((*b)[:0], n)
	use(*b)
}

// madeUpName returns the n-th made-up name, n below nameCount.
func madeUpName(n int) string {
	c := int(uint64(n) * nameStep % uint64(nameCount))
	given := givenNames[c%len(givenNames)]
	c /= len(givenNames)
	b := make([]byte, 0, len(given)+1+surnameBytes)
	b = append(append(b, given...), ' ')
	for range surnameBytes / 2 {
		b = append(b, onsets[c%len(onsets)], vowels[c/len(onsets)%len(vowels)])
		c /= syllables
	}
	b[len(given)+1] -= 'a' - 'A'
	return string(b)
}

// madeUpNumber is the inverse of madeUpName.
func madeUpNumber(name string) (n int, ok bool) {
	given, surname, ok := strings.Cut(name, " ")
	if !ok || len(surname) != surnameBytes {
		return 0, false
	}
	g, ok := slices.BinarySearch(givenNames[:], given)
	if !ok {
		return 0, false
	}
	c := 0
	for i := surnameBytes - 2; i >= 0; i -= 2 {
		first := surname[i]
		if i == 0 {
			if first < 'A' || first > 'Z' {
				return 0, false
			}
			first += 'a' - 'A'
		}
		onset, vowel := strings.IndexByte(onsets, first), strings.IndexByte(vowels, surname[i+1])
		if onset < 0 || vowel < 0 {
			return 0, false
		}
		c = c*syllables + vowel*len(onsets) + onset
	}
	c = c*len(givenNames) + g
	return int(uint64(c) * nameBack % uint64(nameCount)), true
}

// mix is the finalizer of the SplitMix64 generator: neighbours in, noise out.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
