package results_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// again opens names of the batch by a refresh and returns their refs.
func again(t *testing.T, db *results.DB, batch string, maxAge time.Duration, goneAfter int, names ...string) []results.Added {
	t.Helper()
	ctx := t.Context()
	e := enqueuing(t, db, batch, "names.txt")
	r, err := db.NewRefresh(ctx, maxAge, goneAfter)
	noError(t, err)
	var all []results.Added
	for i, n := range names {
		added, err := e.AddAgain(ctx, tasks.Shard(n, e.Shards()), []results.Line{{Number: int64(i + 1), Name: n}}, results.Again{Refresh: &r})
		noError(t, err)
		all = append(all, added...)
	}
	noError(t, e.Close(ctx, true))
	return all
}

// said is what one generation of a name comes to: its lookup, and then its
// pictures by rank, each a content or a failure.
type said struct {
	lookup   results.State
	fail     *failure.Error
	pictures []any
	cancel   bool
}

func (s said) commit(t *testing.T, db *results.DB, r tasks.Ref) {
	t.Helper()
	ctx := t.Context()
	if s.cancel {
		b, err := db.Batch(ctx, r.Batch)
		noError(t, err)
		if n, err := db.Cancel(ctx, b); err != nil || n != 1 {
			t.Fatalf("cancelled %d, %v; want 1", n, err)
		}
		return
	}
	if s.fail != nil {
		must(t)(db.FailLookup(ctx, r, s.fail, "api.test", true))
		return
	}
	l := results.Lookup{Attributes: []results.Attribute{{Name: "age", Value: "30"}}}
	if s.lookup == results.NotFound {
		l = results.Lookup{}
	}
	for i := range s.pictures {
		l.Pictures = append(l.Pictures, []string{fmt.Sprintf("http://a.test/%d", i+1)})
	}
	must(t)(db.CommitLookup(ctx, r, s.lookup, l))
	for i, p := range s.pictures {
		if e, ok := p.(*failure.Error); ok {
			must(t)(db.FailPicture(ctx, r, i+1, e, "a.test", e.Kind != failure.Final))
			continue
		}
		must(t)(db.CommitPicture(ctx, r, i+1, results.Picture{Kind: "png", Key: fmt.Sprint(p), SHA256: fmt.Sprint("hash of ", p)}))
	}
}

// What each refresh leaves, after a first answer with two pictures.
func TestRefreshKeepsTheLastGoodAnswer(t *testing.T) {
	t.Parallel()
	down := failure.Newf(failure.ReasonUnavailable, failure.Temporary, "503")
	missing := failure.Newf(failure.ReasonMissing, failure.Final, "404")
	good := said{lookup: results.Found, pictures: []any{"a", "b"}}
	other := said{lookup: results.Found, pictures: []any{"a", "c"}}
	fewer := said{lookup: results.Found, pictures: []any{"a"}}
	outage, absent, bare := said{fail: down}, said{lookup: results.NotFound}, said{lookup: results.NoPicture}
	oneDown := said{lookup: results.Found, pictures: []any{"c", down}}
	oneGone := said{lookup: results.Found, pictures: []any{"a", missing}}
	bothGone := said{lookup: results.Found, pictures: []any{missing, missing}}
	worse := said{lookup: results.Found, pictures: []any{missing, down}}
	given := said{cancel: true}
	for name, test := range map[string]struct {
		then []said
		// after is gone_after, 2 where it is 0.
		after  int
		state  results.State
		keys   []string
		stale  failure.Reason
		absent int
		ended  results.Refreshed // of the last refresh
		drops  []string
	}{
		"the same":                    {then: []said{good}, state: results.Done, keys: []string{"a", "b"}, ended: results.Refreshed{Unchanged: 1}},
		"another picture":             {then: []said{other}, state: results.Done, keys: []string{"a", "c"}, ended: results.Refreshed{Changed: 1}, drops: []string{"b"}},
		"an outage":                   {then: []said{outage}, state: results.Done, keys: []string{"a", "b"}, stale: failure.ReasonUnavailable, ended: results.Refreshed{Failed: 1}},
		"three outages":               {then: []said{outage, outage, outage}, state: results.Done, keys: []string{"a", "b"}, stale: failure.ReasonUnavailable, ended: results.Refreshed{Failed: 1}},
		"an outage, then well":        {then: []said{outage, good}, state: results.Done, keys: []string{"a", "b"}, ended: results.Refreshed{Unchanged: 1}},
		"not there":                   {then: []said{absent}, state: results.Done, keys: []string{"a", "b"}, stale: "not_found", absent: 1, ended: results.Refreshed{Failed: 1}},
		"twice not there":             {then: []said{absent, absent}, state: results.NotFound, ended: results.Refreshed{Gone: 1}, drops: []string{"a", "b"}},
		"not there, outage, not":      {then: []said{absent, outage, absent}, state: results.Done, keys: []string{"a", "b"}, stale: "not_found", absent: 1, ended: results.Refreshed{Failed: 1}},
		"not there, well, not":        {then: []said{absent, good, absent}, state: results.Done, keys: []string{"a", "b"}, stale: "not_found", absent: 1, ended: results.Refreshed{Failed: 1}},
		"gone at once, by setting":    {then: []said{absent}, after: 1, state: results.NotFound, ended: results.Refreshed{Gone: 1}, drops: []string{"a", "b"}},
		"twice is not three times":    {then: []said{absent, absent}, after: 3, state: results.Done, keys: []string{"a", "b"}, stale: "not_found", absent: 2, ended: results.Refreshed{Failed: 1}},
		"gone and back":               {then: []said{absent, absent, good}, state: results.Done, keys: []string{"a", "b"}, ended: results.Refreshed{Changed: 1}},
		"gone and still":              {then: []said{absent, absent, absent}, state: results.NotFound, ended: results.Refreshed{Unchanged: 1}, drops: []string{"a", "b"}},
		"gone, then an outage":        {then: []said{absent, absent, outage}, state: results.NotFound, stale: failure.ReasonUnavailable, ended: results.Refreshed{Failed: 1}, drops: []string{"a", "b"}},
		"without picture":             {then: []said{bare}, state: results.Done, keys: []string{"a", "b"}, stale: "no_picture", absent: 1, ended: results.Refreshed{Failed: 1}},
		"twice without picture":       {then: []said{bare, bare}, state: results.NoPicture, ended: results.Refreshed{Gone: 1}, drops: []string{"a", "b"}},
		"fewer pictures":              {then: []said{fewer}, state: results.Done, keys: []string{"a", "b"}, stale: "no_picture", absent: 1, ended: results.Refreshed{Failed: 1}},
		"twice fewer pictures":        {then: []said{fewer, fewer}, state: results.Done, keys: []string{"a"}, ended: results.Refreshed{Gone: 1}, drops: []string{"b"}},
		"a picture out of reach":      {then: []said{oneDown}, state: results.Done, keys: []string{"a", "b"}, stale: failure.ReasonUnavailable, ended: results.Refreshed{Failed: 1}, drops: []string{"c"}},
		"a picture not there":         {then: []said{oneGone}, state: results.Done, keys: []string{"a", "b"}, stale: failure.ReasonMissing, absent: 1, ended: results.Refreshed{Failed: 1}},
		"a picture twice not there":   {then: []said{oneGone, oneGone}, state: results.Partial, keys: []string{"a"}, ended: results.Refreshed{Gone: 1}, drops: []string{"b"}},
		"all pictures twice gone":     {then: []said{bothGone, bothGone}, state: results.Failed, ended: results.Refreshed{Gone: 1}, drops: []string{"a", "b"}},
		"one gone, one out of reach":  {then: []said{worse, worse}, state: results.Done, keys: []string{"a", "b"}, stale: failure.ReasonMissing, ended: results.Refreshed{Failed: 1}},
		"cancelled":                   {then: []said{given}, state: results.Done, keys: []string{"a", "b"}},
		"cancelled between not there": {then: []said{absent, given, absent}, state: results.NotFound, ended: results.Refreshed{Gone: 1}, drops: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
				ctx := t.Context()
				after := test.after
				if after == 0 {
					after = results.DefaultGoneAfter
				}
				good.commit(t, db, open(t, db, "names", 1, "Ada")["Ada"])
				for i, s := range test.then {
					added := again(t, db, "names", 0, after, "Ada")
					if a := added[0]; a.Was == "" || a.State != results.Queued || a.Ref.Generation != int64(i+2) {
						t.Fatalf("refresh %d: %+v, want it open in generation %d", i+1, a, i+2)
					}
					if _, c := counts(t, db, "names"); c.Open() != 1 || c.Total() != 1 {
						t.Fatalf("counts are %v, want one name that is open", c)
					}
					s.commit(t, db, added[0].Ref)
				}
				b, c := counts(t, db, "names")
				want := results.Counts{test.state: 1}
				if test.stale != "" {
					want[results.Stale] = 1
				}
				if diff := cmp.Diff(want, c); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				r, err := db.Get(ctx, b, "Ada")
				noError(t, err)
				var keys []string
				for _, p := range r.Stored() {
					keys = append(keys, p.Key)
				}
				if r.State != test.state || !slices.Equal(keys, test.keys) || r.Generation != int64(len(test.then)+1) || r.Refresh != nil {
					t.Errorf("the record has %q, want %s with %q: %+v", keys, test.state, test.keys, r)
				}
				switch {
				case test.stale == "" && r.Stale != nil:
					t.Errorf("stale: %+v, want it fresh", r.Stale)
				case test.stale != "" && (r.Stale == nil || r.Stale.Failure.Reason != test.stale || r.Stale.Absent != test.absent || r.Stale.Since.IsZero()):
					t.Errorf("stale: %+v, want %s, absent %d", r.Stale, test.stale, test.absent)
				}
				ended, err := db.Refreshed(ctx, b)
				if diff := cmp.Diff(test.ended, ended, cmpopts.IgnoreFields(results.Refreshed{}, "Began")); diff != "" || err != nil {
					t.Errorf("it ended otherwise (-want +got): %v\n%s", err, diff)
				}
				dropped, err := db.Dropped(ctx, "names", 0)
				noError(t, err)
				var drops []string
				for _, d := range dropped {
					if r.Keeps(d.Picture.Key) {
						continue // dropped, and taken again later
					}
					drops = append(drops, d.Picture.Key)
					noError(t, db.Removed(ctx, d))
				}
				slices.Sort(drops)
				if !slices.Equal(drops, test.drops) {
					t.Errorf("dropped %q, want %q", drops, test.drops)
				}
			})
		})
	}
}

// A refresh asks no name twice, whatever it meets twice, and leaves alone
// what is young enough; what never had a good answer is never young.
func TestRefreshAsksWhatIsDueOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		refs := open(t, db, "names", 1, "Ada", "Bob")
		said{lookup: results.NoPicture}.commit(t, db, refs["Ada"])
		said{fail: failure.Newf(failure.ReasonTimeout, failure.Temporary, "slow")}.commit(t, db, refs["Bob"])
		added := again(t, db, "names", time.Hour, 2, "Ada", "Bob")
		if added[0].Was != "" || added[0].State != results.NoPicture || added[1].Was != results.Failed {
			t.Errorf("asked %+v, want Bob alone", added)
		}
		said{lookup: results.NoPicture}.commit(t, db, added[1].Ref)

		ctx := t.Context()
		e := enqueuing(t, db, "names", "names.txt")
		r, err := db.NewRefresh(ctx, 0, 2)
		noError(t, err)
		for i, want := range []results.State{results.NoPicture, ""} {
			a, err := e.AddAgain(ctx, 0, []results.Line{{Number: 1, Name: "Ada"}}, results.Again{Refresh: &r})
			noError(t, err)
			if a[0].Was != want {
				t.Errorf("time %d: %+v, want it was %q", i+1, a[0], want)
			}
			if i == 0 {
				said{lookup: results.NoPicture}.commit(t, db, a[0].Ref)
			}
		}
		b, _ := counts(t, db, "names")
		ended, err := db.Refreshed(ctx, b)
		if ended.Unchanged != 1 || err != nil {
			t.Errorf("it ended as %+v, %v; want one unchanged", ended, err)
		}
	})
}

// What is asked again is shown as it was, found by its mark, and not opened
// by a retry; a record without an answer gives way to its new failure.
func TestWhileItIsRefreshed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		ctx := t.Context()
		slow := failure.Newf(failure.ReasonTimeout, failure.Temporary, "slow")
		refs := open(t, db, "names", 1, "Ada", "Bob")
		said{lookup: results.Found, pictures: []any{"a"}}.commit(t, db, refs["Ada"])
		said{fail: slow}.commit(t, db, refs["Bob"])
		added := again(t, db, "names", 0, 2, "Ada", "Bob")
		b, c := counts(t, db, "names")
		want := results.Counts{results.Done: 1, results.Failed: 1, results.Refreshing: 2}
		if diff := cmp.Diff(want, c); diff != "" || b.Finished(c) {
			t.Errorf("finished %v; counts differ (-want +got):\n%s", b.Finished(c), diff)
		}
		if n, err := db.Count(ctx, b, results.Query{State: results.Refreshing, Name: "Ada"}); n != 1 || err != nil {
			t.Errorf("%d are refreshing, %v; want 1", n, err)
		}
		if _, err := db.Retry(ctx, b, results.Query{State: results.Refreshing}, nil); err == nil {
			t.Error("names that are refreshing can be retried, want an error")
		}
		said{fail: failure.Newf(failure.ReasonBlocked, failure.Temporary, "captcha")}.commit(t, db, added[1].Ref)
		r, err := db.Get(ctx, b, "Bob")
		if err != nil || r.State != results.Failed || r.Reason != failure.ReasonBlocked || r.Stale != nil {
			t.Errorf("got %+v, %v; want it failed for the new reason", r, err)
		}
		reasons, err := db.Reasons(ctx, b)
		if diff := cmp.Diff([]results.ReasonCount{{Reason: failure.ReasonBlocked, Names: 1}}, reasons); diff != "" || err != nil {
			t.Errorf("reasons differ (-want +got): %v\n%s", err, diff)
		}
	})
}

// A name whose record got lost while it was asked again leaves the set of its
// state and its marks, or its batch would stay open for ever.
func TestANameThatIsAskedAgainIsSetAside(t *testing.T) {
	t.Parallel()
	for what, meet := range map[string]func(*results.DB, *testing.T, results.Batch) error{
		"by a resume": func(db *results.DB, t *testing.T, b results.Batch) error {
			return db.OpenNames(t.Context(), b, func(context.Context, []results.OpenName) error { return nil })
		},
		"by a cancellation": func(db *results.DB, t *testing.T, b results.Batch) error {
			_, err := db.Cancel(t.Context(), b)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
				ctx := t.Context()
				down := failure.Newf(failure.ReasonUnavailable, failure.Temporary, "503")
				refs := open(t, db, "names", 1, "Ada", "Bob", "Cyd", "Dan")
				good := said{lookup: results.Found, pictures: []any{"a"}}
				good.commit(t, db, refs["Ada"])
				said{lookup: results.NotFound}.commit(t, db, refs["Bob"])
				said{lookup: results.Found, pictures: []any{"b", down}}.commit(t, db, refs["Cyd"])
				good.commit(t, db, refs["Dan"])
				said{fail: down}.commit(t, db, again(t, db, "names", 0, 2, "Ada")[0].Ref)
				again(t, db, "names", 0, 2, "Ada", "Bob", "Cyd", "Dan")
				b, c := counts(t, db, "names")
				if c[results.Refreshing] != 4 || c[results.Stale] != 1 || c.Open() != 4 {
					t.Fatalf("counts are %v, want 4 that are asked again and 1 stale", c)
				}
				records := "harvest:{names.0}:records"
				if n, err := rdb.Exists(ctx, records).Result(); err != nil || n == 0 {
					records = "harvest:two:{names.0}:records"
				}
				cyd, err := rdb.HGet(ctx, records, "Cyd").Result()
				noError(t, err)
				settled, _, _ := strings.Cut(cyd, "\n=\n")
				noError(t, rdb.HSet(ctx, records, "Ada", "garbage\n{", "Cyd", settled+"\n=\ngarbage").Err())
				noError(t, rdb.HDel(ctx, records, "Bob").Err())
				noError(t, meet(db, t, b))
				want := results.Counts{results.Done: 1, results.Unreadable: 3, results.Refreshing: 1}
				if what == "by a cancellation" {
					delete(want, results.Refreshing)
				}
				b, c = counts(t, db, "names")
				if diff := cmp.Diff(want, c); diff != "" {
					t.Errorf("counts differ (-want +got):\n%s", diff)
				}
				if reasons, err := db.Reasons(ctx, b); err != nil || len(reasons) != 0 {
					t.Errorf("reasons are %v, %v; want none", reasons, err)
				}
			})
		})
	}
}

// A refresh does not ask a name that somebody is forgetting.
func TestARefreshLeavesForgottenNamesAlone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
		refs := open(t, db, "names", 1, "Ada", "Bob")
		for _, r := range refs {
			said{lookup: results.NotFound}.commit(t, db, r)
		}
		b, _ := counts(t, db, "names")
		_, err := db.Retire(t.Context(), b, 0, []string{"Ada"})
		noError(t, err)
		added := again(t, db, "names", 0, 2, "Ada", "Bob")
		if added[0].State.Open() || !added[1].State.Open() {
			t.Errorf("open are Ada: %v, Bob: %v; want Bob alone", added[0].State.Open(), added[1].State.Open())
		}
		if _, c := counts(t, db, "names"); c[results.Refreshing] != 1 || c[results.Cancelled] != 1 {
			t.Errorf("counts are %v, want one that is asked again and one cancelled", c)
		}
	})
}
