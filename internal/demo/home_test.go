package demo_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/demo"
)

func TestHome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hostile := `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	list := `[{"name":"\"'><script>alert(1)</script><img src=x onerror=alert(1)>"},{"name":"../../etc"},{"name":"javascript:alert(1)"}]`
	if err := os.WriteFile(filepath.Join(dir, "people.json"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	s, url := setup(t, demo.Config{Catalog: dir})
	if !s.Knows(hostile) {
		t.Fatal("the catalog was not read")
	}

	resp, page := do(t, http.MethodGet, url+"/")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %s", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("policy is %q", policy)
	}
	for _, bad := range []string{"<script>", "<img", "<style", " style=", `href="javascript:`, `href="..`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, want := range []string{
		`<form id="lookup" method="get" action="/"`, `<label for="name">`, `aria-live="polite"`,
		`href="/..%2F..%2Fetc"`, `href="/javascript:alert%281%29"`, `name="viewport"`, `<html lang="en">`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, part := range []struct{ path, mime string }{
		{"/-/home.css", "text/css; charset=utf-8"},
		{"/-/home.js", "text/javascript; charset=utf-8"},
		{"/-/icon.png", "image/png"},
	} {
		resp, body := do(t, http.MethodGet, url+part.path)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != part.mime || body == "" {
			t.Errorf("%s: got %s, %s", part.path, resp.Status, resp.Header.Get("Content-Type"))
		}
		if !strings.Contains(page, `"`+part.path+`"`) {
			t.Errorf("the page does not use %s", part.path)
		}
	}
	// No HTML is ever made from text in the browser either.
	if _, js := do(t, http.MethodGet, url+"/-/home.js"); strings.Contains(js, "innerHTML") || strings.Contains(js, "eval(") {
		t.Error("the script makes HTML or code from text")
	}
}

func TestHomeListsTheFirst(t *testing.T) {
	t.Parallel()
	_, url := setup(t, demo.Config{People: 1_000_000})
	_, page := do(t, http.MethodGet, url+"/")
	if n := strings.Count(page, "data-name="); n != 100 || !strings.Contains(page, "there are more") {
		t.Errorf("%d names are shown", n)
	}
	_, url = setup(t, demo.Config{})
	_, page = do(t, http.MethodGet, url+"/")
	if n := strings.Count(page, "data-name="); n != 3 || strings.Contains(page, "there are more") {
		t.Errorf("%d names are shown", n)
	}
}
