package storage_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/picharvest/picharvest/internal/storage"
)

func TestKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		rank int
		want string
	}{
		// Stay as they are.
		{"Han Meimei", 1, "Han Meimei.jpg"},
		{"Han Meimei", 2, "Han Meimei-2.jpg"},
		{"Brus Lee", 1, "Brus Lee.jpg"},
		{"Jean-Luc Picard", 1, "Jean-Luc Picard.jpg"},
		{"Conan O'Brien", 1, "Conan O'Brien.jpg"},
		{"J. R. R. Tolkien", 1, "J. R. R. Tolkien.jpg"},
		{"Sammy Davis Jr.", 1, "Sammy Davis Jr..jpg"},
		{"Björk", 1, "Björk.jpg"},
		{"Σωκράτης", 1, "Σωκράτης.jpg"},
		{"Лев Толстой", 1, "Лев Толстой.jpg"},
		{"韩梅梅", 1, "韩梅梅.jpg"},
		{"أم كلثوم", 1, "أم كلثوم.jpg"},
		{"လူ", 1, "လူ.jpg"},
		{"1984", 1, "1984.jpg"},
		{"Brus_Lee", 1, "Brus_Lee.jpg"},

		// Another usual shape.
		{"brus lee", 1, "brus lee~l.jpg"},
		{"brus lee", 3, "brus lee~l-3.jpg"},
		{"BRUS LEE", 1, "BRUS LEE~u.jpg"},
		{"brus_lee", 1, "brus_lee~l.jpg"},
		{"Ludwig van Beethoven", 1, "Ludwig van Beethoven~tlt.jpg"},
		{"Homo sapiens", 1, "Homo sapiens~tl.jpg"},
		{"Paul McCartney", 1, "Paul McCartney~tm.jpg"},
		{"torvalds", 1, "torvalds~l.jpg"},
		{"IBM", 1, "IBM~u.jpg"},
		{"R2-d2", 1, "R2-d2~tl.jpg"},

		// Any other.
		{"BrUs LeE", 1, "BrUs LeE~#.jpg"},
		{"Brus Lee-2", 1, "Brus Lee-2~#.jpg"},
		{"Brus Lee-2", 2, "Brus Lee-2~#-2.jpg"},
		{"brus lee~l", 1, "brus lee_l~#.jpg"},
		{"Brus  Lee", 1, "Brus  Lee~#.jpg"},
		{"Brus Lee ", 1, "Brus Lee~#.jpg"},
		{" Brus Lee", 1, "Brus Lee~#.jpg"},
		{"Brus\u200b Lee", 1, "Brus_ Lee~#.jpg"},
		{"\u202egpj.exe", 1, "_gpj.exe~#.jpg"},
		{"Bjo\u0308rk", 1, "Björk~#.jpg"},
		{"Strauß", 1, "Strauß~#.jpg"},
		{"ﬁsh", 1, "ﬁsh~#.jpg"},
		{"CON", 1, "_CON~#.jpg"},
		{"Con.Tact", 1, "_Con.Tact~#.jpg"},
		{"Lpt1", 1, "_Lpt1~#.jpg"},
		{"Com²", 1, "Com_~#.jpg"},
		{"AC/DC", 1, "AC_DC~#.jpg"},
		{"../../etc/passwd", 1, "_etc_passwd~#.jpg"},
		{`a\b:c*d?e"f<g>h|i`, 1, "a_b_c_d_e_f_g_h_i~#.jpg"},
		{".hidden", 1, "_hidden~#.jpg"},
		{"-rf", 1, "_rf~#.jpg"},
		{"~root", 1, "_root~#.jpg"},
		{"", 1, "_~#.jpg"},
		{"...", 1, "_~#.jpg"},
		{"a\x00b\x1b[31m", 1, "a_b__31m~#.jpg"},
		{"bad \xff UTF-8", 1, "bad _ UTF-8~#.jpg"},
		{strings.Repeat("1", 64), 1, strings.Repeat("1", 62) + "~#.jpg"},
	} {
		got := storage.Key("people", test.name, test.rank, "jpg")
		want := regexp.QuoteMeta("people/" + test.want)
		want = "^" + strings.ReplaceAll(want, "~#", "~[a-z2-7]{16}") + "$"
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("Key of %q, rank %d: got %q, want %q", test.name, test.rank, got, test.want)
		}
	}
}

// TestKeyIsDataAtRest pins whole keys, hashes included.
func TestKeyIsDataAtRest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ got, want string }{
		{storage.Key("people", "Han Meimei", 1, "png"), "people/Han Meimei.png"},
		{storage.Key("people", "AC/DC", 2, "webp"), "people/AC_DC~ljnl4opc4yiwj573-2.webp"},
		{storage.ContentKey([32]byte{0xab, 0xcd}, "jpg"), "ab/abcd" + strings.Repeat("0", 60) + ".jpg"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestKeyOfBatch(t *testing.T) {
	t.Parallel()
	for batch, want := range map[string]string{
		"people":                "people",
		"names-2024.v1_final":   "names-2024.v1_final",
		"..":                    "_~",
		".tmp":                  "_tmp~",
		"-x":                    "_x~",
		"con":                   "_con~",
		"nul.txt":               "_nul.txt~",
		"dot.":                  "dot.~",
		"People":                "People~",
		"":                      "_~",
		"a/b":                   "a_b~",
		strings.Repeat("a", 81): strings.Repeat("a", 62) + "~",
	} {
		key := storage.Key(batch, "X", 1, "jpg")
		got := path.Dir(key)
		if strings.HasSuffix(want, "~") {
			got = got[:len(got)-16]
		}
		if got != want {
			t.Errorf("batch %q: got folder %q, want %q", batch, got, want)
		}
		if err := storage.CheckKey(key); err != nil {
			t.Errorf("batch %q: %v", batch, err)
		}
	}
}

// folds are ways in which file systems, and people who move files between
// them, take two names for one. None of them is made of the code under test.
var folds = map[string]func(string) string{
	"lower":                strings.ToLower,
	"upper":                strings.ToUpper,
	"lower of upper":       func(s string) string { return strings.ToLower(strings.ToUpper(s)) },
	"upper of lower":       func(s string) string { return strings.ToUpper(strings.ToLower(s)) },
	"full case folding":    func(s string) string { return cases.Fold().String(s) },
	"NFC":                  norm.NFC.String,
	"NFD":                  norm.NFD.String,
	"NFKC":                 norm.NFKC.String,
	"NFD, folded":          func(s string) string { return cases.Fold().String(norm.NFD.String(s)) },
	"folded, NFD":          func(s string) string { return norm.NFD.String(cases.Fold().String(s)) },
	"NFKC case folding":    func(s string) string { return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(s))) },
	"lower NFD of upper":   func(s string) string { return norm.NFD.String(strings.ToLower(strings.ToUpper(s))) },
	"trailing dots, lower": func(s string) string { return strings.TrimRight(strings.ToLower(s), ". ") },
	"invisible left out": func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
				return -1
			}
			return r
		}, strings.ToLower(norm.NFD.String(s)))
	},
}

// checkPair fails where two different pictures have one place.
func checkPair(t *testing.T, a string, rankA int, b string, rankB int) {
	t.Helper()
	keyA, keyB := storage.Key("people", a, rankA, "jpg"), storage.Key("people", b, rankB, "jpg")
	checkSafe(t, a, keyA)
	checkSafe(t, b, keyB)
	if a == b && rankA == rankB {
		if keyA != keyB {
			t.Fatalf("%q has two keys: %q and %q", a, keyA, keyB)
		}
		return
	}
	for how, fold := range folds {
		if fold(keyA) == fold(keyB) {
			t.Fatalf("%s: %q rank %d and %q rank %d have one key: %q and %q", how, a, rankA, b, rankB, keyA, keyB)
		}
	}
}

var device = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$) *\.`)

func checkSafe(t *testing.T, name, key string) {
	t.Helper()
	if err := storage.CheckKey(key); err != nil {
		t.Fatalf("key of %q: %v", name, err)
	}
	base := path.Base(key)
	switch {
	case len(base) > 100:
		t.Fatalf("file name of %q has %d bytes: %q", name, len(base), base)
	case !utf8.ValidString(base), !norm.NFC.IsNormalString(base):
		t.Fatalf("file name of %q is not NFC in UTF-8: %q", name, base)
	case strings.ContainsAny(base, `/\:*?"<>|`), strings.HasPrefix(base, "-"), strings.HasPrefix(base, "."), strings.HasPrefix(base, " "):
		t.Fatalf("file name of %q is not safe: %q", name, base)
	case device.MatchString(base):
		t.Fatalf("file name of %q is a device of Windows: %q", name, base)
	}
	for _, r := range base {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Cf, r) || unicode.IsSpace(r) && r != ' ' {
			t.Fatalf("file name of %q has %U: %q", name, r, base)
		}
	}
}

// variants are names that a careless rule takes for name.
func variants(name string) []string {
	all := []string{
		name, name + "-2", name + "-1", name + "~l", name + "~t", name + ".", name + " ", " " + name, name + "_",
		name + "\u200d", "\ufeff" + name, name + "\u0301", name + ".jpg", "_" + name,
		strings.ReplaceAll(name, " ", "_"), strings.ReplaceAll(name, " ", "  "), strings.ReplaceAll(name, " ", "\u00a0"),
		cases.Title(language.Und).String(name),
		strings.Map(unicode.ToTitle, name),
	}
	for _, fold := range folds {
		all = append(all, fold(name))
	}
	key := storage.Key("people", name, 1, "jpg")
	all = append(all, strings.TrimSuffix(path.Base(key), ".jpg"), path.Base(key))
	return all
}

func TestKeysNeverMeet(t *testing.T) {
	t.Parallel()
	names := []string{
		"Brus Lee", "brus lee", "Brus_Lee", "Strauß", "STRASSE", "İstanbul", "Işık", "ısı", "Kelvin", "\u212aelvin",
		"ſoft", "Σωκράτης", "σσς", "ﬁsh", "Ǆ", "ǅ", "ǆ", "Åse", "\u212bse", "Ａlice", "Ꭰ", "ꭰ", "ა", "Ა", "ᾳ", "ͅα",
		"R2-D2", "Paul McCartney", "DON'T", "a-b-3", "Xy~l", "한글", "\u1112\u1161\u11ab", "e\u0301", "ẞ", "µ", "μ", "K2", "Ⅷ", "con", "t", "T",
	}
	seen := newPlaces()
	for _, name := range names {
		for _, v := range variants(name) {
			for rank := 1; rank <= 3; rank++ {
				seen.add(t, v, rank)
			}
		}
	}
}

// TestKeysOfManyNames makes names from an alphabet in which everything looks
// like everything else, and looks for two in one place.
func TestKeysOfManyNames(t *testing.T) {
	t.Parallel()
	alphabet := []rune("aAbBiIıİsSſßẞσςΣkK\u212aåÅ\u212bé\u0301\u0345ᾳµμ -_.~12ﬁ'’\u200b\u00a0ǅǆ")
	rng := rand.New(rand.NewPCG(1, 2))
	seen := newPlaces()
	for range 10_000 {
		r := make([]rune, 1+rng.IntN(5))
		for i := range r {
			r[i] = alphabet[rng.IntN(len(alphabet))]
		}
		seen.add(t, string(r), 1+rng.IntN(3))
	}
}

// places knows for each way of folding which picture has which folded key.
type places map[string]map[string]place

type place struct {
	name string
	rank int
}

func newPlaces() places {
	p := make(places)
	for how := range folds {
		p[how] = make(map[string]place)
	}
	return p
}

// add fails where another picture has the place of this one.
func (p places) add(t *testing.T, name string, rank int) {
	t.Helper()
	key := storage.Key("people", name, rank, "jpg")
	checkSafe(t, name, key)
	p.put(t, place{name, rank}, key)
}

// put fails where another picture has the place of the one with key.
func (p places) put(t *testing.T, here place, key string) {
	t.Helper()
	for how, fold := range folds {
		k := fold(key)
		if other, ok := p[how][k]; ok && other != here {
			t.Fatalf("%s: %+q rank %d and %+q rank %d have one key: %q", how, here.name, here.rank, other.name, other.rank, key)
		}
		p[how][k] = here
	}
}

// TestKeyOfEveryRune: folding ends for every character, and what one
// character becomes is safe.
func TestKeyOfEveryRune(t *testing.T) {
	t.Parallel()
	seen := make(map[string]rune)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) || unicode.Is(unicode.Co, r) || !unicode.IsOneOf(unicode.PrintRanges, r) && r > 0xffff {
			continue
		}
		key := storage.Key("people", string(r), 1, "jpg")
		checkSafe(t, string(r), key)
		folded := cases.Fold().String(norm.NFKD.String(strings.ToLower(strings.ToUpper(key))))
		if other, ok := seen[folded]; ok {
			t.Fatalf("%U and %U have one key: %q", r, other, key)
		}
		seen[folded] = r
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("Brus Lee", "brus lee", uint8(1), uint8(1))
	f.Add("Brus Lee", "Brus Lee-2", uint8(2), uint8(1))
	f.Add("Strauß", "STRAUSS", uint8(1), uint8(1))
	f.Add("con", "\xff\u202e", uint8(1), uint8(9))
	f.Fuzz(func(t *testing.T, a, b string, rankA, rankB uint8) {
		checkPair(t, a, int(rankA)+1, b, int(rankB)+1)
		for _, v := range variants(a) {
			checkPair(t, a, 1, v, 1)
			checkPair(t, a, 2, v, 1)
		}
	})
}

func TestContentKeyIsNoKey(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("picture"))
	for _, sum := range [][32]byte{sum, {}, {0x11}} {
		key := storage.ContentKey(sum, "jpg")
		if err := storage.CheckKey(key); err != nil {
			t.Error(err)
		}
		name := strings.TrimSuffix(path.Base(key), ".jpg")
		for _, v := range []string{name, strings.ToUpper(name)} {
			if got := storage.Key(path.Dir(key), v, 1, "jpg"); strings.EqualFold(got, key) {
				t.Errorf("name %q has the key of the content %q", v, key)
			}
		}
	}
}

func ExampleKey() {
	fmt.Println(storage.Key("people", "Han Meimei", 1, "png"))
	fmt.Println(storage.Key("people", "Han Meimei", 2, "jpg"))
	fmt.Println(storage.Key("people", "han meimei", 1, "png"))
	fmt.Println(storage.Key("people", "韩梅梅", 1, "webp"))
	// Output:
	// people/Han Meimei.png
	// people/Han Meimei-2.jpg
	// people/han meimei~l.png
	// people/韩梅梅.webp
}

func BenchmarkKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		storage.Key("people", "Han Meimei", 1, "jpg")
	}
}

func TestRenewedKeyStandsBesideTheFirst(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		storage.Key("names", "Han Meimei", 1, "png"): "names/Han Meimei~g7.png",
		storage.Key("names", "brus lee", 2, "jpg"):   "names/brus lee~l-2~g7.jpg",
		storage.Key("names", "St. John", 1, "webp"):  "names/St. John~g7.webp",
	} {
		got := storage.RenewedKey(key, 7)
		if got != want || storage.CheckKey(got) != nil {
			t.Errorf("%s is renewed as %s, want %s", key, got, want)
		}
		// A name that is spelt like it has another key.
		if other := storage.Key("names", "Han Meimei~g7", 1, "png"); other == got {
			t.Errorf("%s is the key of a name as well", got)
		}
	}
}

func TestIsKeyOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key, batch, name string
		want             bool
	}{
		{storage.Key("b", "Han Meimei", 1, "jpg"), "b", "Han Meimei", true},
		{storage.Key("b", "AC/DC", 12, "webp"), "b", "AC/DC", true},
		{storage.Key("b", "Brus Lee", 1, "jpg"), "b", "Brus", false},
		{storage.Key("b", "Brus", 1, "jpg"), "c", "Brus", false},
		{storage.Key("b", "Brus", 1, "jpg"), "b", "brus", false},
		{storage.ContentKey([32]byte{1}, "jpg"), "01", "Brus", false},
		{"b/Brus-0.jpg", "b", "Brus", false},
		{"b/Brus", "b", "Brus", false},
	} {
		if got := storage.IsKeyOf(tc.key, tc.batch, tc.name); got != tc.want {
			t.Errorf("IsKeyOf(%q, %q, %q) is %v, want %v", tc.key, tc.batch, tc.name, got, tc.want)
		}
	}
	if key := storage.ContentKey([32]byte{0xab}, "png"); !storage.IsContentKey(key) || storage.IsContentKey("ab/Brus.png") {
		t.Errorf("IsContentKey tells %q from a name's key wrongly", key)
	}
}
