// Package nearest finds the known words that a mistyped one was most likely
// meant to be. It chooses; how a message offers them is the caller's.
package nearest

import "slices"

// maxLength bounds the words that are looked at: a longer one is no slip.
const maxLength = 64

// Words returns the known words within a few slips of the keyboard from word
// (an insertion, deletion or replacement each; 2, or a quarter of its length
// if that is more), the nearest first and equally near ones in known's order.
func Words(word string, known []string) []string {
	if len(word) > maxLength {
		return nil
	}
	type candidate struct {
		word string
		away int
	}
	var near []candidate
	for _, k := range known {
		if d := distance(word, k); d <= max(2, len(word)/4) {
			near = append(near, candidate{k, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.away - b.away })
	var words []string
	for _, c := range near {
		words = append(words, c.word)
	}
	return words
}

// Word returns the first of [Words], or "" where there is none.
func Word(word string, known []string) string {
	if words := Words(word, known); len(words) > 0 {
		return words[0]
	}
	return ""
}

// distance is the number of bytes to insert, delete or replace to turn a into
// b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(diagonal+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}
