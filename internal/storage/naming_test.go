package storage_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/storage"
)

func mustParse(t testing.TB, s string) storage.Naming {
	t.Helper()
	n, err := storage.ParseNaming(s)
	if err != nil {
		t.Fatalf("naming %s", err)
	}
	return n
}

// named is a picture whose attributes and columns are values.
func named(batch, name string, rank int, values map[string]string) storage.Named {
	value := func(key string) string { return values[key] }
	return storage.Named{
		Batch: batch, Name: name, Rank: rank, Ext: "jpg", SHA256: sha256.Sum256([]byte(fmt.Sprint(name, rank))),
		Attribute: value, Column: value,
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	values := map[string]string{"team": "Sales", "small": "sales", "year": "1984", "title": "AC/DC: Live-2", "none": "", "dot": "Ltd."}
	for _, test := range []struct {
		template string
		rank     int
		want     string // # for a hash of a name
	}{
		{"readable", 1, "crew/Ada Lovelace.jpg"},
		{"{batch}/{name}{-rank}.{ext}", 2, "crew/Ada Lovelace-2.jpg"},
		{"{batch}/{name}.{ext}", 1, "crew/Ada Lovelace.jpg"},
		{"{batch}/{name}.{ext}", 2, "crew/Ada Lovelace-2.jpg"},
		{"{batch}/{name}-{rank}.{ext}", 1, "crew/Ada Lovelace-1.jpg"},
		{"{batch}/{name} picture {rank}.{ext}", 3, "crew/Ada Lovelace picture 3.jpg"},
		{"{batch}/{name}/{rank}.{ext}", 12, "crew/Ada Lovelace/12.jpg"},
		{"{batch}/{rank}/{name}.{ext}", 12, "crew/12/Ada Lovelace.jpg"},
		{"{batch}/number {rank}/{name}.{ext}", 1, "crew/number 1/Ada Lovelace.jpg"},
		{"{batch}/{column.team}/{name}.{ext}", 1, "crew/sales/Ada Lovelace.jpg"},
		{"{batch}/{column.small}/{name}.{ext}", 1, "crew/sales/Ada Lovelace.jpg"},
		{"{batch}/{column.dot}/{name}.{ext}", 1, "crew/ltd.~#/Ada Lovelace.jpg"},
		{"{batch}/{attr.none}/{name}.{ext}", 1, "crew/_/Ada Lovelace.jpg"},
		{"{batch}/{attr.title}/{name}.{ext}", 1, "crew/ac_dc_ live-2~#/Ada Lovelace.jpg"},
		{"{batch}/by year/{attr.year}/{name}.{ext}", 1, "crew/by year/1984/Ada Lovelace.jpg"},
		{"{batch}/{name|md5:2}/{name}.{ext}", 1, "crew/51/Ada Lovelace.jpg"},
		{"{batch}/of {name}/picture.{ext}", 2, "crew/of Ada Lovelace~ltt/picture-2.jpg"},

		// What tells no names apart has a hash of the name.
		{"{batch}/{attr.year}.{ext}", 1, "crew/1984~#.jpg"},
		{"{batch}/{attr.year}.{ext}", 2, "crew/1984~#-2.jpg"},
		{"{batch}/{attr.year}/{rank}.{ext}", 2, "crew/1984/2~#.jpg"},
		{"{batch}/{column.team}-{name}.{ext}", 1, "crew/sales-ada lovelace~#.jpg"},
		{"{batch}/{name|underscore|lower}.{ext}", 1, "crew/ada_lovelace~#.jpg"},
		{"{batch}/{sha256}.{ext}", 1, fmt.Sprintf("crew/%x~#.jpg", sha256.Sum256([]byte("Ada Lovelace1")))},
	} {
		got := mustParse(t, test.template).Key(named("crew", "Ada Lovelace", test.rank, values))
		want := "^" + strings.ReplaceAll(regexp.QuoteMeta(test.want), "#", "[a-z2-7]{16}") + "$"
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s, rank %d: got %q, want %q", test.template, test.rank, got, test.want)
		}
	}
}

func TestNamingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"":                                                     "give readable, content, or a template such as {batch}/",
		"redable":                                              `"redable": give readable`,
		"{name}.{ext}":                                         "put {batch}/ in front",
		"pictures/{batch}/{name}.{ext}":                        "put {batch}/ in front",
		"{batch}-{name}/{rank}.{ext}":                          "put {batch}/ in front",
		"/{batch}/{name}.{ext}":                                "put {batch}/ in front",
		"{batch}.{ext}":                                        "put {batch}/ in front",
		"{batch}/{name}":                                       "write .{ext} at its end",
		"{batch}/{name}.jpg":                                   "write .{ext} at its end",
		"{batch}/{name}{ext}":                                  "write .{ext} at its end",
		"{batch}/{ext}/{name}.{ext}":                           "{ext} stands at the end only",
		"{batch}/{nme}.{ext}":                                  "unknown {nme}: known are {batch}, {name}",
		"{batch}/{attr.}.{ext}":                                "unknown {attr.}",
		"{batch}/{}.{ext}":                                     "unknown {}",
		"{batch}/{name.{ext}":                                  "unknown {name.{ext}",
		"{batch}/{name}}.{ext}":                                `a "}" has no "{"`,
		"{batch}/{name":                                        `a "{" has no "}"`,
		"{batch}/{name|upper}.{ext}":                           `unknown filter "upper"`,
		"{batch}/{name|slashes}.{ext}":                         "never makes a folder, so write {name}",
		"{batch}/{rank|lower}.{ext}":                           "takes no filter: write {rank}",
		"{batch}//{name}.{ext}":                                "without a name",
		"{batch}/{name}/.{ext}":                                "without a name",
		"{batch}/{name}/{-rank}.{ext}":                         "without a name",
		"{batch}/../{name}.{ext}":                              "some systems do not take",
		"{batch}/.hidden/{name}.{ext}":                         "begin it with a letter",
		"{batch}/con/{name}.{ext}":                             "some systems do not take",
		"{batch}/{name}/com{rank}.{ext}":                       "some systems do not take",
		"{batch}/Ltd./{name}.{ext}":                            "some systems do not take",
		"{batch}/a:b/{name}.{ext}":                             `the character ':'`,
		`{batch}/a\b/{name}.{ext}`:                             `the character '\\'`,
		"{batch}/ü/{name}.{ext}":                               `the character 'ü'`,
		"{batch}/{rank}-{name}.{ext}":                          "write {name}-{rank}.{ext}",
		"{batch}/{name}{rank}.{ext}":                           "runs into what stands before it",
		"{batch}/{name}-0{rank}.{ext}":                         "runs into what stands before it",
		"{batch}/{name} no{rank}.{ext}":                        "",
		"{batch}/{name}x{rank}.{ext}":                          "runs into what stands before it",
		"{batch}/{-rank}/{name}.{ext}":                         "write {name}{-rank}.{ext}",
		"{batch}/{name} and so on until the last {rank}.{ext}": "shorten it",
		"{batch}/{rank}{name}/x.{ext}":                         "as a folder of its own",
		"{batch}/1/2/3/4/5/{name}.{ext}":                       "at most 5 are taken",
		"{batch}/" + strings.Repeat("{name}", 100):             "at most 500",
		"{batch}/{name}/" + strings.Repeat("a", 81) + ".{ext}": "shorten it",
	} {
		_, err := storage.ParseNaming(template)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", template, err, want)
		}
	}
}

// everyShape are templates of every shape that is taken.
var everyShape = []string{
	"readable", "{batch}/{name}.{ext}", "{batch}/{name}-{rank}.{ext}", "{batch}/{name}.{rank}.{ext}", "{batch}/{name}/{rank}.{ext}",
	"{batch}/{rank}/{name}.{ext}", "{batch}/{rank}/{name} x {rank}.{ext}", "{batch}/{name}/pic {rank}.{ext}",
	"{batch}/{attr.a}/{name}{-rank}.{ext}", "{batch}/{attr.a}-{name}.{ext}", "{batch}/{name}-{attr.a}.{ext}",
	"{batch}/{attr.a}.{ext}", "{batch}/{attr.a}_{rank}.{ext}", "{batch}/{attr.a}/{column.b}/{rank}.{ext}", "{batch}/{attr.a}{attr.b}.{ext}",
	"{batch}/{name}/{attr.a}.{ext}", "{batch}/{name}/{attr.a}{-rank}.{ext}", "{batch}/{name} of {batch}/{attr.a} {rank}.{ext}",
	"{batch}/{sha256}.{ext}", "{batch}/{sha256}-{rank}.{ext}", "{batch}/{name|lower}.{ext}", "{batch}/{name|md5}.{ext}",
	"{batch}/{name|md5:1}/{name|underscore} {rank}.{ext}", "{batch}/picture.{ext}", "{batch}/a-2{-rank}.{ext}", "{batch}/{name}{name}.{ext}",
	"{batch}/{attr.a}/{attr.a}/{attr.b}/{attr.a}/{attr.b}{attr.a}.{ext}",
}

// TestTemplatesNeverMeet makes names and values from an alphabet in which
// everything looks like everything else, and looks for two pictures of any
// template in one place.
func TestTemplatesNeverMeet(t *testing.T) {
	t.Parallel()
	alphabet := []rune("aAiıİsſßΣς\u212aé\u0301/ -_.~12ﬁ\u200b\u00a0")
	for _, template := range everyShape {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			n := mustParse(t, template)
			rng := rand.New(rand.NewPCG(3, 4))
			word := func() string {
				r := make([]rune, rng.IntN(4))
				for i := range r {
					r[i] = alphabet[rng.IntN(len(alphabet))]
				}
				return string(r)
			}
			seen := newPlaces()
			folders := make(map[string]string)
			spelled := make(map[string]string)
			for range 1_000 {
				name := word() + "a"
				rank := 1 + rng.IntN(3)
				p := named("people", name, rank, map[string]string{"a": word(), "b": word()})
				key := n.Key(p)
				checkNamed(t, n, p, key)
				seen.put(t, place{name, rank}, key)
				// What differs in its spelling alone would be written over the other.
				folded := folds["NFKC case folding"](key)
				if other, ok := spelled[folded]; ok && other != key {
					t.Fatalf("%q and %q, of one picture, are one where case is folded", key, other)
				}
				spelled[folded] = key
				for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
					// One folder has one spelling, or a listing would not be what was stored.
					folded := folds["NFKC case folding"](dir)
					if other, ok := folders[folded]; ok && other != dir {
						t.Fatalf("folders %q and %q are one where case is folded", dir, other)
					}
					folders[folded] = dir
				}
				if !n.IsKeyOf(key, "people", name) || !n.IsKeyOf(storage.RenewedKey(key, 7), "people", name) {
					t.Fatalf("%q is not taken for a key of %q", key, name)
				}
				if other := word() + "a"; other != name && n.IsKeyOf(key, "people", other) {
					t.Fatalf("%q of %q is taken for a key of %q", key, name, other)
				}
				if n.IsKeyOf(key, "other", name) {
					t.Fatalf("%q is taken for a key of another batch", key)
				}
				if below := n.Below(p); !strings.HasPrefix(key, below) {
					t.Fatalf("%q is not below %q", key, below)
				}
			}
		})
	}
}

// checkNamed fails where a key is not safe on every system.
func checkNamed(t *testing.T, n storage.Naming, p storage.Named, key string) {
	t.Helper()
	if err := storage.CheckKey(key); err != nil {
		t.Fatal(err)
	}
	if storage.IsContentKey(key) {
		t.Fatalf("%s: %q is taken for one by content", n, key)
	}
	if len(key) > 512 {
		t.Fatalf("%s: %q has %d bytes, which leave no room for a prefix", n, key, len(key))
	}
	for _, part := range strings.Split(key, "/") {
		checkSafe(t, p.Name, part)
		if strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ") {
			t.Fatalf("%s: %q ends with what some systems leave out", n, part)
		}
	}
	longest := path.Base(storage.SidecarKey(storage.RenewedKey(strings.TrimSuffix(key, ".jpg")+".webp", 999)))
	if len(longest) > 100 {
		t.Fatalf("%s: %q has %d bytes", n, longest, len(longest))
	}
}

func TestTemplatesHaveRoom(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("Ж", 128)
	for _, template := range everyShape {
		n := mustParse(t, template)
		for _, name := range []string{long, strings.Repeat("a", 80), strings.Repeat("A", 256), strings.Repeat("Ab ", 26) + "Ab"} {
			p := named("people", name, 999, map[string]string{"a": long, "b": name})
			checkNamed(t, n, p, n.Key(p))
		}
	}
}

func TestReadableIsItsTemplate(t *testing.T) {
	t.Parallel()
	for _, naming := range []string{"readable", "{batch}/{name}{-rank}.{ext}", "{batch}/{name}.{ext}"} {
		n := mustParse(t, naming)
		for _, name := range []string{"Han Meimei", "_", "brus lee", "AC/DC", "Brus Lee-2", "con", strings.Repeat("x", 200), "Sammy Davis Jr."} {
			for rank := 1; rank < 4; rank++ {
				if got, want := n.Key(named("crew", name, rank, nil)), storage.Key("crew", name, rank, "jpg"); got != want {
					t.Errorf("%s: got %q, want %q", naming, got, want)
				}
			}
		}
		if !n.IsKnownBefore() || n.ByContent() || n.String() != naming {
			t.Errorf("%s: known before %v, by content %v, written %q", naming, n.IsKnownBefore(), n.ByContent(), n)
		}
	}
	content := mustParse(t, "content")
	p := named("crew", "Ada", 1, nil)
	if key := content.Key(p); key != storage.ContentKey(p.SHA256, "jpg") || !content.ByContent() || content.IsKnownBefore() || content.IsKeyOf(key, "crew", "Ada") {
		t.Errorf("by content: %q", key)
	}
	if n := mustParse(t, "{batch}/{attr.a}/{name}.{ext}"); n.IsKnownBefore() || n.Below(p) != "crew/" {
		t.Errorf("%s: known before %v, below %q", n, n.IsKnownBefore(), n.Below(p))
	}
	if n := mustParse(t, "{batch}/{name}/{sha256}.{ext}"); n.IsKnownBefore() || n.Below(p) != "crew/Ada/" {
		t.Errorf("%s: known before %v, below %q", n, n.IsKnownBefore(), n.Below(p))
	}
}

func FuzzTemplates(f *testing.F) {
	for _, template := range everyShape {
		f.Add(template, "Ada", "ada", "x")
	}
	f.Add("{batch}/{attr.a}.{ext}", "\xff", "\u202e", "../../etc")
	f.Fuzz(func(t *testing.T, template, a, b, value string) {
		n, err := storage.ParseNaming(template)
		if err != nil || n.ByContent() || a == "" || b == "" {
			return
		}
		values := map[string]string{"a": value, "b": b}
		pa, pb := named("people", a, 1, values), named("people", b, 2, values)
		keyA, keyB := n.Key(pa), n.Key(pb)
		checkNamed(t, n, pa, keyA)
		checkNamed(t, n, pb, keyB)
		for how, fold := range folds {
			if fold(keyA) == fold(keyB) {
				t.Fatalf("%s: %s: %q and %q have one key: %q and %q", template, how, a, b, keyA, keyB)
			}
		}
		if !n.IsKeyOf(keyA, "people", a) || a != b && n.IsKeyOf(keyA, "people", b) {
			t.Fatalf("%s: whose is %q, of %q and %q?", template, keyA, a, b)
		}
	})
}

func ExampleParseNaming() {
	n, err := storage.ParseNaming("{batch}/{column.team}/{name}{-rank}.{ext}")
	if err != nil {
		fmt.Println(err)
		return
	}
	teams := func(column string) string { return map[string]string{"team": "Sales"}[column] }
	fmt.Println(n.Key(storage.Named{Batch: "crew", Name: "Ada Lovelace", Rank: 2, Ext: "png", Column: teams}))
	// Output:
	// crew/sales/Ada Lovelace-2.png
}
