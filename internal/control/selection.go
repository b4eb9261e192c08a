package control

import "github.com/picharvest/picharvest/internal/results"

// SelectionKeys are the keys that [Selection] asks for. where may be given
// several times.
func SelectionKeys() []string { return []string{"name", "state", "reason", "host", WhereKey} }

// WhereKey is the key of attributes.
const WhereKey = "where"

// Selection makes a query of the words in an address or a form, as the flags of
// `harvest results` do. An unknown word is an [*InvalidError] that offers the
// nearest.
func Selection(values map[string][]string) (results.Query, error) {
	one := func(key string) string {
		if words := values[key]; len(words) > 0 {
			return words[0]
		}
		return ""
	}
	q, err := results.Words{
		Name: one("name"), State: one("state"), Reason: one("reason"), Host: one("host"), Where: values[WhereKey],
	}.Query()
	if err != nil {
		return results.Query{}, &InvalidError{err.Error()}
	}
	return q, nil
}
