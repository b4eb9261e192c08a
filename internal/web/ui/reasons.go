package ui

import (
	"html"
	"html/template"
	"strings"

	"github.com/picharvest/picharvest/docs"
	"github.com/picharvest/picharvest/internal/failure"
)

// explanation is what docs/errors.md says of a reason. Its words may hold
// `code`.
type explanation struct {
	// Title is the reason for people: "Refused address".
	Title string
	// Meaning is what happened, Tries whether it was tried again, Cure what
	// to do.
	Meaning, Tries, Cure string
}

// explanations is the table of docs/errors.md by reason.
var explanations = readExplanations(docs.Errors)

func readExplanations(doc string) map[failure.Reason]explanation {
	table := make(map[failure.Reason]explanation)
	for line := range strings.Lines(doc) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		word, isRow := strings.CutPrefix(cells[0], "| `")
		if !isRow || len(cells) != 4 {
			continue
		}
		word = strings.TrimSuffix(word, "`")
		table[failure.Reason(word)] = explanation{
			Title: words(word), Meaning: cells[1], Tries: cells[2], Cure: strings.TrimSuffix(cells[3], " |"),
		}
	}
	return table
}

// explain returns what is known of a reason; a word of a later version
// explains itself.
func explain(r failure.Reason) explanation {
	if e, ok := explanations[r]; ok {
		return e
	}
	return explanation{Title: words(string(r))}
}

// words turns a stable word into one for people.
func words(word string) string {
	if word == "" {
		return ""
	}
	s := strings.ReplaceAll(word, "_", " ")
	return acronyms.Replace(strings.ToUpper(s[:1]) + s[1:])
}

// acronyms of reasons.
var acronyms = strings.NewReplacer("Dns", "DNS", "Tls", "TLS", " url", " URL")

// marked shows text with `code` in it.
func marked(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			b.WriteString("<code>" + html.EscapeString(part) + "</code>")
		} else {
			b.WriteString(html.EscapeString(part))
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every part was escaped
}
