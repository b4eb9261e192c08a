package duplicates

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEqual(t *testing.T) {
	t.Parallel()
	got := equal([]uint64{7, 3, 9, 7, 1, 3, 7, 2})
	want := []run{{7, 3}, {3, 2}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(run{})); diff != "" {
		t.Errorf("equal (-want +got):\n%s", diff)
	}
	if got := equal(nil); len(got) > 0 {
		t.Errorf("of nothing: got %v", got)
	}
}
