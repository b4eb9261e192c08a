package licence

import (
	"slices"
	"strings"
	"unicode"
)

// tokens are the words of text, cut at all that is no letter and
// no digit. A version stays one word: 4.0, also where it is written 4_0.
func tokens(text string) []string {
	fields := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '+'
	})
	var words []string
	for _, f := range fields {
		f = strings.Trim(f, ".")
		if f == "" {
			continue
		}
		if n := len(words); n > 0 && isDigits(f) && isDigits(words[n-1]) {
			words[n-1] += "." + f
			continue
		}
		if v, ok := strings.CutPrefix(f, "v"); ok && v != "" && unicode.IsDigit(rune(v[0])) {
			f = v
		}
		words = append(words, f)
	}
	return words
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// noise are words that tell no licence from another.
var noise = []string{"the", "a", "license", "licence", "licenses", "licences", "licensed", "under", "deed", "version", "v", "ver"}

// plain leaves noise out.
func plain(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return slices.Contains(noise, w) })
}

// parted are words of Creative Commons that are written as one or as several,
// the longer ones first.
var parted = []struct{ written, means string }{
	{"creative commons", "cc"}, {"creativecommons", "cc"},
	{"cc zero", "cc0"}, {"cczero", "cc0"}, {"cc 0", "cc0"},
	{"non commercial", "nc"}, {"noncommercial", "nc"},
	{"no derivative works", "nd"}, {"noderivativeworks", "nd"}, {"no derivatives", "nd"}, {"noderivatives", "nd"},
	{"no derivs", "nd"}, {"noderivs", "nd"}, {"no derivative", "nd"},
	{"share alike", "sa"}, {"sharealike", "sa"},
	{"attribution", "by"},
	{"united states", "us"}, {"germany", "de"}, {"austria", "at"}, {"australia", "au"}, {"netherlands", "nl"},
	{"france", "fr"}, {"japan", "jp"}, {"united kingdom", "uk"}, {"england and wales", "uk"},
	{"ccby", "cc by"}, {"ccbysa", "cc by sa"}, {"ccbync", "cc by nc"}, {"ccbynd", "cc by nd"},
	{"ccbyncsa", "cc by nc sa"}, {"ccbyncnd", "cc by nc nd"},
}

// creativeCommons returns the licence that words name, all of them and each
// once, in any order but that of a sentence: {cc by sa 4.0}, {by nc 2.0
// generic}.
func creativeCommons(words []string) string {
	text := " " + strings.Join(plain(words), " ") + " "
	for _, p := range parted {
		text = strings.ReplaceAll(text, " "+p.written+" ", " "+p.means+" ")
	}
	var version, place string
	has := make(map[string]bool)
	for _, w := range strings.Fields(text) {
		switch {
		case has[w]:
			return ""
		case w == "international", w == "unported", w == "generic", w == "universal", w == "public",
			w == "domain", w == "dedication":
		case isVersion(w) && version == "":
			version = w
			continue
		case slices.Contains(elements, w):
		case len(w) <= 3 && place == "" && slices.Contains(places, w):
			place = w
		default:
			return ""
		}
		has[w] = true
	}
	domain := has["domain"] || has["dedication"]
	if has["cc0"] {
		if has["by"] || has["nc"] || has["nd"] || has["sa"] || place != "" || version != "" && version != "1.0" && version != "1" {
			return ""
		}
		return "CC0-1.0"
	}
	// "by" alone is a word of every other sentence.
	if !has["by"] || has["universal"] || domain || !has["cc"] && !has["nc"] && !has["nd"] && !has["sa"] && version == "" {
		return ""
	}
	id := "CC-BY"
	for _, element := range []string{"nc", "nd", "sa"} {
		if has[element] {
			id += "-" + element
		}
	}
	switch {
	case version == "":
		version = "4.0"
	case isDigits(version):
		version += ".0"
	}
	id += "-" + version
	if place != "" {
		id += "-" + place
	}
	return exact(id)
}

// elements are what Creative Commons licences are made of.
var elements = []string{"cc", "cc0", "by", "nc", "nd", "sa"}

// places are those for which SPDX has a version of its own.
var places = []string{"us", "de", "at", "au", "nl", "fr", "jp", "uk", "igo"}

func isVersion(w string) bool {
	return w != "" && !strings.ContainsFunc(w, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
}
