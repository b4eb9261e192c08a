package cli

import (
	"maps"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/control"
)

// What the web says of a batch is what `status --json` says. Hosts take a trip
// each, and quotas are not the batch's: they are left to who asks for them.
func TestTheWebSpeaksAsTheCommandsDo(t *testing.T) {
	t.Parallel()
	want := keysOf(reflect.TypeFor[statusJSON]())
	maps.DeleteFunc(want, func(key string, _ bool) bool { return key == "hosts" || key == "quotas" })
	got := keysOf(reflect.TypeFor[control.Batch]())
	delete(got, "-")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of a batch (-status --json +web):\n%s", diff)
	}
}
