package lookup

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func write(t *testing.T, file, data string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func named(name string) []byte {
	return []byte(strings.Replace(minimal, "name: mini", "name: "+name, 1))
}

func folder(files map[string][]byte) fstest.MapFS {
	m := fstest.MapFS{}
	for name, data := range files {
		m[name] = &fstest.MapFile{Data: data}
	}
	return m
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	own := t.TempDir()
	write(t, own+"/staff.yaml", string(named("staff")))
	write(t, own+"/wiki.yml", string(named("wikipedia")))
	write(t, own+"/README.md", "no definition")
	c, err := NewCatalogue(Sources{
		BuiltIn:    folder(map[string][]byte{"people.yaml": named("people"), "wikipedia.yaml": named("wikipedia"), "samples/a.http": nil}),
		Folder:     os.DirFS(own),
		FolderName: "/etc/harvest/providers",
		Inline:     []Inline{{"harvest.yaml providers[0]", named("shop")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Names(), []string{"people", "shop", "staff", "wikipedia"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, want := range []Entry{
		{Definition: &Definition{Name: "people"}, File: "built-in/people.yaml", BuiltIn: true},
		{Definition: &Definition{Name: "staff"}, File: "/etc/harvest/providers/staff.yaml"},
		{Definition: &Definition{Name: "wikipedia"}, File: "/etc/harvest/providers/wiki.yml", Replaces: true},
		{Definition: &Definition{Name: "shop"}, File: "harvest.yaml providers[0]"},
	} {
		got, err := c.Get(want.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != want.Name || got.File != want.File || got.BuiltIn != want.BuiltIn || got.Replaces != want.Replaces {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for name, want := range map[string]string{
		"wikpedia": `no provider "wikpedia": did you mean wikipedia? (there are people, shop, staff, wikipedia)`,
		"zzzzzzzz": `no provider "zzzzzzzz" (there are people, shop, staff, wikipedia)`,
	} {
		if _, err := c.Get(name); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCatalogueReportsAllFiles(t *testing.T) {
	t.Parallel()
	_, err := NewCatalogue(Sources{
		Folder: folder(map[string][]byte{
			"a.yaml": named("same"),
			"b.yaml": named("same"),
			"c.yaml": []byte("name: c\n"),
		}),
		FolderName: "own",
		Inline:     []Inline{{"harvest.yaml providers[0]", named("same")}},
	})
	checkProblems(t, err, `
own/a.yaml and own/b.yaml both define provider same: rename one
own/c.yaml:1: description is missing
own/c.yaml:1: request is missing
own/c.yaml:1: answer is missing
own/c.yaml:1: pictures is missing
own/a.yaml and harvest.yaml providers[0] both define provider same: rename one`)
}

func TestCatalogueFolderMissing(t *testing.T) {
	t.Parallel()
	_, err := NewCatalogue(Sources{Folder: os.DirFS(t.TempDir() + "/none"), FolderName: "own"})
	if err == nil || !strings.Contains(err.Error(), "providers in own") {
		t.Errorf("got %v", err)
	}
}

func TestSampleOfAnEntry(t *testing.T) {
	t.Parallel()
	withSample := append(named("mini"), "samples: [{name: a b, file: samples/a.http, verdict: found}]\n"...)
	c, err := NewCatalogue(Sources{
		Folder: folder(map[string][]byte{
			"mini.yaml":      withSample,
			"samples/a.http": []byte("HTTP/2 200 \r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{\"ok\":1,\n\"picture\":\"http://p/1\"}"),
		}),
		Inline: []Inline{{"harvest.yaml", named("inline")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := c.Get("mini")
	r, err := e.Sample(e.Samples[0])
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != 200 || r.URL != "http://h/a%20b" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %+v", r)
	}
	if a, err := e.Extract("a b", r); err != nil || a.Verdict != Found {
		t.Errorf("got %s, %v", a.Verdict, err)
	}
	if _, err := e.Sample(Sample{Name: "a", File: "samples/none.http"}); err == nil {
		t.Error("a sample that is not there was read")
	}
	e, _ = c.Get("inline")
	if _, err := e.Sample(Sample{Name: "a", File: "a.http"}); err == nil || !strings.Contains(err.Error(), "has no folder") {
		t.Errorf("got %v", err)
	}
}

func TestParseSampleRefuses(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "{}", "HTTP/1.1 OK\n\n", "HTTP/1.1 99 X\n\n", "HTTP/1.1 200 OK\nno header\n\n", "HTTP/1.1 200 OK\nA: b"} {
		if r, err := ParseSample([]byte(data)); err == nil {
			t.Errorf("%q: got %+v, want an error", data, r)
		}
	}
}
