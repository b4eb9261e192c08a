// Package licence knows which licence a service means by its words: a code, a
// title, a URL. It names it by its SPDX identifier (https://spdx.org/licenses).
// It takes only what names one licence for certain; it does not judge what a
// licence allows, and reads no licence's text.
package licence

import (
	"slices"
	"strings"
)

// ID returns the SPDX identifier of the licence that text names, or "" where
// text names none, several, or one that is not known here. Where a Creative
// Commons licence is named without its version, it is taken for 4.0: so the
// services mean it that give codes alone (iNaturalist, GBIF). "Public domain"
// without more is CC-PDM-1.0, the mark for it.
func ID(text string) string {
	if len(text) > maxText {
		return ""
	}
	text = strings.ToLower(strings.TrimSpace(text))
	if id := exact(text); id != "" {
		return id
	}
	// What stands in brackets, or is a URL, says the same once more or makes
	// the rest uncertain.
	id := ""
	for _, part := range parts(text) {
		next := ofPart(part)
		if next == "" || id != "" && next != id {
			return ""
		}
		id = next
	}
	return id
}

// maxText bounds what is looked at: no name of a licence is longer.
const maxText = 600

// Known returns every identifier that ID may return, in order.
func Known() []string { return slices.Clone(known) }

// What follows gets texts in lower case.

// exact returns the identifier that text is, in whatever case.
func exact(text string) string {
	for _, id := range known {
		if strings.EqualFold(id, text) {
			return id
		}
	}
	return ""
}

// parts takes URLs and what stands in brackets out of text. What is left comes
// last, unless it is nothing.
func parts(text string) []string {
	var all []string
	var rest strings.Builder
	for text != "" {
		i := strings.IndexAny(text, "([<")
		u := urlAt(text)
		if u >= 0 && (i < 0 || u <= i) {
			end := strings.IndexAny(text[u:], " \t\n()[]<>\"")
			if end < 0 {
				end = len(text) - u
			}
			rest.WriteString(text[:u] + " ")
			all, text = append(all, strings.TrimRight(text[u:u+end], ".,;")), text[u+end:]
			continue
		}
		if i < 0 {
			rest.WriteString(text)
			break
		}
		end := strings.IndexAny(text[i:], ")]>")
		if end < 0 {
			return []string{""} // a bracket without its end: nothing is certain
		}
		rest.WriteString(text[:i] + " ")
		all, text = append(all, parts(text[i+1:i+end])...), text[i+end+1:]
	}
	if left := strings.Trim(rest.String(), " \t\n.,;:-–—/|"); left != "" {
		all = append(all, left)
	}
	return all
}

// urlAt returns where a URL begins in text, or -1.
func urlAt(text string) int {
	at := -1
	for _, begin := range []string{"https://", "http://", "www.", "creativecommons.org/"} {
		if i := strings.Index(text, begin); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	return at
}

func ofPart(part string) string {
	if urlAt(part) == 0 {
		return ofURL(part)
	}
	if id := exact(part); id != "" {
		return id
	}
	words := tokens(part)
	if id := creativeCommons(words); id != "" {
		return id
	}
	words = plain(words)
	if id := titles[strings.Join(words, " ")]; id != "" {
		return id
	}
	return exact(strings.Join(words, "-"))
}

// ofURL returns the licence that a URL is the home of.
func ofURL(u string) string {
	for _, scheme := range []string{"https:", "http:"} {
		u = strings.TrimPrefix(u, scheme)
	}
	u = strings.TrimPrefix(strings.TrimLeft(u, "/"), "www.")
	u, _, _ = strings.Cut(u, "#")
	u, _, _ = strings.Cut(u, "?")
	host, path, _ := strings.Cut(u, "/")
	path = strings.Trim(path, "/")
	switch host {
	case "creativecommons.org":
		return ofCreativeCommons(strings.Split(path, "/"))
	case "spdx.org":
		id := strings.TrimPrefix(path, "licenses/")
		return exact(strings.TrimSuffix(strings.TrimSuffix(id, ".html"), ".json"))
	case "opensource.org":
		id := strings.TrimPrefix(strings.TrimPrefix(path, "licenses/"), "license/")
		return exact(strings.TrimSuffix(id, ".php"))
	}
	for _, ext := range []string{".html", ".txt", ".en"} {
		path = strings.TrimSuffix(path, ext)
	}
	return homes[host+"/"+strings.Trim(path, "/")]
}

// ofCreativeCommons reads the path of a deed: licenses/by-sa/3.0/de/deed.en,
// publicdomain/zero/1.0.
func ofCreativeCommons(path []string) string {
	if len(path) < 2 {
		return ""
	}
	words := path[1:]
	// The language, or the form, of the page that is shown.
	if last := words[len(words)-1]; last == "deed" || last == "legalcode" ||
		strings.HasPrefix(last, "deed.") || strings.HasPrefix(last, "legalcode.") || last == "rdf" {
		words = words[:len(words)-1]
	}
	switch path[0] {
	case "publicdomain":
		switch strings.Join(words, "/") {
		case "zero/1.0", "zero":
			return "CC0-1.0"
		case "mark/1.0", "mark":
			return "CC-PDM-1.0"
		}
	case "licenses":
		if len(words) == 1 && words[0] == "publicdomain" {
			return "CC-PDDC"
		}
		if len(words) == 2 && words[0] == "zero" && words[1] == "1.0" {
			return "CC0-1.0"
		}
		if len(words) < 2 || len(words) > 3 {
			return ""
		}
		// Without its version the deed's address leads nowhere.
		return exact("CC-" + strings.Join(words, "-"))
	}
	return ""
}
