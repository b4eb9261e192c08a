package fetch_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/fetch"
)

func TestValidatorsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	const date = "Wed, 21 Oct 2015 07:28:00 GMT"
	for name, test := range map[string]struct {
		tag, modified string
		key, want     string
	}{
		"neither":              {},
		"tag":                  {tag: `"abc"`, key: "If-None-Match", want: `"abc"`},
		"weak tag":             {tag: `W/"a b"`, modified: date, key: "If-Modified-Since", want: date},
		"weak tag, no space":   {tag: `W/"a-b"`, key: "If-None-Match", want: `W/"a-b"`},
		"empty tag":            {tag: `""`, key: "If-None-Match", want: `""`},
		"one quote":            {tag: `"`, modified: date, key: "If-Modified-Since", want: date},
		"tag before the date":  {tag: `"abc"`, modified: date, key: "If-None-Match", want: `"abc"`},
		"tag without quotes":   {tag: "abc", modified: date, key: "If-Modified-Since", want: date},
		"tag with a line":      {tag: "\"a\nb\""},
		"tag of another world": {tag: "\"\u00e9\""},
		"tag too long":         {tag: `"` + strings.Repeat("a", 200) + `"`},
		"date of RFC 850":      {modified: "Sunday, 06-Nov-94 08:49:37 GMT", key: "If-Modified-Since", want: "Sunday, 06-Nov-94 08:49:37 GMT"},
		"no date":              {modified: "yesterday"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			h.Set("ETag", test.tag)
			h.Set("Last-Modified", test.modified)
			got := http.Header{}
			fetch.SetCondition(got, fetch.Validator(h))
			if test.key == "" && len(got) > 0 || test.key != "" && (len(got) != 1 || got.Get(test.key) != test.want) {
				t.Errorf("%q and %q ask by %v, want %s: %s", test.tag, test.modified, got, test.key, test.want)
			}
		})
	}
}

func FuzzValidator(f *testing.F) {
	for _, s := range []string{`"a"`, `W/"a"`, `"`, "", "Wed, 21 Oct 2015 07:28:00 GMT", "\"\xff\""} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, tag, modified string) {
		h := http.Header{"Etag": {tag}, "Last-Modified": {modified}}
		v := fetch.Validator(h)
		if v != "" && v != tag && v != modified || len(v) > 128 || strings.ContainsAny(v, "\r\n\x00") {
			t.Errorf("%q and %q give %q", tag, modified, v)
		}
	})
}
