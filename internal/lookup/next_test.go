package lookup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
)

const paged = `
name: paged
description: Pictures over several pages
base_url: http://h
request: {url: "{base}/q?name={name}"}
answer:
  not_found: {when: [{path: total, equals: 0}]}
  expect: [{path: items, is: present}]
NEXT
attributes: {id: id}
pictures: {from: ["items.#.url"]}
licence: {path: licence}
attribution: {path: by}
`

// pages serves the bodies in turn, and the last of them for ever.
func pages(asked *[]string, bodies ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.RequestURI)
		fmt.Fprint(w, bodies[min(len(*asked), len(bodies))-1])
	}
}

func items(pictures ...string) string {
	s := make([]string, len(pictures))
	for i, p := range pictures {
		s[i] = fmt.Sprintf(`{"url":"http://p/%s"}`, p)
	}
	return `"items":[` + strings.Join(s, ",") + `]`
}

func TestPages(t *testing.T) {
	t.Parallel()
	const (
		byCount = `next: {count: items.#, url: "{base}/q?name={name}&from={value}", until: [{path: last, equals: true}], pages: 4}`
		byToken = `next: {path: after, url: "{base}/q?name={name}&after={value}"}`
		byURL   = `next: {path: more}`
	)
	for _, tt := range []struct {
		title, next string
		most        int
		bodies      []string
		asked       []string
		pictures    string
		by          string
		reason      failure.Reason
	}{
		{
			title: "counted", next: byCount, most: 5,
			bodies: []string{`{"id":1,` + items("1", "2") + `}`, `{"id":2,` + items("3") + `}`, `{"id":3,"last":true,` + items("4") + `}`},
			asked:  []string{"/q?name=a%20b", "/q?name=a%20b&from=2", "/q?name=a%20b&from=3"}, pictures: "1 2 3 4",
		},
		{
			title: "enough on the first", next: byCount, most: 2,
			bodies: []string{`{"id":1,` + items("1", "2", "3") + `}`}, asked: []string{"/q?name=a%20b"}, pictures: "1 2",
		},
		{
			title: "nobody said how many", next: byCount,
			bodies: []string{`{"id":1,` + items("1") + `}`}, asked: []string{"/q?name=a%20b"}, pictures: "1",
		},
		{
			title: "never ends", next: byCount, most: 1000,
			bodies:   []string{`{"id":1,` + items("1") + `}`},
			asked:    []string{"/q?name=a%20b", "/q?name=a%20b&from=1", "/q?name=a%20b&from=2", "/q?name=a%20b&from=3"},
			pictures: "1",
		},
		{
			title: "nothing of it on a later page", next: byCount, most: 9,
			bodies: []string{`{"id":1,` + items("1") + `}`, `{"total":0}`}, asked: []string{"/q?name=a%20b", "/q?name=a%20b&from=1"}, pictures: "1",
		},
		{
			title: "a token", next: byToken, most: 9,
			bodies:   []string{`{"id":1,"after":"x&y",` + items("1") + `}`, `{"after":7,` + items("1", "2") + `}`, `{"after":null,` + items("3") + `}`},
			asked:    []string{"/q?name=a%20b", "/q?name=a%20b&after=x%26y", "/q?name=a%20b&after=7"},
			pictures: "1 2 3",
		},
		{
			title: "a URL", next: byURL, most: 9,
			bodies:   []string{`{"id":1,"more":"/other?p=2",` + items("1") + `}`, `{"more":"?p=3",` + items("2") + `}`, `{"more":"",` + items("3") + `}`},
			asked:    []string{"/q?name=a%20b", "/other?p=2", "/other?p=3"},
			pictures: "1 2 3",
		},
		{
			title: "a page that leads to itself", next: byURL, most: 9,
			bodies: []string{`{"id":1,"more":"/q?p=2",` + items("1") + `}`, `{"more":"/q?p=2",` + items("2") + `}`},
			asked:  []string{"/q?name=a%20b", "/q?p=2"}, pictures: "1 2",
		},
		{
			title: "another host", next: byURL, most: 9, bodies: []string{`{"id":1,"more":"http://elsewhere/",` + items("1") + `}`},
			asked: []string{"/q?name=a%20b"}, reason: failure.ReasonBadAnswer,
		},
		{
			title: "no value", next: byToken, most: 9, bodies: []string{`{"id":1,"after":{},` + items("1") + `}`},
			asked: []string{"/q?name=a%20b"}, pictures: "1",
		},
		{
			title: "an odd value", next: byToken, most: 9, bodies: []string{`{"id":1,"after":[1],` + items("1") + `}`},
			asked: []string{"/q?name=a%20b"}, reason: failure.ReasonBadAnswer,
		},
		{
			title: "a later page that is none", next: byToken, most: 9, bodies: []string{`{"id":1,"after":1,` + items("1") + `}`, `<html>`},
			asked: []string{"/q?name=a%20b", "/q?name=a%20b&after=1"}, reason: failure.ReasonBlocked,
		},
		{
			// A record has one licence, and tells of all who made its pictures.
			title: "other licences and makers", next: byToken, most: 9,
			bodies: []string{
				`{"id":1,"after":1,"licence":"cc0","by":"Ann",` + items("1") + `}`, `{"after":2,"licence":"all mine","by":"Ben",` + items("2") + `}`,
				`{"after":3,"licence":"cc0","by":"Eve",` + items("3") + `}`, `{"licence":"cc0","by":"Ann",` + items("4") + `}`,
			},
			asked:    []string{"/q?name=a%20b", "/q?name=a%20b&after=1", "/q?name=a%20b&after=2", "/q?name=a%20b&after=3"},
			pictures: "1 3 4", by: "Ann; Eve",
		},
		{
			title: "pictures on the second page alone", next: byToken, most: 9,
			bodies: []string{`{"id":1,"after":1,"items":[{"url":null}]}`, `{"licence":"cc0","by":"Eve",` + items("3") + `}`},
			asked:  []string{"/q?name=a%20b", "/q?name=a%20b&after=1"}, pictures: "3", by: "Eve",
		},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			var asked []string
			c := setup(t, strings.Replace(paged, "NEXT", tt.next, 1), pages(&asked, tt.bodies...))
			turns := 0
			a, _, err := c.Revalidate(t.Context(), Query{
				Name: "a b", MaxPictures: tt.most, Turn: func(context.Context) error { turns++; return nil },
			}, "")
			if !slices.Equal(asked, tt.asked) {
				t.Errorf("asked for %q, want %q", asked, tt.asked)
			}
			if turns != len(tt.asked)-1 {
				t.Errorf("%d turns for %d further pages", turns, len(tt.asked)-1)
			}
			if tt.reason != "" {
				if failure.From(err).Reason != tt.reason {
					t.Errorf("got %v, want %s", err, tt.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range a.Pictures {
				got = append(got, strings.TrimPrefix(p.Candidates[0], "http://p/"))
			}
			if strings.Join(got, " ") != tt.pictures || a.Verdict != Found || a.Attribution != tt.by {
				t.Errorf("got %v by %q, %v; want %s by %q", got, a.Attribution, a.Verdict, tt.pictures, tt.by)
			}
			if len(a.Next) != len(tt.asked)-1 {
				t.Errorf("the answer tells of %q", a.Next)
			}
			if id := (Attribute{"id", "1"}); !slices.Contains(a.Attributes, id) {
				t.Errorf("the record is not that of the first page: %v", a.Attributes)
			}
		})
	}
}

func TestAPageWithoutATurnEndsTheLookup(t *testing.T) {
	t.Parallel()
	var asked []string
	c := setup(t, strings.Replace(paged, "NEXT", "next: {path: more}", 1), pages(&asked, `{"id":1,"more":"/2",`+items("1")+`}`))
	stop := errors.New("stop")
	_, _, err := c.Revalidate(t.Context(), Query{Name: "a", MaxPictures: 9, Turn: func(context.Context) error { return stop }}, "")
	if !errors.Is(err, stop) || len(asked) != 1 {
		t.Errorf("got %v after %q", err, asked)
	}
}

// A definition that says how many pictures there are to be is asked to the end.
func TestWrittenMaxTurnsPages(t *testing.T) {
	t.Parallel()
	var asked []string
	yaml := strings.Replace(paged, `["items.#.url"]`, `["items.#.url"], max: 2`, 1)
	c := setup(t, strings.Replace(yaml, "NEXT", "next: {path: more}", 1), pages(&asked, `{"id":1,"more":"/2",`+items("1")+`}`, `{"id":1,`+items("2", "3")+`}`))
	a, err := c.Lookup(t.Context(), "a")
	if err != nil || len(a.Pictures) != 2 || len(asked) != 2 || a.Validator != "" {
		t.Errorf("got %+v, %v after %q", a, err, asked)
	}
}

func TestParseRefusesPages(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		`{}`:                                 `next: write path, which leads to the next page, or count, which says how many this page had`,
		`{path: a, count: b}`:                `next: write path, which leads to the next page, or count`,
		`{count: b}`:                         `next.count makes a value: write the url with {value} in it that asks from there on`,
		`{path: a, url: "{base}/?n={name}"}`: `next.url: does not use the value: put {value} into its path or query`,
		`{path: a, url: "{base}/?n={page}"}`: `next.url: unknown {page}: known are {base} and {name} and {value}`,
		`{path: a, url: "http://other/?n={value}"}`:   `next.url goes to other and request.url to h: pages come from one host`,
		`{path: a, pages: 1000}`:                      `next.pages: 1000 is too many: write at most 100`,
		`{path: a, untill: [{path: b, is: missing}]}`: `did you mean "until"?`,
		`{path: a, until: [{path: b}]}`:               `next.until: write one of is: empty`,
	} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("test.yaml", []byte(minimal+"next: "+next+"\n"))
			if err == nil || !strings.Contains(err.Error(), "test.yaml:8: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}
