package lookup

import (
	"net/url"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	const path, query = "{base}/users/{name}", "{base}/?name={name}&n=1"
	for _, tt := range []struct{ title, template, name, want string }{
		{"path", path, "torvalds", "http://h/users/torvalds"},
		{"slash in a path", path, "a/b", "http://h/users/a%2Fb"},
		{"question mark in a path", path, "a?b=c", "http://h/users/a%3Fb=c"},
		{"fragment in a path", path, "a#b", "http://h/users/a%23b"},
		{"percent in a path", path, "100%2F", "http://h/users/100%252F"},
		{"NUL in a path", path, "a\x00b", "http://h/users/a%00b"},
		{"CRLF in a path", path, "a\r\nHost: x", "http://h/users/a%0D%0AHost:%20x"},
		{"backslash in a path", path, `..\..`, "http://h/users/..%5C.."},
		{"climbing out of a path", path, "../admin", "http://h/users/..%2Fadmin"},
		{"an escaped dot segment", path, "%2e%2e", "http://h/users/%252e%252e"},
		{"unicode in a path", path, "Zoë", "http://h/users/Zo%C3%AB"},
		{"bad UTF-8 in a path", path, "\xff", "http://h/users/%FF"},
		{"query", query, "Brus Lee", "http://h/?name=Brus%20Lee&n=1"},
		{"a further value in a query", query, "a&n=9;x=+1", "http://h/?name=a%26n%3D9%3Bx%3D%2B1&n=1"},
		{"dots in a query", query, "..", "http://h/?name=..&n=1"},
		{"a URL in a query", query, "http://x/?y#z", "http://h/?name=http%3A%2F%2Fx%2F%3Fy%23z&n=1"},
		{"lower case", "{base}/{name|lower}", "Pikachu", "http://h/pikachu"},
		{"underscore", "{base}/{name|underscore}", "Ford Mustang", "http://h/Ford_Mustang"},
		{"two filters", "{base}/{name|lower|underscore}", "Ford Mustang", "http://h/ford_mustang"},
		{"slashes", "{base}/breed/{name|slashes}/images", "hound/afghan?", "http://h/breed/hound/afghan%3F/images"},
		{"twice", "{base}/{name}?q={name}", "a b", "http://h/a%20b?q=a%20b"},
		{"no base", "https://x.org/{name}", "a", "https://x.org/a"},
		{"a hole's text as a name", path, "{name}", "http://h/users/%7Bname%7D"},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			tmpl, err := parseTemplate(tt.template)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tmpl.expand("http://h", tt.name)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ title, template, name string }{
		{"empty", "{base}/?q={name}", ""},
		{"dot", "{base}/{name}", "."},
		{"two dots", "{base}/users/{name}", ".."},
		{"dots among slashes", "{base}/users/{name|slashes}", "a/../../admin"},
		{"dots made of two parts", "{base}/.{name}", "."},
		{"too long", "{base}/{name}", strings.Repeat("a", maxURLBytes)},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			tmpl, err := parseTemplate(tt.template)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tmpl.expand("http://h", tt.name); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		"ftp://h/{name}":             "must start with",
		"/users/{name}":              "must start with",
		"https://{name}.example.org": "not in the host",
		"https://h{name}/":           "not in the host",
		"https:///{name}":            "names no host",
		"https://u:p@h/{name}":       "put the secret under secrets",
		"{base}{name}":               "comes a /",
		"{base}.example.org/{name}":  "comes a /",
		"https://h/{base}/{name}":    "only stand at the start",
		"{base}/{nme}":               "unknown {nme}",
		"{base}/{name|upper}":        `unknown filter "upper"`,
		"{base}/{name|}":             "ends in a bar",
		"{base}/{name":               `has no "}"`,
		"{base}/name}":               `has no "{"`,
		"{base}/?q={name|slashes}":   "for the path alone",
		"{base}/{name}#top":          "never be sent",
		"{base}/a b/{name}":          "write it as %20",
		"{base}/%zz/{name}":          "written as %25",
		"{base}/../{name}":           "path segment",
		"":                           "must start with",
	} {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			if _, err := parseTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"{base}/?name={name}", "{base}/users/{name|lower|underscore}", "https://h/{name|slashes}/x?y={name}",
		"{base}", "https://{name}", "http://[::1]:80/{name}", "{base}/%zz{name}",
	} {
		f.Add(s, "../a b?#%\x00\xff")
	}
	f.Fuzz(func(t *testing.T, template, name string) {
		tmpl, err := parseTemplate(template)
		if err != nil {
			return
		}
		s, err := tmpl.expand("http://base:81", name)
		if err != nil {
			return
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("%q with %q makes %q, which is no URL", template, name, s)
		}
		origin, err := tmpl.origin("http://base:81")
		if err != nil {
			t.Fatalf("%q was accepted without an origin: %v", template, err)
		}
		if u.Host != origin.Host || u.Scheme != origin.Scheme || u.User != nil || u.Fragment != "" {
			t.Errorf("%q with %q asks %s, outside %s", template, name, s, origin)
		}
	})
}
