package web_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/web"
)

type batchAnswer struct {
	Batch, State, Status string
	Names                int64
	States, Reasons      map[string]int64
	Finished             bool
}

type nameAnswer struct {
	Name, State, Reason, Host, Message, Error string
	Attributes                                map[string]string
	Pictures                                  []struct {
		Rank       int
		Href, Kind string
	}
}

type problemAnswer struct {
	Title, Detail string
	Status        int
	Nearest       []string
}

func TestBatches(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var list struct {
		Batches []batchAnswer
		Next    string
	}
	f.api("GET", "/batches", "", 200, &list)
	if list.Batches == nil || len(list.Batches) != 0 {
		t.Errorf("without batches: got %v, want an empty list", list.Batches)
	}
	refs := f.add("first", "Brus Lee", "Nobody")
	f.add("second", "A")
	f.add("third", "A")
	f.done(refs["Brus Lee"])
	f.failed(refs["Nobody"], failure.ReasonTimeout, "127.0.0.1:8000")

	var got []string
	for path := "/batches?limit=2"; path != ""; {
		list.Next = ""
		res := f.api("GET", path, "", 200, &list)
		for _, b := range list.Batches {
			got = append(got, b.Batch)
		}
		path = ""
		if list.Next != "" {
			path = "/batches?limit=2&cursor=" + list.Next
			if link := res.Header.Get("Link"); !strings.Contains(link, "cursor="+url.QueryEscape(list.Next)) || !strings.HasSuffix(link, `rel="next"`) {
				t.Errorf("Link: got %q", link)
			}
		}
	}
	if want := []string{"first", "second", "third"}; !slices.Equal(got, want) {
		t.Errorf("batches: got %v, want %v", got, want)
	}

	var b batchAnswer
	f.api("GET", "/batches/first", "", 200, &b)
	if b.State != "finished" || !b.Finished || b.Names != 2 || b.States["done"] != 1 || b.Reasons["timeout"] != 1 {
		t.Errorf("first: got %+v", b)
	}
	var p problemAnswer
	res := f.api("GET", "/batches/frist", "", 404, &p)
	if !slices.Contains(p.Nearest, "first") || !strings.Contains(p.Detail, "did you mean first") || p.Status != 404 {
		t.Errorf("an unknown batch: got %+v", p)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type: got %q", got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	odd := []string{"Brus Lee", "..", ".", "a/b", "<script>alert(1)</script>", "100%", "a?b#c", "日本", "O'Neil \"x\"", "a+b"}
	refs := f.add("names", odd...)
	f.done(refs["Brus Lee"])
	f.failed(refs["a/b"], failure.ReasonTimeout, "h.example")

	var page struct {
		Names []nameAnswer
		Next  string
	}
	var got []string
	for cursor := ""; ; cursor = page.Next {
		page.Next = ""
		f.api("GET", "/batches/names/names?limit=3&cursor="+url.QueryEscape(cursor), "", 200, &page)
		for _, n := range page.Names {
			got = append(got, n.Name)
		}
		if page.Next == "" {
			break
		}
	}
	if diff := cmp.Diff(odd, got); diff != "" {
		t.Errorf("pages of 3 (-want +got):\n%s", diff)
	}

	for _, n := range odd {
		page.Names = nil
		f.api("GET", "/batches/names/names?name="+url.QueryEscape(n), "", 200, &page)
		if len(page.Names) != 1 || page.Names[0].Name != n {
			t.Errorf("name=%q: got %v", n, page.Names)
		}
		if n == "." || n == ".." {
			continue
		}
		var one nameAnswer
		// The validator's router takes an escaped slash for a slash.
		res, data := f.do(f.client, "GET", "/api/v1/batches/names/names/"+url.PathEscape(n), nil, nil)
		if err := json.Unmarshal(data, &one); err != nil || one.Name != n {
			t.Errorf("names/%s: got %s %s", url.PathEscape(n), res.Status, data)
		}
	}

	for query, want := range map[string][]string{
		"state=done": {"Brus Lee"}, "state=failed&reason=timeout": {"a/b"}, "host=h.example": {"a/b"}, "reason=dns": nil,
	} {
		page.Names = nil
		f.api("GET", "/batches/names/names?"+query, "", 200, &page)
		var got []string
		for _, n := range page.Names {
			got = append(got, n.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	var one nameAnswer
	f.api("GET", "/batches/names/names/Brus%20Lee", "", 200, &one)
	if one.State != "done" || one.Attributes["age"] != "32" || len(one.Pictures) != 1 || one.Pictures[0].Href != "/pictures/names?name=Brus+Lee&rank=1" {
		t.Errorf("Brus Lee: got %+v", one)
	}
	var p problemAnswer
	f.api("GET", "/batches/names/names/Brus%20Le", "", 404, &p)
	if !slices.Contains(p.Nearest, "Brus Lee") {
		t.Errorf("an unknown name: got %+v", p)
	}
}

func TestWrongQuestionsAreExplained(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("names", "Brus Lee")
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/batches/names/names?state=dnoe", 400, "did you mean done"},
		{"GET", "/batches/names/names?reason=timeuot", 400, "did you mean timeout"},
		{"GET", "/batches/names/names?sate=done", 400, "did you mean state?"},
		{"GET", "/batches/names/names?state=done&state=failed", 400, "2 times"},
		{"GET", "/batches/names/names?limit=1001", 400, "1 to 1000"},
		{"GET", "/batches/names/names?limit=0", 400, "1 to 1000"},
		{"GET", "/batches/names/names?limit=x", 400, "1 to 1000"},
		{"GET", "/batches/names/names?cursor=%25", 400, "cursor"},
		{"GET", "/batches?limit=5000", 400, "1 to 1000"},
		{"GET", "/batches/names/export?format=xml", 400, "jsonl or csv"},
		{"POST", "/batches/names/retry?state=done", 400, "cannot be tried again"},
		{"POST", "/batches/names/pause?dry_run=yes", 400, "true or false"},
		{"POST", "/batches/nmes/pause", 404, "did you mean names"},
		{"POST", "/batches/nmes/names?provider=nobody", 400, "nobody"},
		{"POST", "/batches/names/names?provider=other", 409, "belongs to provider"},
		{"POST", "/batches/No%20Name/names", 400, "batch name"},
		{"PUT", "/batches/names", 405, "GET"},
		{"POST", "/batches/names", 405, "DELETE"},
		{"GET", "/batches/names/pause", 405, "POST"},
		{"GET", "/bathces", 404, "openapi.json"},
	} {
		var p problemAnswer
		body := ""
		if strings.Contains(c.path, "/names?") || strings.HasSuffix(c.path, "/names") {
			if c.method == "POST" {
				body = "Brus Lee\n"
			}
		}
		f.api(c.method, c.path, body, c.status, &p)
		if !strings.Contains(p.Detail, c.want) || p.Status != c.status {
			t.Errorf("%s %s: got %+v, want %q", c.method, c.path, p, c.want)
		}
	}
}

func TestActionsSayWhatTheyTouch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A", "B", "C", "D", "E")
	f.failed(refs["A"], failure.ReasonTimeout, "one.example")
	f.failed(refs["B"], failure.ReasonTimeout, "two.example")
	f.failed(refs["C"], failure.ReasonUnavailable, "two.example")
	f.done(refs["D"])
	for _, c := range []struct {
		method, path string
		names        int64
		// states afterwards, where it was no dry run
		want map[string]int64
	}{
		{"POST", "/batches/b/retry?reason=timeout&host=two.example", 1, map[string]int64{"queued": 2, "failed": 2, "done": 1}},
		{"POST", "/batches/b/retry?reason=timeout", 1, map[string]int64{"queued": 3, "failed": 1, "done": 1}},
		{"POST", "/batches/b/retry", 1, map[string]int64{"queued": 4, "done": 1}},
		{"POST", "/batches/b/pause", 4, map[string]int64{"queued": 4, "done": 1}},
		{"POST", "/batches/b/resume", 4, map[string]int64{"queued": 4, "done": 1}},
		{"POST", "/batches/b/cancel", 4, map[string]int64{"cancelled": 4, "done": 1}},
		{"POST", "/batches/b/cancel", 0, map[string]int64{"cancelled": 4, "done": 1}},
		{"POST", "/batches/b/retry?state=cancelled", 4, map[string]int64{"queued": 4, "done": 1}},
		{"DELETE", "/batches/b", 5, nil},
	} {
		var before, after batchAnswer
		f.api("GET", "/batches/b", "", 200, &before)
		var dry, done struct {
			Action, Batch string
			Names         int64
			DryRun        bool `json:"dry_run"`
		}
		sep := "?"
		if strings.Contains(c.path, "?") {
			sep = "&"
		}
		f.api(c.method, c.path+sep+"dry_run=true", "", 200, &dry)
		if dry.Names != c.names || !dry.DryRun {
			t.Errorf("%s %s, dry run: got %+v, want %d names", c.method, c.path, dry, c.names)
		}
		f.api("GET", "/batches/b", "", 200, &after)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s %s: a dry run changed the batch:\n%s", c.method, c.path, diff)
		}
		f.api(c.method, c.path, "", 200, &done)
		if done.Names != c.names || done.DryRun {
			t.Errorf("%s %s: got %+v, want %d names", c.method, c.path, done, c.names)
		}
		if c.want == nil {
			f.api("GET", "/batches/b", "", 404, nil)
			continue
		}
		after = batchAnswer{}
		f.api("GET", "/batches/b", "", 200, &after)
		for state, n := range after.States {
			if n == 0 {
				delete(after.States, state)
			}
		}
		if diff := cmp.Diff(c.want, after.States); diff != "" {
			t.Errorf("%s %s: states (-want +got):\n%s", c.method, c.path, diff)
		}
	}
}

// GET changes nothing, whatever it asks for.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *web.Config) { c.QueuesWritable = true })
	refs := f.add("b", "A", "B")
	f.failed(refs["A"], failure.ReasonTimeout, "one.example")
	before := f.dump()
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		for _, path := range []string{
			"/", "/api/v1/batches", "/api/v1/batches/b", "/api/v1/batches/b?dry_run=false", "/api/v1/batches/b/retry", "/api/v1/batches/b/pause",
			"/api/v1/batches/b/cancel", "/api/v1/batches/b/names", "/api/v1/batches/b/export", "/api/v1/batches/c/names?provider=people",
			"/queues/", "/queues/api/queues", "/queues/api/queues/lookup-people-express:pause", "/people/?name=A", "/pictures/b?name=A",
		} {
			f.do(f.client, method, path, nil, nil)
		}
	}
	if diff := cmp.Diff(before, f.dump()); diff != "" {
		t.Errorf("Redis (-before +after):\n%s", diff)
	}
}

func TestAddNames(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprint(z, "A\nB\n")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	_ = m.WriteField("ignored", "x")
	part, err := m.CreateFormFile("file", "names.txt")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(part, "A\r\nB\r\n")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Batch, Provider, Detail       string
		Created                       bool
		New, Bad, Duplicates, Workers int64
		BadLines                      []struct {
			Line   int64
			Reason string
		} `json:"bad_lines"`
	}
	for name, c := range map[string]struct {
		kind, body string
		status     int
		want       answer
	}{
		"text":            {"text/plain", "# people\nA\n\nB\nA\n", 200, answer{New: 2, Duplicates: 1}},
		"no type":         {"", "A\nB\n", 200, answer{New: 2}},
		"a bad line":      {"text/plain", "A\nB\x1b[2J\nB\n", 200, answer{New: 2, Bad: 1}},
		"gzip":            {"application/gzip", zipped.String(), 200, answer{New: 2}},
		"form":            {m.FormDataContentType(), form.String(), 200, answer{New: 2}},
		"json":            {"application/json", `["A", "B"]`, 200, answer{New: 2}},
		"json, two lines": {"application/json", `["A", "B\nC"]`, 200, answer{New: 1, Bad: 1}},
		"json, no array":  {"application/json", `{"names": ["A"]}`, 400, answer{Detail: "array of strings"}},
		"json, cut":       {"application/json", `["A", "B`, 400, answer{Detail: "array of strings"}},
		"json, a number":  {"application/json", `["A", 3]`, 400, answer{Detail: "array of strings"}},
		"a picture":       {"text/plain", string(picture(t)), 400, answer{Detail: "PNG picture"}},
		"empty":           {"text/plain", " ", 200, answer{}},
		"form, no file":   {"multipart/form-data; boundary=x", "--x--\r\n", 400, answer{Detail: "no file"}},
		"too large":       {"text/plain", strings.Repeat("a name that is long enough\n", 50_000), 413, answer{Detail: "longer"}},
		"unreadable type": {"text/plain; =", "A\n", 400, answer{Detail: "Content-Type"}},
	} {
		t.Run(name, func(t *testing.T) {
			batch := strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return '-'
				}
				return r
			}, name)
			header := http.Header{}
			if c.kind != "" {
				header.Set("Content-Type", c.kind)
			}
			res, data := f.do(f.client, "POST", "/api/v1/batches/"+batch+"/names", strings.NewReader(c.body), header)
			var got answer
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("%v: %s", err, data)
			}
			if res.StatusCode != c.status || !strings.Contains(got.Detail, c.want.Detail) {
				t.Fatalf("got %s: %s, want %d and %q", res.Status, data, c.status, c.want.Detail)
			}
			if c.status == 200 && (got.New != c.want.New || got.Bad != c.want.Bad || got.Duplicates != c.want.Duplicates || got.Provider != "people" || !got.Created) {
				t.Errorf("got %s, want %+v", data, c.want)
			}
			if int64(len(got.BadLines)) != c.want.Bad {
				t.Errorf("bad lines: got %v, want %d", got.BadLines, c.want.Bad)
			}
		})
	}
	var preview struct {
		Names, Bad int64
		Exists     bool
	}
	f.api("POST", "/batches/never/names?dry_run=true", "A\nB\n\x00\n", 200, &preview)
	if preview.Names != 2 || preview.Bad != 1 || preview.Exists {
		t.Errorf("dry run: got %+v", preview)
	}
	f.api("GET", "/batches/never", "", 404, nil)
	f.api("POST", "/batches/text/names", "A\nC\n", 200, nil)
	var b batchAnswer
	f.api("GET", "/batches/text", "", 200, &b)
	if b.Names != 3 || b.State != "running" {
		t.Errorf("after two lists: got %+v", b)
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A", "=cmd()", "B")
	f.done(refs["A"])
	f.failed(refs["B"], failure.ReasonTimeout, "one.example")

	_, data := f.do(f.client, "GET", "/api/v1/batches/b/export", nil, nil)
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var n nameAnswer
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		names = append(names, n.Name)
	}
	if want := []string{"A", "=cmd()", "B"}; !slices.Equal(names, want) {
		t.Errorf("jsonl: got %v, want %v", names, want)
	}
	res, data := f.do(f.client, "GET", "/api/v1/batches/b/export?format=csv", nil, nil)
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	cell := func(row int, column string) string { return rows[row][slices.Index(rows[0], column)] }
	if len(rows) != 4 || cell(2, "name") != "'=cmd()" || cell(3, "reason") != "timeout" || cell(1, "attributes") != `{"age":"32","career":"Actor"}` {
		t.Errorf("csv: got %q", rows)
	}
	if got := res.Header.Get("Content-Disposition"); got != `attachment; filename=b.csv` {
		t.Errorf("Content-Disposition: got %q", got)
	}
	_, data = f.do(f.client, "GET", "/api/v1/batches/b/export?format=csv&state=done", nil, nil)
	if n := bytes.Count(data, []byte("\n")); n != 2 {
		t.Errorf("csv of what is done: got %d lines, want 2", n)
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A")
	f.done(refs["A"])
	for _, path := range []string{"/api/v1/batches", "/api/v1/batches/b", "/api/v1/batches/b/names", "/api/v1/openapi.json", "/pictures/b?name=A", "/people/?name=A"} {
		res, _ := f.do(f.client, "GET", path, nil, nil)
		etag := res.Header.Get("ETag")
		if res.StatusCode != http.StatusOK || etag == "" {
			t.Errorf("%s: got %s, ETag %q", path, res.Status, etag)
			continue
		}
		for _, match := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
			res, body := f.do(f.client, "GET", path, nil, http.Header{"If-None-Match": {match}})
			if res.StatusCode != http.StatusNotModified || len(body) > 0 {
				t.Errorf("%s with If-None-Match %s: got %s, %d bytes", path, match, res.Status, len(body))
			}
			wantHeaders(t, path, res)
		}
		if res, _ := f.do(f.client, "GET", path, nil, http.Header{"If-None-Match": {`"other"`}}); res.StatusCode != http.StatusOK {
			t.Errorf("%s with another tag: got %s", path, res.Status)
		}
	}
}

func TestPictures(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("b", "A", "..", "B")
	want := f.done(refs["A"])
	f.done(refs[".."])
	for _, path := range []string{"/pictures/b?name=A", "/pictures/b?name=A&rank=1", "/pictures/b?name=.."} {
		res, data := f.do(f.client, "GET", path, nil, nil)
		if res.StatusCode != http.StatusOK || !bytes.Equal(data, want) || res.Header.Get("Content-Type") != "image/png" {
			t.Errorf("%s: got %s, %s, %d bytes", path, res.Status, res.Header.Get("Content-Type"), len(data))
		}
		if got := res.Header.Get("Content-Security-Policy"); got != "default-src 'none'; sandbox" {
			t.Errorf("%s: Content-Security-Policy: got %q", path, got)
		}
		wantHeaders(t, path, res)
	}
	for path, status := range map[string]int{
		"/pictures/b?name=B": 404, "/pictures/b?name=A&rank=2": 404, "/pictures/b?name=A&rank=0": 400, "/pictures/b?name=C": 404,
		"/pictures/c?name=A": 404, "/pictures/b?name=../../etc/passwd": 404, "/pictures/..%2f..%2fetc%2fpasswd": 404, "/pictures/b/a.png": 404,
	} {
		if res, data := f.do(f.client, "GET", path, nil, nil); res.StatusCode != status {
			t.Errorf("%s: got %s, want %d: %s", path, res.Status, status, data)
		}
	}
	var page struct {
		Pictures []struct{ Name, Href, Licence string }
	}
	f.api("GET", "/batches/b/pictures", "", 200, &page)
	if len(page.Pictures) != 2 || page.Pictures[0].Licence != "CC0" || page.Pictures[1].Href != "/pictures/b?name=..&rank=1" {
		t.Errorf("pictures: got %+v", page.Pictures)
	}
}

// Redis away: 503 that says what to do, and well again by itself.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("b", "A")
	f.redis.Stop()
	for _, path := range []string{"/batches", "/batches/b", "/batches/b/names", "/batches/b/export"} {
		var p problemAnswer
		res := f.api("GET", path, "", 503, &p)
		if !strings.Contains(p.Detail, "Redis at test does not answer") || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %+v, Retry-After %q", path, p, res.Header.Get("Retry-After"))
		}
	}
	for _, path := range []string{"/people/?name=A", "/pictures/b?name=A", "/queues/api/queues"} {
		if res, body := f.do(f.client, "GET", path, nil, nil); res.StatusCode != 503 || !strings.Contains(string(body), "does not answer") {
			t.Errorf("%s: got %s, want 503: %s", path, res.Status, body)
		}
	}
	stream := f.watch("/batches/b/events", "")
	stream.until("trouble", func(e event) bool { return e.name == "trouble" })
	f.redis.Restart()
	deadline := time.Now().Add(within)
	for {
		res, _ := f.do(f.client, "GET", "/api/v1/batches/b", nil, nil)
		if res.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis is back: got %s", res.Status)
		}
	}
	stream.until("the batch", func(e event) bool { return e.name == "batch" })
}
