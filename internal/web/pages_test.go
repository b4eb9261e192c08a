package web_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// page asks for a page as a browser does.
func (f *fixture) page(path string, status int) string {
	f.t.Helper()
	res, body := f.do(f.client, http.MethodGet, path, nil, http.Header{"Accept": {"text/html"}})
	if res.StatusCode != status {
		f.t.Fatalf("%s: got %s, want %d:\n%s", path, res.Status, status, body)
	}
	return string(body)
}

// submit posts a form as a browser does, and returns where it leads.
func (f *fixture) submit(path string, form url.Values, status int) string {
	f.t.Helper()
	res, body := f.do(f.client, http.MethodPost, path, strings.NewReader(form.Encode()), http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {f.url}, "Sec-Fetch-Site": {"same-origin"},
	})
	if res.StatusCode != status {
		f.t.Fatalf("POST %s: got %s, want %d:\n%s", path, res.Status, status, body)
	}
	return res.Header.Get("Location")
}

// keep stores pictures for a name and settles it with what the provider said.
func (f *fixture) keep(ref tasks.Ref, l results.Lookup, pictures ...[]byte) {
	f.t.Helper()
	ctx := f.t.Context()
	for i := range pictures {
		l.Pictures = append(l.Pictures, []string{fmt.Sprintf("https://pictures.example/%s/%d", url.PathEscape(ref.Name), i+1)})
	}
	if _, err := f.db.CommitLookup(ctx, ref, results.Found, l); err != nil {
		f.t.Fatal(err)
	}
	for i, data := range pictures {
		cfg, kind, err := image.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			// What a stranger might have put there later.
			cfg, kind = image.Config{Width: 10, Height: 10}, "png"
		}
		key := storage.Key(ref.Batch, ref.Name, i+1, kind)
		w, err := f.store.Create(ctx)
		if err != nil {
			f.t.Fatal(err)
		}
		if _, err = w.Write(data); err == nil {
			err = w.Commit(ctx, key)
		}
		if err != nil {
			f.t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		_, err = f.db.CommitPicture(ctx, ref, i+1, results.Picture{
			Kind: kind, Bytes: int64(len(data)), Width: cfg.Width, Height: cfg.Height, Key: key,
			SHA256: base64.RawURLEncoding.EncodeToString(sum[:]),
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// square returns a picture of one colour.
func square(kind string, side int, c color.Color) []byte {
	m := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		m.Set(i%side, i/side, c)
	}
	var b bytes.Buffer
	if kind == "jpeg" {
		_ = jpeg.Encode(&b, m, nil) // into memory it cannot fail
	} else {
		_ = png.Encode(&b, m)
	}
	return b.Bytes()
}

var teal = color.RGBA{10, 120, 110, 255}

func TestPagesEmpty(t *testing.T) {
	t.Parallel()
	f := setup(t)
	if got := f.page("/", http.StatusOK); !strings.Contains(got, "harvest run --file names.txt") || !strings.Contains(got, "Redis at test") {
		t.Errorf("the empty page does not say how to begin:\n%s", got)
	}
	for _, path := range []string{"/nowhere", "/batches/", "/batches/x/y", "/static/none.js"} {
		f.page(path, http.StatusNotFound)
	}
}

func TestPageOfBatch(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo", "Cy", "Di", "Ed")
	f.keep(refs["Ada"], results.Lookup{}, square("png", 40, teal))
	f.failed(refs["Bo"], failure.ReasonTimeout, "slow.example:8080")
	f.failed(refs["Cy"], failure.ReasonTimeout, "slow.example:8080")
	f.failed(refs["Di"], failure.ReasonMissing, "other.example")
	got := f.page("/batches/crew", http.StatusOK)
	for _, want := range []string{
		`<b data-count="failed">3</b>`, `<b data-settled>4</b> of <b data-names>5</b>`,
		`/batches/crew/change/retry?reason=timeout`, `/batches/crew/change/retry?host=slow.example%3A8080`,
		`Raise the timeout for slow hosts; lower <code>worker.concurrency</code>`,
		`/batches/crew/change/pause`, `/batches/crew/change/cancel`, `/batches/crew/change/delete`,
		`/api/v1/batches/crew/export?format=csv`, `/thumbnails/crew?name=Ada&amp;rank=1`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	if got := f.page("/", http.StatusOK); !strings.Contains(got, `href="/batches/crew"`) {
		t.Errorf("the list does not lead to it:\n%s", got)
	}
}

// TestPageOfName: everything that is known, and the original by a link alone.
func TestPageOfName(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo")
	f.keep(refs["Ada"], results.Lookup{
		Attributes: []results.Attribute{{Name: "age", Value: "36"}}, Licence: "CC BY-SA 4.0", Attribution: "A. Painter",
		Source: "https://source.example/ada",
	}, square("jpeg", 60, teal), square("png", 20, teal))
	f.failed(refs["Bo"], failure.ReasonRefusedAddress, "10.1.2.3")
	got := f.page("/batches/crew/name?name=Ada", http.StatusOK)
	for _, want := range []string{
		"36", "CC BY-SA 4.0", "A. Painter", `href="https://source.example/ada"`, "60 × 60", "crew/Ada.jpeg", "crew/Ada-2.png",
		`href="/pictures/crew?name=Ada&amp;rank=2"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for _, img := range regexp.MustCompile(`<img[^>]*src="([^"]*)"`).FindAllStringSubmatch(got, -1) {
		if !strings.HasPrefix(img[1], "/thumbnails/") && !strings.HasPrefix(img[1], "/static/") {
			t.Errorf("the page loads %s", img[1])
		}
	}
	got = f.page("/batches/crew/name?name=Bo", http.StatusOK)
	for _, want := range []string{"Refused address", "not on the public Internet", "<code>pictures.allow</code>", "/change/retry?name=Bo&amp;state=failed"} {
		if !strings.Contains(got, want) {
			t.Errorf("the page of a failure has no %s", want)
		}
	}
}

// tiles lists the names on a page of gallery or failures.
func tiles(page string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`data-key="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		names = append(names, m[1])
	}
	return names
}

func TestFilters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo", "Cy", "Di", "Ed", "Ådne")
	attribute := func(name, value string) results.Lookup {
		return results.Lookup{Attributes: []results.Attribute{{Name: name, Value: value}}}
	}
	f.keep(refs["Ada"], attribute("age", "36"), square("png", 40, teal))
	f.keep(refs["Bo"], attribute("Career", "Actor"), square("jpeg", 300, teal), square("png", 10, teal))
	f.failed(refs["Cy"], failure.ReasonTimeout, "slow.example")
	f.failed(refs["Di"], failure.ReasonMissing, "other.example")
	f.keep(refs["Ådne"], attribute("age", "40"), square("jpeg", 80, teal))
	for _, tc := range []struct{ query, want string }{
		{"", "Ada Bo Ådne"},
		{"state=any", "Ada Bo Cy Di Ed Ådne"},
		{"state=queued", "Ed"},
		{"state=failed", "Cy Di"},
		{"reason=timeout", "Cy"},
		{"host=other.example", "Di"},
		{"q=AD", "Ada"},
		{"q=%C3%A5D", "Ådne"},
		{"state=any&q=d", "Ada Di Ed Ådne"},
		{"kind=jpeg", "Bo Ådne"},
		{"kind=png", "Ada Bo"},
		{"min_side=50", "Bo Ådne"},
		{"max_side=20", "Bo"},
		{"min_side=50&max_side=100", "Ådne"},
		{"attribute=age", "Ada Ådne"},
		{"attribute=career&value=ACTOR", "Bo"},
		{"value=36", "Ada"},
		{"q=nobody", ""},
	} {
		got := tiles(f.page("/batches/crew/gallery?"+tc.query, http.StatusOK))
		if strings.Join(got, " ") != tc.want {
			t.Errorf("gallery?%s: got %q, want %s", tc.query, got, tc.want)
		}
	}
	for query, want := range map[string]string{"": "Cy Di", "reason=missing": "Di", "q=c": "Cy", "host=slow.example": "Cy"} {
		got := tiles(f.page("/batches/crew/failures?"+query, http.StatusOK))
		if strings.Join(got, " ") != want {
			t.Errorf("failures?%s: got %q, want %s", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"state=faild": "failed", "reason=timeoot": "timeout", "kind=tiff": "jpeg", "min_side=big": "min_side", "after=x": "cursor",
	} {
		if got := f.page("/batches/crew/gallery?"+query, http.StatusBadRequest); !strings.Contains(got, want) {
			t.Errorf("gallery?%s does not say %s", query, want)
		}
	}
}

// TestPaging: the pages together have every name once, in the order of the
// file, though states alternate.
func TestPaging(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const people = 700
	names := make([]string, people)
	for i := range names {
		names[i] = fmt.Sprintf("Number %d", i)
	}
	refs := f.add("many", names...)
	data := square("png", 8, teal)
	for i, n := range names {
		if i%3 == 0 {
			f.failed(refs[n], failure.ReasonTimeout, "slow.example")
		} else {
			f.keep(refs[n], results.Lookup{}, data)
		}
	}
	next := regexp.MustCompile(`id="more" href="([^"]*)"`)
	for path, mine := range map[string]func(i int) bool{
		"/batches/many/gallery":           func(i int) bool { return i%3 != 0 },
		"/batches/many/gallery?state=any": func(int) bool { return true },
		"/batches/many/gallery?q=7":       func(i int) bool { return i%3 != 0 && strings.Contains(fmt.Sprint(i), "7") },
		"/batches/many/failures":          func(i int) bool { return i%3 == 0 },
	} {
		var got, want []string
		pages := 0
		for at := path; at != ""; pages++ {
			page := f.page(at, http.StatusOK)
			got = append(got, tiles(page)...)
			at = ""
			if m := next.FindStringSubmatch(page); m != nil {
				at = strings.ReplaceAll(m[1], "&amp;", "&")
			}
			if pages > people {
				t.Fatalf("%s has no end", path)
			}
		}
		for i, n := range names {
			if mine(i) {
				want = append(want, n)
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s: got %d names on %d pages, want %d", path, len(got), pages, len(want))
		}
	}
}

// TestChangePages: a GET asks with the number of names and changes nothing; the
// form does it.
func TestChangePages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo", "Cy", "Di")
	f.failed(refs["Bo"], failure.ReasonTimeout, "slow.example")
	f.failed(refs["Cy"], failure.ReasonTimeout, "slow.example")
	f.failed(refs["Di"], failure.ReasonMissing, "other.example")
	states := func() string {
		b, err := f.db.Batch(t.Context(), "crew")
		if err != nil {
			return "gone"
		}
		c, err := f.db.Counts(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s %d queued %d failed %d cancelled", b.Status, c[results.Queued], c[results.Failed], c[results.Cancelled])
	}
	for _, tc := range []struct{ action, query, asks, after, says string }{
		{"retry", "reason=timeout", "Try 2 names again", "running 3 queued 1 failed 0 cancelled", "2 names will be tried again"},
		{"pause", "", "The 3 names still to come", "paused 3 queued 1 failed 0 cancelled", "3 names wait"},
		{"resume", "", "The 3 names still to come", "running 3 queued 1 failed 0 cancelled", "3 names go on"},
		{"cancel", "", "Give up 3 names", "cancelled 0 queued 1 failed 3 cancelled", "3 names were given up"},
		{"delete", "", "Delete 4 records", "gone", "Deleted with 4 records"},
	} {
		path, before := "/batches/crew/change/"+tc.action, states()
		if got := f.page(path+"?"+tc.query, http.StatusOK); !strings.Contains(got, tc.asks) {
			t.Errorf("%s does not ask %q:\n%s", tc.action, tc.asks, got)
		}
		if got := states(); got != before {
			t.Fatalf("asking for %s changed %s to %s", tc.action, before, got)
		}
		form, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		to := f.submit(path, form, http.StatusSeeOther)
		if got := states(); got != tc.after {
			t.Errorf("after %s: got %s, want %s", tc.action, got, tc.after)
		}
		if got := f.page(to, http.StatusOK); !strings.Contains(got, tc.says) {
			t.Errorf("%s leads to %s, which does not say %q", tc.action, to, tc.says)
		}
	}
	f.page("/batches/crew/change/retry", http.StatusNotFound)
	f.add("crew", "Ada")
	f.page("/batches/crew/change/explode", http.StatusBadRequest)
	f.page("/batches/crew/change/retry?state=done", http.StatusBadRequest)
	f.page("/batches/crew/change/retry?reason=timeoot", http.StatusBadRequest)
}

func TestNearestPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.add("people", "Brus Lee", "Jack Chen")
	for path, want := range map[string]string{
		"/batches/poeple":                     `href="/batches/people"`,
		"/batches/poeple/gallery":             `href="/batches/people"`,
		"/batches/people/name?name=Bruce+Lee": `href="/batches/people/name?name=Brus&#43;Lee"`,
		"/batches/people/name":                "All names of batch people",
	} {
		if got := f.page(path, http.StatusNotFound); !strings.Contains(got, want) {
			t.Errorf("%s does not offer %s:\n%s", path, want, got)
		}
	}
}

// TestThumbnails: small, without metadata, for ever where the address has the
// hash, and a picture that says so where there is none.
func TestThumbnails(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Evil", "Gone", "Waiting", "..", "A/B?&#%")
	f.keep(refs["Ada"], results.Lookup{}, square("png", 900, teal))
	f.keep(refs["Evil"], results.Lookup{}, []byte("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"))
	f.keep(refs["Gone"], results.Lookup{}, square("png", 30, teal))
	for _, odd := range []string{"..", "A/B?&#%"} {
		f.keep(refs[odd], results.Lookup{}, square("png", 50, teal))
	}
	if err := f.store.Delete(t.Context(), storage.Key("crew", "Gone", 1, "png")); err != nil {
		t.Fatal(err)
	}
	get := func(name, more string) (*http.Response, []byte) {
		return f.do(f.client, http.MethodGet, "/thumbnails/crew?name="+url.QueryEscape(name)+"&rank=1"+more, nil, nil)
	}
	for _, tc := range []struct {
		name, more string
		status     int
		side       int
	}{
		{"Ada", "", 200, 320},
		{"Ada", "&size=page", 200, 800},
		{"..", "", 200, 50},
		{"A/B?&#%", "", 200, 50},
		{"Evil", "", 422, 0},
		{"Gone", "", 404, 0},
		{"Waiting", "", 404, 0},
		{"Nobody", "", 404, 0},
		{"Ada", "9", 404, 0},
	} {
		res, body := get(tc.name, tc.more)
		if res.StatusCode != tc.status {
			t.Errorf("%s%s: got %s, want %d", tc.name, tc.more, res.Status, tc.status)
		}
		h := res.Header
		if h.Get("Content-Security-Policy") != "default-src 'none'; sandbox" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s%s: got headers %v", tc.name, tc.more, h)
		}
		if tc.status != http.StatusOK {
			if h.Get("Content-Type") != "image/svg+xml" || h.Get("Cache-Control") != "no-store" || bytes.Contains(body, []byte("alert")) {
				t.Errorf("%s%s: got %v, want our own picture", tc.name, tc.more, h)
			}
			continue
		}
		cfg, _, err := image.DecodeConfig(bytes.NewReader(body))
		if err != nil || cfg.Width != tc.side {
			t.Errorf("%s%s: got a picture %d wide, %v, want %d", tc.name, tc.more, cfg.Width, err, tc.side)
		}
	}
	page := f.page("/batches/crew/gallery?q=Ada", http.StatusOK)
	src := regexp.MustCompile(`<img src="(/thumbnails/[^"]*)"`).FindStringSubmatch(page)
	if src == nil {
		t.Fatalf("no thumbnail in the gallery:\n%s", page)
	}
	res, _ := f.do(f.client, http.MethodGet, strings.ReplaceAll(src[1], "&amp;", "&"), nil, nil)
	if got := res.Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("a thumbnail by its hash: got Cache-Control %q", got)
	}
}

// TestHostilePages: whatever a name, an answer or a message is, it is text.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	refs := f.add("crew", evil, "Ada")
	f.keep(refs[evil], results.Lookup{
		Attributes: []results.Attribute{{Name: evil, Value: evil}}, Licence: "javascript:alert(3)", Attribution: evil, Source: "javascript:alert(4)",
	}, square("png", 10, teal))
	f.failed(refs["Ada"], failure.ReasonTimeout, "evil.example/"+evil)
	pages := []string{
		"/", "/batches/crew", "/batches/crew/gallery", "/batches/crew/failures", "/batches/crew/gallery?state=any&q=" + url.QueryEscape(evil),
		"/batches/crew/name?name=" + url.QueryEscape(evil), "/batches/crew/name?name=Ada",
		"/batches/crew/change/retry?host=" + url.QueryEscape(evil), "/batches/crew/change/retry?name=" + url.QueryEscape(evil),
	}
	for _, path := range pages {
		got := f.page(path, http.StatusOK)
		for _, bad := range []string{"<script>", "<img src=x", `href="javascript:`} {
			if strings.Contains(got, bad) {
				t.Errorf("%s has %s", path, bad)
			}
		}
	}
	if got := f.page("/batches/"+url.PathEscape(evil), http.StatusNotFound); strings.Contains(got, "<script>") {
		t.Error("the page of an unknown batch has a script of its name")
	}
}

// TestPagesRedisAway: it is said, with what to do, and it is over by itself.
func TestPagesRedisAway(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada")
	f.keep(refs["Ada"], results.Lookup{}, square("png", 30, teal))
	f.redis.Stop()
	for _, path := range []string{"/", "/batches/crew", "/batches/crew/gallery", "/batches/crew/name?name=Ada", "/batches/crew/change/pause"} {
		res, body := f.do(f.client, http.MethodGet, path, nil, nil)
		if res.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(body, []byte(`http-equiv="refresh"`)) || !bytes.Contains(body, []byte("Redis at test")) {
			t.Errorf("%s while Redis is away: got %s:\n%s", path, res.Status, body)
		}
	}
	f.redis.Restart()
	for deadline := time.Now().Add(60 * time.Second); ; {
		res, _ := f.do(f.client, http.MethodGet, "/batches/crew/gallery", nil, nil)
		if res.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis is back, and the gallery still answers %s", res.Status)
		}
	}
}

// TestStatic: what pages load is kept for ever, under addresses that change
// with it.
func TestStatic(t *testing.T) {
	t.Parallel()
	f := setup(t)
	page := f.page("/", http.StatusOK)
	found := regexp.MustCompile(`(?:href|src)="(/static/[^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 3 {
		t.Fatalf("got %d static files, want icon, style and script", len(found))
	}
	for _, m := range found {
		res, body := f.do(f.client, http.MethodGet, m[1], nil, nil)
		if res.StatusCode != http.StatusOK || len(body) == 0 || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: got %s, %v", m[1], res.Status, res.Header)
		}
	}
	res, _ := f.do(f.client, http.MethodHead, "/static/app.css?v=old", nil, nil)
	if strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Error("another version is kept for ever")
	}
	if outside := regexp.MustCompile(`(?:href|src)="(?:https?:)?//`).FindString(page); outside != "" {
		t.Errorf("the page loads from elsewhere: %s", outside)
	}
}

// What went wrong with a name is told on its page and by the API.
func TestHistoryOfAName(t *testing.T) {
	t.Parallel()
	f := setup(t)
	refs := f.add("crew", "Ada", "Bo")
	down := &failure.Error{Reason: failure.ReasonUnavailable, Kind: failure.Temporary, Status: http.StatusBadGateway}
	for i := range results.MaxHistory {
		if _, _, ok, err := f.db.CountTry(t.Context(), refs["Ada"], results.LookupRank, fmt.Sprint("run", i), down); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if err := f.db.NoteDeath(t.Context(), refs["Ada"], results.LookupRank, "0.1"); err != nil {
		t.Fatal(err)
	}
	f.done(refs["Ada"])
	f.done(refs["Bo"])
	got := f.page("/batches/crew/name?name=Ada", http.StatusOK)
	for _, want := range []string{
		"2 earlier events not kept.", "the lookup failed: Unavailable, answered 502", "the lookup was cut off: its worker died", "the lookup came", "9 tries in all",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	var n struct {
		History []struct {
			At           time.Time
			What, Reason string
			Rank, Status int
			Generation   int64
		}
		Earlier int `json:"history_earlier"`
	}
	f.api("GET", "/batches/crew/names/Ada", "", http.StatusOK, &n)
	if len(n.History) != results.MaxHistory || n.Earlier != 2 {
		t.Fatalf("got %d events and %d earlier: %+v", len(n.History), n.Earlier, n.History)
	}
	if e := n.History[0]; e.What != "failed" || e.Reason != "unavailable" || e.Status != http.StatusBadGateway || e.Generation != 1 || time.Since(e.At) > time.Hour {
		t.Errorf("got %+v", e)
	}
	if got := f.page("/batches/crew/name?name=Bo", http.StatusOK); strings.Contains(got, "failed:") || !strings.Contains(got, "1 try in all") {
		t.Errorf("the page of a name without trouble:\n%s", got)
	}
	n.History = nil
	if f.api("GET", "/batches/crew/names/Bo", "", http.StatusOK, &n); n.History != nil {
		t.Errorf("a name without trouble has the history %+v", n.History)
	}
}
