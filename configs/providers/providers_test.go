package providers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/configs/providers"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
)

// wanted is what each sample must yield, by its file.
var wanted = map[string]lookup.Answer{
	"samples/people-found.http": {
		Verdict:    lookup.Found,
		Attributes: []lookup.Attribute{{Name: "age", Value: "30"}, {Name: "career", Value: "engineer"}},
		Pictures:   []lookup.Picture{{Candidates: []string{"http://127.0.0.1:8000/images/2.png"}}},
	},
	"samples/people-not-found.http": {Verdict: lookup.NotFound},
	"samples/wikipedia-found.http": {
		Verdict: lookup.Found,
		Attributes: []lookup.Attribute{
			{Name: "title", Value: "Ford Mustang"},
			{Name: "description", Value: "American pony car"},
			{Name: "wikidata", Value: "Q183476"},
			{Name: "extract", Value: "The Ford Mustang is an American car built by Ford since 1964."},
		},
		Pictures: []lookup.Picture{{Candidates: []string{
			"https://upload.wikimedia.org/wikipedia/commons/d/d1/2018_Ford_Mustang_GT_5.0.jpg",
			"https://upload.wikimedia.org/wikipedia/commons/thumb/d/d1/2018_Ford_Mustang_GT_5.0.jpg/330px-2018_Ford_Mustang_GT_5.0.jpg",
		}}},
		Attribution: "Wikipedia",
		Source:      "https://en.wikipedia.org/wiki/Ford_Mustang",
	},
	"samples/wikipedia-not-found.http":      {Verdict: lookup.NotFound},
	"samples/wikipedia-disambiguation.http": {Verdict: lookup.NotFound},
	"samples/wikipedia-no-picture.http": {
		Verdict: lookup.NoPicture,
		Attributes: []lookup.Attribute{
			{Name: "title", Value: "Discrete logarithm records"},
			{Name: "description", Value: "Best results achieved to date"},
			{Name: "wikidata", Value: "Q5281874"},
			{Name: "extract", Value: "Discrete logarithm records are the best results achieved to date in solving the discrete logarithm problem."},
		},
		Source: "https://en.wikipedia.org/wiki/Discrete_logarithm_records",
	},
	"samples/github-found.http": {
		Verdict: lookup.Found,
		Attributes: []lookup.Attribute{
			{Name: "login", Value: "torvalds"},
			{Name: "id", Value: "1024025"},
			{Name: "name", Value: "Linus Torvalds"},
			{Name: "company", Value: "Linux Foundation"},
			{Name: "location", Value: "Portland, OR"},
			{Name: "created_at", Value: "2011-09-03T15:26:22Z"},
		},
		Pictures:    []lookup.Picture{{Candidates: []string{"https://avatars.githubusercontent.com/u/1024025?v=4"}}},
		Attribution: "Linus Torvalds",
		Source:      "https://github.com/torvalds",
	},
	"samples/github-not-found.http": {Verdict: lookup.NotFound},
	"samples/inaturalist-found.http": {
		Verdict: lookup.Found,
		Attributes: []lookup.Attribute{
			{Name: "taxon_id", Value: "42069"},
			{Name: "scientific_name", Value: "Vulpes vulpes"},
			{Name: "common_name", Value: "Red Fox"},
			{Name: "rank", Value: "species"},
		},
		Pictures: []lookup.Picture{{Candidates: []string{
			"https://inaturalist-open-data.s3.amazonaws.com/photos/8459687/medium.jpg",
			"https://inaturalist-open-data.s3.amazonaws.com/photos/8459687/square.jpg",
		}}},
		Licence:     "cc-by",
		Attribution: "(c) Joanne Redwood, some rights reserved (CC BY)",
		Source:      "https://www.inaturalist.org/search?q=Vulpes%20vulpes",
	},
	"samples/inaturalist-not-found.http": {Verdict: lookup.NotFound},
	"samples/inaturalist-no-picture.http": {
		Verdict: lookup.NoPicture,
		Attributes: []lookup.Attribute{
			{Name: "taxon_id", Value: "1500001"},
			{Name: "scientific_name", Value: "Xus yus"},
			{Name: "rank", Value: "species"},
		},
		Source: "https://www.inaturalist.org/search?q=Xus%20yus",
	},
}

// asked is the request line of each sample's name.
var asked = map[string]string{
	"Brus Lee":                   "/?name=Brus%20Lee",
	"Nobody Atall":               "/?name=Nobody%20Atall",
	"Ford Mustang":               "/api/rest_v1/page/summary/Ford_Mustang",
	"Nobody Xyz":                 "/api/rest_v1/page/summary/Nobody_Xyz",
	"Mercury":                    "/api/rest_v1/page/summary/Mercury",
	"Discrete logarithm records": "/api/rest_v1/page/summary/Discrete_logarithm_records",
	"torvalds":                   "/users/torvalds",
	"no-such-login-here":         "/users/no-such-login-here",
	"Vulpes vulpes":              "/v1/taxa?q=Vulpes%20vulpes&per_page=1",
	"Nobodius atallus":           "/v1/taxa?q=Nobodius%20atallus&per_page=1",
	"Xus yus":                    "/v1/taxa?q=Xus%20yus&per_page=1",
}

func TestSamples(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	for _, provider := range catalogue.Names() {
		entry, err := catalogue.Get(provider)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range entry.Samples {
			t.Run(s.File, func(t *testing.T) {
				t.Parallel()
				reply, err := entry.Sample(s)
				if err != nil {
					t.Fatal(err)
				}
				want, ok := wanted[s.File]
				if !ok {
					t.Fatalf("no wanted answer for %s", s.File)
				}
				got, err := entry.Extract(s.Name, reply)
				if err != nil {
					t.Fatal(err)
				}
				if got.Verdict != s.Verdict {
					t.Errorf("verdict: got %s, the definition says %s", got.Verdict, s.Verdict)
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("offline (-want +got):\n%s", diff)
				}

				served, request := serve(t, entry.Definition, s.Name, reply)
				if diff := cmp.Diff(want, served, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("over HTTP (-want +got):\n%s", diff)
				}
				if request != asked[s.Name] {
					t.Errorf("asked for %s, want %s", request, asked[s.Name])
				}
			})
		}
	}
}

func TestEachDefinitionHasSamplesOfBothKinds(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	if got, want := catalogue.Names(), []string{"github", "inaturalist", "people", "wikipedia"}; !slices.Equal(got, want) {
		t.Errorf("definitions: got %v, want %v", got, want)
	}
	for _, name := range catalogue.Names() {
		entry, err := catalogue.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if want := "built-in/" + name + ".yaml"; entry.File != want || !entry.BuiltIn {
			t.Errorf("%s stands in %s, want %s", name, entry.File, want)
		}
		for _, v := range []lookup.Verdict{lookup.Found, lookup.NotFound} {
			if !slices.ContainsFunc(entry.Samples, func(s lookup.Sample) bool { return s.Verdict == v }) {
				t.Errorf("%s has no sample for %s", name, v)
			}
		}
	}
}

func TestOnlyPeopleAllowsPicturesFromItsOrigin(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	for _, name := range catalogue.Names() {
		entry, err := catalogue.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if name == "people" {
			want = []string{"127.0.0.1:8000"}
		}
		if got := entry.AllowedHosts(); !slices.Equal(got, want) {
			t.Errorf("%s allows %v, want %v", name, got, want)
		}
	}
}

func TestGitHubIsSlowerWithoutAToken(t *testing.T) {
	t.Parallel()
	entry, err := load(t).Get("github")
	if err != nil {
		t.Fatal(err)
	}
	for token, perHour := range map[string]int{"": 60, "a-token": 5000} {
		got := entry.LookupLimits(func(lookup.Secret) (string, error) { return token, nil })
		if got.PerHour != perHour {
			t.Errorf("with token %q: %d an hour, want %d", token, got.PerHour, perHour)
		}
	}
}

func load(t *testing.T) *lookup.Catalogue {
	t.Helper()
	c, err := lookup.NewCatalogue(lookup.Sources{BuiltIn: providers.Files})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve answers a lookup of name with reply, and returns what a client makes
// of it and the URI that it asked for.
func serve(t *testing.T, def *lookup.Definition, name string, reply lookup.Reply) (lookup.Answer, string) {
	t.Helper()
	var uri string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		for k, v := range reply.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(reply.Status)
		w.Write(reply.Body)
	}))
	defer srv.Close()
	def, err := def.WithBaseURL(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := lookup.New(def, exchanger{srv.Client()}, lookup.Options{
		Contact: "you@example.org",
		Secrets: func(lookup.Secret) (string, error) { return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return answer, uri
}

// exchanger is a plain HTTP client.
type exchanger struct{ client *http.Client }

func (e exchanger) Do(ctx context.Context, r fetch.Request) (*fetch.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("test request: %w", err)
	}
	req.Header = r.Header
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, err
	}
	return &fetch.Response{Status: resp.StatusCode, Header: resp.Header, URL: resp.Request.URL.String(), Body: resp.Body}, nil
}
