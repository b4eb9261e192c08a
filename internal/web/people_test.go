package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

func TestPeople(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "Brus Lee", "Nobody", "Faceless", "Broken", "Waiting", "a/b")
	want := f.done(refs["Brus Lee"])
	f.done(refs["a/b"])
	if _, err := f.db.CommitLookup(t.Context(), refs["Nobody"], results.NotFound, results.Lookup{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.CommitLookup(t.Context(), refs["Faceless"], results.NoPicture, results.Lookup{
		Attributes: []results.Attribute{{Name: "age", Value: "7"}},
	}); err != nil {
		t.Fatal(err)
	}
	f.failed(refs["Broken"], failure.ReasonUnavailable, "h.example")
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"Brus Lee":       {200, `{"status":"success","result":{"name":"Brus Lee","age":"32","career":"Actor","picture":"URL/pictures/b?name=Brus+Lee&rank=1"}}`},
		"a/b":            {200, `{"status":"success","result":{"name":"a/b","age":"32","career":"Actor","picture":"URL/pictures/b?name=a%2Fb&rank=1"}}`},
		"Faceless":       {200, `{"status":"success","result":{"name":"Faceless","age":"7","picture":""}}`},
		"Nobody":         {200, `{"status":"fail","result":{}}`},
		"Never heard of": {200, `{"status":"fail","result":{}}`},
		"Waiting":        {503, "still to come"},
		"Broken":         {502, "unavailable from h.example"},
	} {
		for _, path := range []string{"/people/?name=" + url.QueryEscape(name), "/people/" + url.PathEscape(name)} {
			res, data := f.do(f.client, "GET", path, nil, nil)
			got := strings.ReplaceAll(string(data), f.url, "URL")
			if res.StatusCode != c.status || (c.status == 200 && got != c.body) || !strings.Contains(got, c.body) {
				t.Errorf("%s: got %s: %s, want %d: %s", path, res.Status, got, c.status, c.body)
			}
			wantHeaders(t, path, res)
		}
	}
	var p struct{ Result struct{ Picture string } }
	_, data := f.do(f.client, "GET", "/people/?name=Brus+Lee", nil, nil)
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	if _, got := f.do(f.client, "GET", strings.TrimPrefix(p.Result.Picture, f.url), nil, nil); string(got) != string(want) {
		t.Errorf("its picture: got %d bytes, want %d", len(got), len(want))
	}
	for path, status := range map[string]int{"/people/": 400, "/people/?name=Brus+Lee&batch=none": 404, "/people/?name=Brus+Lee&batch=b": 200} {
		if res, _ := f.do(f.client, http.MethodGet, path, nil, nil); res.StatusCode != status {
			t.Errorf("%s: got %s, want %d", path, res.Status, status)
		}
	}
}
