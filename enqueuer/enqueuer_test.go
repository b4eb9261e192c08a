package enqueuer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is one Redis with an enqueuer on it.
type rig struct {
	t         testing.TB
	rdb       redis.UniversalClient
	db        *results.DB
	client    *asynq.Client
	inspector *asynq.Inspector
	namespace string
	shards    int
	mini      bool
}

// size is n, or less where that would take miniredis too long.
func (r *rig) size(n int) int {
	if r.mini {
		return min(n, 1100)
	}
	return n
}

func newRig(t testing.TB, rdb redis.UniversalClient, namespace string, shards int) *rig {
	return &rig{
		t: t, rdb: rdb, db: results.New(rdb, namespace), client: asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb), namespace: namespace, shards: shards,
	}
}

// onAll runs test on a real Redis with one shard and with four, and on
// miniredis.
func onAll(t *testing.T, test func(t *testing.T, r *rig)) {
	for name, shards := range map[string]int{"redis": 1, "redis, 4 shards": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newRig(t, redistest.Start(t).Client(), "", shards))
		})
	}
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, newMiniRig(t))
	})
}

func newMiniRig(t *testing.T) *rig {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	r := newRig(t, rdb, "two", 1)
	r.mini = true
	return r
}

func (r *rig) enqueuer() *enqueuer.Enqueuer {
	return enqueuer.New(enqueuer.Config{Shards: r.shards}, r.db, r.client, r.namespace)
}

// job is the names of a text, one a line.
func (r *rig) job(batch, text string) enqueuer.Job {
	r.t.Helper()
	reader, err := names.NewReader("names.txt", strings.NewReader(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return enqueuer.Job{Batch: batch, Provider: "people", Label: "names.txt", Names: reader}
}

func (r *rig) enqueue(batch, text string) enqueuer.Report {
	r.t.Helper()
	report, err := r.enqueuer().Enqueue(r.t.Context(), r.job(batch, text))
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

func (r *rig) batch(name string) (results.Batch, results.Counts) {
	r.t.Helper()
	b, err := r.db.Batch(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.db.Counts(r.t.Context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return b, c
}

// tasks returns all pending tasks by queue, the names of lookups and the
// names with ranks of pictures.
func (r *rig) tasks() map[string][]string {
	r.t.Helper()
	queues, err := r.inspector.Queues()
	if err != nil {
		r.t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, q := range queues {
		for page := 1; ; page++ {
			list, err := r.inspector.ListPendingTasks(q, asynq.Page(page), asynq.PageSize(1000))
			if err != nil {
				r.t.Fatal(err)
			}
			for _, info := range list {
				what := ""
				if p, err := tasks.DecodePicture(info.Payload); err == nil && info.Type == tasks.TypePicture {
					what = fmt.Sprint(p.Name, " ", p.Rank)
				} else if l, err := tasks.DecodeLookup(info.Payload); err == nil {
					what = l.Name
				}
				all[q] = append(all[q], what)
			}
			if len(list) < 1000 {
				break
			}
		}
		slices.Sort(all[q])
	}
	return all
}

// lose deletes the first n pending tasks of a queue, as a Redis that lost
// writes does.
func (r *rig) lose(queue string, n int) {
	r.t.Helper()
	ctx := r.t.Context()
	prefix := "asynq:{" + queue + "}:"
	ids, err := r.rdb.LRange(ctx, prefix+"pending", 0, int64(n-1)).Result()
	if err != nil || len(ids) != n {
		r.t.Fatalf("%d of %d tasks, %v", len(ids), n, err)
	}
	for _, id := range ids {
		r.rdb.LRem(ctx, prefix+"pending", 1, id)
		r.rdb.Del(ctx, prefix+"t:"+id)
	}
}

func lines(prefix string, n int) (text string, list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(prefix, i))
	}
	return strings.Join(list, "\n") + "\n", list
}

var ignoreZeros = cmpopts.IgnoreMapEntries(func(_ results.State, n int64) bool { return n == 0 })

func TestEveryNameOnce(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		n := r.size(5000)
		text, list := lines("n", n)
		want := enqueuer.Report{Created: true, Status: results.Running, New: int64(n), Duplicates: 3, Known: results.Counts{}}
		if diff := cmp.Diff(want, r.enqueue("names", text+"n7\nn8\nn7\n")); diff != "" {
			t.Errorf("report differs (-want +got):\n%s", diff)
		}
		b, c := r.batch("names")
		if diff := cmp.Diff(results.Counts{results.Queued: int64(n)}, c, ignoreZeros); diff != "" || !b.Sealed {
			t.Errorf("sealed %v, counts differ (-want +got):\n%s", b.Sealed, diff)
		}
		var got []string
		lanes := map[tasks.Lane]int{}
		for queue, names := range r.tasks() {
			q, ok := tasks.ParseQueue(queue)
			if !ok || q.Provider != "people" || q.Namespace != r.namespace || q.Kind != tasks.Lookups {
				t.Errorf("tasks in queue %q", queue)
			}
			for _, n := range names {
				if s := tasks.Shard(n, r.shards); s != q.Shard {
					t.Errorf("%s is in shard %d, want %d", n, q.Shard, s)
				}
			}
			lanes[q.Lane] += len(names)
			got = append(got, names...)
		}
		slices.Sort(got)
		slices.Sort(list)
		if diff := cmp.Diff(list, got); diff != "" {
			t.Errorf("tasks differ (-want +got):\n%s", diff)
		}
		if n := lanes[tasks.Express]; n != 1000 {
			t.Errorf("%d names are in the express lane, want 1000", n)
		}
		// Once more changes nothing.
		want = enqueuer.Report{Status: results.Running, Known: results.Counts{results.Queued: int64(n)}}
		if diff := cmp.Diff(want, r.enqueue("names", text), ignoreZeros); diff != "" {
			t.Errorf("second report differs (-want +got):\n%s", diff)
		}
	})
}

func TestBadLinesAreReported(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	job := r.job("names", "Ada\n\x1b[31mBob\n# a comment\n\nCyd\n"+strings.Repeat("x", 300)+"\n")
	var bad []int64
	job.Bad = func(b *names.BadLine) { bad = append(bad, b.Number) }
	report, err := r.enqueuer().Enqueue(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	want := enqueuer.Report{Created: true, Status: results.Running, New: 2, Bad: 2, Known: results.Counts{}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{2, 6}, bad); diff != "" {
		t.Errorf("bad lines differ (-want +got):\n%s", diff)
	}
}

// Known names are told by their state; open ones get their lost task back.
func TestEnqueueingAgain(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		r.shards = 1
		ctx := t.Context()
		r.enqueue("names", "Ada\nBob\nCyd\nDan\nEve\nFay\n")
		settle := func(name string, do func(ref tasks.Ref) (bool, error)) {
			t.Helper()
			b, _ := r.batch("names")
			if ok, err := do(tasks.Ref{Batch: "names", Epoch: b.Epoch, Name: name, Generation: 1, Lane: tasks.Express}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		settle("Ada", func(ref tasks.Ref) (bool, error) {
			return r.db.CommitLookup(ctx, ref, results.NotFound, results.Lookup{})
		})
		settle("Bob", func(ref tasks.Ref) (bool, error) {
			return r.db.FailLookup(ctx, ref, failure.Newf(failure.ReasonBlocked, failure.Final, "x"), "", false)
		})
		settle("Cyd", func(ref tasks.Ref) (bool, error) {
			return r.db.CommitLookup(ctx, ref, results.Found, results.Lookup{Pictures: [][]string{{"http://a.test/1"}}})
		})
		q := tasks.Queue{Namespace: r.namespace, Kind: tasks.Lookups, Provider: "people", Lane: tasks.Express}.String()
		before := r.tasks()[q]
		r.lose(q, 5) // all but one, and only open ones come back
		if n := len(r.tasks()[q]); n != 1 {
			t.Fatalf("%d tasks are left, want 1", n)
		}
		left := r.tasks()[q][0]
		want := enqueuer.Report{
			Status: results.Running, New: 1, Duplicates: 1,
			Known: results.Counts{results.NotFound: 1, results.Failed: 1, results.Found: 1, results.Queued: 3},
		}
		for _, n := range []string{"Cyd", "Dan", "Eve", "Fay"} {
			if n != left {
				want.Restored++
			}
		}
		report := r.enqueue("names", "Ada\nBob\nCyd\nDan\nEve\nFay\nGus\nGus\n")
		if diff := cmp.Diff(want, report, ignoreZeros); diff != "" {
			t.Errorf("report differs (-want +got), left was %s of %v:\n%s", left, before, diff)
		}
		got := slices.DeleteFunc(r.tasks()[q], func(n string) bool { return n == left && (left == "Ada" || left == "Bob") })
		if diff := cmp.Diff([]string{"Cyd", "Dan", "Eve", "Fay", "Gus"}, got); diff != "" {
			t.Errorf("tasks differ (-want +got):\n%s", diff)
		}
	})
}

// The same names again: failed ones are opened, or all of them; how many is
// told, and what is left alone has no task.
func TestTheSameNamesAgain(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		k := r.size(3000)
		text, _ := lines("n", k)
		r.enqueue("names", text)
		b, _ := r.batch("names")
		queue := func() (n int) {
			for q, names := range r.tasks() {
				n += len(names)
				if _, err := r.inspector.DeleteAllPendingTasks(q); err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		if n := queue(); n != k {
			t.Fatalf("%d tasks, want %d", n, k)
		}
		final := failure.Newf(failure.ReasonRefused, failure.Final, "400")
		failed := 0
		err := r.db.OpenNames(ctx, b, func(ctx context.Context, open []results.OpenName) error {
			for _, n := range open {
				var err error
				if strings.HasSuffix(n.Ref.Name, "7") {
					failed++
					_, err = r.db.FailLookup(ctx, n.Ref, final, "", false)
				} else {
					_, err = r.db.CommitLookup(ctx, n.Ref, results.NoPicture, results.Lookup{})
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		known := results.Counts{results.Failed: int64(failed), results.NoPicture: int64(k - failed)}
		open := int64(0)
		for _, step := range []struct {
			what  string
			job   func(*enqueuer.Job)
			again int
			known results.Counts
		}{
			{"nothing new", func(*enqueuer.Job) {}, 0, known},
			{"young ones are left alone", func(j *enqueuer.Job) { j.Refresh = &enqueuer.Refresh{MaxAge: time.Hour, GoneAfter: 2} }, failed, known},
			{"once more", func(j *enqueuer.Job) { j.RetryFailed = true }, 0, results.Counts{results.Queued: int64(failed), results.NoPicture: int64(k - failed)}},
			{"all of the batch", func(j *enqueuer.Job) {
				names := r.enqueuer().Known(ctx, b)
				t.Cleanup(func() { names.Close() })
				j.Refresh, j.Names, j.Label = &enqueuer.Refresh{GoneAfter: 2}, names, "known"
			}, k - failed, results.Counts{results.Queued: int64(failed), results.NoPicture: int64(k - failed)}},
		} {
			job := r.job("names", text)
			step.job(&job)
			got, err := r.enqueuer().Enqueue(ctx, job)
			if err != nil {
				t.Fatal(err)
			}
			open += int64(step.again)
			want := enqueuer.Report{Status: results.Running, Known: step.known, Again: int64(step.again)}
			if diff := cmp.Diff(want, got, ignoreZeros, cmpopts.IgnoreFields(enqueuer.Report{}, "Restored")); diff != "" {
				t.Errorf("%s: the report differs (-want +got):\n%s", step.what, diff)
			}
			if _, c := r.batch("names"); c.Open() != open || c.Total() != int64(k) {
				t.Errorf("%s: counts are %v, want %d open", step.what, c, open)
			}
			if n := queue(); n != int(open) && n != step.again {
				t.Errorf("%s: %d tasks, want %d", step.what, n, step.again)
			}
		}
	})
}

// --retry-failed opens what failed, in whole or in part, and nothing else.
func TestRetryFailedInOneGo(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		r.enqueue("names", "Ada\nBob\n")
		b, _ := r.batch("names")
		err := r.db.OpenNames(ctx, b, func(ctx context.Context, open []results.OpenName) error {
			for _, n := range open {
				if _, err := r.db.FailLookup(ctx, n.Ref, failure.Newf(failure.ReasonRefused, failure.Final, "400"), "", false); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		job := r.job("names", "Ada\nBob\nBob\nCyd\n")
		job.RetryFailed = true
		got, err := r.enqueuer().Enqueue(ctx, job)
		want := enqueuer.Report{Status: results.Running, New: 1, Duplicates: 1, Again: 2, Known: results.Counts{results.Failed: 2}}
		if diff := cmp.Diff(want, got, ignoreZeros); diff != "" || err != nil {
			t.Errorf("%v, the report differs (-want +got):\n%s", err, diff)
		}
		if _, c := r.batch("names"); c[results.Queued] != 3 {
			t.Errorf("counts are %v, want 3 queued", c)
		}
	})
}

// numbers is a source of names that are made as they are asked for.
type numbers struct {
	next, n int64
	// each is called before every name; its error ends the source.
	each func(i int64) error
}

func (s *numbers) Next() (names.Line, error) {
	if s.next >= s.n {
		return names.Line{}, io.EOF
	}
	if s.each != nil {
		if err := s.each(s.next); err != nil {
			return names.Line{}, err
		}
	}
	s.next++
	return names.Line{Number: s.next, Name: fmt.Sprintf("name number %010d", s.next)}, nil
}

func (r *rig) numbers(batch string, n int64, each func(int64) error) enqueuer.Job {
	return enqueuer.Job{Batch: batch, Provider: "people", Label: "numbers", Names: &numbers{n: n, each: each}}
}

func TestInterruptedAndCompleted(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		report, err := r.enqueuer().Enqueue(ctx, r.numbers("names", 2500, func(i int64) error {
			if i == 1800 {
				cancel()
			}
			return nil
		}))
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want %v", err, context.Canceled)
		}
		b, c := r.batch("names")
		if b.Sealed || b.Finished(c) || b.Enqueuing != 0 || !slices.Equal(b.Interrupted, []string{"numbers"}) {
			t.Errorf("batch is %+v, want it interrupted", b)
		}
		if report.New != c.Total() {
			t.Errorf("the report says %d new names, the batch has %d", report.New, c.Total())
		}
		// Another source does not complete it.
		r.enqueue("names", "Ada\n")
		if b, _ := r.batch("names"); b.Sealed {
			t.Error("another source sealed the batch")
		}
		second, err := r.enqueuer().Enqueue(t.Context(), r.numbers("names", 2500, nil))
		if err != nil {
			t.Fatal(err)
		}
		b, c = r.batch("names")
		if !b.Sealed || len(b.Interrupted) != 0 || c[results.Queued] != 2501 || second.New+second.Known.Total() != 2500 {
			t.Errorf("batch is %+v with %v after %+v, want it sealed with 2501", b, c, second)
		}
		var n int
		for _, list := range r.tasks() {
			n += len(list)
		}
		if n != 2501 {
			t.Errorf("%d tasks, want 2501", n)
		}
	})
}

// A source that fails leaves the batch interrupted, and says why.
func TestASourceThatFails(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	broken := errors.New("broken pipe")
	_, err := r.enqueuer().Enqueue(t.Context(), r.numbers("names", 4000, func(i int64) error {
		if i == 700 {
			return broken
		}
		return nil
	}))
	if b, _ := r.batch("names"); !errors.Is(err, broken) || len(b.Interrupted) != 1 || b.Sealed {
		t.Errorf("got %v and %+v, want %v and an interrupted batch", err, b, broken)
	}
}

// onlyBad is a source without an end and without a name.
type onlyBad struct{}

func (onlyBad) Next() (names.Line, error) { return names.Line{}, &names.BadLine{} }

func TestAStreamOfBadLinesCanBeStopped(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	job := enqueuer.Job{Batch: "names", Provider: "people", Label: "x", Names: onlyBad{}, Bad: func(*names.BadLine) {
		if seen++; seen == 1000 {
			cancel()
		}
	}}
	if _, err := r.enqueuer().Enqueue(ctx, job); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// Who cancels or deletes a batch stops whoever still fills it, soon, whether
// names are coming or not.
func TestStoppedFromElsewhere(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(ctx context.Context, r *rig) error{
		"cancelled": func(ctx context.Context, r *rig) error {
			b, err := r.db.Batch(ctx, "names")
			if err == nil {
				_, err = r.db.Cancel(ctx, b)
			}
			return err
		},
		"deleted": func(ctx context.Context, r *rig) error { return r.db.Delete(ctx, "names") },
	} {
		for pace, each := range map[string]time.Duration{"fast": 0, "slow": 50 * time.Millisecond} {
			t.Run(name+", names come "+pace, func(t *testing.T) {
				t.Parallel()
				r := newMiniRig(t)
				var stopped time.Time
				_, err := r.enqueuer().Enqueue(t.Context(), r.numbers("names", 1<<40, func(i int64) error {
					if i == 2000 {
						stopped = time.Now()
						return do(t.Context(), r)
					}
					if i > 2000 && each > 0 {
						<-time.After(each)
					}
					return nil
				}))
				if !errors.Is(err, enqueuer.ErrStopped) {
					t.Errorf("got %v, want %v", err, enqueuer.ErrStopped)
				}
				if d := time.Since(stopped); d > results.LeaseTime/5*2 {
					t.Errorf("it went on for %v, want at most %v", d, results.LeaseTime/5*2)
				}
			})
		}
	}
}

// Three at once on the same names put each in once.
func TestSeveralAtOnce(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		k := r.size(1100)
		text, list := lines("n", k)
		var all [3]enqueuer.Report
		var wg sync.WaitGroup
		for i := range all {
			job := r.job("names", text)
			wg.Go(func() {
				var err error
				if all[i], err = r.enqueuer().Enqueue(t.Context(), job); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var sum enqueuer.Report
		for _, rep := range all {
			sum.New += rep.New
			sum.Restored += rep.Restored
			if n := rep.New + rep.Known.Total() + rep.Duplicates; n != int64(k) {
				t.Errorf("a report accounts for %d names: %+v", n, rep)
			}
		}
		if sum.New != int64(k) {
			t.Errorf("%d names were new, want %d", sum.New, k)
		}
		var got []string
		for _, names := range r.tasks() {
			got = append(got, names...)
		}
		slices.Sort(got)
		slices.Sort(list)
		if diff := cmp.Diff(list, got); diff != "" {
			t.Errorf("tasks differ (-want +got):\n%s", diff)
		}
		if b, _ := r.batch("names"); !b.Sealed {
			t.Errorf("batch is %+v, want it sealed", b)
		}
	})
}

func TestNamespacesAreApart(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
	t.Cleanup(func() { rdb.Close() })
	for _, ns := range []string{"", "two", "three"} {
		r := newRig(t, rdb, ns, 1)
		if rep := r.enqueue("names", "Ada\nBob\n"); !rep.Created || rep.New != 2 || rep.Restored != 0 {
			t.Errorf("namespace %q: %+v, want a batch of its own", ns, rep)
		}
	}
	got := newRig(t, rdb, "", 1).tasks()
	both := []string{"Ada", "Bob"}
	want := map[string][]string{
		"lookup-people-express": both, "two.lookup-people-express": both, "three.lookup-people-express": both,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tasks differ (-want +got):\n%s", diff)
	}
}

func TestABatchBelongsToItsProvider(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	r.enqueue("names", "Ada\n")
	job := r.job("names", "Bob\n")
	job.Provider = "wikipedia"
	_, err := r.enqueuer().Enqueue(t.Context(), job)
	if _, ok := errors.AsType[*results.ProviderError](err); !ok {
		t.Errorf("got %v, want a ProviderError", err)
	}
}

// Retry and Resume enqueue what is missing and nothing else: a lookup for a
// name that is queued, the ranks without an outcome for one that is found.
func TestRetryAndResumeEnqueueWhatIsMissing(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		r.enqueue("names", "Queued\nBroken\nPartial\nFound\nDone\n")
		b, _ := r.batch("names")
		ref := func(name string) tasks.Ref {
			return tasks.Ref{
				Batch: "names", Shard: tasks.Shard(name, b.Shards), Epoch: b.Epoch, Name: name, Generation: 1, Lane: tasks.Express,
			}
		}
		must := func(ok bool, err error) {
			t.Helper()
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		final := failure.Newf(failure.ReasonMissing, failure.Final, "404")
		three := results.Lookup{Pictures: [][]string{{"http://a.test/1"}, {"http://a.test/2"}, {"http://a.test/3"}}}
		must(r.db.FailLookup(ctx, ref("Broken"), final, "", false))
		for _, name := range []string{"Partial", "Found", "Done"} {
			must(r.db.CommitLookup(ctx, ref(name), results.Found, three))
			must(r.db.CommitPicture(ctx, ref(name), 2, results.Picture{Kind: "png", Key: "k"}))
		}
		must(r.db.FailPicture(ctx, ref("Partial"), 1, final, "a.test", false))
		must(r.db.FailPicture(ctx, ref("Partial"), 3, final, "a.test", false))
		must(r.db.CommitPicture(ctx, ref("Done"), 1, results.Picture{Kind: "png", Key: "k"}))
		must(r.db.CommitPicture(ctx, ref("Done"), 3, results.Picture{Kind: "png", Key: "k"}))

		var got []string
		drain := func() []string {
			got = nil
			for queue, names := range r.tasks() {
				got = append(got, names...)
				if _, err := r.inspector.DeleteAllPendingTasks(queue); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(got)
			return got
		}
		drain()
		if n, err := r.enqueuer().Retry(ctx, b, results.Query{}); n != 2 || err != nil {
			t.Errorf("retried %d, %v; want 2", n, err)
		}
		if diff := cmp.Diff([]string{"Broken", "Partial 1", "Partial 3"}, drain()); diff != "" {
			t.Errorf("retry enqueued (-want +got):\n%s", diff)
		}
		if err := r.db.Pause(ctx, "names"); err != nil {
			t.Fatal(err)
		}
		if n, err := r.enqueuer().Resume(ctx, "names"); n != 4 || err != nil {
			t.Errorf("resumed %d, %v; want 4", n, err)
		}
		want := []string{"Broken", "Found 1", "Found 3", "Partial 1", "Partial 3", "Queued"}
		if diff := cmp.Diff(want, drain()); diff != "" {
			t.Errorf("resume enqueued (-want +got):\n%s", diff)
		}
		if _, err := r.enqueuer().Resume(ctx, "no such batch"); !errors.Is(err, results.ErrNoBatch) {
			t.Errorf("got %v, want %v", err, results.ErrNoBatch)
		}
	})
}

// A queue that cannot take tasks ends the job, and the batch is interrupted.
func TestAQueueThatFails(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	full := errors.New("OOM command not allowed")
	e := enqueuer.New(enqueuer.Config{Shards: 1}, r.db, brokenClient{full}, r.namespace)
	_, err := e.Enqueue(t.Context(), r.numbers("names", 1<<40, nil))
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if b, _ := r.batch("names"); b.Sealed || len(b.Interrupted) != 1 {
		t.Errorf("batch is %+v, want it interrupted", b)
	}
}

type brokenClient struct{ err error }

func (c brokenClient) EnqueueContext(context.Context, *asynq.Task, ...asynq.Option) (*asynq.TaskInfo, error) {
	return nil, c.err
}

func TestProgressGrows(t *testing.T) {
	t.Parallel()
	r := newMiniRig(t)
	var seen []int64
	job := r.numbers("names", 1200, func(i int64) error {
		if i%500 == 499 {
			<-time.After(210 * time.Millisecond)
		}
		return nil
	})
	job.Progress = func(rep enqueuer.Report) { seen = append(seen, rep.New) }
	if _, err := r.enqueuer().Enqueue(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if len(seen) < 1 || !slices.IsSorted(seen) {
		t.Errorf("progress was %v, want it to grow", seen)
	}
}

// countingClient takes tasks and keeps none.
type countingClient struct{ n atomic.Int64 }

func (c *countingClient) EnqueueContext(context.Context, *asynq.Task, ...asynq.Option) (*asynq.TaskInfo, error) {
	c.n.Add(1)
	return nil, nil
}

// Memory does not grow with the number of names.
func TestMemoryIsFlat(t *testing.T) {
	rdb := redistest.Start(t).Client()
	r := newRig(t, rdb, "", 4)
	client := &countingClient{}
	e := enqueuer.New(enqueuer.Config{Shards: 4}, r.db, client, "")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	sys := m.Sys
	const n = 200_000
	_, err := e.Enqueue(t.Context(), r.numbers("names", n, func(i int64) error {
		if i%10_000 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		return nil
	}))
	runtime.ReadMemStats(&m)
	if err != nil || client.n.Load() != n {
		t.Fatalf("%d tasks, %v; want %d", client.n.Load(), err, n)
	}
	t.Logf("heap grew by %.1f MiB at most, what the system gave by %.1f MiB", float64(most-before)/(1<<20), float64(m.Sys-sys)/(1<<20))
	if m.Sys-sys > 200<<20 {
		t.Errorf("memory grew by %d MiB, want less than 200", (m.Sys-sys)>>20)
	}
}

func BenchmarkEnqueue(b *testing.B) {
	const n = 100_000
	server := redistest.Start(b)
	for name, pipelined := range map[string]bool{"plain": false, "autopipelined": true} {
		b.Run(name, func(b *testing.B) {
			plain := server.Client()
			var rdb redis.UniversalClient = plain
			if pipelined {
				ap, err := plain.AutoPipelineWithOptions(&redis.AutoPipelineOptions{FullDuplex: true})
				if err != nil {
					b.Fatal(err)
				}
				defer ap.Close()
				rdb = ap
			}
			r := newRig(b, rdb, "", 1)
			for i := 0; b.Loop(); i++ {
				batch := fmt.Sprint(name, i)
				if rep, err := r.enqueuer().Enqueue(b.Context(), r.numbers(batch, n, nil)); err != nil || rep.New != n {
					b.Fatalf("%+v, %v", rep, err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "names/s")
		})
	}
}
