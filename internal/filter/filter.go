// Package filter is what may follow a value in a template, as in {name|lower}:
// one language for the URLs of providers and the names of stored pictures.
package filter

import (
	"crypto/md5" //nolint:gosec // services name files by it; it proves nothing
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Filters change a value, in the order of the fields. The zero value leaves it
// as it is.
type Filters struct {
	// Lower makes it lower case.
	Lower bool
	// Underscore makes "_" of each space.
	Underscore bool
	// MD5 is how many hexadecimal digits of the value's MD5 take its place, 0
	// for the value itself.
	MD5 int
	// Slashes leaves a slash what it is. It is for URLs: [Filters.Apply]
	// does nothing about it.
	Slashes bool
}

// ErrUnknown is what the error of [Parse] is about a word that is no filter.
var ErrUnknown = errors.New("unknown filter")

// Parse reads the inside of a hole: its word, and the filters that follow it
// after bars. Its error says what to write instead.
func Parse(hole string) (word string, f Filters, err error) {
	word, rest, barred := strings.Cut(hole, "|")
	if barred && rest == "" {
		return word, f, fmt.Errorf("{%s} ends in a bar: write {%s} or a filter after it", hole, word)
	}
	for name := range strings.SplitSeq(rest, "|") {
		name, digits, numbered := strings.Cut(name, ":")
		switch {
		case name == "" && !numbered:
		case name == "md5":
			f.MD5 = hex.EncodedLen(md5.Size)
			if !numbered {
				continue
			}
			n, err := strconv.Atoi(digits)
			if err != nil || n < 1 || n > f.MD5 {
				return word, f, fmt.Errorf("{%s}: %q are no digits of an MD5: write md5:1 to md5:32", hole, digits)
			}
			f.MD5 = n
		case name == "lower" && !numbered:
			f.Lower = true
		case name == "underscore" && !numbered:
			f.Underscore = true
		case name == "slashes" && !numbered:
			f.Slashes = true
		default:
			if numbered {
				name += ":" + digits
			}
			return word, f, fmt.Errorf("%w %q in {%s}: known are lower, underscore, md5, slashes", ErrUnknown, name, hole)
		}
	}
	return word, f, nil
}

// Apply returns what the filters make of value.
func (f Filters) Apply(value string) string {
	if f.Lower {
		value = strings.ToLower(value)
	}
	if f.Underscore {
		value = strings.ReplaceAll(value, " ", "_")
	}
	if f.MD5 > 0 {
		sum := md5.Sum([]byte(value)) //nolint:gosec // as above
		value = hex.EncodeToString(sum[:])[:f.MD5]
	}
	return value
}
