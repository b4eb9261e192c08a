package robots_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/robots"
)

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tags []string
		want string
	}{
		"no header":                     {nil, ""},
		"all":                           {[]string{"all"}, ""},
		"noai":                          {[]string{"noai"}, "noai"},
		"noimageai, in capitals":        {[]string{"NoImageAI"}, "noimageai"},
		"noindex":                       {[]string{"noindex"}, "noindex"},
		"noimageindex among others":     {[]string{"nofollow, noimageindex"}, "noimageindex"},
		"none is noindex":               {[]string{"none"}, "none"},
		"others":                        {[]string{"nofollow, noarchive, nosnippet"}, ""},
		"second header":                 {[]string{"nofollow", "noai"}, "noai"},
		"for another agent":             {[]string{"otherbot: noindex, nofollow"}, ""},
		"for us":                        {[]string{"harvest: noindex"}, "noindex"},
		"for us with a version":         {[]string{"Harvest/1.0: noindex"}, "noindex"},
		"for everybody":                 {[]string{"*: noindex"}, "noindex"},
		"for another, then us":          {[]string{"otherbot: noindex, harvest: noai"}, "noai"},
		"for us, then another":          {[]string{"harvest: nofollow, otherbot: noai"}, ""},
		"another agent, another header": {[]string{"otherbot: noindex", "noai"}, "noai"},
		"a word with a value":           {[]string{"max-snippet: 20, noai"}, "noai"},
		"a date with colons and commas": {[]string{"unavailable_after: Wed, 25 Jun 2030 15:00:00 GMT, noai"}, "noai"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := robots.DefaultConfig().Refused(http.Header{"X-Robots-Tag": c.tags}); got != c.want {
				t.Errorf("%q: got %q, want %q", c.tags, got, c.want)
			}
			if got := (robots.Config{}).Refused(http.Header{"X-Robots-Tag": c.tags}); got != "" {
				t.Errorf("%q where no word refuses: got %q", c.tags, got)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := robots.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := robots.Config{Robots: "sometimes", RobotsTag: []string{"noai", "no index", "bot: x"}}.Validate()
	for _, want := range []string{`picture.robots is "sometimes": give public, always or never`, `"no index"`, `"bot: x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
}

// FuzzRefused holds that no header makes it panic, and that it answers with a
// word that refuses or none.
func FuzzRefused(f *testing.F) {
	f.Add("harvest: noai, unavailable_after: 25 Jun 2030 15:00:00 PST")
	f.Fuzz(func(t *testing.T, tag string) {
		switch got := robots.DefaultConfig().Refused(http.Header{"X-Robots-Tag": {tag}}); got {
		case "", "noai", "noimageai", "noindex", "noimageindex", "none":
		default:
			t.Errorf("got %q", got)
		}
	})
}
