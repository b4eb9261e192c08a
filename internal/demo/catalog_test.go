package demo_test

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/demo"
)

// files are a catalog's contents by path; the words PNG, JPEG, GIF and WEBP
// stand for such pictures.
type files map[string]string

func (f files) write(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range f {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, pictureBytes(t, content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pictureBytes(t *testing.T, content string) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, 8, 8), color.Palette{color.Black, color.White})
	var b bytes.Buffer
	var err error
	switch content {
	case "PNG":
		err = png.Encode(&b, img)
	case "JPEG":
		err = jpeg.Encode(&b, img, nil)
	case "GIF":
		err = gif.Encode(&b, img, nil)
	case "WEBP":
		b.WriteString("RIFF\x10\x00\x00\x00WEBPVP8L....")
	default:
		b.WriteString(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files files
		path  string            // below the folder; "" is the folder
		want  map[string]string // answer's result without the name, by name
	}{
		{
			name:  "a folder of pictures",
			files: files{"Ada.png": "PNG", "Bo Ek.JPEG": "JPEG", "c.d.gif": "GIF", "Ünal.webp": "WEBP", "notes.txt": "x", ".hidden.png": "x"},
			want: map[string]string{
				"Ada":   `"age":"","career":"","picture":"http://demo/images/1.png"`,
				"Bo Ek": `"age":"","career":"","picture":"http://demo/images/2.jpg"`,
				"c.d":   `"age":"","career":"","picture":"http://demo/images/3.gif"`,
				"Ünal":  `"age":"","career":"","picture":"http://demo/images/4.webp"`,
			},
		},
		{
			name: "a folder with a list",
			files: files{"Ada.png": "PNG", "Bo.png": "GIF", "other.png": "JPEG", "people.jsonl": "\ufeff" + `{"name":"Bo","age":41}` + "\n\n" +
				`{"name":"Cy","career":"cook","picture":"other.png"}` + "\r\n" + `{"name":"Di"}`},
			want: map[string]string{
				"Bo":    `"age":"41","career":"","picture":"http://demo/images/1.gif"`,
				"Cy":    `"age":"","career":"cook","picture":"http://demo/images/2.jpg"`,
				"Di":    `"age":"","career":"","picture":""`,
				"Ada":   `"age":"","career":"","picture":"http://demo/images/4.png"`,
				"other": `"age":"","career":"","picture":"http://demo/images/5.jpg"`,
			},
		},
		{
			name:  "JSON",
			files: files{"p.json": "\ufeff" + `[{"name":"Ada","age":36,"career":"x\"y","picture":"pics/a.png"},` + "\n" + `{"name":"Bo","age":"4","career":null}]`, "pics/a.png": "PNG"},
			path:  "p.json",
			want: map[string]string{
				"Ada": `"age":"36","career":"x\"y","picture":"http://demo/images/1.png"`,
				"Bo":  `"age":"4","career":"","picture":""`,
			},
		},
		{
			name:  "CSV",
			files: files{"p.csv": "\ufeffage,name,picture\r\n36,\"Lovelace, Ada\",a.png\r\n,Bo,\r\n", "a.png": "PNG"},
			path:  "p.csv",
			want: map[string]string{
				"Lovelace, Ada": `"age":"36","career":"","picture":"http://demo/images/1.png"`,
				"Bo":            `"age":"","career":"","picture":""`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tt.files.write(t)
			s, url := setup(t, demo.Config{Catalog: filepath.Join(dir, tt.path), PublicURL: "http://demo"})
			got := make(map[string]string)
			for name := range s.Names() {
				_, body := do(t, http.MethodGet, url+"/"+strings.ReplaceAll(name, " ", "%20"))
				body = strings.TrimPrefix(body, `{"status":"success","result":{"name":"`+name+`",`)
				got[name] = strings.TrimSuffix(body, "}}")
				if _, path, ok := strings.Cut(got[name], "http://demo"); ok {
					resp, picture := do(t, http.MethodGet, url+strings.TrimSuffix(path, `"`))
					kind := strings.TrimPrefix(resp.Header.Get("Content-Type"), "image/")
					if want := pictureBytes(t, strings.ToUpper(kind)); picture != string(want) || resp.Header.Get("ETag") == "" {
						t.Errorf("%s: got %s, %s, %d bytes", path, resp.Status, kind, len(picture))
					}
					again, _ := do(t, http.MethodGet, url+strings.TrimSuffix(path, `"`), "If-None-Match", resp.Header.Get("ETag"))
					if again.StatusCode != http.StatusNotModified {
						t.Errorf("%s: with its ETag got %s", path, again.Status)
					}
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("people (-want +got):\n%s", d)
			}
			if s.Knows("Brus Lee") {
				t.Error("still knows those built in")
			}
		})
	}
}

func TestCatalogErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files files
		path  string
		want  string // behind "demo.catalog: PATH: "
	}{
		{"empty folder", files{"notes.txt": ""}, "", "nobody is in it"},
		{"two pictures", files{"Ada.gif": "GIF", "Ada.png": "PNG"}, "", "Ada.gif and Ada.png are pictures of one name; keep one"},
		{"two lists", files{"people.json": "[]", "people.jsonl": ""}, "", "it has people.json and people.jsonl; keep one"},
		{"no picture inside", files{"Ada.png": "hello"}, "", `Ada.png: picture "Ada.png" is neither jpeg, png, gif nor webp`},
		{"an empty picture", files{"Ada.png": ""}, "", `Ada.png: picture "Ada.png" is neither jpeg, png, gif nor webp`},
		{"blanks", files{"Ada .png": "PNG"}, "", `Ada .png: name "Ada " has blanks around it`},
		{"other file", files{"p.xml": ""}, "p.xml", "p.xml is neither .json, .jsonl nor .csv"},
		{"no array", files{"p.json": `{"name":"Ada"}`}, "p.json", "p.json:1: want an array of people, found: object"},
		{"JSON syntax", files{"p.json": "[\n{\"name\":\"Ada\"},\n{\"name\" \"Bo\"}]"}, "p.json", "p.json:3: invalid character '\"' after object key"},
		{"JSON cut", files{"p.json": "[\n{\"name\":\"Ada\"}\n"}, "p.json", "p.json:2: unexpected end of JSON input"},
		{"JSON garbage", files{"p.json": "[\n{\"name\":\"Ada\"}\n}"}, "p.json", "p.json:3: invalid character '}' after array element"},
		{"JSON cut in a person", files{"p.json": "[\n{\"name\":\"Ada\""}, "p.json", "p.json:2: unexpected end of JSON input"},
		{"JSON null", files{"p.json": "null"}, "p.json", "p.json:1: want an array of people"},
		{"JSON empty", files{"p.json": ""}, "p.json", "p.json:1: unexpected end of JSON input"},
		{"JSON of names", files{"p.json": "[\n\n\"Ada\"]"}, "p.json", "p.json:3: want an array of people, found: string"},
		{"JSON of many lines", files{"p.json": "[{\n\"name\":\"Ada\"\n}\n,\n\n{\n\"name\":\"\"\n}]"}, "p.json", "p.json:6: a name is missing"},
		{"JSON and more", files{"p.json": "[{\"name\":\"Ada\"}]\n[]"}, "p.json", "p.json:2: invalid character '[' after top-level value"},
		{"unknown key", files{"p.json": "[\n{\"name\":\"Ada\",\"job\":\"x\"}]"}, "p.json", `p.json:2: json: unknown field "job"`},
		{"no name", files{"p.json": "[\n\n{\"age\":\"3\"}]"}, "p.json", "p.json:3: a name is missing"},
		{"twice", files{"p.json": "[{\"name\":\"Ada\"},\n{\"name\":\"Ada\"}]"}, "p.json", `p.json:2: "Ada" is on line 1 already`},
		{"control character", files{"p.jsonl": `{"name":"a\u0000b"}`}, "p.jsonl", `p.jsonl:1: name "a\x00b" has control characters`},
		{"long", files{"p.jsonl": "{\"name\":\"Bo\"}\n{\"name\":\"" + strings.Repeat("n", 257) + "\"}"}, "p.jsonl",
			`p.jsonl:2: name "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"… has 257 bytes, more than 256`},
		{"long line", files{"p.jsonl": "{\"name\":\"Bo\"}\n" + strings.Repeat(" ", 2<<20)}, "p.jsonl", "p.jsonl:2: bufio.Scanner: token too long"},
		{"two on a line", files{"p.jsonl": `{"name":"Ada"} {"name":"Bo"}`}, "p.jsonl", "p.jsonl:1: more than one value on the line"},
		{"age of wrong type", files{"p.jsonl": `{"name":"Ada","age":[3]}`}, "p.jsonl", "p.jsonl:1: want a string or a number"},
		{"traversal", files{"p.csv": "name,picture\nAda,../a.png\n"}, "p.csv", `p.csv:2: picture "../a.png" is not a path within the catalog's folder`},
		{"absolute", files{"p.csv": "name,picture\nAda,/etc/passwd\n"}, "p.csv", `p.csv:2: picture "/etc/passwd" is not a path within the catalog's folder`},
		{"missing picture", files{"p.csv": "name,picture\nBo,\nAda,a.png\n"}, "p.csv", "p.csv:3: picture: a.png: no such file or directory"},
		{"a folder as picture", files{"p.csv": "name,picture\nAda,a\n", "a/b": ""}, "p.csv", "p.csv:2: picture: a is no regular file"},
		{"CSV column", files{"p.csv": "name,photo\n"}, "p.csv", `p.csv:1: unknown column "photo"; known are name, age, career, picture`},
		{"CSV no name", files{"p.csv": "age\n3\n"}, "p.csv", "p.csv:1: there is no column name"},
		{"CSV column twice", files{"p.csv": "name,name\n"}, "p.csv", `p.csv:1: column "name" is there twice`},
		{"CSV fields", files{"p.csv": "name,age\nAda,3\nBo\n"}, "p.csv", "p.csv:3: wrong number of fields"},
		{"CSV empty", files{"p.csv": ""}, "p.csv", "p.csv:1: header row: EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(tt.files.write(t), tt.path)
			_, err := demo.New(demo.Config{Catalog: path})
			if want := "demo.catalog: " + path + ": " + tt.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// A link out of the catalog's folder is not followed, at the start or later.
func TestCatalogLinks(t *testing.T) {
	t.Parallel()
	outside := files{"secret.png": "PNG"}.write(t)
	dir := files{"Ada.png": "PNG", "Bo.png": "PNG"}.write(t)
	s, url := setup(t, demo.Config{Catalog: dir})
	if got := slices.Collect(s.Names()); !slices.Equal(got, []string{"Ada", "Bo"}) {
		t.Fatalf("names are %q", got)
	}

	ada := filepath.Join(dir, "Ada.png")
	if err := os.Remove(ada); err != nil {
		t.Fatal(err)
	}
	if resp, _ := do(t, http.MethodGet, url+"/images/1.png"); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a removed picture: got %s, %s", resp.Status, resp.Header.Get("Cache-Control"))
	}
	if err := os.Symlink(filepath.Join(outside, "secret.png"), ada); err != nil {
		t.Fatal(err)
	}
	if resp, _ := do(t, http.MethodGet, url+"/images/1.png"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a link planted later: got %s", resp.Status)
	}
	if resp, _ := do(t, http.MethodGet, url+"/images/2.png"); resp.StatusCode != http.StatusOK {
		t.Errorf("the other picture: got %s", resp.Status)
	}
	if other, err := demo.New(demo.Config{Catalog: dir}); err == nil {
		_ = other.Close()
		t.Error("a link out of the folder was taken")
	}
}

// A listed person goes before a made-up one of the same name, and is named once.
func TestCatalogAndMadeUp(t *testing.T) {
	t.Parallel()
	dir := files{"Ada Bababa.gif": "GIF"}.write(t)
	s, url := setup(t, demo.Config{Catalog: dir, People: 2, PublicURL: "http://demo"})
	if got := slices.Collect(s.Names()); !slices.Equal(got, []string{"Ada Bababa", "Pia Rawori"}) {
		t.Errorf("names are %q", got)
	}
	if _, body := do(t, http.MethodGet, url+"/Ada%20Bababa"); !strings.Contains(body, "http://demo/images/1.gif") {
		t.Errorf("got %s", body)
	}
}
