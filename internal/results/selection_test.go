package results_test

import (
	"context"
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

func TestWordsMakeAQuery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words results.Words
		want  results.Query
		bad   string
	}{
		{words: results.Words{}},
		{words: results.Words{Name: "Ada", Host: "h.test"}, want: results.Query{Name: "Ada", Host: "h.test"}},
		{words: results.Words{State: "done"}, want: results.Query{State: results.Done}},
		{words: results.Words{State: "stale"}, want: results.Query{State: results.Stale}},
		{words: results.Words{State: "failed, partial,failed,"}, want: results.Query{States: []results.State{results.Failed, results.Partial}}},
		{words: results.Words{Reason: "timeout"}, want: results.Query{Reason: failure.ReasonTimeout}},
		{words: results.Words{Reason: "timeout,tls"}, want: results.Query{Reasons: []failure.Reason{failure.ReasonTimeout, failure.ReasonTLS}}},
		{words: results.Words{Where: []string{"age=30", "motto=a=b"}}, want: results.Query{Where: []results.Attribute{{Name: "age", Value: "30"}, {Name: "motto", Value: "a=b"}}}},
		{words: results.Words{State: "faild"}, bad: `unknown state "faild"; did you mean failed?`},
		{words: results.Words{State: "done,xyzzyplugh"}, bad: `unknown state "xyzzyplugh"; there are queued, found,`},
		{words: results.Words{Reason: "timeuot"}, bad: `unknown reason "timeuot"; did you mean timeout?`},
		{words: results.Words{Where: []string{"age"}}, bad: `where "age": give an attribute and a value`},
		{words: results.Words{Where: []string{"=30"}}, bad: `where "=30"`},
	} {
		got, err := c.words.Query()
		if c.bad == "" {
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%+v: %v (-want +got):\n%s", c.words, err, diff)
			}
			continue
		}
		if _, ok := errors.AsType[*results.WordError](err); !ok || !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%+v: got %v, want %q", c.words, err, c.bad)
		}
	}
}

// Several states and reasons are listed in the order of the file, and counted,
// as if they were one.
func TestSeveralStatesAndReasons(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{1, 3} {
		onBoth(t, func(t *testing.T, db *results.DB, _ redis.UniversalClient) {
			b, all := fill(t, db, "names", shards, 140)
			for _, states := range [][]results.State{
				nil, {results.Failed, results.Partial}, {results.Done, results.Queued, results.Partial}, {results.Failed, results.NotFound},
				{results.Done, results.Stale},
			} {
				for _, reasons := range [][]failure.Reason{nil, {failure.ReasonMissing, failure.ReasonTimeout}, {failure.ReasonTLS, failure.ReasonTimeout}} {
					for _, host := range []string{"", "h1.test"} {
						q := results.Query{States: states, Reasons: reasons, Host: host}
						var want []string
						for _, r := range all {
							if (states == nil || slices.Contains(states, r.State)) && (reasons == nil || slices.Contains(reasons, r.Reason)) &&
								(host == "" || r.Host == host) {
								want = append(want, r.Name)
							}
						}
						if diff := cmp.Diff(want, listed(t, db, b, q)); diff != "" {
							t.Errorf("%+v (-want +got):\n%s", q, diff)
						}
						if n, err := db.Count(t.Context(), b, q); n != int64(len(want)) || err != nil {
							t.Errorf("%+v: counted %d, %v; want %d", q, n, err, len(want))
						}
					}
				}
			}
		})
	}
}

// One retry brings names back from several states, each as its state asks for,
// and what cannot be read by its name.
func TestRetryOfSeveralStates(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, db *results.DB, rdb redis.UniversalClient) {
		ctx := t.Context()
		b, all := fill(t, db, "names", 3, 140)
		retry := func(q results.Query) (names []string) {
			t.Helper()
			n, err := db.Retry(ctx, b, q, func(_ context.Context, open []results.OpenName) error {
				for _, o := range open {
					names = append(names, o.Ref.Name)
				}
				return nil
			})
			if n != int64(len(names)) || err != nil {
				t.Errorf("retry of %+v: got %d, %v; %d were handed out", q, n, err, len(names))
			}
			slices.Sort(names)
			return names
		}
		q := results.Query{States: []results.State{results.NotFound, results.Failed, results.Partial}, Reasons: nil}
		var want []string
		for _, r := range all {
			if slices.Contains(q.States, r.State) {
				want = append(want, r.Name)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, retry(q)); diff != "" {
			t.Errorf("retried (-want +got):\n%s", diff)
		}
		if _, c := counts(t, db, "names"); c[results.Failed]+c[results.Partial]+c[results.NotFound] != 0 || c.Open() < int64(len(want)) {
			t.Errorf("afterwards: got %v", c)
		}
		if _, err := db.Retry(ctx, b, results.Query{States: []results.State{results.Failed, results.Done}}, nil); err == nil {
			t.Error("names that are done were tried again")
		}

		// A record that is none, met by whoever was to work on it.
		name := all[0].Name // queued
		keys, err := rdb.Keys(ctx, fmt.Sprintf("harvest:*{names.%d}:records", tasks.Shard(name, 3))).Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("records of the shard: %v, %v", keys, err)
		}
		noError(t, rdb.HSet(ctx, keys[0], name, "garbage").Err())
		noError(t, db.OpenNames(ctx, b, func(context.Context, []results.OpenName) error { return nil }))
		for q, want := range map[*results.Query][]string{
			{Name: name}:                                                  {name},
			{Name: name, State: results.Failed}:                           nil,
			{State: results.Unreadable}:                                   {name},
			{Name: name, Reason: failure.ReasonTLS}:                       nil,
			{Name: name, State: results.Unreadable}:                       {name},
			{States: []results.State{results.Unreadable, results.Failed}}: {name},
		} {
			var got []string
			for r, err := range db.Each(ctx, b, *q) {
				if results.IsRecordError(err) {
					got = append(got, r.Name)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: got %v unreadable, want %v", *q, got, want)
			}
		}
		if got := retry(results.Query{Name: name}); got != nil {
			t.Errorf("a retry of what failed took %v", got)
		}
		if got := retry(results.Query{Name: name, State: results.Unreadable}); !slices.Equal(got, []string{name}) {
			t.Errorf("a retry of what is unreadable took %v", got)
		}
	})
}
