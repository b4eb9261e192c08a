//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/configs/providers" //nolint:depguard // the test serves the samples of the definitions that come with harvest
	"github.com/picharvest/picharvest/internal/lookup"
)

// service stands for every host of one provider. It gives the recorded
// answers to the requests that they belong to, and a picture to all others.
type service struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]lookup.Reply // by the path and query of the request
	picture []byte
	fetched []string
	// titles are the recorded answers of a service that takes several names in
	// one request, by name, and requests counts these.
	titles   map[string]mediaWiki
	requests int
}

// mediaWiki is an answer of MediaWiki's.
type mediaWiki struct {
	BatchComplete bool                        `json:"batchcomplete"`
	Query         map[string][]map[string]any `json:"query"`
}

// merged puts the recorded answers about names into one, the last name's first:
// it is no promise of the service that they come in order.
func (s *service) merged(names []string) mediaWiki {
	all := mediaWiki{true, map[string][]map[string]any{"pages": {}}}
	for _, name := range slices.Backward(names) {
		for list, items := range s.titles[name].Query {
			for _, item := range items {
				same := func(o map[string]any) bool { return reflect.DeepEqual(o, item) }
				if !slices.ContainsFunc(all.Query[list], same) {
					all.Query[list] = append(all.Query[list], item)
				}
			}
		}
	}
	return all
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if names, ok := r.URL.Query()["titles"]; ok && s.titles != nil {
		s.requests++
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.merged(strings.Split(names[0], "|")))
		return
	}
	if a, ok := s.answers[r.RequestURI]; ok {
		for k, v := range a.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(a.Status)
		w.Write(s.here(a.Body))
		return
	}
	s.fetched = append(s.fetched, r.RequestURI)
	w.Write(s.picture)
}

// here returns text with this server in the place of every picture's host.
func (s *service) here(text []byte) []byte {
	return []byte(strings.NewReplacer("https://", s.URL+"/", "http://", s.URL+"/").Replace(string(text)))
}

// Each built-in provider, with every host of it replaced by one local server
// that gives its recorded answers, ends each recorded name as its definition
// says, with the pictures, the licence, and the attributes of the answer.
func TestEachProviderEndsWithItsPictures(t *testing.T) {
	t.Parallel()
	catalogue, err := lookup.NewCatalogue(lookup.Sources{BuiltIn: providers.Files})
	if err != nil {
		t.Fatal(err)
	}
	picture := gray(t)
	for _, name := range catalogue.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entry, err := catalogue.Get(name)
			if err != nil {
				t.Fatal(err)
			}
			if !entry.Asks() {
				t.Skip("it has no lookup; the scripts of the commands have one for it")
			}
			s := &service{answers: map[string]lookup.Reply{}, picture: picture}
			s.Server = httptest.NewServer(s)
			t.Cleanup(s.Close)
			m := newMachine(t)
			s.standingFor(m, name)
			own, err := lookup.NewCatalogue(lookup.Sources{BuiltIn: os.DirFS(m.path("providers"))})
			if err != nil {
				t.Fatal(err)
			}
			def, err := own.Get(name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "people" {
				m.set("HARVEST_PROVIDERS_BASE_URLS=people=" + def.BaseURL) // run starts the demo's own server otherwise
			}

			want := map[string]lookup.Answer{}
			var names strings.Builder
			for _, sample := range entry.Samples {
				reply, err := entry.Sample(sample)
				if err != nil {
					t.Fatal(err)
				}
				local := reply
				local.Body = s.here(reply.Body)
				if reply.Then != nil {
					local.Then = &lookup.Reply{Status: reply.Then.Status, Header: reply.Then.Header, Body: s.here(reply.Then.Body)}
				}
				answer, err := def.Extract(sample.Name, local)
				if err != nil {
					t.Fatal(err)
				}
				request, err := def.Example(lookup.Query{Name: sample.Name}, func(lookup.Secret) (string, error) { return "", nil })
				if err != nil {
					t.Fatal(err)
				}
				s.answers[strings.TrimPrefix(request.URL, s.URL)] = reply
				if def.Together() > 1 {
					s.record(t, sample.Name, reply.Body)
				}
				if answer.Then != "" {
					s.answers[strings.TrimPrefix(answer.Then, s.URL)] = *reply.Then
				}
				want[sample.Name] = answer
				fmt.Fprintln(&names, sample.Name)
			}
			m.write("names.txt", names.String())
			e := m.run("harvest", "run", "--file", "names.txt", "--provider", name)
			if e.code != 0 {
				t.Fatal(e)
			}
			for _, r := range m.results("names") {
				checkAnswer(t, m, s, r, want[r.Name])
			}
		})
	}
}

// record adds a recorded answer of a service that takes several names.
func (s *service) record(t *testing.T, name string, body []byte) {
	t.Helper()
	var one mediaWiki
	if err := json.Unmarshal(s.here(body), &one); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.titles == nil {
		s.titles = make(map[string]mediaWiki)
	}
	s.titles[name] = one
}

// standingFor writes the definition of a built-in provider with this server in
// the place of every host, and lets the programs of m use it.
func (s *service) standingFor(m *machine, name string) *lookup.Entry {
	m.t.Helper()
	catalogue, err := lookup.NewCatalogue(lookup.Sources{BuiltIn: providers.Files})
	if err != nil {
		m.t.Fatal(err)
	}
	entry, err := catalogue.Get(name)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("providers/"+name+".yaml", string(s.here(entry.YAML())))
	m.set("HARVEST_PROVIDERS_FOLDER="+m.path("providers"), "HARVEST_PICTURE_ALLOW=127.0.0.0/8", "HARVEST_CONTACT=you@example.org")
	return entry
}

func gray(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 40, 30))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// 230 titles, in any spelling and some of them unknown, go to MediaWiki in five
// requests or a few more, and each ends with what belongs to it.
func TestManyNamesInOneRequest(t *testing.T) {
	t.Parallel()
	s := &service{picture: gray(t), titles: make(map[string]mediaWiki)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	m := newMachine(t)
	wiki := s.standingFor(m, "mediawiki")
	// The pictures are another host's, and not what this is about.
	m.write("providers/mediawiki.yaml", strings.Replace(string(s.here(wiki.YAML())), "picture: {in_flight: 2}", "picture: {in_flight: 50}", 1))
	pictures := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(s.picture) }))
	t.Cleanup(pictures.Close)
	var names strings.Builder
	for i := range 230 {
		name, title := fmt.Sprintf("page_%d", i), fmt.Sprintf("Page %d", i)
		fmt.Fprintln(&names, name)
		page := map[string]any{"title": title, "pageid": i, "original": map[string]any{"source": fmt.Sprintf("%s/p/%d.png", pictures.URL, i)}}
		if i%10 == 9 {
			page = map[string]any{"title": title, "missing": true}
		}
		query := map[string][]map[string]any{"normalized": {{"from": name, "to": title}}, "pages": {page}}
		if i%10 == 5 {
			query["redirects"] = []map[string]any{{"from": title, "to": "Target of " + title}}
			page["title"] = "Target of " + title
		}
		s.titles[name] = mediaWiki{true, query}
	}
	fmt.Fprintln(&names, "not|a title")
	m.write("names.txt", names.String())
	m.ok("harvest", "run", "--file", "names.txt", "--provider", "mediawiki", "--quiet")
	for _, r := range m.results("names") {
		i, err := strconv.Atoi(strings.TrimPrefix(r.Name, "page_"))
		switch {
		case err != nil || i%10 == 9:
			if r.State != "not_found" {
				t.Errorf("%q is %s, want not_found", r.Name, r.State)
			}
		case r.State != "done" || r.Attributes["page_id"] != strconv.Itoa(i) || !strings.HasSuffix(r.Pictures[0].URL, fmt.Sprintf("/p/%d.png", i)):
			t.Errorf("%q is %s with page %s and %v", r.Name, r.State, r.Attributes["page_id"], r.Pictures)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests > 5+15 {
		t.Errorf("%d requests for 231 names that go by fifty", s.requests)
	}
}

// A service that is in trouble, or wants something else first, is understood as
// what it is, through the whole program.
func TestWhatServicesSayInsteadOfAnAnswer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := make(map[string][]time.Time)
	var reset int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("q")
		mu.Lock()
		defer mu.Unlock()
		asked[name] = append(asked[name], time.Now())
		switch {
		case name == "page":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<!DOCTYPE html><title>Are you a robot?</title>")
		case name == "error":
			fmt.Fprint(w, `{"error":{"info":"the index is being rebuilt"}}`)
		case name == "quota" && len(asked[name]) == 1:
			reset = time.Now().Unix() + 3
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(reset, 10))
			w.WriteHeader(http.StatusForbidden)
		default:
			fmt.Fprint(w, `{"hits":[]}`)
		}
	}))
	t.Cleanup(srv.Close)
	m := newMachine(t)
	m.write("providers/odd.yaml", `name: odd
description: A service with days
base_url: `+srv.URL+`
contact: required
request: {url: "{base}/?q={name}"}
answer:
  not_found: {when: [{path: hits, is: empty}]}
  error: {when: [{path: error, is: present}], message: error.info}
  expect: [{path: hits, is: present}]
pictures: {from: ["hits.#.url"]}
`)
	m.set("HARVEST_PROVIDERS_FOLDER="+m.path("providers"), "HARVEST_WORKER_MAX_ATTEMPTS=1")
	m.write("names.txt", "page\nerror\nquota\n")
	for _, command := range [][]string{
		{"harvest", "run", "--file", "names.txt", "--provider", "odd"},
		{"harvest", "enqueue", "--file", "names.txt", "--provider", "odd", "--redis", "redis://127.0.0.1:1"},
		{"harvest", "worker", "--provider", "odd", "--redis", "redis://127.0.0.1:1"},
	} {
		e := m.run(command[0], command[1:]...)
		if e.code != 2 || !strings.Contains(e.stderr, "set --contact you@example.org or HARVEST_CONTACT") {
			t.Errorf("without a contact: %v", e)
		}
	}
	if len(asked) > 0 {
		t.Errorf("asked without a contact: %v", asked)
	}
	if e := m.run("harvest", "run", "--file", "names.txt", "--provider", "odd", "--contact", "you@example.org"); e.code != 1 {
		t.Error(e)
	}
	for _, r := range m.results("names") {
		want := map[string]string{"page": "failed blocked", "error": "failed provider_error", "quota": "not_found "}[r.Name]
		if got := r.State + " " + r.Reason; got != want {
			t.Errorf("%q is %s, want %s", r.Name, got, want)
		}
		if r.Name == "error" && !strings.Contains(r.Message, "the index is being rebuilt") {
			t.Errorf("%q does not say what the service says", r.Message)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := len(asked["quota"]); n != 2 {
		t.Fatalf("asked %d times for what had a quota, want 2", n)
	}
	if again := asked["quota"][1]; again.Before(time.Unix(reset, 0)) {
		t.Errorf("asked again at %v, before its quota began anew at %v", again, time.Unix(reset, 0))
	}
}

// --max-pictures leads to further pages, as far as it needs, and holds for the
// whole batch.
func TestPagesUpToMaxPictures(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var offsets []string
	picture := gray(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if !strings.HasSuffix(r.URL.Path, "/occurrence/search") {
			w.Write(picture)
			return
		}
		mu.Lock()
		offsets = append(offsets, q.Get("offset"))
		mu.Unlock()
		n, _ := strconv.Atoi(q.Get("offset"))
		licence := "http://creativecommons.org/licenses/by/4.0/"
		if n == 1 {
			licence = "all rights reserved"
		}
		fmt.Fprintf(w, `{"offset":%d,"limit":1,"endOfRecords":%t,"count":9,"results":[{"key":%d,"scientificName":"Vulpes vulpes","media":[
			{"type":"StillImage","identifier":"http://%s/%d-a.png","license":%q,"rightsHolder":"Observer %d"},
			{"type":"StillImage","identifier":"http://%s/%d-b.png","license":%q,"rightsHolder":"Observer %d"}]}]}`,
			n, n == 8, 100+n, r.Host, n, licence, n, r.Host, n, licence, n)
	}))
	t.Cleanup(srv.Close)
	s := &service{Server: srv}
	m := newMachine(t)
	s.standingFor(m, "gbif")
	m.write("foxes.txt", "Vulpes vulpes\n")
	m.ok("harvest", "run", "--file", "foxes.txt", "--provider", "gbif", "--max-pictures", "5")
	r := m.results("foxes")[0]
	if r.State != "done" || len(r.Pictures) != 5 || r.Attributes["gbif_id"] != "100" {
		t.Errorf("got %s with %d pictures of %s, want done with 5 of 100", r.State, len(r.Pictures), r.Attributes["gbif_id"])
	}
	if r.Licence != "http://creativecommons.org/licenses/by/4.0/" || r.Attribution != "Observer 0; Observer 2; Observer 3" {
		t.Errorf("licence %q by %q", r.Licence, r.Attribution)
	}
	if want := []string{"", "1", "2", "3"}; !slices.Equal(offsets, want) {
		t.Errorf("asked for the offsets %q, want %q", offsets, want)
	}
	if e := m.run("harvest", "run", "--file", "foxes.txt", "--max-pictures", "6"); e.code != 2 || !strings.Contains(e.stderr, "--batch foxes-6") {
		t.Error(e)
	}

	m.ok("harvest", "run", "--file", "foxes.txt", "--batch", "few", "--provider", "gbif")
	if r := m.results("few")[0]; len(r.Pictures) != 2 || len(offsets) != 5 {
		t.Errorf("%d pictures after %q; without --max-pictures one page is asked for", len(r.Pictures), offsets)
	}
}

func checkAnswer(t *testing.T, m *machine, s *service, r record, want lookup.Answer) {
	t.Helper()
	state := map[lookup.Verdict]string{lookup.Found: "done", lookup.NotFound: "not_found", lookup.NoPicture: "no_picture"}[want.Verdict]
	if r.State != state || len(r.Pictures) != len(want.Pictures) {
		t.Errorf("%q is %s with %d pictures, want %s with %d", r.Name, r.State, len(r.Pictures), state, len(want.Pictures))
		return
	}
	if r.Licence != want.Licence || r.Attribution != want.Attribution {
		t.Errorf("%q: licence %q by %q, want %q by %q", r.Name, r.Licence, r.Attribution, want.Licence, want.Attribution)
	}
	for _, a := range want.Attributes {
		if r.Attributes[a.Name] != a.Value {
			t.Errorf("%q: attribute %s is %q, want %q", r.Name, a.Name, r.Attributes[a.Name], a.Value)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range want.Pictures {
		u, err := url.Parse(p.Candidates[0])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(s.fetched, u.RequestURI()) {
			t.Errorf("%q: %s was not fetched, but %v", r.Name, u.RequestURI(), s.fetched)
		}
		file := r.Pictures[i].File
		if !filepath.IsAbs(file) {
			file = m.path(file)
		}
		got, err := os.ReadFile(file)
		if err != nil || !slices.Equal(got, s.picture) {
			t.Errorf("%q: picture %d: %d bytes, %v", r.Name, i, len(got), err)
		}
	}
}
