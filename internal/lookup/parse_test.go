package lookup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full uses every key.
const full = `
name: staff
description: Staff directory
homepage: https://intranet.corp/api
base_url: https://api.corp:8443/v2/
contact: required
secrets:
  key: {file: /run/secrets/key}
  token: {env: STAFF_TOKEN, optional: true}
request:
  url: "{base}/people?q={name|lower}"
  headers:
    Accept: application/vnd.staff+json
    X-Api-Key: ${key}
    Authorization: Bearer ${token}
answer:
  not_found:
    status: [404, 410]
    when:
      - {path: people, is: empty}
      - {path: code, equals: -1}
  error:
    when: [{path: error, is: present}]
    message: error.text
  expect: [{path: people.0.id, is: present}]
attributes:
  zeta: people.0.z
  alpha: people.0.a
pictures:
  from: [[people.0.photo.large, people.0.photo.small], people.0.more.#.url]
  max: 3
  relative: resolve
  auth: same_origin
  allow: [lookup-origin, "Photos.corp:8443", 10.1.0.0/16, "[fd00::1]:443"]
licence: internal use only
attribution: {path: people.0.by, otherwise: The Company}
source: "https://intranet.corp/people?q={name}"
limits:
  lookup: {per_second: 10, per_minute: 100, per_hour: 1000, per_day: 5000, in_flight: 4}
  anonymous: {per_minute: 10}
  picture: {in_flight: 2}
tls: {ca_file: /etc/ca.pem, cert_file: /etc/c.pem, key_file: /etc/k.pem}
timeout: 3s
max_bytes: 256KiB
samples:
  - {name: ada, file: samples/ada.http, verdict: found}
`

func TestParseFull(t *testing.T) {
	t.Parallel()
	d, err := Parse("staff.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	minusOne := "-1"
	path, _ := parseTemplate("{base}/people?q={name|lower}")
	page, _ := parseTemplate("https://intranet.corp/people?q={name}")
	want := &Definition{
		Name: "staff", Description: "Staff directory", Homepage: "https://intranet.corp/api",
		BaseURL: "https://api.corp:8443/v2", ContactRequired: true,
		Secrets: []Secret{{Name: "key", File: "/run/secrets/key"}, {Name: "token", Env: "STAFF_TOKEN", Optional: true}},
		Pictures: Pictures{
			Max: 3, SameOriginAuth: true, resolveRelative: true, maxWritten: true,
			Allow: []string{"lookup-origin", "photos.corp:8443", "10.1.0.0/16", "[fd00::1]:443"},
			from:  [][]pictureRule{{{path: "people.0.photo.large"}, {path: "people.0.photo.small"}}, {{path: "people.0.more.#.url"}}},
		},
		Limits: ServiceLimits{
			Lookup:    Limits{PerSecond: 10, PerMinute: 100, PerHour: 1000, PerDay: 5000, InFlight: 4},
			Anonymous: Limits{PerMinute: 10},
			Picture:   Limits{InFlight: 2},
		},
		TLS:     TLS{"/etc/ca.pem", "/etc/c.pem", "/etc/k.pem"},
		Timeout: 3 * time.Second, MaxBytes: 256 << 10,
		Samples: []Sample{{Name: "ada", File: "samples/ada.http", Verdict: Found, Line: 46}},
		url:     path,
		headers: []header{
			{name: "Accept", before: "application/vnd.staff+json"},
			{name: "X-Api-Key", secret: "key"},
			{name: "Authorization", before: "Bearer ", secret: "token"},
		},
		answer: answerRules{
			where:          "answer",
			notFoundStatus: []int{404, 410},
			notFound:       []condition{{path: "people", is: "empty"}, {path: "code", equals: &minusOne}},
			failed:         []condition{{path: "error", is: "present"}},
			expect:         []condition{{path: "people.0.id", is: "present"}},
			message:        "error.text",
		},
		attributes:  []attributeRule{{"zeta", "people.0.z"}, {"alpha", "people.0.a"}},
		licence:     text{literal: "internal use only"},
		attribution: text{path: "people.0.by", literal: "The Company"},
		source:      text{template: &page},
		source256:   d.source256,
		file:        "staff.yaml",
		data:        d.data,
	}
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(Definition{}, Pictures{}, urlTemplate{}, templatePart{},
		pictureRule{}, header{}, answerRules{}, condition{}, attributeRule{}, text{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := d.Origin(), "https://api.corp:8443"; got != want {
		t.Errorf("origin: got %s, want %s", got, want)
	}
	if got, want := d.AllowedHosts()[0], "api.corp:8443"; got != want {
		t.Errorf("lookup-origin: got %s, want %s", got, want)
	}
}

func TestTheDocumentedDefinitionIsOne(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var yaml strings.Builder
	for line := range strings.Lines(string(doc)) {
		if line == "//\n" {
			line = "//\t\n"
		}
		if code, ok := strings.CutPrefix(line, "//\t"); ok {
			yaml.WriteString(code)
		}
	}
	d := mustParse(t, yaml.String())
	if d.Name != "staff" || len(d.Samples) != 1 {
		t.Errorf("got %+v", d)
	}
}

func TestParseDefaults(t *testing.T) {
	t.Parallel()
	d := mustParse(t, minimal)
	if d.Timeout != DefaultTimeout || d.MaxBytes != DefaultMaxBytes || d.Pictures.Max != DefaultMaxPictures {
		t.Errorf("got timeout %s, %d bytes, %d pictures", d.Timeout, d.MaxBytes, d.Pictures.Max)
	}
	if d.ContactRequired || d.Pictures.SameOriginAuth || len(d.Pictures.Allow) > 0 || d.Pictures.resolveRelative {
		t.Errorf("something is allowed that nobody asked for: %+v", d)
	}
}

const minimal = `
name: mini
description: The least that a definition can say
base_url: http://h
request: {url: "{base}/{name}"}
answer: {expect: [{path: ok, is: present}]}
pictures: {from: [picture]}
`

func mustParse(t testing.TB, yaml string) *Definition {
	t.Helper()
	d, err := Parse("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFlawOfPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":        "",
		"a.b.0.c": "",
		`results.0.media.#(type=="Still)Image")#.identifier`: "",
		"entities.@values.0.id":                              "",
		"a|@this":                                            "",
		`a\.b.c`:                                             "",
		`fav\(a`:                                             "",
		"{a,b.c}":                                            "",
		"a..b":                                               "nothing before the . at 3: write a.b",
		".a":                                                 "nothing before the . at 1: write a.b",
		"a.":                                                 "nothing behind its last dot",
		"a.#(b==1":                                           "no ) to close it",
		`a.#(b=="1)`:                                         "a quote that is not closed",
		"a]":                                                 "a ] that closes nothing",
		"{a,[b}":                                             "a } that closes nothing",
		"{a,[b":                                              "no ] to close it",
	} {
		if got := flawOfPath(path); got != want {
			t.Errorf("flawOfPath(%q) is %q, want %q", path, got, want)
		}
	}
}

func TestParseProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ title, yaml, want string }{
		{"empty", "", "x.yaml:1: is empty: write at least name, description, request, answer and pictures"},
		{"comment only", "# nothing\n", "x.yaml:1: is empty: write at least name, description, request, answer and pictures"},
		{"no YAML", "name: [\n", "x.yaml:1: is no YAML: did not find expected node content"},
		{"a list", "- a\n", "x.yaml:1: the file must be a mapping: write key: value"},
		{"two documents", minimal + "---\nname: b\n", "x.yaml:8: holds a second document: write each definition to a file of its own"},
		{
			"everything missing", "name: a\n", `
x.yaml:1: description is missing
x.yaml:1: request is missing
x.yaml:1: answer is missing
x.yaml:1: pictures is missing`,
		},
		{
			"misspelt keys, all at once", strings.NewReplacer("pictures:", "picturs:", "{url:", "{ulr:", "expect:", "expects:").Replace(minimal), `
x.yaml:5: unknown key "request.ulr": did you mean "url"?
x.yaml:6: unknown key "answer.expects": did you mean "expect"?
x.yaml:7: unknown key "picturs": did you mean "pictures"?`,
		},
		{"a key of a later version", minimal + "mirrors: {max: 50}\n",
			`x.yaml:8: unknown key "mirrors": known here: name, description, params, lookup, homepage, base_url, contact, secrets, request, answer, batch, then, next, attributes, pictures, licence, attribution, source, limits, tls, timeout, max_bytes, samples`},
		{"doubled key", minimal + "name: b\n", "x.yaml:8: name stands here and on line 2: keep one"},
		{"merge key", minimal + "<<: {contact: required}\n", `x.yaml:8: unknown key "<<": known here`},
		{"alias", "name: &n a\n" + strings.Replace(minimal, "name: mini", "", 1) + "homepage: *n\n", "homepage is a YAML alias: write the value itself"},
		{"bad name", strings.Replace(minimal, "mini", "Mini!", 1), `x.yaml:2: name: "Mini!" will not do: write a-z, 0-9, _ and -, at most 32, a letter or digit first`},
		{"null", strings.Replace(minimal, "mini", "null", 1), "x.yaml:2: name must be a single value"},
		{"two lines", strings.Replace(minimal, "mini", `"a\nb"`, 1), "x.yaml:2: name must be one line of 1 to 1024 bytes"},
		{"no base", strings.Replace(minimal, "base_url: http://h", "", 1), "x.yaml:5: request.url uses {base}: say what it stands for in base_url, at the top of the file"},
		{"base with a password", strings.Replace(minimal, "http://h", "http://u:hunter2@h", 1), "x.yaml:4: base_url holds a user or password: put the secret under secrets and use it in a header"},
		{"base with a query", strings.Replace(minimal, "http://h", "http://h?a=b", 1), "x.yaml:4: base_url holds a query or fragment: put the query into request.url"},
		{"base of another scheme", strings.Replace(minimal, "http://h", "file:///etc", 1), "x.yaml:4: base_url is not an http or https URL: write http://host:port or https://host"},
		{"no hole", strings.Replace(minimal, "{name}", "all", 1), "x.yaml:5: request.url does not ask about a name: put {name} into its path or query"},
		{"no secrets", minimal + "secrets: {}\n", ""},
		{"status of an outage", strings.Replace(minimal, "{expect:", "{not_found: {status: [404, 503]}, expect:", 1), "x.yaml:6: answer.not_found.status: 503 cannot mean that a name is unknown: write 404, 410 or the like"},
		{"half a condition", strings.Replace(minimal, "is: present", "", 1), "x.yaml:6: answer.expect: write one of is: empty, is: missing, is: present or equals: VALUE"},
		{"both conditions", strings.Replace(minimal, "is: present", "is: present, equals: 1", 1), "x.yaml:6: answer.expect: write one of"},
		{"unknown condition", strings.Replace(minimal, "is: present", "is: there", 1), `x.yaml:6: answer.expect.is: "there" will not do: write empty or missing or present`},
		{"text parsed again", strings.Replace(minimal, "[picture]", "[a|@fromstr]", 1), "x.yaml:7: pictures.from: @fromstr is not allowed"},
		{"no pictures", strings.Replace(minimal, "[picture]", "[]", 1), "x.yaml:7: pictures.from must be a list with at least one item: write [item]"},
		{"allow everything", strings.Replace(minimal, "[picture]", "[picture], allow: ['*:443', h, 'h:0', 10.0.0.0/8]", 1), `
x.yaml:7: pictures.allow: "*:443" is no exception: write host:port, a CIDR such as 10.1.0.0/16, or lookup-origin
x.yaml:7: pictures.allow: "h" is no exception: write host:port, a CIDR such as 10.1.0.0/16, or lookup-origin
x.yaml:7: pictures.allow: "h:0" is no exception: write host:port, a CIDR such as 10.1.0.0/16, or lookup-origin`},
		{"zero limit", minimal + "limits: {lookup: {per_minute: 0}}\n", `x.yaml:8: limits.lookup.per_minute: "0" is no whole number from 1 up`},
		{"limits for nobody", minimal + "limits: {anonymous: {per_minute: 1}}\n", "x.yaml:8: limits.anonymous never holds: it is for a service with an optional secret"},
		{"half a certificate", minimal + "tls: {cert_file: a}\n", "x.yaml:8: tls: a client certificate needs both cert_file and key_file"},
		{"bad timeout", minimal + "timeout: 10\n", `x.yaml:8: timeout: "10" is no time from 1ms to 10m: write 10s`},
		{"bad size", minimal + "max_bytes: 1GB\n", `x.yaml:8: max_bytes: "1GB" is no size from 1 to 64MiB: write 1MiB`},
		{"sample outside the folder", minimal + "samples: [{name: a, file: ../x, verdict: found}]\n", `x.yaml:8: samples.file: "../x" is no path below the definition's folder: write samples/NAME.http`},
		{"bad attribute", minimal + "attributes: {'a b': c}\n", `x.yaml:8: attributes: "a b" is no name for an attribute`},
		{"source that is no page", minimal + "source: 'javascript:alert(1)'\n", "x.yaml:8: source: must start with {base}, http:// or https://"},
		{"secret from nowhere", minimal + "secrets: {key: {optional: true}}\n", "x.yaml:8: secrets.key says not where it comes from: write env: VARIABLE or file: PATH"},
		{"secret without a place", minimal + "secrets: {key: hunter2}\n", "x.yaml:8: secrets.key must be a mapping: write key: value"},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("x.yaml", []byte(tt.yaml))
			checkProblems(t, err, tt.want)
		})
	}
}

func TestParseHeaderProblems(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Authorization: Bearer hunter2":     "x.yaml:7: request.headers.Authorization holds a secret in plain text: write ${name} and declare it as secrets: {name: {env: VARIABLE}}",
		"x-api-key: hunter2":                "x.yaml:7: request.headers.X-Api-Key holds a secret in plain text",
		"Cookie: a=b":                       "x.yaml:7: request.headers.Cookie holds a secret in plain text",
		"X-Auth-Token: a":                   "x.yaml:7: request.headers.X-Auth-Token holds a secret in plain text",
		"Authorization: '${tokn}'":          `x.yaml:7: request.headers.Authorization: no secret "tokn": declare it as secrets: {tokn: {env: VARIABLE}}`,
		"Authorization: '${token'":          `x.yaml:7: request.headers.Authorization: a "${" has no "}": write ${name}`,
		"Authorization: '${token}${token}'": "x.yaml:7: request.headers.Authorization holds two secrets: write one",
		"user-agent: me":                    "x.yaml:7: request.headers: User-Agent is ours: set --contact, which is made part of it",
		"Host: other":                       "x.yaml:7: request.headers: Host is set by the connection: leave it out",
		"'A b': c":                          `x.yaml:7: request.headers: "A b" is no name for a header`,
		`X-A: "b\r\nX-C: d"`:                "x.yaml:7: request.headers.X-A must be one line of 1 to 1024 bytes",
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			yaml := strings.Replace(minimal, `request: {url: "{base}/{name}"}`,
				"request:\n  url: \"{base}/{name}\"\n  headers: {"+header+"}\nsecrets: {token: {env: T}}", 1)
			_, err := Parse("x.yaml", []byte(yaml))
			checkProblems(t, err, want)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// checkProblems holds that err has as many lines as want and that each contains its
// counterpart.
func checkProblems(t *testing.T, err error, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if err == nil {
		if want != "" {
			t.Errorf("got no error, want %s", want)
		}
		return
	}
	got, wants := strings.Split(err.Error(), "\n"), strings.Split(want, "\n")
	if len(got) != len(wants) {
		t.Fatalf("got:\n%v\nwant:\n%s", err, want)
	}
	for i := range wants {
		if !strings.Contains(got[i], wants[i]) {
			t.Errorf("got  %s\nwant %s", got[i], wants[i])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(minimal))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? [a]\n: b\n--- x\n"))
	shipped, err := filepath.Glob("../../configs/providers/*.yaml")
	if err != nil || len(shipped) == 0 {
		f.Fatalf("no definitions: %v", err)
	}
	for _, file := range shipped {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("x.yaml", data)
		if (d == nil) == (err == nil) {
			t.Fatalf("got %v and %v", d, err)
		}
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		// What was accepted can be used.
		q := Query{Name: "name"}
		for _, c := range d.Columns() {
			q.Columns = append(q.Columns, Attribute{c, "value"})
		}
		if !d.Asks() {
			d.Direct(q)
			return
		}
		if d.Origin() == "" {
			t.Error("no origin")
		}
		if _, err := d.Example(q, func(Secret) (string, error) { return "s", nil }); err != nil {
			t.Error(err)
		}
		d.Extract("name", Reply{Status: 200, Body: []byte(`{"a":[1,{"b":"c"}]}`)})
	})
}
