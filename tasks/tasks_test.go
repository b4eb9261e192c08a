package tasks_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/tasks"
)

var ref = tasks.Ref{Batch: "names", Shard: 2, Epoch: 1700000000000, Name: "Brus Lee", Generation: 3, Lane: tasks.Express}

func TestLookupTaskRoundTrip(t *testing.T) {
	t.Parallel()
	task, err := tasks.NewLookupTask("", "people", ref)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tasks.DecodeLookup(task.Payload())
	if err != nil {
		t.Fatal(err)
	}
	want := tasks.LookupPayload{Version: tasks.PayloadVersion, Ref: ref}
	if diff := cmp.Diff(want, got); diff != "" || task.Type() != tasks.TypeLookup {
		t.Errorf("%s: payload differs (-want +got):\n%s", task.Type(), diff)
	}
}

func TestPictureTaskRoundTrip(t *testing.T) {
	t.Parallel()
	task, err := tasks.NewPictureTask("", ref, 4)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tasks.DecodePicture(task.Payload())
	if err != nil {
		t.Fatal(err)
	}
	want := tasks.PicturePayload{Version: tasks.PayloadVersion, Ref: ref, Rank: 4}
	if diff := cmp.Diff(want, got); diff != "" || task.Type() != tasks.TypePicture {
		t.Errorf("%s: payload differs (-want +got):\n%s", task.Type(), diff)
	}
}

// The wire format is data at rest: workers of other versions read it.
func TestWireFormat(t *testing.T) {
	t.Parallel()
	task, err := tasks.NewPictureTask("", ref, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"b":"names","s":2,"e":1700000000000,"n":"Brus Lee","g":3,"l":"express","r":1}`
	if got := string(task.Payload()); got != want {
		t.Errorf("payload is %s, want %s", got, want)
	}
	if got, want := tasks.ID(ref, tasks.Pictures, 1), "to6okmu2v5cy3gsfd32btpy2uq"; got != want {
		t.Errorf("ID is %s, want %s", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		payload string
		want    error
	}{
		"empty":          {``, tasks.ErrPayload},
		"no JSON":        {`hello`, tasks.ErrPayload},
		"null":           {`null`, tasks.ErrPayload},
		"list":           {`[]`, tasks.ErrPayload},
		"no version":     {`{"b":"a","n":"x","g":1,"l":"bulk","r":1}`, tasks.ErrPayload},
		"newer":          {`{"v":2,"b":7}`, tasks.ErrNewer},
		"no batch":       {`{"v":1,"n":"x","g":1,"l":"bulk","r":1}`, tasks.ErrPayload},
		"no name":        {`{"v":1,"b":"a","g":1,"l":"bulk","r":1}`, tasks.ErrPayload},
		"bad lane":       {`{"v":1,"b":"a","n":"x","g":1,"l":"fast","r":1}`, tasks.ErrPayload},
		"bad shard":      {`{"v":1,"b":"a","s":-1,"n":"x","g":1,"l":"bulk","r":1}`, tasks.ErrPayload},
		"no generation":  {`{"v":1,"b":"a","n":"x","l":"bulk","r":1}`, tasks.ErrPayload},
		"no rank":        {`{"v":1,"b":"a","n":"x","g":1,"l":"bulk"}`, tasks.ErrPayload},
		"wrong types":    {`{"v":1,"b":["a"],"n":"x","g":1,"l":"bulk","r":1}`, tasks.ErrPayload},
		"trailing bytes": {`{"v":1,"b":"a","n":"x","g":1,"l":"bulk","r":1}x`, tasks.ErrPayload},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := tasks.DecodePicture([]byte(tc.payload)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestQueueNames(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]tasks.Queue{
		"lookup-people-express":       {Kind: tasks.Lookups, Provider: "people", Lane: tasks.Express},
		"lookup-people-bulk-3":        {Kind: tasks.Lookups, Provider: "people", Lane: tasks.Bulk, Shard: 3},
		"lookup-staff-bulk-bulk":      {Kind: tasks.Lookups, Provider: "staff-bulk", Lane: tasks.Bulk},
		"lookup-area-51-express":      {Kind: tasks.Lookups, Provider: "area-51", Lane: tasks.Express},
		"picture-bulk":                {Kind: tasks.Pictures, Lane: tasks.Bulk},
		"picture-express-12":          {Kind: tasks.Pictures, Lane: tasks.Express, Shard: 12},
		"two.picture-express":         {Namespace: "two", Kind: tasks.Pictures, Lane: tasks.Express},
		"two.lookup-wikipedia-bulk-1": {Namespace: "two", Kind: tasks.Lookups, Provider: "wikipedia", Lane: tasks.Bulk, Shard: 1},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			if got := q.String(); got != want {
				t.Errorf("name is %q, want %q", got, want)
			}
			got, ok := tasks.ParseQueue(want)
			if !ok || got != q {
				t.Errorf("parsed %+v %v, want %+v", got, ok, q)
			}
		})
	}
	for _, foreign := range []string{"", "default", "lookup", "lookup-bulk", "picture-fast", "picture-x-bulk", "-", "low-3"} {
		if q, ok := tasks.ParseQueue(foreign); ok {
			t.Errorf("ParseQueue(%q) = %+v, want it refused", foreign, q)
		}
	}
}

func TestIDTellsTasksApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	add := func(what string, id string) {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s share ID %s", what, other, id)
		}
		if len(id) != 26 || strings.Contains(id, "-") {
			t.Errorf("%s: ID %q is not 26 characters without a dash", what, id)
		}
		seen[id] = what
	}
	add("lookup", tasks.ID(ref, tasks.Lookups, 0))
	add("picture 1", tasks.ID(ref, tasks.Pictures, 1))
	add("picture 2", tasks.ID(ref, tasks.Pictures, 2))
	r := ref
	r.Batch, r.Name = "name", "sBrus Lee"
	add("shifted border", tasks.ID(r, tasks.Lookups, 0))
	r = ref
	r.Epoch++
	add("epoch", tasks.ID(r, tasks.Lookups, 0))
	r = ref
	r.Generation++
	add("generation", tasks.ID(r, tasks.Lookups, 0))
}

func TestShardIsStable(t *testing.T) {
	t.Parallel()
	counts := make([]int, 4)
	for _, n := range strings.Fields("ada bob cyd dan eve fay gus hal ian joy kim lea mia ned oda pat") {
		counts[tasks.Shard(n, 4)]++
	}
	if diff := cmp.Diff([]int{4, 4, 4, 4}, counts); diff != "" {
		t.Errorf("names per shard differ (-want +got):\n%s", diff)
	}
	if got := tasks.Shard("ada", 1); got != 0 {
		t.Errorf("shard of one is %d, want 0", got)
	}
}

func TestCheckShards(t *testing.T) {
	t.Parallel()
	for n, ok := range map[int]bool{-1: false, 0: false, 1: true, tasks.MaxShards: true, tasks.MaxShards + 1: false, 1 << 40: false} {
		err := tasks.CheckShards(n)
		if (err == nil) != ok || !ok && !strings.Contains(err.Error(), "1 to 256") {
			t.Errorf("%d shards: got %v, want them accepted: %v", n, err, ok)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":1,"b":"names","s":0,"e":1,"n":"Brus Lee","g":1,"l":"bulk","r":1}`))
	f.Add([]byte(`{"v":99}`))
	f.Add([]byte(`{"v":1e99}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, err := range []error{
			func() error { _, err := tasks.DecodeLookup(b); return err }(),
			func() error { _, err := tasks.DecodePicture(b); return err }(),
		} {
			if err != nil && !errors.Is(err, tasks.ErrPayload) && !errors.Is(err, tasks.ErrNewer) {
				t.Errorf("untyped error: %v", err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	task, err := tasks.NewPictureTask("", ref, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tasks.DecodePicture(task.Payload()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewPictureTask(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tasks.NewPictureTask("", ref, 1); err != nil {
			b.Fatal(err)
		}
	}
}
