package robots

import (
	"net/http"
	"slices"
	"strings"
)

// valued are the words of an X-Robots-Tag that have a value behind a colon,
// where a user agent would stand otherwise.
var valued = []string{"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}

// Refused returns the word by which an answer's X-Robots-Tag refuses that we
// keep what it holds, "" where it does not. Words behind a user agent and a
// colon count if the agent is ours or "*", until the next agent; "none" stands
// for noindex. Source: the description of the header by those who read it,
// https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag.
func (c Config) Refused(h http.Header) string {
	for _, value := range h.Values("X-Robots-Tag") {
		ours := true
		for word := range strings.SplitSeq(value, ",") {
			word = strings.ToLower(strings.TrimSpace(word))
			agent, rest, ok := strings.Cut(word, ":")
			// A blank before the colon: part of a date.
			if agent = strings.TrimSpace(agent); ok && !strings.ContainsAny(agent, " \t") {
				if slices.Contains(valued, agent) {
					continue
				}
				ours = agent == "*" || token(agent) == Product
				word = strings.TrimSpace(rest)
			}
			if ours && c.refuses(word) {
				return word
			}
		}
	}
	return ""
}

func (c Config) refuses(word string) bool {
	return slices.ContainsFunc(c.RobotsTag, func(w string) bool {
		return strings.EqualFold(w, word) || word == "none" && strings.EqualFold(w, "noindex")
	})
}
