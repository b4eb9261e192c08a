package lookup

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/internal/failure"
)

// twoSteps asks ART, another service, about what the first answer says.
const twoSteps = `
name: two
description: A record here, its pictures there
base_url: http://first.example
secrets: {token: {env: T}}
request:
  url: "{base}/search?q={name}"
  headers: {Authorization: "Bearer ${token}", X-Version: "1"}
answer:
  not_found: {when: [{path: hits, is: empty}]}
  expect: [{path: hits.0.title, is: present}]
then:
  path: hits.0.id
  url: ART/art/{value}
  answer:
    not_found: {status: [404]}
    error: {message: error}
    expect: [{path: images, is: present}]
attributes: {title: hits.0.title, by: then.by}
pictures: {from: ["then.images.#.url"], relative: resolve}
licence: {path: then.licence}
source: {path: hits.0.id, url: "{base}/page/{value}"}
`

func TestSecondStep(t *testing.T) {
	t.Parallel()
	const known = `{"hits":[{"id":7,"title":"Sunflowers"}]}`
	title := Attribute{"title", "Sunflowers"}
	for _, tt := range []struct {
		title, first, second string
		status               int
		want                 Answer // its URLs begin at their hosts
		reason               failure.Reason
		kind                 failure.Kind
	}{
		{
			title: "both", first: known, second: `{"by":"Vincent","licence":"cc0","images":[{"url":"/1.jpg"},{"url":"2.jpg"}]}`, status: 200,
			want: Answer{
				Verdict: Found, Then: "ART/art/7", Attributes: []Attribute{title, {"by", "Vincent"}}, Licence: "cc0", Source: "FIRST/page/7",
				Pictures: []Picture{{[]string{"ART/1.jpg"}}, {[]string{"ART/art/2.jpg"}}},
			},
		},
		{
			title: "nothing of it there", first: known, second: `none`, status: 404,
			want: Answer{Verdict: NoPicture, Then: "ART/art/7", Attributes: []Attribute{title}, Source: "FIRST/page/7"},
		},
		{
			title: "nothing to ask with", first: `{"hits":[{"id":null,"title":"Sunflowers"}]}`, status: 500,
			want: Answer{Verdict: NoPicture, Attributes: []Attribute{title}},
		},
		{title: "unknown", first: `{"hits":[]}`, status: 500, want: Answer{Verdict: NotFound}},
		{title: "down", first: known, status: 500, reason: failure.ReasonUnavailable, kind: failure.Temporary},
		{title: "no JSON", first: known, second: "<html>", status: 200, reason: failure.ReasonBlocked, kind: failure.Temporary},
		{title: "something else", first: known, second: "{}", status: 200, reason: failure.ReasonBadAnswer, kind: failure.Temporary},
		{title: "no value", first: `{"hits":[{"id":{"a":1},"title":"x"}]}`, status: 200, reason: failure.ReasonBadAnswer, kind: failure.Temporary},
		{title: "a value that climbs", first: `{"hits":[{"id":"..","title":"x"}]}`, status: 200, reason: failure.ReasonBadAnswer, kind: failure.Temporary},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			art := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Version") != "" {
					t.Error("the other origin saw a plain header of the definition")
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.second)
			}))
			defer art.Close()
			first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, tt.first) }))
			defer first.Close()
			d, err := mustParse(t, strings.ReplaceAll(twoSteps, "ART", art.URL)).WithBaseURL(first.URL)
			if err != nil {
				t.Fatal(err)
			}
			secret := func(Secret) (string, error) { return "s3cret", nil }
			c, err := New(d, plainHTTP(http.DefaultClient), Options{Secrets: secret})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Lookup(t.Context(), "sunflowers")
			if tt.reason != "" {
				if e := failure.From(err); e.Reason != tt.reason || e.Kind != tt.kind {
					t.Errorf("got %v, want %s, %v", err, tt.reason, tt.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			at := strings.NewReplacer("ART", art.URL, "FIRST", first.URL)
			want := tt.want
			want.Then, want.Source = at.Replace(want.Then), at.Replace(want.Source)
			for _, p := range want.Pictures {
				p.Candidates[0] = at.Replace(p.Candidates[0])
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestThenIsAKeyLikeOthersWithoutASecondStep(t *testing.T) {
	t.Parallel()
	d := mustParse(t, strings.Replace(minimal, "[picture]", "[then.picture]", 1))
	a, err := d.Extract("a", Reply{Status: 200, Body: []byte(`{"ok":1,"then":{"picture":"http://p/1"}}`)})
	if err != nil || len(a.Pictures) != 1 {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestPictureTemplates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ title, rule, body, want string }{
		{"a file", `{path: f, url: "http://p/file/{value}?width=960"}`, `{"f":"Ada & co/1.jpg"}`, "http://p/file/Ada%20&%20co%2F1.jpg?width=960"},
		{"a number", `{path: f, url: "http://p/{value}.jpg"}`, `{"f":12345678901234567890}`, "http://p/12345678901234567890.jpg"},
		{"in the query", `{path: f, url: "{base}/?f={value}"}`, `{"f":"a b&c"}`, "http://h/?f=a%20b%26c"},
		{"several", `{path: f, url: "http://p/{value}"}`, `{"f":["a","b"]}`, "http://p/a http://p/b"},
		{
			"by hash", `{path: f, url: "http://p/{value|underscore|md5:1}/{value|underscore|md5:2}/{value|underscore}"}`,
			`{"f":"Ada Lovelace portrait.jpg"}`, "http://p/a/a4/Ada_Lovelace_portrait.jpg",
		},
		{"a face", `{path: f, url: "http://p/{value|lower|md5}"}`, `{"f":"MyEmailAddress@example.com"}`, "http://p/0bc83cb571cd1c50ba6f3e8a78ef1346"},
		{"none", `{path: f, url: "http://p/{value}"}`, `{"f":null}`, ""},
		{"blank", `{path: f, url: "http://p/{value}"}`, `{"f":" "}`, ""},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			d := mustParse(t, strings.Replace(minimal, "[picture]", "["+tt.rule+"]", 1))
			a, err := d.Extract("a", Reply{Status: 200, Body: []byte(`{"ok":1,` + tt.body[1:])})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range a.Pictures {
				got = append(got, p.Candidates...)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

func TestParseRefusesTemplatesOfValues(t *testing.T) {
	t.Parallel()
	for rule, want := range map[string]string{
		`{path: f, url: "http://p/{name}"}`:             `test.yaml:7: pictures.from.url: unknown {name}: known are {base} and {value}`,
		`{path: f, url: "http://p/"}`:                   `put {value} into its path or query`,
		`{path: f, url: "http://{value}/"}`:             `{value} may stand in the path or in the query, not in the host`,
		`{path: f, url: "http://p/{value|md5:33}"}`:     `write md5:1 to md5:32`,
		`{path: f, url: "http://p/{value|md6}"}`:        `known are lower, underscore, md5, slashes`,
		`{path: f, url: "http://p/?f={value|slashes}"}`: `{value|slashes} stands in the query`,
		`{path: f}`:                          `pictures.from.url is missing`,
		`{path: f, ulr: "http://p/{value}"}`: `did you mean "url"?`,
		`[{path: f, url: "https://user:pw@p/{value}.jpg"}]`: `holds a user or password`,
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("test.yaml", []byte(strings.Replace(minimal, "[picture]", "["+rule+"]", 1)))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}
