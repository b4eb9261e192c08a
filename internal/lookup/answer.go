package lookup

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/picharvest/picharvest/internal/failure"
)

// Bounds of an answer, whatever the service sends.
const (
	// MaxAttributeBytes bounds the names and values of all attributes
	// together. What comes first in the definition is kept.
	MaxAttributeBytes = 2 << 10
	maxCreditBytes    = 512  // licence and attribution, each
	maxSourceBytes    = 2048 // a longer source is left out: half a URL leads nowhere
	maxDepth          = 100  // nested lists and objects; real APIs stay under 20
)

// Verdict is what a lookup found out. None of them is a failure.
type Verdict uint8

// The verdicts.
const (
	Found     Verdict = iota + 1 // a record with at least one picture
	NotFound                     // the service knows no such name
	NoPicture                    // a record without a picture
)

// String returns the verdict's word, as in state and output.
func (v Verdict) String() string {
	switch v {
	case Found:
		return "found"
	case NotFound:
		return "not_found"
	case NoPicture:
		return "no_picture"
	}
	return "none"
}

// Answer is what a service knows about the name that was asked. It has no
// name of its own: whatever name the service put into it is an attribute at
// most.
type Answer struct {
	Verdict Verdict
	// Attributes stand in the definition's order. All text is valid UTF-8,
	// and otherwise the service's own, control characters included.
	Attributes []Attribute
	// Truncated says that attributes, licence, attribution or source were cut
	// or left out because they were too long.
	Truncated bool
	// Pictures are at most as many as the definition allows.
	Pictures []Picture
	// Licence and Attribution belong to the pictures, and are empty where
	// there are none or nothing is known.
	Licence, Attribution string
	// Source is the page about the name, an http or https URL, or empty.
	Source string
}

// Attribute is one named value of a record.
type Attribute struct{ Name, Value string }

// Picture is one picture of a record.
type Picture struct {
	// Candidates are the URLs to try, best first; never empty. They are as
	// the service sent them: not judged, and a stranger's. One that is longer
	// than 8 KB is cut to a little more than that, so that it is still
	// refused for its length.
	Candidates []string
}

// Reply is one HTTP answer, read to its end.
type Reply struct {
	Status int
	Header http.Header
	// URL is what was asked in the end, after redirects.
	URL  string
	Body []byte
}

// Extract judges reply, the answer to a lookup of name, and takes the record
// from it. Its errors are failure.Errors.
//
// Where an answer has a key twice, the first counts. A value that is missing
// or null is no attribute; a list of plain values becomes one attribute,
// joined by ", "; an object is left out. Something other than text, null and
// false where a picture's URL was due is a bad answer.
func (d *Definition) Extract(name string, reply Reply) (Answer, error) {
	return d.extract(name, reply, nil)
}

// extract is Extract that keeps the given secrets out of its errors, should
// the service repeat them.
func (d *Definition) extract(name string, reply Reply, secrets []string) (Answer, error) {
	body := bytes.TrimPrefix(reply.Body, []byte("\ufeff"))
	if err := d.judgeStatus(reply, body, secrets); err != nil {
		return Answer{}, err
	}
	if d.saysNotFound(reply.Status) {
		return Answer{Verdict: NotFound}, nil
	}
	if err := d.judgeJSON(reply, body); err != nil {
		return Answer{}, err
	}
	root := gjson.ParseBytes(body)
	if anyHolds(d.answer.failed, root) {
		return Answer{}, d.providerError(reply, root, secrets)
	}
	if anyHolds(d.answer.notFound, root) {
		return Answer{Verdict: NotFound}, nil
	}
	for _, c := range d.answer.expect {
		if !c.holds(root) {
			return Answer{}, failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
				"the answer of %s is not what its definition expects: %s", d.Name, c.unmet(root))
		}
	}

	a := Answer{Verdict: NoPicture}
	var err error
	if a.Pictures, err = d.pictures(root, reply.URL); err != nil {
		return Answer{}, err
	}
	if len(a.Pictures) > 0 {
		a.Verdict = Found
	}
	a.Attributes, a.Truncated = d.record(root)
	if a.Verdict == Found {
		licence, attribution := d.licence.value(root), d.attribution.value(root)
		a.Licence, a.Attribution = cut(licence, maxCreditBytes), cut(attribution, maxCreditBytes)
		a.Truncated = a.Truncated || len(licence) > maxCreditBytes || len(attribution) > maxCreditBytes
	}
	a.Source = d.sourcePage(root, name)
	if len(a.Source) > maxSourceBytes {
		a.Source, a.Truncated = "", true
	}
	return a, nil
}

// condition is one rule about the value at a path.
type condition struct {
	path   string
	is     string // "missing", "empty", "present" or ""
	equals *string
}

func anyHolds(cs []condition, root gjson.Result) bool {
	for _, c := range cs {
		if c.holds(root) {
			return true
		}
	}
	return false
}

// holds: a value is missing where the path leads nowhere or to null; empty
// where it is missing, "", [] or {}; present where it is not empty.
func (c condition) holds(root gjson.Result) bool {
	v := root.Get(c.path)
	switch c.is {
	case "missing":
		return v.Type == gjson.Null
	case "empty":
		return isEmpty(v)
	case "present":
		return !isEmpty(v)
	}
	s, ok := plain(v)
	return ok && s == *c.equals
}

// unmet says in words that c does not hold.
func (c condition) unmet(root gjson.Result) string {
	v := root.Get(c.path)
	if c.equals != nil {
		got, ok := plain(v)
		if !ok {
			return c.path + " is " + kindOf(v) + ", not " + *c.equals
		}
		return c.path + " is " + printable(got, 60) + ", not " + *c.equals
	}
	return c.path + " is not " + c.is + " but " + kindOf(v)
}

func isEmpty(v gjson.Result) bool {
	switch v.Type {
	case gjson.Null:
		return true
	case gjson.String:
		return v.Str == ""
	case gjson.JSON:
		empty := true
		v.ForEach(func(_, _ gjson.Result) bool { empty = false; return false })
		return empty
	}
	return false
}

// plain returns the text of a string, number or boolean.
func plain(v gjson.Result) (string, bool) {
	switch v.Type {
	case gjson.String:
		return strings.ToValidUTF8(v.Str, "\ufffd"), true
	case gjson.Number:
		// As it was written: a float64 would change long numbers.
		if v.Raw != "" {
			return v.Raw, true
		}
		return v.String(), true
	case gjson.True, gjson.False:
		return v.String(), true
	}
	return "", false
}

func kindOf(v gjson.Result) string {
	switch {
	case v.Type == gjson.Null && v.Raw == "":
		return "missing"
	case v.Type == gjson.Null:
		return "null"
	case v.Type == gjson.String && v.Str == "":
		return "an empty text"
	case v.Type == gjson.String:
		return "a text"
	case v.Type == gjson.Number:
		return "a number"
	case v.IsArray():
		return "a list"
	case v.IsObject():
		return "an object"
	}
	return v.Raw
}

func (d *Definition) record(root gjson.Result) (as []Attribute, truncated bool) {
	room := MaxAttributeBytes
	as = make([]Attribute, 0, len(d.attributes))
	for _, rule := range d.attributes {
		value, ok := attribute(root.Get(rule.path))
		if !ok {
			continue
		}
		if len(rule.name)+len(value) > room {
			truncated = true
			value = cut(value, room-len(rule.name))
			if value == "" {
				continue
			}
		}
		room -= len(rule.name) + len(value)
		as = append(as, Attribute{rule.name, value})
	}
	return as, truncated
}

func attribute(v gjson.Result) (string, bool) {
	if !v.IsArray() {
		return plain(v)
	}
	var b strings.Builder
	some := false
	v.ForEach(func(_, item gjson.Result) bool {
		s, ok := plain(item)
		if !ok {
			return true
		}
		if some {
			b.WriteString(", ")
		}
		some = true
		b.WriteString(s)
		return b.Len() <= MaxAttributeBytes
	})
	return b.String(), some
}

func (d *Definition) pictures(root gjson.Result, answerURL string) ([]Picture, error) {
	var pictures []Picture
	for _, paths := range d.Pictures.from {
		var one []string
		for _, path := range paths {
			v := root.Get(path)
			if v.IsArray() {
				if len(one) > 0 {
					continue
				}
				many, err := d.list(v, path, answerURL, d.Pictures.Max-len(pictures))
				if err != nil {
					return nil, err
				}
				if pictures = append(pictures, many...); len(many) > 0 {
					break
				}
				continue
			}
			u, err := d.pictureURL(v, path, answerURL)
			if err != nil {
				return nil, err
			}
			if u != "" && !slices.Contains(one, u) {
				one = append(one, u)
			}
		}
		if len(one) > 0 {
			pictures = append(pictures, Picture{Candidates: one})
		}
		if len(pictures) >= d.Pictures.Max {
			break
		}
	}
	return pictures, nil
}

// list returns one picture for each of the first distinct elements of v.
func (d *Definition) list(v gjson.Result, path, answerURL string, limit int) ([]Picture, error) {
	var pictures []Picture
	var err error
	v.ForEach(func(_, item gjson.Result) bool {
		var u string
		if u, err = d.pictureURL(item, path, answerURL); err != nil {
			return false
		}
		seen := func(p Picture) bool { return p.Candidates[0] == u }
		if u != "" && !slices.ContainsFunc(pictures, seen) {
			pictures = append(pictures, Picture{Candidates: []string{u}})
		}
		return len(pictures) < limit
	})
	return pictures, err
}

// pictureURL returns the URL that v holds, "" where it is null, false or
// blank, as services write "none".
func (d *Definition) pictureURL(v gjson.Result, path, answerURL string) (string, error) {
	switch v.Type {
	case gjson.Null, gjson.False:
		return "", nil
	case gjson.String:
	default:
		return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
			"the answer of %s has %s at %s, where a picture's URL was due", d.Name, kindOf(v), path)
	}
	u := strings.TrimSpace(strings.ToValidUTF8(v.Str, "\ufffd"))
	u = cut(u, maxURLBytes+utf8.UTFMax)
	if d.Pictures.resolveRelative {
		u = resolve(answerURL, u)
	}
	return u, nil
}

// resolve returns ref as seen from base, or ref itself where it is no
// reference.
func resolve(base, ref string) string {
	b, err := url.Parse(base)
	if err != nil || ref == "" {
		return ref
	}
	r, err := url.Parse(ref)
	if err != nil || r.IsAbs() {
		return ref
	}
	return b.ResolveReference(r).String()
}

func (t text) value(root gjson.Result) string {
	if t.path != "" {
		if s, ok := attribute(root.Get(t.path)); ok && s != "" {
			return s
		}
	}
	return t.literal
}

// sourcePage returns the page that the record comes from. One that is no web
// page is left out, since it becomes a link.
func (d *Definition) sourcePage(root gjson.Result, name string) string {
	if s := d.source.value(root); isWebPage(s) {
		return s
	}
	if d.source.template == nil {
		return ""
	}
	s, err := d.source.template.expand(d.BaseURL, name)
	if err != nil {
		return ""
	}
	return s
}

func isWebPage(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// cut returns the longest beginning of s of at most n bytes that ends between
// two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
