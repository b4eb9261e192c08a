package lookup

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/internal/failure"
)

// rules has one of everything that extraction can do.
const rules = `
name: svc
description: One of every rule
base_url: http://svc.example
secrets: {token: {env: T, optional: true}}
request: {url: "{base}/{name}"}
answer:
  not_found:
    status: [404]
    when:
      - {path: list, equals: nobody}
      - {path: gone, is: present}
      - {path: '@this', is: empty}
      - {path: code, equals: -1}
  error:
    when: [{path: error, is: present}]
    message: error.text
  expect: [{path: ok, equals: true}]
attributes:
  zeta: z
  alpha: a
  tags: tags
  count: tags.#
pictures:
  from:
    - [big, small]
    - many
  max: 4
licence: {path: licence, otherwise: all rights reserved}
attribution: {path: by}
source: {path: page, otherwise: "http://svc.example/page/{name}"}
`

func TestExtract(t *testing.T) {
	t.Parallel()
	const page = "http://svc.example/page/ada"
	pictures := func(urls ...string) (ps []Picture) {
		for _, u := range urls {
			ps = append(ps, Picture{Candidates: strings.Fields(u)})
		}
		return ps
	}
	attributes := func(kv ...string) (as []Attribute) {
		for i := 0; i < len(kv); i += 2 {
			as = append(as, Attribute{kv[i], kv[i+1]})
		}
		return as
	}
	found := func(a Answer) Answer {
		a.Verdict, a.Source = Found, page
		if a.Licence == "" {
			a.Licence = "all rights reserved"
		}
		if a.Pictures == nil {
			a.Pictures = pictures("http://p/1")
		}
		return a
	}
	noPicture := func(a Answer) Answer {
		a.Verdict, a.Source = NoPicture, page
		return a
	}
	for _, tt := range []struct {
		title, json string
		want        Answer
	}{
		{"nothing but ok", `{"ok":true}`, noPicture(Answer{})},
		{"the definition's order", `{"ok":true,"a":"1","z":"2"}`, noPicture(Answer{Attributes: attributes("zeta", "2", "alpha", "1")})},
		{"a long number as written", `{"ok":true,"a":12345678901234567890.10}`, noPicture(Answer{Attributes: attributes("alpha", "12345678901234567890.10")})},
		{"booleans", `{"ok":true,"a":false,"z":true}`, noPicture(Answer{Attributes: attributes("zeta", "true", "alpha", "false")})},
		{"null and objects are no attributes", `{"ok":true,"a":null,"z":{"b":1}}`, noPicture(Answer{})},
		{"an empty text is one", `{"ok":true,"a":""}`, noPicture(Answer{Attributes: attributes("alpha", "")})},
		{"a list is joined", `{"ok":true,"tags":["x",1,null,{"y":2},true]}`, noPicture(Answer{Attributes: attributes("tags", "x, 1, true", "count", "5")})},
		{"the first of doubled keys", `{"ok":true,"a":"first","a":"second"}`, noPicture(Answer{Attributes: attributes("alpha", "first")})},
		{"bad UTF-8", "{\"ok\":true,\"a\":\"x\xffy\"}", noPicture(Answer{Attributes: attributes("alpha", "x\ufffdy")})},
		{"half a surrogate", `{"ok":true,"a":"x\ud800y"}`, noPicture(Answer{Attributes: attributes("alpha", "x\ufffdy")})},
		{"another name", `{"ok":true,"name":"Eve","a":"1"}`, noPicture(Answer{Attributes: attributes("alpha", "1")})},
		{"a byte order mark", "\ufeff" + `{"ok":true}`, noPicture(Answer{})},

		{"two candidates", `{"ok":true,"big":"http://p/b","small":"http://p/s"}`, found(Answer{Pictures: pictures("http://p/b http://p/s")})},
		{"the second candidate alone", `{"ok":true,"big":null,"small":"http://p/s"}`, found(Answer{Pictures: pictures("http://p/s")})},
		{"equal candidates", `{"ok":true,"big":"http://p/s","small":"http://p/s"}`, found(Answer{Pictures: pictures("http://p/s")})},
		{"services' ways to say none", `{"ok":true,"big":"","small":false,"many":[null,"  "]}`, noPicture(Answer{})},
		{"a list is several pictures", `{"ok":true,"many":["http://p/1","http://p/2","http://p/1"]}`, found(Answer{Pictures: pictures("http://p/1", "http://p/2")})},
		{"a list of candidates is several pictures", `{"ok":true,"big":["http://p/1","http://p/2"],"small":"http://p/s"}`, found(Answer{Pictures: pictures("http://p/1", "http://p/2")})},
		{"an empty list gives way", `{"ok":true,"big":[],"small":"http://p/s"}`, found(Answer{Pictures: pictures("http://p/s")})},
		{"at most max", `{"ok":true,"big":"http://p/0","many":["http://p/1","http://p/2","http://p/3","http://p/4"]}`,
			found(Answer{Pictures: pictures("http://p/0", "http://p/1", "http://p/2", "http://p/3")})},
		{"URLs are not judged", `{"ok":true,"big":"javascript:alert(1)","small":"/x.png"}`, found(Answer{Pictures: pictures("javascript:alert(1) /x.png")})},

		{"licence and attribution", `{"ok":true,"big":"http://p/1","licence":"cc0","by":"Ada"}`, found(Answer{Licence: "cc0", Attribution: "Ada"})},
		{"a null licence", `{"ok":true,"big":"http://p/1","licence":null}`, found(Answer{Licence: "all rights reserved"})},
		{"the answer's page", `{"ok":true,"page":"https://w/x"}`, Answer{Verdict: NoPicture, Source: "https://w/x"}},
		{"a page that is a script", `{"ok":true,"page":"javascript:alert(1)"}`, noPicture(Answer{})},

		{"not found by text", `{"list":"nobody"}`, Answer{Verdict: NotFound}},
		{"not found by presence", `{"ok":true,"gone":1}`, Answer{Verdict: NotFound}},
		{"not found by number", `{"ok":true,"code":-1}`, Answer{Verdict: NotFound}},
		{"not found by an empty list", `[]`, Answer{Verdict: NotFound}},
		{"not found by an empty object", `{}`, Answer{Verdict: NotFound}},
		{"not found by null", `null`, Answer{Verdict: NotFound}},
		{"not found by an empty text", `""`, Answer{Verdict: NotFound}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			got, err := mustParse(t, rules).Extract("ada", Reply{Status: 200, Body: []byte(tt.json)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExtractCuts(t *testing.T) {
	t.Parallel()
	d := mustParse(t, rules)
	extract := func(json string) Answer {
		t.Helper()
		a, err := d.Extract("ada", Reply{Status: 200, Body: []byte(json)})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}

	a := extract(`{"ok":true,"z":"` + strings.Repeat("ä", 3000) + `","a":"left out"}`)
	if n := size(a); !a.Truncated || n > MaxAttributeBytes || n < MaxAttributeBytes-1 || len(a.Attributes) != 1 {
		t.Errorf("a long attribute: %d bytes in %d attributes, truncated %v", n, len(a.Attributes), a.Truncated)
	}
	if v := a.Attributes[0].Value; !utf8.ValidString(v) {
		t.Errorf("cut within a character: %q", v[len(v)-4:])
	}
	if a := extract(`{"ok":true,"tags":["` + strings.Repeat(`x","`, 5000) + `"]}`); !a.Truncated || size(a) > MaxAttributeBytes {
		t.Errorf("a long list: %d bytes, truncated %v", size(a), a.Truncated)
	}
	a = extract(`{"ok":true,"big":"http://p/` + strings.Repeat("ä", 1<<15) + `"}`)
	if n := len(a.Pictures[0].Candidates[0]); n <= maxURLBytes || n > maxURLBytes+4 {
		t.Errorf("a long URL: %d bytes, want a little more than %d", n, maxURLBytes)
	}
	a = extract(`{"ok":true,"big":"http://p/1","by":"` + strings.Repeat("b", 5000) + `","page":"http://w/` + strings.Repeat("b", 5000) + `"}`)
	if len(a.Attribution) != maxCreditBytes || a.Source != "" || !a.Truncated {
		t.Errorf("long credits: attribution of %d bytes, source of %d, truncated %v", len(a.Attribution), len(a.Source), a.Truncated)
	}
}

func size(a Answer) (n int) {
	for _, x := range a.Attributes {
		n += len(x.Name) + len(x.Value)
	}
	return n
}

func TestExtractResolvesRelativeWhereAsked(t *testing.T) {
	t.Parallel()
	d := mustParse(t, strings.Replace(minimal, "[picture]", "[picture], relative: resolve", 1))
	for ref, want := range map[string]string{
		"/x.png":       "http://h:8/x.png",
		"x.png":        "http://h:8/a/x.png",
		"//other/x":    "http://other/x",
		"http://o/x":   "http://o/x",
		"http://[bad":  "http://[bad",
		"javascript:1": "javascript:1",
	} {
		a, err := d.Extract("ada", Reply{Status: 200, URL: "http://h:8/a/b?c", Body: fmt.Appendf(nil, `{"ok":1,"picture":%q}`, ref)})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Pictures[0].Candidates[0]; got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

func TestExtractFails(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000)
	for _, tt := range []struct {
		title  string
		header string // "Key: value"
		body   string
		reason failure.Reason
		words  string
	}{
		{"empty", "", " \n", failure.ReasonBadAnswer, "is empty"},
		{"no JSON", "Content-Type: text/plain", "Not Found", failure.ReasonBadAnswer, `is no JSON (9 bytes of "text/plain")`},
		{"cut", "", `{"ok":tr`, failure.ReasonBadAnswer, "is no JSON"},
		{"two values", "", `{"ok":true}{"ok":true}`, failure.ReasonBadAnswer, "is no JSON"},
		{"100,000 lists", "", deep, failure.ReasonBadAnswer, "nested deeper than 100"},
		{"100,000 closed lists", "", deep + strings.Repeat("]", 100_000), failure.ReasonBadAnswer, "nested deeper than 100"},
		{"100,000 objects", "", strings.Repeat(`{"a":`, 100_000) + "1", failure.ReasonBadAnswer, "nested deeper than 100"},
		{"a page", "", " <!DOCTYPE html><p>", failure.ReasonBlocked, "a web page"},
		{"a page that says JSON", "Content-Type: application/json", "<html>", failure.ReasonBlocked, "a web page"},
		{"a page by its type", "Content-Type: text/html; charset=utf-8", "Sorry", failure.ReasonBlocked, "a web page"},
		{"not as expected", "", `{"ok":"no"}`, failure.ReasonBadAnswer, "ok is no, not true"},
		{"expected value missing", "", `{"a":1}`, failure.ReasonBadAnswer, "ok is missing, not true"},
		{"expected value a list", "", `{"ok":[true]}`, failure.ReasonBadAnswer, "ok is a list, not true"},
		{"another top", "", `[1,2]`, failure.ReasonBadAnswer, "ok is missing"},
		{"a picture that is a number", "", `{"ok":true,"big":7}`, failure.ReasonBadAnswer, "a number at big"},
		{"a picture that is an object", "", `{"ok":true,"big":{"url":"http://p/1"}}`, failure.ReasonBadAnswer, "an object at big"},
		{"a list in a list", "", `{"ok":true,"many":[["http://p/1"]]}`, failure.ReasonBadAnswer, "a list at many"},
		{"an error", "", `{"ok":true,"error":{"text":"no\u001b[31m such\n\u202ething"}}`, failure.ReasonProviderError, "svc reports: no [31m such thing"},
		{"a long error", "", `{"error":{"text":"` + strings.Repeat("ä", 5000) + `"}}`, failure.ReasonProviderError, strings.Repeat("ä", 100)},
		{"an error without words", "", `{"error":1}`, failure.ReasonProviderError, "svc reports an error"},
		{"an error before not found", "", `{"error":1,"gone":1}`, failure.ReasonProviderError, "svc reports an error"},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			_, err := mustParse(t, rules).Extract("ada", Reply{Status: 200, Header: headerOf(tt.header), Body: []byte(tt.body)})
			checkFailure(t, err, tt.reason, failure.Temporary)
			if !strings.Contains(err.Error(), tt.words) || len(err.Error()) > 400 {
				t.Errorf("got %q, want words %q", err, tt.words)
			}
		})
	}
}

func headerOf(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		if k, v, ok := strings.Cut(line, ": "); ok {
			h.Set(k, v)
		}
	}
	return h
}

func checkFailure(t *testing.T, err error, reason failure.Reason, kind failure.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", reason)
	}
	if f := failure.From(err); f.Reason != reason || f.Kind != kind {
		t.Errorf("got %s, %s (%v), want %s, %s", f.Reason, f.Kind, err, reason, kind)
	}
}

func TestServicesOfJSONAsHTML(t *testing.T) {
	t.Parallel()
	a, err := mustParse(t, rules).Extract("ada", Reply{Status: 200, Header: headerOf("Content-Type: text/html"), Body: []byte(`{"ok":true}`)})
	if err != nil || a.Verdict != NoPicture {
		t.Errorf("JSON sent as text/html: got %s, %v", a.Verdict, err)
	}
}

func FuzzExtract(f *testing.F) {
	builtIn := os.DirFS("../../configs/providers")
	catalogue, err := NewCatalogue(Sources{BuiltIn: builtIn})
	if err != nil {
		f.Fatal(err)
	}
	samples, err := fs.Glob(builtIn, "samples/*.http")
	if err != nil || len(samples) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, file := range samples {
		data, err := fs.ReadFile(builtIn, file)
		if err != nil {
			f.Fatal(err)
		}
		r, err := ParseSample(data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.Status, r.Body)
	}
	f.Add(200, []byte(`{"ok":true,"big":"http://p/1","many":["x"],"tags":[1,[2]],"error":null}`))
	f.Add(200, []byte(`{"status":"success","result":[{"a":"\ud800\udc00"}],"status":"fail"}`))
	f.Add(403, []byte(`<html>`))
	definitions := []*Definition{mustParse(f, rules)}
	for _, name := range catalogue.Names() {
		e, err := catalogue.Get(name)
		if err != nil {
			f.Fatal(err)
		}
		definitions = append(definitions, e.Definition)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, d := range definitions {
			a, err := d.Extract("ada", Reply{Status: status, Header: http.Header{}, Body: body,
				Then: &Reply{Status: status, Header: http.Header{}, Body: body}})
			if err != nil {
				if e := failure.From(err); e.Reason == failure.ReasonInternal || len(err.Error()) > 600 || !utf8.ValidString(err.Error()) {
					t.Errorf("%s: a failure without a reason or without measure: %q", d.Name, err)
				}
				continue
			}
			if size(a) > MaxAttributeBytes || len(a.Pictures) > d.Pictures.Max || (len(a.Pictures) > 0) != (a.Verdict == Found) {
				t.Errorf("%s: out of bounds: %+v", d.Name, a)
			}
			for _, p := range a.Pictures {
				for _, c := range p.Candidates {
					if c == "" || len(c) > maxURLBytes+utf8.UTFMax || !utf8.ValidString(c) {
						t.Errorf("%s: candidate %q", d.Name, c)
					}
				}
			}
			for _, s := range append(a.Attributes, Attribute{a.Licence, a.Attribution}) {
				if !utf8.ValidString(s.Name) || !utf8.ValidString(s.Value) {
					t.Errorf("%s: %q is no UTF-8", d.Name, s)
				}
			}
		}
	})
}

// A path is the operator's, the answer a stranger's: no pair may panic.
func FuzzPath(f *testing.F) {
	for _, path := range []string{
		"a", "a.0.b", "a.#.b", "a.#(b==1)#.c", "@this", "@values.0", "a|@flatten", "{a,b}", "[a,b.#]", "*.b?", "..#", "!\"x\"", `a\.b`, "@pretty:{\"x\":1}|a",
	} {
		f.Add(path, []byte(`{"a":[{"b":1,"c":"x"},{"b":[[2]]}],"b":null}`))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		d := mustParse(t, rules)
		d.attributes = []attributeRule{{"a", path}}
		d.Pictures.from = [][]pictureRule{{{path: path}, {path: path}}}
		d.answer = answerRules{expect: []condition{{path: "none", is: "missing"}}, notFound: []condition{{path: path, is: "missing"}}, message: path}
		d.licence.path, d.source.path = path, path
		d.Extract("ada", Reply{Status: 200, Body: body})
		d.Extract("ada", Reply{Status: 500, Body: body})
	})
}
