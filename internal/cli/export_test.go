package cli

import (
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

func TestLicenceFilter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		list, licence string
		want          bool
	}{
		{"CC0-1.0,CC-BY-4.0", "http://creativecommons.org/licenses/by/4.0/", true},
		{"CC0-1.0, cc-by-4.0", "CC BY 4.0", true},
		{"CC0-1.0", "CC BY 4.0", false},
		{"CC BY 4.0", "cc-by-4.0", true},
		{"house licence", "House Licence", true},
		{"house licence", "", false},
		{"CC0-1.0", "", false},
	} {
		f := newLicenceFilter(test.list)
		if got := f.wanted()(recordjson.Name{Licence: test.licence, LicenceID: licence.ID(test.licence)}); got != test.want {
			t.Errorf("--licence %q of %q: got %v, want %v", test.list, test.licence, got, test.want)
		}
	}
	if newLicenceFilter(" ").wanted() != nil {
		t.Error("no licence takes not all")
	}
	f := newLicenceFilter("CC-BY-3.0")
	f.wanted()(recordjson.Name{Licence: "CC BY 4.0", LicenceID: "CC-BY-4.0"})
	if err := f.explainNone(results.Batch{Name: "b"}); err == nil || !strings.Contains(err.Error(), "CC-BY-4.0") {
		t.Errorf("got %v, want CC-BY-4.0 offered", err)
	}
}
