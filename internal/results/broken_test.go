package results_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

// A key that holds something else is named, and other batches are listed.
func TestKeysOfAnotherKind(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		prefix := "harvest:"
		open(t, db, "good", 1, "ada")
		if n, err := rdb.Exists(ctx, "harvest:two:batches").Result(); err == nil && n > 0 {
			prefix = "harvest:two:"
		}
		open(t, db, "bad", 2, "ada")
		b, _ := counts(t, db, "bad")
		if err := db.CheckKeys(ctx, b); err != nil {
			t.Fatalf("a sound batch: %v", err)
		}
		garbage := func(key string) {
			t.Helper()
			if err := rdb.Set(ctx, key, "garbage", 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		key := prefix + "{bad.1}:state:done"
		garbage(key)
		broken, ok := errors.AsType[*results.KeyError](db.CheckKeys(ctx, b))
		if !ok || broken.Key != key || broken.Has != "string" || broken.Want != "zset" {
			t.Errorf("got %+v, want key %s named", broken, key)
		}
		if _, err := db.Counts(ctx, b); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("the counts say %v, want %s named", err, key)
		}
		// What can be read is listed all the same.
		listed := func() (names []string, unreadable int) {
			for r, err := range db.Each(ctx, b, results.Query{}) {
				if _, last := errors.AsType[*results.KeyError](err); last {
					return names, unreadable
				}
				if results.IsRecordError(err) {
					unreadable++
				} else if err != nil {
					t.Errorf("the listing ends with %v", err)
				}
				names = append(names, r.Name)
			}
			t.Error("the listing does not tell of the broken key")
			return names, unreadable
		}
		if names, bad := listed(); !slices.Equal(names, []string{"ada"}) || bad != 0 {
			t.Errorf("beside a state: names %q, %d of them unreadable", names, bad)
		}
		garbage(prefix + "{bad.0}:records")
		garbage(prefix + "{bad.1}:records")
		if names, bad := listed(); !slices.Equal(names, []string{"ada"}) || bad != 1 {
			t.Errorf("without records: names %q, %d of them unreadable", names, bad)
		}
		garbage(prefix + "{bad.0}:batch")
		all, err := db.Batches(ctx)
		if err != nil || len(all) != 2 || all[0].Broken == nil || all[1].Broken != nil {
			t.Errorf("batches are %+v, %v; want both, one of them broken", all, err)
		}
	})
}

func TestFailedHosts(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 2, "ada", "bob", "cyd", "dan", "eve")
		for name, host := range map[string]string{"ada": "b.test", "bob": "a.test:8080", "cyd": "b.test", "dan": "b.tests", "eve": ""} {
			e := failure.Newf(failure.ReasonRefused, failure.Final, "no")
			ok, err := db.FailLookup(ctx, refs[name], e, host, false)
			must(t)(ok, err)
		}
		b, _ := counts(t, db, "names")
		got, err := db.FailedHosts(ctx, b, 100)
		if want := []string{"a.test:8080", "b.test", "b.tests"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("hosts are %q, %v; want %q", got, err, want)
		}
	})
}
