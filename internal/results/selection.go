package results

import (
	"fmt"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/nearest"
)

// Words select names as people write it: in flags, in addresses and in forms.
// What is empty selects all.
type Words struct {
	Name string
	// State and Reason are words with commas between them; any of them holds.
	State, Reason string
	Host          string
	// Where are attribute=value; all of them hold.
	Where []string
	// Licence is an SPDX identifier.
	Licence string
}

// WordError says which word of a selection is none.
type WordError struct {
	// Key is state, reason, licence or where.
	Key, Word string
	// Hint is what may have been meant.
	Hint string
}

// Error offers what may have been meant.
func (e *WordError) Error() string {
	if e.Key == "where" {
		return fmt.Sprintf("where %.60q: %s", e.Word, e.Hint)
	}
	return fmt.Sprintf("unknown %s %.60q; %s", e.Key, e.Word, e.Hint)
}

// Query reads the words. Its error is a [*WordError].
func (w Words) Query() (Query, error) {
	q := Query{Name: w.Name, Host: w.Host}
	states, err := manyOf("state", w.State, append(States(), Marks()...))
	if err != nil {
		return Query{}, err
	}
	if len(states) == 1 {
		q.State = states[0]
	} else {
		q.States = states
	}
	reasons, err := manyOf("reason", w.Reason, failure.Reasons())
	if err != nil {
		return Query{}, err
	}
	if len(reasons) == 1 {
		q.Reason = reasons[0]
	} else {
		q.Reasons = reasons
	}
	if q.Licence, err = parseLicence(w.Licence); err != nil {
		return Query{}, err
	}
	for _, word := range w.Where {
		name, value, ok := strings.Cut(word, "=")
		if !ok || name == "" {
			return Query{}, &WordError{Key: "where", Word: word, Hint: "give an attribute and a value, such as age=30"}
		}
		q.Where = append(q.Where, Attribute{Name: name, Value: value})
	}
	return q, nil
}

// parseLicence returns an identifier as SPDX writes it. For other words of a
// licence it offers the identifier that they mean.
func parseLicence(s string) (string, error) {
	id := licence.ID(s)
	switch {
	case s == "" || strings.EqualFold(id, s):
		return id, nil
	case id != "":
		return "", &WordError{Key: "licence", Word: s, Hint: "did you mean " + id + "?"}
	}
	return "", &WordError{Key: "licence", Word: s, Hint: hint(s, licence.Known())}
}

// manyOf reads words with commas between them, each of them known. It returns
// each once.
func manyOf[T ~string](key, list string, known []T) ([]T, error) {
	var all []T
	for word := range strings.SplitSeq(list, ",") {
		v := T(strings.TrimSpace(word))
		switch {
		case v == "" || slices.Contains(all, v):
		case slices.Contains(known, v):
			all = append(all, v)
		default:
			return nil, &WordError{Key: key, Word: string(v), Hint: hint(string(v), known)}
		}
	}
	return all, nil
}

// hint offers the known words that are most like word, or all of them.
func hint[T ~string](word string, known []T) string {
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	if like := nearest.Words(word, words); len(like) > 0 {
		return "did you mean " + strings.Join(like, " or ") + "?"
	}
	return "there are " + strings.Join(words, ", ")
}

// Retryable are the states that [DB.Retry] brings a name back from.
func Retryable() []State {
	return []State{Failed, Partial, NotFound, NoPicture, Cancelled, Unreadable, Stale}
}

// ForRetry returns q with the states that a retry takes where it gives none,
// or says which of its states no name is tried again from.
func (q Query) ForRetry() (Query, error) {
	if q.State == "" && len(q.States) == 0 {
		q.States = []State{Failed, Partial}
	}
	for _, st := range q.states() {
		if slices.Contains(Retryable(), st) {
			continue
		}
		words := make([]string, 0, len(Retryable()))
		for _, known := range Retryable() {
			words = append(words, string(known))
		}
		return Query{}, &StateError{State: st, Known: words}
	}
	return q, nil
}

// StateError says that names in a state cannot be tried again.
type StateError struct {
	State State
	// Known are the states from which they can.
	Known []string
}

// Error lists those that can.
func (e *StateError) Error() string {
	return fmt.Sprintf("names that are %s cannot be tried again: give some of %s", e.State, strings.Join(e.Known, ", "))
}
