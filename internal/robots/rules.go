package robots

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// Product is the token by which groups of rules and tags name us.
const Product = "harvest"

// MaxBytes is how much of a robots.txt is read: what RFC 9309, section 2.5,
// asks for at least. The rest counts as not there.
const MaxBytes = 500 << 10

// Rules are what one robots.txt asks of one client. The zero value allows
// everything.
type Rules struct {
	list []rule // the longest first; Allow before Disallow of the same length
	size int
}

type rule struct {
	allow   bool
	pattern string // percent-encoding normalised, without what ends it
	toEnd   bool   // the path must end with it
	length  int    // of the pattern as it counts for precedence
}

// Parse returns the rules for the client with this product token: those of
// every group that names it, else of every group for "*" (RFC 9309, section
// 2.2.1). Lines that cannot be understood are passed over.
func Parse(body []byte, product string) Rules {
	var own, all []rule
	named := false
	forUs, forAny, inRules := false, false, true
	for _, line := range lines(body) {
		key, value, ok := split(line)
		if !ok {
			continue
		}
		switch key {
		case "user-agent":
			if inRules { // a new group begins
				forUs, forAny, inRules = false, false, false
			}
			forUs = forUs || strings.EqualFold(token(value), product)
			forAny = forAny || strings.HasPrefix(value, "*")
			named = named || forUs
		case "allow", "disallow":
			inRules = true
			if value == "" || !forUs && !forAny {
				continue
			}
			r := newRule(key == "allow", value)
			if forUs {
				own = append(own, r)
			}
			if forAny {
				all = append(all, r)
			}
		}
	}
	if !named {
		own = all
	}
	rules := Rules{list: own}
	for _, r := range own {
		rules.size += len(r.pattern)
	}
	slices.SortStableFunc(rules.list, func(a, b rule) int {
		if a.length != b.length {
			return cmp.Compare(b.length, a.length)
		}
		if a.allow == b.allow {
			return 0
		}
		if a.allow {
			return -1
		}
		return 1
	})
	return rules
}

// Allowed reports whether a URL's path and query may be fetched, and else by
// which rule not. The longest rule that matches decides, Allow before
// Disallow (RFC 9309, section 2.2.2).
func (r Rules) Allowed(path string) (ok bool, by string) {
	path = normalise(path)
	if path == "/robots.txt" {
		return true, ""
	}
	for _, rule := range r.list {
		if !rule.matches(path) {
			continue
		}
		if rule.allow {
			return true, ""
		}
		if rule.toEnd {
			return false, "Disallow: " + rule.pattern + "$"
		}
		return false, "Disallow: " + rule.pattern
	}
	return true, ""
}

// lines cuts at CR, LF or both, without the byte order mark.
func lines(body []byte) []string {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	return strings.FieldsFunc(string(body), func(r rune) bool { return r == '\n' || r == '\r' })
}

// split returns a line's key in lower case and its value, without comment.
func split(line string) (key, value string, ok bool) {
	line, _, _ = strings.Cut(line, "#")
	key, value, ok = strings.Cut(line, ":")
	return strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value), ok
}

// token is the product token at the beginning of a user agent: letters,
// hyphens and underscores.
func token(agent string) string {
	for i := range len(agent) {
		c := agent[i]
		if c != '-' && c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return agent[:i]
		}
	}
	return agent
}

func newRule(allow bool, pattern string) rule {
	r := rule{allow: allow, pattern: normalise(pattern)}
	r.length = len(r.pattern)
	r.pattern, r.toEnd = strings.CutSuffix(r.pattern, "$")
	return r
}

// matches reports whether the pattern stands at the beginning of path, where
// * is any text. Each part is looked for at the first place where it can be,
// so that no pattern costs more than a walk over the path.
func (r rule) matches(path string) bool {
	first, rest, wild := strings.Cut(r.pattern, "*")
	path, ok := strings.CutPrefix(path, first)
	if !ok {
		return false
	}
	for wild {
		var part string
		part, rest, wild = strings.Cut(rest, "*")
		if !wild && r.toEnd {
			return strings.HasSuffix(path, part)
		}
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path = path[i+len(part):]
	}
	return !r.toEnd || path == ""
}

const upperHex = "0123456789ABCDEF"

// normalise writes a path in one way (RFC 9309, section 2.2.2): octets beyond
// ASCII, blanks and controls percent-encoded, unreserved ones (RFC 3986, section
// 2.3) plain, hex in capitals.
func normalise(path string) string {
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		encoded := false
		if c == '%' && i+2 < len(path) {
			hi, lo := unhex(path[i+1]), unhex(path[i+2])
			if hi >= 0 && lo >= 0 {
				c, encoded = byte(hi<<4|lo), true
				i += 2
			}
		}
		if (encoded && !unreserved(c)) || c <= ' ' || c >= 0x7f {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unhex returns the value of a hex digit, less than 0 where c is none.
func unhex(c byte) int {
	if 'a' <= c && c <= 'f' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte(upperHex, c)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
