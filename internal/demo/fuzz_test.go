package demo_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
)

// Whatever is asked under whatever Host: no panic, a status of ours, JSON that
// parses, and a picture URL that leads to a host alone.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][2]string{
		{"/", "demo"}, {"/?name=Brus+Lee", "demo:8000"}, {"/Brus%20Lee", "[::1]:1"}, {"/Ada%20Bababa", "[::1%25eth0]"},
		{"/images/1.jpg", ""}, {"/images/m3.png", "a/b"}, {"/images/../x", "@"}, {"/-/counts", "\"><script>"},
		{"/%00", "\x00"}, {"/?name=%", "a:b"}, {"//", "é"}, {"/a/../b", "a:1:2"}, {"/-/home.css?x", "]"},
	} {
		f.Add(seed[0], seed[1])
	}
	s, err := demo.New(demo.Config{People: 5, Count: true})
	if err != nil {
		f.Fatal(err)
	}
	statuses := []int{http.StatusOK, http.StatusNotFound}
	f.Fuzz(func(t *testing.T, target, host string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			t.Skip("no request line has it")
		}
		r := &http.Request{Method: http.MethodGet, URL: u, Host: host, Header: http.Header{}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(t.Context()))

		if !slices.Contains(statuses, w.Code) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("got %d, %v", w.Code, w.Header())
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			return
		}
		var answer struct{ Result struct{ Picture string } }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		if answer.Result.Picture == "" {
			return
		}
		p, err := url.Parse(answer.Result.Picture)
		if err != nil || p.Scheme != "http" || p.User != nil || p.RawQuery != "" || p.Host != host && p.Host != demo.DefaultListen {
			t.Errorf("host %q makes the picture %q: %v", host, answer.Result.Picture, err)
		}
	})
}
