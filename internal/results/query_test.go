package results_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// fill makes a batch with n names, two on every line, in all sorts of states,
// and returns their records in the order of listings.
func fill(t *testing.T, db *results.DB, batch string, shards, n int) (results.Batch, []results.Record) {
	t.Helper()
	ctx := t.Context()
	e, err := db.Open(ctx, batch, "people", "names.txt", shards)
	noError(t, err)
	for i := range n {
		name := fmt.Sprint("name ", i)
		added, err := e.Add(ctx, tasks.Shard(name, shards), []results.Line{{Number: int64(i/2 + 1), Name: name}})
		noError(t, err)
		ref, at := added[0].Ref, fmt.Sprint("h", i%3, ".test")
		reason := []failure.Reason{failure.ReasonMissing, failure.ReasonTimeout}[i/7%2]
		bad := failure.New(reason, failure.Final, errors.New("no"))
		switch i % 7 {
		case 0:
		case 1:
			must(t)(db.CommitLookup(ctx, ref, results.NotFound, results.Lookup{}))
		case 2:
			must(t)(db.FailLookup(ctx, ref, bad, at, true))
		case 3:
			must(t)(db.FailLookup(ctx, ref, bad, "", true))
		default:
			must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures))
			must(t)(db.CommitPicture(ctx, ref, 1, picture("k")))
			if i%7 == 4 {
				must(t)(db.FailPicture(ctx, ref, 2, bad, at, false))
			} else if i%7 == 5 {
				must(t)(db.CommitPicture(ctx, ref, 2, picture("k")))
			}
		}
	}
	noError(t, e.Close(ctx, true))
	b, _ := counts(t, db, batch)
	var all []results.Record
	for i := range n {
		r, err := db.Get(ctx, b, fmt.Sprint("name ", i))
		noError(t, err)
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b results.Record) int {
		if a.Line != b.Line {
			return int(a.Line - b.Line)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return b, all
}

func listed(t *testing.T, db *results.DB, b results.Batch, q results.Query) []string {
	t.Helper()
	var names []string
	for r, err := range db.Each(t.Context(), b, q) {
		noError(t, err)
		names = append(names, r.Name)
	}
	return names
}

func TestQueries(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
			ctx := t.Context()
			b, all := fill(t, db, "names", shards, 140)
			for _, name := range []string{"", "name 4", "name 9", "nobody"} {
				for _, state := range append(results.States(), "") {
					for _, reason := range []failure.Reason{"", failure.ReasonMissing, failure.ReasonTimeout, failure.ReasonTLS} {
						for _, host := range []string{"", "-", "h1.test", "h2.test", "h1.tes"} {
							q := results.Query{Name: name, State: state, Reason: reason, Host: host}
							var want []string
							for _, r := range all {
								if (name == "" || r.Name == name) && (state == "" || r.State == state) && (reason == "" || r.Reason == reason) &&
									(host == "" || r.Host == host || host == "-" && r.Reason != "" && r.Host == "") {
									want = append(want, r.Name)
								}
							}
							if diff := cmp.Diff(want, listed(t, db, b, q)); diff != "" {
								t.Errorf("%+v (-want +got):\n%s", q, diff)
							}
							if n, err := db.Count(ctx, b, q); n != int64(len(want)) || err != nil {
								t.Errorf("%+v: counted %d, %v; want %d", q, n, err, len(want))
							}
						}
					}
				}
			}
			reasons, err := db.Reasons(ctx, b)
			if diff := cmp.Diff([]results.ReasonCount{
				{Reason: failure.ReasonTimeout, Names: 30}, {Reason: failure.ReasonMissing, Names: 30},
			}, reasons); diff != "" || err != nil {
				t.Errorf("reasons, %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestListingsGoOnBehindAPosition(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		b, all := fill(t, db, "names", 3, 70)
		for _, q := range []results.Query{{}, {State: results.Found}, {Reason: failure.ReasonMissing}, {Host: "h1.test"}} {
			q.After = results.Position{}
			whole := listed(t, db, b, q)
			for i, name := range whole {
				for _, r := range all {
					if r.Name == name {
						q.After = results.Position{Line: r.Line, Name: r.Name}
					}
				}
				if got := listed(t, db, b, q); !slices.Equal(got, whole[i+1:]) {
					t.Errorf("%+v: got %q; want %q", q, got, whole[i+1:])
				}
			}
		}
	})
}

func TestManyNamesMayShareALine(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		e, err := db.Open(ctx, "names", "people", "names.txt", 3)
		noError(t, err)
		byShard := make(map[int][]results.Line)
		var want []string
		for i := range 4000 {
			name := fmt.Sprintf("name %04d", i)
			want = append(want, name)
			s := tasks.Shard(name, 3)
			byShard[s] = append(byShard[s], results.Line{Number: 5, Name: name})
		}
		for s, lines := range byShard {
			added, err := e.Add(ctx, s, lines)
			noError(t, err)
			for i := range 700 {
				must(t)(db.FailLookup(ctx, added[i].Ref, errGone, "h", false))
			}
		}
		b, _ := counts(t, db, "names")
		if got := listed(t, db, b, results.Query{}); !slices.Equal(got, want) {
			t.Errorf("listed %d names, not the %d in order", len(got), len(want))
		}
		if got := listed(t, db, b, results.Query{Reason: errGone.Reason}); len(got) != 2100 || !slices.IsSorted(got) {
			t.Errorf("listed %d failures; want 2100 in order", len(got))
		}
		if n, err := db.Cancel(ctx, b); n != 1900 || err != nil {
			t.Errorf("cancelled %d, %v; want 1900", n, err)
		}
	})
}

func TestGarbageConcernsItsNameOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		refs := open(t, db, "names", 1, "a", "b", "c", "d", "e", "f")
		b, _ := counts(t, db, "names")
		records := keyEnding(t, rdb, ":records")
		good := rdb.HGet(ctx, records, "a").Val()
		for name, v := range map[string]string{
			"b": "\x00\xff", "c": good + "\nL {", "d": strings.Replace(good, " 1 ", " one ", 1), "e": good + "\nwhat is this",
		} {
			noError(t, rdb.HSet(ctx, records, name, v).Err())
			var bad *results.RecordError
			if _, err := db.Get(ctx, b, name); !errors.As(err, &bad) || bad.Name != name {
				t.Errorf("get %s: %v", name, err)
			}
			if _, err := db.Begin(ctx, refs[name], 0); !errors.As(err, &bad) {
				t.Errorf("begin %s: %v", name, err)
			}
		}
		var names []string
		for r, err := range db.Each(ctx, b, results.Query{}) {
			if results.IsRecordError(err) {
				r.Name += "!"
			} else if err != nil {
				t.Fatal(err)
			}
			names = append(names, r.Name)
		}
		if want := []string{"a", "b!", "c!", "d!", "e!", "f"}; !slices.Equal(names, want) {
			t.Errorf("listed %q; want %q", names, want)
		}
		for _, q := range []results.Query{{}, {State: results.Queued}} {
			if n, err := db.Count(ctx, b, q); n != 6 || err != nil {
				t.Errorf("%+v: counted %d, %v; want 6", q, n, err)
			}
		}
		if n, err := db.Count(ctx, b, results.Query{Name: "b"}); n != 1 || err != nil {
			t.Errorf("counted %d, %v; want 1", n, err)
		}
		must(t)(db.CommitLookup(ctx, refs["f"], results.NoPicture, results.Lookup{}))
		if ok, err := db.CommitLookup(ctx, refs["b"], results.NoPicture, results.Lookup{}); ok || err != nil {
			t.Errorf("committed over garbage: %v, %v", ok, err)
		}

		noError(t, rdb.Set(ctx, keyEnding(t, rdb, ":state:queued"), "x", 0).Err())
		names = nil
		var last error
		for r, err := range db.Each(ctx, b, results.Query{}) {
			if last = err; err == nil {
				names = append(names, r.Name)
			}
		}
		if _, ok := errors.AsType[*results.KeyError](last); !ok || !slices.Equal(names, []string{"f"}) {
			t.Errorf("beside a list of a wrong type: %q, then %v; want f, and the key named", names, last)
		}
		if _, err := db.Counts(ctx, b); err == nil {
			t.Error("counted a list of a wrong type")
		}
	})
}

func TestGetSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		open(t, db, "names", 1, "a")
		b, _ := counts(t, db, "names")
		if _, err := db.Get(t.Context(), b, "nobody"); !errors.Is(err, results.ErrNoName) {
			t.Errorf("get: %v", err)
		}
		if _, err := db.Batch(t.Context(), "none"); !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("batch: %v", err)
		}
	})
}

func TestLookupsThatContradictThemselvesAreRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "a")["a"]
		for state, l := range map[results.State]results.Lookup{
			results.Found: {}, results.NotFound: twoPictures, results.Done: twoPictures, results.Queued: {},
		} {
			if _, err := db.CommitLookup(ctx, ref, state, l); err == nil {
				t.Errorf("%s with %d pictures was taken", state, len(l.Pictures))
			}
		}
		must(t)(db.CommitLookup(ctx, ref, results.Found, twoPictures))
		other := results.Lookup{Pictures: twoPictures.Pictures[:1]}
		if ok, err := db.CommitLookup(ctx, ref, results.Found, other); ok || err != nil {
			t.Errorf("another answer: %v, %v; want it refused", ok, err)
		}
		if ok, err := db.CommitPicture(ctx, ref, 3, picture("k")); ok || err != nil {
			t.Errorf("a picture that the record lacks: %v, %v", ok, err)
		}
		must(t)(db.FailPicture(ctx, ref, 1, &failure.Error{}, "a b\nc", false))
		noError(t, db.Mark(ctx, ref, 1, "late", true))
		noError(t, db.NoteDeath(ctx, ref, 1, "late"))
		if _, _, ok, err := db.CountTry(ctx, ref, 1, "late", errSlow); ok || err != nil {
			t.Errorf("a try of a step that is over was counted: %v, %v", ok, err)
		}
		must(t)(db.FailPicture(ctx, ref, 2, errGone, "b", false))
		b, _ := counts(t, db, "names")
		if r, err := db.Get(ctx, b, "a"); err != nil || r.State != results.Failed || r.Reason != failure.ReasonInternal || r.Host != "a_b_c" {
			t.Errorf("record %+v, %v", r, err)
		}
	})
}

func TestMarksThatStayAreCrashes(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		ref := open(t, db, "names", 1, "a")["a"]
		for _, m := range []struct {
			token string
			set   bool
			want  int
		}{{"r1", true, 1}, {"r1", true, 1}, {"r2", true, 2}, {"r2", false, 1}, {"r3", true, 2}} {
			noError(t, db.Mark(ctx, ref, 0, m.token, m.set))
			if begun, err := db.Begin(ctx, ref, 0); begun.Crashes != m.want || err != nil {
				t.Errorf("after %+v: %d crashes, %v", m, begun.Crashes, err)
			}
		}
	})
}
