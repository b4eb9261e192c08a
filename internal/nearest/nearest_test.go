package nearest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/nearest"
)

func TestWords(t *testing.T) {
	t.Parallel()
	known := []string{"done", "queued", "found", "failed", "partial", "names", "names-2"}
	for _, tc := range []struct {
		word string
		want []string
	}{
		{"dune", []string{"done"}},
		{"done", []string{"done"}},
		{"faild", []string{"failed"}},
		{"nmaes", []string{"names"}},
		{"names", []string{"names", "names-2"}},
		{"wikipedia", nil},
		{"", nil},
		{strings.Repeat("x", 65), nil},
	} {
		if diff := cmp.Diff(tc.want, nearest.Words(tc.word, known)); diff != "" {
			t.Errorf("Words(%q) (-want +got):\n%s", tc.word, diff)
		}
	}
	if got := nearest.Word("faield", known); got != "failed" {
		t.Errorf("Word is %q, want failed", got)
	}
}
