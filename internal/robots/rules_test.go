package robots_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/robots"
)

// What RFC 9309 says, section by section, and what it leaves to good sense.
func TestRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, path string
		want       bool
	}{
		"no file":                                     {"", "/x", true},
		"no group":                                    {"Disallow: /\n", "/x", true},
		"everybody":                                   {"User-agent: *\nDisallow: /\n", "/x", false},
		"an empty rule allows":                        {"User-agent: *\nDisallow:\n", "/x", true},
		"others only":                                 {"User-agent: other\nDisallow: /\n", "/x", true},
		"our own group and no other":                  {"User-agent: *\nDisallow: /\n\nUser-agent: harvest\nDisallow: /b\n", "/a", true},
		"our own group, empty":                        {"User-agent: *\nDisallow: /\n\nUser-agent: harvest\nDisallow:\n", "/a", true},
		"a group of several agents":                   {"User-agent: x\nUser-agent: Harvest\nDisallow: /b\n", "/b", false},
		"groups of one agent are one":                 {"User-agent: harvest\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: harvest\nDisallow: /b\n", "/b", false},
		"groups of everybody are one":                 {"User-agent: *\nDisallow: /a\n\nUser-agent: *\nDisallow: /b\n", "/a", false},
		"the beginning of our token":                  {"User-agent: harv\nDisallow: /\n", "/x", true},
		"more than our token":                         {"User-agent: harvester\nDisallow: /\n", "/x", true},
		"our token with a version":                    {"User-agent: harvest/2.0 (+x)\nDisallow: /\n", "/x", false},
		"other keys do not end a list of agents":      {"User-agent: *\nCrawl-delay: 5\nUser-agent: x\nDisallow: /\n", "/x", false},
		"the longest rule":                            {"User-agent: *\nDisallow: /a\nAllow: /a/b\n", "/a/b/c", true},
		"the longest rule refuses":                    {"User-agent: *\nAllow: /a/\nDisallow: /a/b/c\n", "/a/b/c", false},
		"of two equal ones Allow":                     {"User-agent: *\nDisallow: /p\nAllow: /p\n", "/p", true},
		"paths have capitals":                         {"User-agent: *\nDisallow: /A\n", "/a", true},
		"robots.txt itself":                           {"User-agent: *\nDisallow: /\n", "/robots.txt", true},
		"end":                                         {"User-agent: *\nDisallow: /*.png$\n", "/a.png", false},
		"end, and more":                               {"User-agent: *\nDisallow: /*.png$\n", "/a.png?x", true},
		"end without a star":                          {"User-agent: *\nDisallow: /a$\n", "/ab", true},
		"star":                                        {"User-agent: *\nDisallow: /a*/c\n", "/abb/c/d", false},
		"star for nothing":                            {"User-agent: *\nDisallow: /a*b\n", "/ab", false},
		"star, not found":                             {"User-agent: *\nDisallow: /a*/c\n", "/abb/d", true},
		"star, the later place":                       {"User-agent: *\nDisallow: /*b$\n", "/bab", false},
		"star, parts do not overlap":                  {"User-agent: *\nDisallow: /ab*bc$\n", "/abc", true},
		"a star at the end":                           {"User-agent: *\nDisallow: /a*\n", "/abc", false},
		"query":                                       {"User-agent: *\nDisallow: /*?s=\n", "/x?s=1", false},
		"a dot is a dot":                              {"User-agent: *\nDisallow: /a.b\n", "/aXb", true},
		"octets are percent-encoded":                  {"User-agent: *\nDisallow: /foo/bar/ツ\n", "/foo/bar/%E3%83%84", false},
		"percent-encoded octets":                      {"User-agent: *\nDisallow: /foo/bar/%E3%83%84\n", "/foo/bar/%e3%83%84", false},
		"percent-encoded letters are letters":         {"User-agent: *\nDisallow: /foo/%62%61%7A\n", "/foo/baz", false},
		"a percent-encoded star is none":              {"User-agent: *\nDisallow: /a%2Ab\n", "/axb", true},
		"a percent-encoded slash is none":             {"User-agent: *\nDisallow: /a%2Fb\n", "/a/b", true},
		"comments":                                    {"# all\nUser-agent: * # all\nDisallow: /a # not this\n", "/a", false},
		"capitals and blanks":                         {"  USER-AGENT  :  *  \n\tDisAllow\t:\t/a\t\n", "/a", false},
		"byte order mark":                             {"\xef\xbb\xbfUser-agent: *\nDisallow: /\n", "/x", false},
		"CR alone ends a line":                        {"User-agent: *\rDisallow: /\r", "/x", false},
		"CRLF ends a line":                            {"User-agent: *\r\nDisallow: /\r\n", "/x", false},
		"bad lines are passed over":                   {"<html>\nUser-agent: *\n:::\nnonsense\nDisallow: /a\n\xff\xfe: x\n", "/a", false},
		"a blank line ends no group":                  {"User-agent: *\n\nDisallow: /a\n", "/a", false},
		"a group that names everybody and us is ours": {"User-agent: *\nUser-agent: harvest\nDisallow: /a\n\nUser-agent: *\nDisallow: /b\n", "/b", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, by := robots.Parse([]byte(c.file), robots.Product).Allowed(c.path)
			if got != c.want || got != (by == "") {
				t.Errorf("%s under %q: got %t (%q), want %t", c.path, c.file, got, by, c.want)
			}
		})
	}
}

// A file that was made to be costly is matched in no time that matters. The
// bound is far above what it takes (about 0.1 s).
func TestHostileFile(t *testing.T) {
	t.Parallel()
	line := "Disallow: /*a*a*a*a*a*a*b\n"
	file := "User-agent: *\n" + strings.Repeat(line, robots.MaxBytes/len(line))
	began := time.Now()
	rules := robots.Parse([]byte(file), robots.Product)
	if ok, _ := rules.Allowed("/" + strings.Repeat("a", 8000)); !ok {
		t.Error("refused, want no rule to match")
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func ExampleRules_Allowed() {
	rules := robots.Parse([]byte("User-agent: *\nDisallow: /private/\nAllow: /private/logo.png\n"), robots.Product)
	for _, path := range []string{"/private/logo.png", "/private/face.png"} {
		ok, by := rules.Allowed(path)
		fmt.Printf("%s: %t %q\n", path, ok, by)
	}
	// Output:
	// /private/logo.png: true ""
	// /private/face.png: false "Disallow: /private/"
}

// FuzzRules holds that no file and no path makes it panic, that what is
// refused names its rule, and that robots.txt itself may be read.
func FuzzRules(f *testing.F) {
	f.Add("User-agent: *\nDisallow: /a*b$\nAllow: /%41\n", "/axb?c=%zz")
	f.Add("\xef\xbb\xbfuser-agent:harvest\rdisallow:*", "")
	f.Fuzz(func(t *testing.T, file, path string) {
		rules := robots.Parse([]byte(file), robots.Product)
		if ok, by := rules.Allowed(path); ok != (by == "") {
			t.Errorf("got %t by %q", ok, by)
		}
		if ok, _ := rules.Allowed("/robots.txt"); !ok {
			t.Error("robots.txt is refused")
		}
	})
}
