package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
)

func TestANameWithTwoPicturesIsDone(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.provide("people", func(context.Context, string) (lookup.Answer, error) {
			return found([]string{r.site.url("a.png")}, []string{r.site.url("b.png")}), nil
		})
		r.enqueue("names", "people", "Brus Lee")
		r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		rec := r.record("names", "Brus Lee")
		pic := func(key string) results.Outcome {
			return results.Outcome{Picture: &results.Picture{Kind: "png", Bytes: int64(len(pixels(8))), Width: 8, Height: 8, Key: key}}
		}
		want := results.Record{
			Name: "Brus Lee", State: results.Done, Generation: 1, Line: 1, Lane: "express",
			Lookup: &results.Lookup{
				Attributes: []results.Attribute{{Name: "age", Value: "30"}},
				Pictures:   [][]string{{r.site.url("a.png")}, {r.site.url("b.png")}},
			},
			Outcomes: map[int]results.Outcome{1: pic("names/Brus Lee.png"), 2: pic("names/Brus Lee-2.png")},
		}
		ignore := []cmp.Option{cmpopts.IgnoreFields(results.Record{}, "Updated", "Last"), cmpopts.IgnoreFields(results.Picture{}, "SHA256")}
		if diff := cmp.Diff(want, rec, ignore...); diff != "" {
			t.Errorf("record differs (-want +got):\n%s", diff)
		}
		for _, o := range rec.Outcomes {
			f, _, err := r.store.Open(t.Context(), o.Picture.Key)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			f.Close()
			if err != nil || !slices.Equal(b, pixels(8)) {
				t.Errorf("%s holds %d bytes, %v; want the picture", o.Picture.Key, len(b), err)
			}
		}
		r.empty()
	})
}

func TestAnswersWithoutPictures(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			asked.add(name)
			if name == "Nobody" {
				return lookup.Answer{Verdict: lookup.NotFound}, nil
			}
			return lookup.Answer{Verdict: lookup.NoPicture, Attributes: []lookup.Attribute{{Name: "age", Value: "7"}}}, nil
		})
		r.enqueue("names", "people", "Nobody", "Faceless")
		r.start()
		want := results.Counts{results.NotFound: 1, results.NoPicture: 1}
		if diff := cmp.Diff(want, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if rec := r.record("names", "Faceless"); rec.Lookup == nil || len(rec.Lookup.Attributes) != 1 {
			t.Errorf("the record of a name without a picture is %+v; want its attributes", rec)
		}
		r.empty()
		if i := r.info(r.queue("lookup", "people")); i.Archived != 0 || asked.get("Nobody") != 1 {
			t.Errorf("%d archived, asked %d times; answers are no failures", i.Archived, asked.get("Nobody"))
		}
	})
}

// final and temporary are failures as lookups return them.
func final(r failure.Reason) error     { return failure.Newf(r, failure.Final, "it is %s", r) }
func temporary(r failure.Reason) error { return failure.Newf(r, failure.Temporary, "it is %s", r) }

func hold(r failure.Reason, d time.Duration) error {
	return &failure.Error{Reason: r, Kind: failure.Hold, RetryAfter: d, Err: fmt.Errorf("it is %s", r)}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	ok := reply{status: http.StatusOK, body: pixels(8)}
	for name, tc := range map[string]struct {
		first     []reply
		second    []reply
		state     results.State
		candidate int
		reason    failure.Reason
		asked     [2]int
	}{
		"first is taken":       {[]reply{ok}, nil, results.Done, 0, "", [2]int{1, 0}},
		"first is missing":     {[]reply{{status: 404}}, []reply{ok}, results.Done, 1, "", [2]int{1, 1}},
		"first is forbidden":   {[]reply{{status: 403}}, []reply{ok}, results.Done, 1, "", [2]int{1, 1}},
		"first is too small":   {[]reply{{status: 200, body: pixels(2)}}, []reply{ok}, results.Done, 1, "", [2]int{1, 1}},
		"first is too large":   {[]reply{{status: 200, body: make([]byte, 2<<20)}}, []reply{ok}, results.Done, 1, "", [2]int{1, 1}},
		"first is no picture":  {[]reply{{status: 200, body: []byte("<html>")}}, []reply{ok}, results.Done, 1, "", [2]int{1, 1}},
		"first fails for once": {[]reply{{status: 500}, ok}, nil, results.Done, 0, "", [2]int{2, 0}},
		"both are refused": {
			[]reply{{status: 200, body: pixels(2)}}, []reply{{status: 404}}, results.Failed, 0, failure.ReasonTooSmall, [2]int{1, 1},
		},
		"first is away for good": {[]reply{{status: 500}}, nil, results.Failed, 0, failure.ReasonUnavailable, [2]int{3, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newMiniRig(t)
			r.cfg.MaxAttempts = 3
			if tc.first != nil {
				r.site.answer("1", tc.first...)
			}
			if tc.second != nil {
				r.site.answer("2", tc.second...)
			}
			r.provide("people", func(context.Context, string) (lookup.Answer, error) {
				return found([]string{r.site.url("1"), r.site.url("2")}), nil
			})
			r.enqueue("names", "people", "Brus Lee")
			r.hurry()
			r.start()
			if diff := cmp.Diff(results.Counts{tc.state: 1}, r.finished("names")); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
			rec := r.record("names", "Brus Lee")
			if got := [2]int{r.site.count("1"), r.site.count("2")}; got != tc.asked {
				t.Errorf("the candidates were asked %v times, want %v", got, tc.asked)
			}
			if tc.state == results.Done {
				if p := rec.Outcomes[1].Picture; p.Candidate != tc.candidate {
					t.Errorf("candidate %d was taken, want %d", p.Candidate, tc.candidate)
				}
				return
			}
			if rec.Reason != tc.reason || rec.Host != r.site.host() {
				t.Errorf("failed for %s at %s, want %s at %s", rec.Reason, rec.Host, tc.reason, r.site.host())
			}
		})
	}
}

// A picture whose licence is not taken is no request, whatever its candidates;
// once the rule is another one, a retry brings it.
func TestLicences(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.licences = licence.Config{Licences: []string{"CC0-1.0", "CC-BY-4.0"}}
		says := map[string]string{"Free": "https://creativecommons.org/publicdomain/zero/1.0/", "By": "cc-by", "Alike": "CC BY-SA 4.0", "Reserved": "all rights reserved", "Silent": ""}
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			a := found([]string{r.site.url(name), r.site.url(name + "-small")})
			a.Licence = says[name]
			return a, nil
		})
		r.enqueue("names", "people", "Free", "By", "Alike", "Reserved", "Silent")
		stop := r.start()
		if diff := cmp.Diff(results.Counts{results.Done: 2, results.Failed: 3}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		for name, message := range map[string]string{
			"Alike":    "licence CC-BY-SA-4.0 is none of picture.licences: CC0-1.0, CC-BY-4.0",
			"Reserved": `licence "all rights reserved" has no SPDX identifier that is known here; picture.licences: CC0-1.0, CC-BY-4.0`,
			"Silent":   "the answer tells no licence; picture.licences: CC0-1.0, CC-BY-4.0",
		} {
			want := &results.Failure{Reason: failure.ReasonRefusedLicence, Host: r.site.host(), Message: message}
			if diff := cmp.Diff(want, r.record("names", name).Explain()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if n := r.site.count(name) + r.site.count(name+"-small"); n != 0 {
				t.Errorf("the pictures of %s were asked for %d times", name, n)
			}
		}
		stop()

		r.licences.Licences = append(r.licences.Licences, "CC-BY-SA-4.0")
		r.start()
		b, err := r.db.Batch(t.Context(), "names")
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.db.Retry(t.Context(), b, results.Query{Reason: failure.ReasonRefusedLicence}, func(_ context.Context, open []results.OpenName) error {
			for _, o := range open {
				r.pictureTask(o.Ref, 1)
			}
			return nil
		})
		if n != 3 || err != nil {
			t.Fatalf("retried %d names, %v; want 3", n, err)
		}
		if diff := cmp.Diff(results.Counts{results.Done: 3, results.Failed: 2}, r.finished("names")); diff != "" {
			t.Errorf("counts after the retry differ (-want +got):\n%s", diff)
		}
		if rec := r.record("names", "Alike"); rec.Lookup.Licence != "CC BY-SA 4.0" || rec.Lookup.LicenceID() != "CC-BY-SA-4.0" {
			t.Errorf("the record keeps %q, %q", rec.Lookup.Licence, rec.Lookup.LicenceID())
		}
	})
}

// The next candidate is taken where the first is of a kind that is not.
func TestKindsOfCandidates(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.kinds = []string{"jpeg", "gif"}
	r.site.answer("2", reply{status: http.StatusOK, body: gifPixels(8)})
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		if name == "Only PNG" {
			return found([]string{r.site.url("1")}), nil
		}
		return found([]string{r.site.url("1"), r.site.url("2")}), nil
	})
	r.enqueue("names", "people", "Brus Lee", "Only PNG")
	r.start()
	if diff := cmp.Diff(results.Counts{results.Done: 1, results.Failed: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if p := r.record("names", "Brus Lee").Outcomes[1].Picture; p == nil || p.Candidate != 1 || p.Kind != "gif" {
		t.Errorf("the picture is %+v, want the second candidate, a gif", p)
	}
	want := &results.Failure{Reason: failure.ReasonRefusedKind, Host: r.site.host(), Message: "png is none of picture.kinds: jpeg, gif"}
	if diff := cmp.Diff(want, r.record("names", "Only PNG").Explain()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOnePictureOfTwoFails(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.site.answer("2", reply{status: 404})
	r.provide("people", func(context.Context, string) (lookup.Answer, error) {
		return found([]string{r.site.url("1")}, []string{r.site.url("2")}), nil
	})
	r.enqueue("names", "people", "Brus Lee")
	r.start()
	if diff := cmp.Diff(results.Counts{results.Partial: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if rec := r.record("names", "Brus Lee"); rec.Reason != failure.ReasonMissing || rec.Outcomes[1].Picture == nil {
		t.Errorf("record is %+v", rec)
	}
}

func TestAFinalFailureIsAskedOnceAndShown(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			asked.add(name)
			if name == "Wall" {
				return lookup.Answer{}, final(failure.ReasonBlocked)
			}
			return found([]string{r.site.url("gone")}), nil
		})
		r.site.answer("gone", reply{status: http.StatusGone})
		r.enqueue("names", "people", "Wall", "Gone")
		r.hurry()
		r.start()
		if diff := cmp.Diff(results.Counts{results.Failed: 2}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		r.empty()
		if asked.get("Wall") != 1 || r.site.count("gone") != 1 {
			t.Errorf("asked %d and %d times, want once each", asked.get("Wall"), r.site.count("gone"))
		}
		want := []results.Failure{
			{Reason: failure.ReasonBlocked, Host: "lookup.test", Message: "it is blocked"},
			{Reason: failure.ReasonMissing, Host: r.site.host(), Message: r.site.url("gone") + " answered 410 Gone"},
		}
		got := []results.Failure{*r.record("names", "Wall").Explain(), *r.record("names", "Gone").Explain()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("failures differ (-want +got):\n%s", diff)
		}
		archived, err := r.inspector.ListArchivedTasks(r.queue("lookup", "people"))
		if err != nil || len(archived) != 2 {
			t.Fatalf("%d archived tasks, %v; want 2", len(archived), err)
		}
		var words []string
		for _, a := range archived {
			word, _, _ := strings.Cut(a.LastErr, ":")
			words = append(words, fmt.Sprint(word, " ", a.Retried))
		}
		slices.Sort(words)
		if diff := cmp.Diff([]string{"blocked 0", "missing 0"}, words); diff != "" {
			t.Errorf("archived, with their retries (-want +got):\n%s", diff)
		}
	})
}

func TestTemporaryFailuresEndExhausted(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.cfg.MaxAttempts = 4
		var asked counter
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			if asked.add(name) > 2 && name == "Shaky" {
				return lookup.Answer{Verdict: lookup.NotFound}, nil
			}
			return lookup.Answer{}, temporary(failure.ReasonTimeout)
		})
		r.enqueue("names", "people", "Shaky", "Hopeless")
		r.hurry()
		r.start()
		want := results.Counts{results.Failed: 1, results.NotFound: 1}
		if diff := cmp.Diff(want, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if asked.get("Hopeless") != 4 || asked.get("Shaky") != 3 {
			t.Errorf("asked %d and %d times, want 4 and 3", asked.get("Hopeless"), asked.get("Shaky"))
		}
		f := r.record("names", "Hopeless").Failure
		if f == nil || f.Kind() != "exhausted" || f.Reason != failure.ReasonTimeout {
			t.Errorf("failure is %+v, want timeout, exhausted", f)
		}
		if n := r.record("names", "Shaky").FailedTries; n != 2 {
			t.Errorf("%d failed tries are recorded, want 2", n)
		}
	})
}

func TestRetriesWaitTheBackoff(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.RetryDelay, r.cfg.MaxRetryDelay = 40*time.Second, 2*time.Minute
	r.provide("people", func(context.Context, string) (lookup.Answer, error) {
		return lookup.Answer{}, temporary(failure.ReasonTimeout)
	})
	r.enqueue("names", "people", "Brus Lee")
	began := time.Now()
	r.start()
	q := r.queue("lookup", "people")
	r.until("a retry", func() bool { return r.info(q).Retry == 1 })
	list, err := r.inspector.ListRetryTasks(q)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d retries, %v", len(list), err)
	}
	// asynq keeps whole seconds.
	if d := list[0].NextProcessAt.Sub(began); d < 19*time.Second || d > 42*time.Second || list[0].Retried != 1 {
		t.Errorf("the next try comes after %v with %d retries, want 20 s to 40 s with 1", d, list[0].Retried)
	}
}

func TestAHoldCostsNoTry(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, r *rig) {
		r.cfg.MaxAttempts = 2
		var asked counter
		var first, second atomic.Int64
		r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
			switch asked.add(name) {
			case 1:
				first.Store(time.Now().UnixNano())
				return lookup.Answer{}, hold(failure.ReasonRateLimited, 1200*time.Millisecond)
			case 2:
				second.Store(time.Now().UnixNano())
				return lookup.Answer{}, hold(failure.ReasonCredentials, 0)
			}
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		})
		r.enqueue("names", "people", "Brus Lee")
		r.hurry() // asynq's delay is not what keeps the host in peace
		r.start()
		if diff := cmp.Diff(results.Counts{results.NotFound: 1}, r.finished("names")); diff != "" {
			t.Errorf("counts differ (-want +got):\n%s", diff)
		}
		if n := r.record("names", "Brus Lee").FailedTries; n != 0 {
			t.Errorf("%d failed tries are recorded, want 0", n)
		}
		if gap := time.Duration(second.Load() - first.Load()); gap < 1100*time.Millisecond {
			t.Errorf("asked again after %v, want 1.2 s", gap)
		}
	})
}

// A host that always asks to wait must not keep a batch open for ever.
func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.MaxAttempts = 1
	var asked counter
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		asked.add(name)
		return lookup.Answer{}, hold(failure.ReasonRateLimited, time.Millisecond)
	})
	ref := r.enqueue("names", "people", "Brus Lee")[0]
	for i := range 18 {
		if _, _, ok, err := r.db.CountTry(t.Context(), ref, results.LookupRank, fmt.Sprint("run", i),
			&failure.Error{Reason: failure.ReasonRateLimited, Kind: failure.Hold}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r.hurry()
	r.start()
	if diff := cmp.Diff(results.Counts{results.Failed: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	f := r.record("names", "Brus Lee").Failure
	if asked.get("Brus Lee") != 2 || f.Reason != failure.ReasonRateLimited || f.Kind() != "exhausted" {
		t.Errorf("asked %d times, then %+v; want 2 and rate_limited, exhausted", asked.get("Brus Lee"), f)
	}
}

// A picture host that asks to wait holds its pictures back, and is asked again.
func TestAPictureHostMayAskToWait(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	busy := reply{status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"1"}}}
	r.site.answer("1", busy, reply{status: http.StatusOK, body: pixels(8)})
	r.provide("people", func(context.Context, string) (lookup.Answer, error) {
		return found([]string{r.site.url("1"), r.site.url("2")}), nil
	})
	r.cfg.MaxAttempts = 1
	r.enqueue("names", "people", "Brus Lee")
	r.start()
	if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	if a, b := r.site.count("1"), r.site.count("2"); a != 2 || b != 0 {
		t.Errorf("the candidates were asked %d and %d times, want 2 and 0", a, b)
	}
}

func TestAPanicIsAFailureOfThisNameAlone(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.MaxAttempts = 2
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		if name == "Bomb" {
			panic("boom")
		}
		return lookup.Answer{Verdict: lookup.NotFound}, nil
	})
	r.enqueue("names", "people", "Ada", "Bomb", "Cyd")
	r.hurry()
	r.start()
	want := results.Counts{results.NotFound: 2, results.Failed: 1}
	if diff := cmp.Diff(want, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	f := r.record("names", "Bomb").Failure
	if f.Reason != failure.ReasonInternal || f.Kind() != "exhausted" || f.Message != "internal error: boom" {
		t.Errorf("failure is %+v, want internal, exhausted", f)
	}
	if n := len(r.log.with("a handler panicked")); n != 2 {
		t.Errorf("%d lines tell of the panic, want 2", n)
	}
}

func TestAnUnknownErrorIsInternal(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.cfg.MaxAttempts = 1
	r.provide("people", func(context.Context, string) (lookup.Answer, error) {
		return lookup.Answer{}, errors.New("who knows")
	})
	r.enqueue("names", "people", "Brus Lee")
	r.start()
	r.finished("names")
	if f := r.record("names", "Brus Lee").Failure; f.Reason != failure.ReasonInternal || f.Message != "who knows" {
		t.Errorf("failure is %+v", f)
	}
}

// Settled is told of each name once, with its final record.
func TestSettledIsCalledOncePerName(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	var told counter
	r.settled = func(batch string, rec results.Record) { told.add(batch + " " + rec.Name + " " + string(rec.State)) }
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		switch name {
		case "Nobody":
			return lookup.Answer{Verdict: lookup.NotFound}, nil
		case "Wall":
			return lookup.Answer{}, final(failure.ReasonBlocked)
		}
		return found([]string{r.site.url(name)}), nil
	})
	names := []string{"Nobody", "Wall"}
	for i := range 50 {
		names = append(names, fmt.Sprint("n", i))
	}
	r.enqueue("names", "people", names...)
	stop := r.start()
	r.finished("names")
	stop()
	for _, name := range names {
		state := map[string]string{"Nobody": "not_found", "Wall": "failed"}[name]
		if state == "" {
			state = "done"
		}
		if n := told.get("names " + name + " " + state); n != 1 {
			t.Errorf("%s was told %d times, want once", name, n)
		}
	}
}

// What went wrong with a name, and when, can be told when all is well again.
func TestHistory(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	var asked counter
	r.site.answer("1", reply{status: http.StatusInternalServerError}, reply{status: http.StatusOK, body: pixels(8)})
	r.provide("people", func(_ context.Context, name string) (lookup.Answer, error) {
		if asked.add(name); asked.get(name) == 1 {
			return lookup.Answer{}, &failure.Error{Reason: failure.ReasonUnavailable, Kind: failure.Temporary, Status: http.StatusBadGateway}
		}
		return found([]string{r.site.url("1")}), nil
	})
	r.enqueue("names", "people", "Brus Lee")
	r.hurry()
	r.start()
	if diff := cmp.Diff(results.Counts{results.Done: 1}, r.finished("names")); diff != "" {
		t.Errorf("counts differ (-want +got):\n%s", diff)
	}
	want := []results.Event{
		{Generation: 1, Rank: 0, What: results.TryFailed, Reason: failure.ReasonUnavailable, Status: http.StatusBadGateway},
		{Generation: 1, Rank: 0, What: results.TrySucceeded},
		{Generation: 1, Rank: 1, What: results.TryFailed, Reason: failure.ReasonUnavailable, Status: http.StatusInternalServerError},
		{Generation: 1, Rank: 1, What: results.TrySucceeded},
	}
	got := r.record("names", "Brus Lee").History
	for i := range got {
		if got[i].At.IsZero() {
			t.Errorf("event %d has no time", i)
		}
		got[i].At = time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history differs (-want +got):\n%s", diff)
	}
}
