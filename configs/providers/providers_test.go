package providers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/configs/providers"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/lookup"
)

// wanted is what each sample must yield, by its file, and by its name where the
// file answers about several.
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
	"samples/dogceo-found.http": {
		Verdict: lookup.Found,
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://images.dog.ceo/breeds/hound-afghan/n02088094_1003.jpg",
			}},
			{Candidates: []string{
				"https://images.dog.ceo/breeds/hound-afghan/n02088094_1007.jpg",
			}},
		},
		Attribution: "Stanford Dogs Dataset, by Dog CEO",
	},
	"samples/dogceo-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/gbif-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("gbif_id", "4512345678", "scientific_name", "Vulpes vulpes (Linnaeus, 1758)", "country", "Germany", "observed", "2024-01-06T10:12:00"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://inaturalist-open-data.s3.amazonaws.com/photos/345/original.jpg",
			}},
			{Candidates: []string{
				"https://inaturalist-open-data.s3.amazonaws.com/photos/346/original.jpg",
			}},
		},
		Licence:     "http://creativecommons.org/licenses/by-nc/4.0/",
		Attribution: "Jo Observer",
		Source:      "https://www.gbif.org/occurrence/4512345678",
	},
	"samples/gbif-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/gbif-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Attributes: attributes("gbif_id", "1", "scientific_name", "Xus yus", "country", "Chile"),
		Source:     "https://www.gbif.org/occurrence/1",
	},
	"samples/mediawiki-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("title", "Ada Lovelace", "page_id", "974", "wikidata", "Q7259", "description", "English mathematician (1815–1852)"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://upload.wikimedia.org/wikipedia/commons/a/a4/Ada_Lovelace_portrait.jpg",
				"https://upload.wikimedia.org/wikipedia/commons/thumb/a/a4/Ada_Lovelace_portrait.jpg/960px-Ada_Lovelace_portrait.jpg",
			}},
		},
		Attribution: "Wikipedia",
		Source:      "https://en.wikipedia.org/wiki/Ada_Lovelace",
	},
	"samples/mediawiki-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/mediawiki-disambiguation.http": {
		Verdict: lookup.NotFound,
	},
	"samples/mediawiki-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Attributes: attributes("title", "Discrete logarithm records", "page_id", "3163066", "wikidata", "Q5281874", "description", "Best results achieved to date"),
		Source:     "https://en.wikipedia.org/wiki/Discrete_logarithm_records",
	},
	// One file that answers about several names.
	"samples/mediawiki-batch.http ada Byron": {
		Verdict:    lookup.Found,
		Attributes: attributes("title", "Ada Lovelace", "page_id", "974", "wikidata", "Q7259", "description", "English mathematician (1815–1852)"),
		Pictures: []lookup.Picture{{Candidates: []string{
			"https://upload.wikimedia.org/wikipedia/commons/a/a4/Ada_Lovelace_portrait.jpg",
			"https://upload.wikimedia.org/wikipedia/commons/thumb/a/a4/Ada_Lovelace_portrait.jpg/960px-Ada_Lovelace_portrait.jpg",
		}}},
		Attribution: "Wikipedia",
		Source:      "https://en.wikipedia.org/wiki/Ada_Lovelace",
	},
	"samples/mediawiki-batch.http the_Beatles": {
		Verdict:    lookup.Found,
		Attributes: attributes("title", "The Beatles", "page_id", "29812", "wikidata", "Q1299", "description", "English rock band (1960-1970)"),
		Pictures: []lookup.Picture{{Candidates: []string{
			"https://upload.wikimedia.org/wikipedia/commons/d/df/The_Fabs.JPG",
			"https://upload.wikimedia.org/wikipedia/commons/thumb/d/df/The_Fabs.JPG/960px-The_Fabs.JPG",
		}}},
		Attribution: "Wikipedia",
		Source:      "https://en.wikipedia.org/wiki/The_Beatles",
	},
	"samples/mediawiki-batch.http Nobody Abc": {Verdict: lookup.NotFound},
	"samples/mediawiki-batch.http de:Berlin":  {Verdict: lookup.NotFound},
	"samples/met-found.http": {
		Verdict:    lookup.Found,
		Then:       "https://collectionapi.metmuseum.org/public/collection/v1/objects/436535",
		Attributes: attributes("object_id", "436535", "title", "Wheat Field with Cypresses", "artist", "Vincent van Gogh", "date", "1889", "medium", "Oil on canvas", "department", "European Paintings"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://images.metmuseum.org/CRDImages/ep/original/DT1567.jpg",
				"https://images.metmuseum.org/CRDImages/ep/web-large/DT1567.jpg",
			}},
			{Candidates: []string{
				"https://images.metmuseum.org/CRDImages/ep/original/LC-EP_1993_132_suppl_CH-001.jpg",
			}},
		},
		Licence:     "CC0-1.0",
		Attribution: "Purchase, The Annenberg Foundation Gift, 1993",
		Source:      "https://www.metmuseum.org/art/collection/search/436535",
	},
	"samples/met-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/met-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Then:       "https://collectionapi.metmuseum.org/public/collection/v1/objects/1",
		Attributes: attributes("object_id", "1", "title", "Fragment", "artist", "", "date", "", "medium", "Clay", "department", "The American Wing"),
		Source:     "https://www.metmuseum.org/art/collection/search/1",
	},
	"samples/musicbrainz-found.http": {
		Verdict:    lookup.Found,
		Then:       "https://coverartarchive.org/release-group/b1392450-e666-3926-a536-22c65f834433",
		Attributes: attributes("mbid", "b1392450-e666-3926-a536-22c65f834433", "title", "OK Computer", "artist", "Radiohead", "first_release", "1997-05-21", "type", "Album"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"http://coverartarchive.org/release/f-1/1.jpg",
				"http://coverartarchive.org/release/f-1/2.jpg",
			}},
		},
		Attribution: "Cover Art Archive",
		Source:      "https://musicbrainz.org/release-group/b1392450-e666-3926-a536-22c65f834433",
	},
	"samples/musicbrainz-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/musicbrainz-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Then:       "https://coverartarchive.org/release-group/00000000-0000-3000-a000-000000000001",
		Attributes: attributes("mbid", "00000000-0000-3000-a000-000000000001", "title", "Demo Tape", "artist", "The Unpictured", "first_release", ""),
		Source:     "https://musicbrainz.org/release-group/00000000-0000-3000-a000-000000000001",
	},
	"samples/openlibrary-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("olid", "OL23919A", "name", "J. K. Rowling", "born", "31 July 1965", "top_work", "Harry Potter and the Philosopher's Stone"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://covers.openlibrary.org/a/olid/OL23919A-L.jpg?default=false",
			}},
		},
		Attribution: "Open Library",
		Source:      "https://openlibrary.org/authors/OL23919A",
	},
	"samples/openlibrary-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/pokeapi-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("number", "25", "name", "pikachu", "height", "4", "weight", "60", "types", "electric"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://raw.githubusercontent.com/PokeAPI/sprites/master/sprites/pokemon/other/official-artwork/25.png",
			}},
			{Candidates: []string{
				"https://raw.githubusercontent.com/PokeAPI/sprites/master/sprites/pokemon/25.png",
			}},
			{Candidates: []string{
				"https://raw.githubusercontent.com/PokeAPI/sprites/master/sprites/pokemon/back/25.png",
			}},
		},
		Licence:     "all rights reserved",
		Attribution: "The Pokémon Company",
	},
	"samples/pokeapi-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/tvmaze-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("tvmaze_id", "5", "name", "Lauren Graham", "country", "United States", "birthday", "1967-03-16"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://static.tvmaze.com/uploads/images/original_untouched/1/5.jpg",
				"https://static.tvmaze.com/uploads/images/medium_portrait/1/5.jpg",
			}},
		},
		Licence:     "CC-BY-SA-4.0",
		Attribution: "TVmaze",
		Source:      "https://www.tvmaze.com/people/5/lauren-graham",
	},
	"samples/tvmaze-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/tvmaze-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Attributes: attributes("tvmaze_id", "7", "name", "Somebody Xyz"),
		Source:     "https://www.tvmaze.com/people/7/somebody-xyz",
	},
	"samples/wikidata-found.http": {
		Verdict:    lookup.Found,
		Attributes: attributes("wikidata", "Q7259", "label", "Ada Lovelace", "description", "English mathematician (1815-1852)"),
		Pictures: []lookup.Picture{
			{Candidates: []string{
				"https://commons.wikimedia.org/wiki/Special:FilePath/Ada%20Lovelace%20portrait.jpg?width=960",
			}},
			{Candidates: []string{
				"https://commons.wikimedia.org/wiki/Special:FilePath/Ada%20Byron%20&%20co%20%281836%29.jpg?width=960",
			}},
		},
		Attribution: "Wikimedia Commons",
		Source:      "https://www.wikidata.org/wiki/Q7259",
	},
	"samples/wikidata-not-found.http": {
		Verdict: lookup.NotFound,
	},
	"samples/wikidata-no-picture.http": {
		Verdict:    lookup.NoPicture,
		Attributes: attributes("wikidata", "Q5281874", "label", "Discrete logarithm records", "description", "best results achieved to date"),
		Source:     "https://www.wikidata.org/wiki/Q5281874",
	},
}

// attributes pairs names and values.
func attributes(pairs ...string) (as []lookup.Attribute) {
	for p := range slices.Chunk(pairs, 2) {
		as = append(as, lookup.Attribute{Name: p[0], Value: p[1]})
	}
	return as
}

// asked is what each sample's name makes of its service's paths, by its file.
var asked = map[string]string{
	"samples/people-found.http":             "/?name=Brus%20Lee",
	"samples/people-not-found.http":         "/?name=Nobody%20Atall",
	"samples/wikipedia-found.http":          "/api/rest_v1/page/summary/Ford_Mustang",
	"samples/wikipedia-not-found.http":      "/api/rest_v1/page/summary/Nobody_Xyz",
	"samples/wikipedia-disambiguation.http": "/api/rest_v1/page/summary/Mercury",
	"samples/wikipedia-no-picture.http":     "/api/rest_v1/page/summary/Discrete_logarithm_records",
	"samples/github-found.http":             "/users/torvalds",
	"samples/github-not-found.http":         "/users/no-such-login-here",
	"samples/inaturalist-found.http":        "/v1/taxa?q=Vulpes%20vulpes&per_page=1",
	"samples/inaturalist-not-found.http":    "/v1/taxa?q=Nobodius%20atallus&per_page=1",
	"samples/inaturalist-no-picture.http":   "/v1/taxa?q=Xus%20yus&per_page=1",
	"samples/dogceo-found.http":             "/api/breed/hound/afghan/images",
	"samples/dogceo-not-found.http":         "/api/breed/unicorn/images",
	"samples/gbif-found.http":               "/v1/occurrence/search?scientificName=Vulpes%20vulpes&mediaType=StillImage&limit=1",
	"samples/gbif-not-found.http":           "/v1/occurrence/search?scientificName=Nobodius%20atallus&mediaType=StillImage&limit=1",
	"samples/gbif-no-picture.http":          "/v1/occurrence/search?scientificName=Xus%20yus&mediaType=StillImage&limit=1",
	"samples/mediawiki-found.http":          mediawikiQuery + "ada_Lovelace",
	"samples/mediawiki-not-found.http":      mediawikiQuery + "Nobody%20Xyz",
	"samples/mediawiki-disambiguation.http": mediawikiQuery + "Mercury",
	"samples/mediawiki-no-picture.http":     mediawikiQuery + "Discrete%20logarithm%20records",

	"samples/mediawiki-batch.http ada Byron":   mediawikiQuery + "ada%20Byron",
	"samples/mediawiki-batch.http the_Beatles": mediawikiQuery + "the_Beatles",
	"samples/mediawiki-batch.http Nobody Abc":  mediawikiQuery + "Nobody%20Abc",
	"samples/mediawiki-batch.http de:Berlin":   mediawikiQuery + "de%3ABerlin",
	"samples/met-found.http":                   fmt.Sprintf(metQuery, "Wheat%20Field%20with%20Cypresses") + " /public/collection/v1/objects/436535",
	"samples/met-not-found.http":               fmt.Sprintf(metQuery, "Nobody%20Xyz"),
	"samples/met-no-picture.http":              fmt.Sprintf(metQuery, "Fragment") + " /public/collection/v1/objects/1",
	"samples/musicbrainz-found.http":           "/ws/2/release-group?query=OK%20Computer&fmt=json&limit=1 /release-group/b1392450-e666-3926-a536-22c65f834433",
	"samples/musicbrainz-not-found.http":       "/ws/2/release-group?query=Nobody%20Xyz&fmt=json&limit=1",
	"samples/musicbrainz-no-picture.http":      "/ws/2/release-group?query=Demo%20Tape&fmt=json&limit=1 /release-group/00000000-0000-3000-a000-000000000001",
	"samples/openlibrary-found.http":           "/search/authors.json?q=J.%20K.%20Rowling&limit=1",
	"samples/openlibrary-not-found.http":       "/search/authors.json?q=Nobody%20Xyz&limit=1",
	"samples/pokeapi-found.http":               "/api/v2/pokemon/pikachu",
	"samples/pokeapi-not-found.http":           "/api/v2/pokemon/nobody",
	"samples/tvmaze-found.http":                "/search/people?q=Lauren%20Graham",
	"samples/tvmaze-not-found.http":            "/search/people?q=Nobody%20Xyz",
	"samples/tvmaze-no-picture.http":           "/search/people?q=Somebody%20Xyz",
	"samples/wikidata-found.http":              fmt.Sprintf(wikidataQuery, "Ada%20Lovelace"),
	"samples/wikidata-not-found.http":          fmt.Sprintf(wikidataQuery, "Nobody%20Xyz"),
	"samples/wikidata-no-picture.http":         fmt.Sprintf(wikidataQuery, "Discrete%20logarithm%20records"),
}

const (
	mediawikiQuery = "/w/api.php?action=query&format=json&formatversion=2&redirects=1&prop=pageimages%7Cdescription%7Cpageprops" +
		"&ppprop=disambiguation%7Cwikibase_item&piprop=original%7Cthumbnail%7Cname&pilimit=50&pithumbsize=960&pilicense=any&maxlag=5&titles="
	metQuery      = "/public/collection/v1.1/search?q=%s&hasImages=true&isPublicDomain=true&limit=1&offset=0"
	wikidataQuery = "/w/api.php?action=wbgetentities&sites=enwiki&titles=%s&props=claims%%7Clabels%%7Cdescriptions&languages=en&format=json&maxlag=5"
)

func TestSamples(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	for _, provider := range catalogue.Names() {
		entry, err := catalogue.Get(provider)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range entry.Samples {
			key := s.File
			if _, ok := wanted[key]; !ok {
				key += " " + s.Name
			}
			t.Run(key, func(t *testing.T) {
				t.Parallel()
				reply, err := entry.Sample(s)
				if err != nil {
					t.Fatal(err)
				}
				want, ok := wanted[key]
				if !ok {
					t.Fatalf("no wanted answer for %s", key)
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

				served, request := serve(t, entry, s.Name, reply)
				served.Then = want.Then // at the local server; its path is in request
				if diff := cmp.Diff(want, served, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("over HTTP (-want +got):\n%s", diff)
				}
				if request != asked[key] {
					t.Errorf("asked for %s, want %s", request, asked[key])
				}
			})
		}
	}
}

func TestEachDefinitionHasSamplesOfBothKinds(t *testing.T) {
	t.Parallel()
	catalogue := load(t)
	if got, want := catalogue.Names(), []string{
		"direct", "dogceo", "gbif", "github", "inaturalist", "mediawiki", "met", "musicbrainz", "openlibrary",
		"people", "pokeapi", "tvmaze", "wikidata", "wikipedia",
	}; !slices.Equal(got, want) {
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
			if entry.Asks() && !slices.ContainsFunc(entry.Samples, func(s lookup.Sample) bool { return s.Verdict == v }) {
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

// serve answers a lookup of name with reply, and a second step with that in
// it, and returns what a client makes of it and the URIs that it asked for.
func serve(t *testing.T, entry *lookup.Entry, name string, reply lookup.Reply) (lookup.Answer, string) {
	t.Helper()
	var uris []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := reply
		if uris = append(uris, r.RequestURI); len(uris) > 1 {
			answer = *reply.Then
		}
		for k, v := range answer.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Status)
		w.Write(answer.Body)
	}))
	defer srv.Close()
	local := strings.ReplaceAll(string(entry.YAML()), "url: \"https://coverartarchive.org/", "url: \""+srv.URL+"/")
	def, err := lookup.Parse(entry.File, []byte(local))
	if err != nil {
		t.Fatal(err)
	}
	if def, err = def.WithBaseURL(srv.URL); err != nil {
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
	return answer, strings.Join(uris, " ")
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
