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
	// Then is the URL that the definition's second step asked for, empty where
	// there was none; Next are those of further pages.
	Then string
	Next []string
	// Validator is for Client.Revalidate, empty where the service gave none.
	Validator string
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
	// Then is the recorded answer to the definition's second step, if any; its
	// URL is not looked at.
	Then *Reply
}

// Extract judges reply, the answer to a lookup of name, and takes the record
// from it. Its errors are failure.Errors.
//
// Where an answer has a key twice, the first counts. A value that is missing
// or null is no attribute; a list of plain values becomes one attribute,
// joined by ", "; an object is left out. Something other than text, null and
// false where a picture's URL was due is a bad answer.
func (d *Definition) Extract(name string, reply Reply) (Answer, error) {
	return d.extract(Query{Name: name}, reply, nil, func(url string) (Reply, error) {
		if reply.Then == nil {
			return Reply{}, failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
				"%s asks for %s as well, and that answer is not recorded: name its file in the sample's then", d.Name, url)
		}
		second := *reply.Then
		second.URL = url
		return second, nil
	})
}

// extract is Extract that keeps the given secrets out of its errors, should
// the service repeat them, and gets the answer to a second step from ask.
func (d *Definition) extract(q Query, reply Reply, secrets []string, ask func(url string) (Reply, error)) (Answer, error) {
	if d.batch != nil {
		one, err := d.extractMany([]Query{q}, reply, secrets)
		if err != nil {
			return Answer{}, err
		}
		return one[0].Answer, one[0].Err
	}
	root, known, err := d.read(reply, secrets, ask)
	if err != nil {
		return Answer{}, err
	}
	if !known {
		return Answer{Verdict: NotFound}, nil
	}
	return d.take(q, root)
}

// read judges reply, makes the second step if there is one, and returns both
// answers.
func (d *Definition) read(reply Reply, secrets []string, ask func(url string) (Reply, error)) (root answers, known bool, err error) {
	first, known, err := d.understand(d.answer, reply, secrets)
	if err != nil || !known {
		return answers{}, false, err
	}
	root = answers{first: first, firstURL: reply.URL, two: d.then != nil}
	if root.two {
		root.then, err = d.ask(&root, secrets, ask)
	}
	return root, err == nil, err
}

// take takes the record from what was answered.
func (d *Definition) take(q Query, root answers) (Answer, error) {
	a := Answer{Verdict: NoPicture, Then: root.then}
	var err error
	if a.Pictures, err = d.pictures(root, d.mostPictures(q)); err != nil {
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
	a.Source = d.sourcePage(root, q.Name)
	if len(a.Source) > maxSourceBytes {
		a.Source, a.Truncated = "", true
	}
	return a, nil
}

// understand judges reply by rules and returns its JSON. known is false where
// it says that the service has nothing of the kind.
func (d *Definition) understand(rules answerRules, reply Reply, secrets []string) (root gjson.Result, known bool, err error) {
	body := bytes.TrimPrefix(reply.Body, []byte("\ufeff"))
	if err := d.judgeStatus(rules, reply, body, secrets); err != nil {
		return root, false, err
	}
	if rules.saysNotFound(reply.Status) {
		return root, false, nil
	}
	if err := d.judgeJSON(reply, body); err != nil {
		return root, false, err
	}
	root = gjson.ParseBytes(body)
	known, err = d.judge(rules, reply, root, secrets)
	return root, known, err
}

// judge judges what reply says at root.
func (d *Definition) judge(rules answerRules, reply Reply, root gjson.Result, secrets []string) (known bool, err error) {
	if anyHolds(rules.failed, root) {
		return false, d.providerError(rules, reply, root, secrets)
	}
	if anyHolds(rules.notFound, root) {
		return false, nil
	}
	for _, c := range rules.expect {
		if !c.holds(root) {
			return false, failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
				"the answer of %s is not what its definition expects: %s", d.Name, c.unmet(root))
		}
	}
	return true, nil
}

// answers is what one lookup brought: an answer and, with a second step, that
// to it, which is looked into by paths that begin with "then.".
type answers struct {
	first, second       gjson.Result
	firstURL, secondURL string
	two                 bool
	then                string // the URL that the second step asked for
}

func (a answers) at(path string) (v gjson.Result, answerURL string) {
	if rest, ok := strings.CutPrefix(path, thenPrefix); a.two && ok {
		// Without a second answer everything in it is missing.
		return a.second.Get(rest), a.secondURL
	}
	return a.first.Get(path), a.firstURL
}

func (a answers) get(path string) gjson.Result {
	v, _ := a.at(path)
	return v
}

// ask makes the second step and adds its answer to root. It returns the URL
// asked for, "" where the first answer has no value to ask with.
func (d *Definition) ask(root *answers, secrets []string, ask func(url string) (Reply, error)) (string, error) {
	v := root.first.Get(d.then.path)
	if isEmpty(v) {
		return "", nil
	}
	u, err := d.made(d.then.url, v, d.then.path)
	if err != nil {
		return "", err
	}
	reply, err := ask(u)
	if err != nil {
		return "", err
	}
	second, known, err := d.understand(d.then.answer, reply, secrets)
	if known {
		root.second, root.secondURL = second, reply.URL
	}
	return u, err
}

// made returns the URL that template makes of v, which stands at path.
func (d *Definition) made(template urlTemplate, v gjson.Result, path string) (string, error) {
	s, ok := plain(v)
	if !ok {
		return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
			"the answer of %s has %s at %s, where a value for a URL was due", d.Name, kindOf(v), path)
	}
	u, err := template.expand(d.BaseURL, s)
	if err != nil {
		return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary, "the answer of %s at %s: %w", d.Name, path, err)
	}
	return u, nil
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

func (d *Definition) record(root answers) (as []Attribute, truncated bool) {
	room := MaxAttributeBytes
	as = make([]Attribute, 0, len(d.attributes))
	for _, rule := range d.attributes {
		value, ok := attribute(root.get(rule.path))
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

func (d *Definition) pictures(root answers, most int) ([]Picture, error) {
	var pictures []Picture
	for _, rules := range d.Pictures.from {
		var one []string
		for _, rule := range rules {
			v, answerURL := root.at(rule.path)
			if v.IsArray() {
				if len(one) > 0 {
					continue
				}
				many, err := d.list(v, rule, answerURL, most-len(pictures))
				if err != nil {
					return nil, err
				}
				if pictures = append(pictures, many...); len(many) > 0 {
					break
				}
				continue
			}
			u, err := d.pictureURL(v, rule, answerURL)
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
		if len(pictures) >= most {
			break
		}
	}
	return pictures, nil
}

// list returns one picture for each of the first distinct elements of v.
func (d *Definition) list(v gjson.Result, rule pictureRule, answerURL string, limit int) ([]Picture, error) {
	var pictures []Picture
	var err error
	v.ForEach(func(_, item gjson.Result) bool {
		var u string
		if u, err = d.pictureURL(item, rule, answerURL); err != nil {
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

// pictureURL returns the URL that v holds or that rule makes of it, "" where it is null, false or
// blank, as services write "none".
func (d *Definition) pictureURL(v gjson.Result, rule pictureRule, answerURL string) (string, error) {
	switch {
	case v.Type == gjson.Null, v.Type == gjson.False, v.Type == gjson.String && strings.TrimSpace(v.Str) == "":
		return "", nil
	case rule.template != nil:
		return d.made(*rule.template, v, rule.path)
	case v.Type == gjson.String:
	default:
		return "", failure.Newf(failure.ReasonBadAnswer, failure.Temporary,
			"the answer of %s has %s at %s, where a picture's URL was due", d.Name, kindOf(v), rule.path)
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

func (t text) value(root answers) string {
	if t.path != "" {
		if s, ok := attribute(root.get(t.path)); ok && s != "" {
			return s
		}
	}
	return t.literal
}

// sourcePage returns the page that the record comes from. One that is no web
// page is left out, since it becomes a link.
func (d *Definition) sourcePage(root answers, name string) string {
	s := d.source.value(root)
	if d.source.made != nil && s != "" {
		// One that makes no URL is no source: the name has its pictures all the same.
		if u, err := d.source.made.expand(d.BaseURL, s); err == nil {
			return u
		}
		s = ""
	}
	if isWebPage(s) {
		return s
	}
	if d.source.template == nil {
		return ""
	}
	page, err := d.source.template.expand(d.BaseURL, name)
	if err != nil {
		return ""
	}
	return page
}

func isWebPage(s string) bool {
	if s == "" {
		return false
	}
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
