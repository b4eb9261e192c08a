package lookup

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const photosYAML = `
name: photos
description: Photos of the house
lookup: none
params:
  url: {description: "where they are"}
  size: {default: big}
pictures: {url: "{param.url}", allow: ["photos.corp:8443"]}
licence: {path: column.licence}
attributes: {team: column.team}
`

func row(name string, pairs ...string) Query {
	q := Query{Name: name}
	for i := 0; i < len(pairs); i += 2 {
		q.Columns = append(q.Columns, Attribute{pairs[i], pairs[i+1]})
	}
	return q
}

func TestDirect(t *testing.T) {
	t.Parallel()
	cut := row("Ada", "team", "x")
	cut.ColumnsTruncated = true
	for name, tt := range map[string]struct {
		url  string
		q    Query
		want Answer
		err  string
	}{
		"a column as it is": {
			"{column.url}", row("Ada", "url", "https://x/a b?c=1#d", "licence", "CC0", "team", "it"),
			Answer{Verdict: Found, Pictures: []Picture{{Candidates: []string{"https://x/a b?c=1#d"}}}, Licence: "CC0", Attributes: []Attribute{{"team", "it"}}}, "",
		},
		"an empty column": {"{column.url}", row("Ada", "team", "it"), Answer{Verdict: NoPicture, Attributes: []Attribute{{"team", "it"}}}, ""},
		"a column that was left out": {
			"{column.url}", cut, Answer{}, "was left out, since 2 KB",
		},
		"the name": {"{name}", row("https://x/1.png"), Answer{Verdict: Found, Attributes: []Attribute{}, Pictures: []Picture{{Candidates: []string{"https://x/1.png"}}}}, ""},
		"a template": {
			"https://x/{column.Photo ID}/{name|lower}.jpg?s={column.s}", row("A/B", "Photo ID", "../7?", "s", "a b&c"),
			Answer{Verdict: Found, Attributes: []Attribute{}, Pictures: []Picture{{Candidates: []string{"https://x/..%2F7%3F/a%2Fb.jpg?s=a%20b%26c"}}}}, "",
		},
		"a template without its column": {"https://x/{column.id}", row("Ada"), Answer{}, `the column "id" is empty`},
		"a column that climbs":          {"https://x/{column.id}/1.png", row("Ada", "id", ".."), Answer{}, "path segment"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := mustParse(t, photosYAML).WithParams(map[string]string{"url": tt.url})
			if err != nil {
				t.Fatal(err)
			}
			c, err := New(d, nil, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := c.Revalidate(t.Context(), tt.q, "")
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q in it", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v; answer (-want +got):\n%s", err, diff)
			}
			if d.Origin() != "" || d.Asks() {
				t.Errorf("it asks %q, want nobody", d.Origin())
			}
		})
	}
}

const langYAML = `
name: wiki
description: A wiki
base_url: "https://{param.lang}.wiki.test"
params:
  lang: {default: en, description: its language}
  fields: {default: "a b"}
request: {url: "{base}/{param.fields}/page/{name}?id={column.id}&f={param.fields}"}
answer: {expect: [{path: x, is: present}]}
pictures: {from: [x]}
`

func TestParamsAndColumnsInURLs(t *testing.T) {
	t.Parallel()
	d := mustParse(t, langYAML)
	url := func(d *Definition) string {
		t.Helper()
		req, err := d.Example(row("Ada", "id", "7&8"), SystemSecrets)
		if err != nil {
			t.Fatal(err)
		}
		return req.URL
	}
	if got, want := url(d), "https://en.wiki.test/a%20b/page/Ada?id=7%268&f=a%20b"; got != want {
		t.Errorf("by default it asks %s, want %s", got, want)
	}
	german, err := d.WithParams(map[string]string{"lang": "de", "fields": "a b"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := url(german), "https://de.wiki.test/a%20b/page/Ada?id=7%268&f=a%20b"; got != want || german.Origin() != "https://de.wiki.test" {
		t.Errorf("in German it asks %s at %s, want %s", got, german.Origin(), want)
	}
	if diff := cmp.Diff(map[string]string{"lang": "de"}, german.Given()); diff != "" {
		t.Errorf("given (-want +got):\n%s", diff)
	}
	if d.fingerprint() == german.fingerprint() {
		t.Error("the validators of one language count for the other")
	}
	local, err := d.WithBaseURL("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if local, err = local.WithParams(map[string]string{"lang": "de"}); err != nil || local.Origin() != "http://127.0.0.1:1" {
		t.Errorf("at another base it asks %s, %v", local.Origin(), err)
	}
	for name, tt := range map[string]struct {
		values map[string]string
		want   string
	}{
		"unknown":            {map[string]string{"language": "de"}, `has no param "language": it has lang (default en); fields (default a b)`},
		"a host in a label":  {map[string]string{"lang": "evil.test/"}, "cannot stand in the name of a host"},
		"a way up":           {map[string]string{"fields": ".."}, "path segment"},
		"nothing":            {map[string]string{"lang": ""}, "is empty"},
		"more than a line":   {map[string]string{"fields": "a\nb"}, "no line of text"},
		"more than is taken": {map[string]string{"fields": strings.Repeat("x", 2000)}, "at most 1024"},
	} {
		if _, err := d.WithParams(tt.values); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
	photos := mustParse(t, photosYAML)
	_, err = photos.WithParams(nil)
	if _, missing := errors.AsType[*MissingParamError](err); !missing || photos.Missing() == nil {
		t.Errorf("without what is required: %v, want a MissingParamError", err)
	}
}

func TestDefinitionsWithWrongParams(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ old, new, want string }{
		"a param that nobody declared": {"{param.lang}", "{param.lnag}", `no param "lnag": declare it`},
		"a name that is none":          {"  lang:", "  Lang:", `"Lang" is no name for a param`},
		"a key that is none":           {"default: en", "otherwise: en", "params.lang.otherwise"},
		"a column in a text":           {"pictures:", "source: \"https://x/{column.id}\"\npictures:", "may stand in request.url and pictures.url alone"},
		"a URL for who asks":           {"from: [x]", "from: [x], url: \"https://x/{name}\"", "pictures.url is for a definition with lookup: none"},
		"no lookup and a request":      {"base_url", "lookup: none\nbase_url", "request belongs to a lookup"},
		"many names of one row":        {"answer:", "batch: {max: 5, records: r, name: n, answer: {expect: [{path: x, is: present}]}}\nanswer:", "{column.X} in request.url about one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("x.yaml", []byte(strings.Replace(langYAML, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "x.yaml:") {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}
