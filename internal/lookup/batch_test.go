package lookup

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/internal/failure"
)

const many = `
name: many
description: Several names in one request
base_url: http://h
request: {url: "{base}/q?titles={name}"}
batch:
  max: 3
  separator: "|"
  records: pages
  name: title
  renamed:
    - {list: normalized, encoded: coded}
    - {list: redirects}
  missing: not_found
  answer:
    not_found: {when: [{path: missing, equals: true}]}
    error: {when: [{path: oops, is: present}], message: oops}
    expect: [{path: id, is: present}]
answer:
  error: {when: [{path: error, is: present}], message: error}
  expect: [{path: pages, is: present}]
attributes: {id: id}
pictures: {from: ["pictures"], max: 2}
`

func queries(names ...string) []Query {
	qs := make([]Query, len(names))
	for i, n := range names {
		qs[i].Name = n
	}
	return qs
}

// The records stand in another order, under names that were read otherwise, and
// not for all of the names.
func TestManyNamesFindTheirRecordsByRule(t *testing.T) {
	t.Parallel()
	var asked []string
	c := setup(t, many, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		fmt.Fprint(w, `{"normalized":[{"from":"a_a","to":"A a"},{"coded":true,"from":"e%CC%81","to":"é"}],
			"redirects":[{"from":"A a","to":"B"},{"from":"B","to":"C"},{"from":"x","to":"y"},{"from":"y","to":"x"}],
			"pages":[{"title":"é","id":3,"pictures":["http://p/3"]},{"title":"Nobody","missing":true},
				{"title":"C","id":1,"pictures":["http://p/1","http://p/2","http://p/4"]},{"title":"C","id":9},
				{"title":"odd"},{"title":"ill","oops":"try later"},{"id":4}]}`)
	})
	one := func(id string, pictures ...string) Result {
		a := Answer{Verdict: NoPicture, Attributes: []Attribute{{"id", id}}}
		for _, p := range pictures {
			a.Verdict, a.Pictures = Found, append(a.Pictures, Picture{[]string{p}})
		}
		return Result{Answer: a}
	}
	none := Result{Answer: Answer{Verdict: NotFound}}
	for _, tt := range []struct {
		names []string
		want  []Result
	}{
		{[]string{"a_a", "e\u0301", "Nobody"}, []Result{one("1", "http://p/1", "http://p/2"), one("3", "http://p/3"), none}},
		{[]string{"unheard of", "C", "x"}, []Result{none, one("1", "http://p/1", "http://p/2"), none}},
		{[]string{"C", "C"}, []Result{one("1", "http://p/1", "http://p/2"), one("1", "http://p/1", "http://p/2")}},
	} {
		got, err := c.LookupMany(t.Context(), queries(tt.names...))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.names, diff)
		}
	}
	if want := []string{"titles=a_a%7Ce%CC%81%7CNobody", "titles=unheard%20of%7CC%7Cx", "titles=C"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}

	t.Run("a record of one is its own failure", func(t *testing.T) {
		got, err := c.LookupMany(t.Context(), queries("odd", "ill", "C"))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []failure.Reason{failure.ReasonBadAnswer, failure.ReasonProviderError, ""} {
			if e := failure.From(got[i].Err); want == "" && got[i].Err != nil || want != "" && e.Reason != want {
				t.Errorf("name %d: got %v, want %q", i, got[i].Err, want)
			}
		}
	})
	t.Run("each has its own bound", func(t *testing.T) {
		got, err := c.LookupMany(t.Context(), []Query{{Name: "C", MaxPictures: 3}, {Name: "a_a", MaxPictures: 1}})
		if err != nil || len(got[0].Answer.Pictures) != 3 || len(got[1].Answer.Pictures) != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("alone", func(t *testing.T) {
		if a, err := c.Lookup(t.Context(), "a_a"); err != nil || a.Verdict != Found || a.Attributes[0].Value != "1" {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestAnErrorOfARequestIsEveryNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		body   string
		want   failure.Reason
	}{
		{200, `{"error":"maxlag"}`, failure.ReasonProviderError},
		{200, `{}`, failure.ReasonBadAnswer},
		{200, `<html>`, failure.ReasonBlocked},
		{500, ``, failure.ReasonUnavailable},
		{429, ``, failure.ReasonRateLimited},
		{414, ``, failure.ReasonRefused},
	} {
		c := setup(t, many, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		})
		if _, err := c.LookupMany(t.Context(), queries("a", "b")); failure.From(err).Reason != tt.want {
			t.Errorf("%d %s: got %v, want %s", tt.status, tt.body, err, tt.want)
		}
	}
}

func TestANameThatIsMissingIsABadAnswerUnlessTheDefinitionKnows(t *testing.T) {
	t.Parallel()
	c := setup(t, strings.Replace(many, "  missing: not_found\n", "", 1), func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"pages":[{"title":"a","id":1}]}`)
	})
	got, err := c.LookupMany(t.Context(), queries("a", "b"))
	if err != nil || got[0].Err != nil || failure.From(got[1].Err).Reason != failure.ReasonBadAnswer {
		t.Errorf("got %+v, %v", got, err)
	}
	if !strings.Contains(got[1].Err.Error(), "batch.missing: not_found") {
		t.Errorf("%v names no cure", got[1].Err)
	}
}

func TestWhichNamesGoTogether(t *testing.T) {
	t.Parallel()
	asked := 0
	h := func(w http.ResponseWriter, r *http.Request) {
		asked++
		fmt.Fprintf(w, `{"pages":[{"title":%q,"id":1}]}`, r.URL.Query().Get("titles"))
	}
	alone := setup(t, many, h)
	barred := setup(t, strings.Replace(many, "  records:", "  separator_in_name: not_found\n  records:", 1), h)
	long := strings.Repeat("ü", 450)
	for _, tt := range []struct {
		names         []string
		alone, barred bool
	}{
		{[]string{"a", "b", "c"}, true, true},
		{[]string{"a", "b", "c", "d"}, false, false},
		{[]string{"a|b"}, true, true},
		{[]string{"a|b", "c"}, false, true},
		{[]string{long, long + "2"}, true, true},
		{[]string{long, long + "2", long + "3"}, false, false},
	} {
		if got := alone.Fit(queries(tt.names...)); got != tt.alone {
			t.Errorf("%.60q where such go alone: got %v, want %v", tt.names, got, tt.alone)
		}
		if got := barred.Fit(queries(tt.names...)); got != tt.barred {
			t.Errorf("%.60q where there are none such: got %v, want %v", tt.names, got, tt.barred)
		}
	}
	if a, err := alone.Lookup(t.Context(), "a|b"); err != nil || a.Verdict != NoPicture || asked != 1 {
		t.Errorf("a name that goes alone: got %+v, %v, after %d requests", a, err, asked)
	}
	if a, err := barred.Lookup(t.Context(), "a|b"); err != nil || a.Verdict != NotFound || asked != 1 {
		t.Errorf("a name that the service cannot have: got %+v, %v, after %d requests", a, err, asked)
	}
}
