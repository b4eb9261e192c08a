package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/sweep"
	"github.com/picharvest/picharvest/tasks"
)

// rig is one Redis with a batch of names that have been queued for long.
type rig struct {
	t         *testing.T
	server    *redistest.Server
	rdb       *redis.Client
	namespace string
	db        *results.DB
	client    *asynq.Client
	inspector *asynq.Inspector
	enqueuer  *enqueuer.Enqueuer
}

func newRig(t *testing.T, namespace string) *rig {
	t.Helper()
	server := redistest.Start(t)
	rdb := server.Client()
	r := &rig{
		t: t, server: server, rdb: rdb, namespace: namespace, db: results.New(rdb, namespace),
		client: asynq.NewClientFromRedisClient(rdb), inspector: asynq.NewInspectorFromRedisClient(rdb),
	}
	r.enqueuer = enqueuer.New(enqueuer.Config{Shards: 1}, r.db, r.client, namespace)
	return r
}

func (r *rig) deps(id string) sweep.Deps {
	return sweep.Deps{
		Redis: r.rdb, Namespace: r.namespace, DB: r.db, Restore: r.enqueuer.Restore,
		Logger: slog.New(slog.DiscardHandler), ID: id,
	}
}

func (r *rig) once(repair bool) sweep.Report {
	r.t.Helper()
	return sweep.New(r.deps("one")).Once(r.t.Context(), 1_000_000, repair)
}

// add puts names into a batch, without tasks, that have stood there for age.
func (r *rig) add(batch string, shards int, age time.Duration, names ...string) []tasks.Ref {
	r.t.Helper()
	ctx := r.t.Context()
	e, err := r.db.Open(ctx, batch, "people", "names.txt", shards)
	if err != nil {
		r.t.Fatal(err)
	}
	lines := make(map[int][]results.Line)
	for i, n := range names {
		s := tasks.Shard(n, shards)
		lines[s] = append(lines[s], results.Line{Number: int64(i + 1), Name: n})
	}
	var refs []tasks.Ref
	for s, all := range lines {
		for chunk := range slices.Chunk(all, 500) {
			added, err := e.Add(ctx, s, chunk)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, a := range added {
				refs = append(refs, a.Ref)
			}
		}
	}
	if err := e.Close(ctx, true); err != nil {
		r.t.Fatal(err)
	}
	for _, ref := range refs {
		r.age(ref, age)
	}
	return refs
}

// age makes it so long since a name came to its state.
func (r *rig) age(ref tasks.Ref, age time.Duration) {
	r.t.Helper()
	key := fmt.Sprintf("%s{%s.%d}:records", r.prefix(), ref.Batch, ref.Shard)
	v, err := r.rdb.HGet(r.t.Context(), key, ref.Name).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	head, body, more := strings.Cut(v, "\n")
	f := strings.Fields(head)
	f[8] = fmt.Sprint(time.Now().Add(-age).Unix())
	if head = strings.Join(f, " "); more {
		head += "\n" + body
	}
	if err := r.rdb.HSet(r.t.Context(), key, ref.Name, head).Err(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) prefix() string {
	if r.namespace == "" {
		return "harvest:"
	}
	return "harvest:" + r.namespace + ":"
}

func (r *rig) lookup(ref tasks.Ref) {
	r.t.Helper()
	task, err := tasks.NewLookupTask(r.namespace, "people", ref)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.client.EnqueueContext(r.t.Context(), task); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) queue(ref tasks.Ref, kind tasks.Kind) string {
	q := tasks.Queue{Namespace: r.namespace, Kind: kind, Lane: ref.Lane, Shard: ref.Shard}
	if kind == tasks.Lookups {
		q.Provider = "people"
	}
	return q.String()
}

// key is asynq's key of a queue.
func (r *rig) key(ref tasks.Ref, kind tasks.Kind, what string) string {
	return "asynq:{" + r.queue(ref, kind) + "}:" + what
}

// take puts a pending lookup in hand as asynq's dequeue does, with a lease
// that ends after ttl.
func (r *rig) take(ref tasks.Ref, ttl time.Duration) {
	r.t.Helper()
	id := tasks.ID(ref, tasks.Lookups, 0)
	ctx := r.t.Context()
	_, err := r.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.LRem(ctx, r.key(ref, tasks.Lookups, "pending"), 0, id)
		p.LPush(ctx, r.key(ref, tasks.Lookups, "active"), id)
		p.HSet(ctx, r.key(ref, tasks.Lookups, "t:"+id), "state", "active")
		p.HDel(ctx, r.key(ref, tasks.Lookups, "t:"+id), "pending_since")
		p.ZAdd(ctx, r.key(ref, tasks.Lookups, "lease"), redis.Z{Score: float64(time.Now().Add(ttl).Unix()), Member: id})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) do(args ...any) {
	r.t.Helper()
	if err := r.rdb.Do(r.t.Context(), args...).Err(); err != nil {
		r.t.Fatalf("%v: %v", args, err)
	}
}

// state is what asynq says of a task, or "gone".
func (r *rig) state(ref tasks.Ref, kind tasks.Kind, rank int) string {
	r.t.Helper()
	info, err := r.inspector.GetTaskInfo(r.queue(ref, kind), tasks.ID(ref, kind, rank))
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return "gone"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return info.State.String()
}

func (r *rig) pending(ref tasks.Ref, kind tasks.Kind) int64 {
	r.t.Helper()
	n, err := r.rdb.LLen(r.t.Context(), r.key(ref, kind, "pending")).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A name whose task is in no queue has one again, once, wherever the task got
// lost; others are left alone.
func TestOverdueNamesComeBack(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		lose func(r *rig, ref tasks.Ref)
		lost int
		// pending tasks of the queue afterwards.
		pending int64
	}{
		"never enqueued": {func(*rig, tasks.Ref) {}, 1, 1},
		"deleted by hand": {func(r *rig, ref tasks.Ref) {
			r.lookup(ref)
			if err := r.inspector.DeleteTask(r.queue(ref, tasks.Lookups), tasks.ID(ref, tasks.Lookups, 0)); err != nil {
				r.t.Fatal(err)
			}
		}, 1, 1},
		"archived by hand": {func(r *rig, ref tasks.Ref) {
			r.lookup(ref)
			if _, err := r.inspector.ArchiveAllPendingTasks(r.queue(ref, tasks.Lookups)); err != nil {
				r.t.Fatal(err)
			}
		}, 1, 1},
		"its hash says pending and no list has it": {func(r *rig, ref tasks.Ref) {
			r.lookup(ref)
			r.do("DEL", r.key(ref, tasks.Lookups, "pending"))
			r.do("HSET", r.key(ref, tasks.Lookups, "t:"+tasks.ID(ref, tasks.Lookups, 0)), "pending_since", time.Now().Add(-time.Hour).UnixNano())
		}, 1, 1},
		"its hash says active and no list has it": {func(r *rig, ref tasks.Ref) {
			r.lookup(ref)
			r.take(ref, time.Minute)
			r.do("DEL", r.key(ref, tasks.Lookups, "active"))
		}, 1, 1},
		"its hash says archived and no list has it": {func(r *rig, ref tasks.Ref) {
			r.lookup(ref)
			r.do("DEL", r.key(ref, tasks.Lookups, "pending"))
			r.do("HSET", r.key(ref, tasks.Lookups, "t:"+tasks.ID(ref, tasks.Lookups, 0)), "state", "archived")
		}, 1, 1},
		"waits":     {func(r *rig, ref tasks.Ref) { r.lookup(ref) }, 0, 1},
		"in hand":   {func(r *rig, ref tasks.Ref) { r.lookup(ref); r.take(ref, time.Minute) }, 0, 0},
		"too young": {func(r *rig, ref tasks.Ref) { r.age(ref, 0) }, 0, 0},
		"paused": {func(r *rig, ref tasks.Ref) {
			if err := r.db.Pause(r.t.Context(), ref.Batch); err != nil {
				r.t.Fatal(err)
			}
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "two")
			ref := r.add("names", 1, time.Hour, "Ada")[0]
			tc.lose(r, ref)
			look := r.once(false)
			if err := look.Err(); err != nil {
				t.Fatal(err)
			}
			if len(look.Batches) > 0 && look.Batches[0].LostNames != tc.lost {
				t.Errorf("a look finds %d names lost, want %d", look.Batches[0].LostNames, tc.lost)
			}
			for range 2 {
				if err := r.once(true).Err(); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.pending(ref, tasks.Lookups); got != tc.pending {
				t.Errorf("%d tasks are pending, want %d", got, tc.pending)
			}
			if want := "pending"; tc.lost > 0 && r.state(ref, tasks.Lookups, 0) != want {
				t.Errorf("the task is %s, want %s", r.state(ref, tasks.Lookups, 0), want)
			}
		})
	}
}

// A found name needs its lookup's task, in whose run its pictures are fetched,
// or one for each picture that is missing.
func TestOverduePictures(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	ctx := t.Context()
	refs := r.add("names", 1, 0, "in its lookup", "has its tasks", "lacks one")
	for _, ref := range refs {
		l := results.Lookup{Pictures: [][]string{{"http://a.test/1"}, {"http://a.test/2"}}}
		if ok, err := r.db.CommitLookup(ctx, ref, results.Found, l); !ok || err != nil {
			t.Fatal(ok, err)
		}
		r.age(ref, time.Hour)
	}
	byName := make(map[string]tasks.Ref)
	for _, ref := range refs {
		byName[ref.Name] = ref
	}
	r.lookup(byName["in its lookup"])
	r.take(byName["in its lookup"], time.Minute)
	for _, p := range []struct {
		name string
		rank int
	}{{"has its tasks", 1}, {"has its tasks", 2}, {"lacks one", 1}} {
		task, err := tasks.NewPictureTask("", byName[p.name], p.rank)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.client.Enqueue(task); err != nil {
			t.Fatal(err)
		}
	}
	got := r.once(true)
	if err := got.Err(); err != nil {
		t.Fatal(err)
	}
	want := []sweep.Batch{{Name: "names", Lost: []string{"lacks one"}, LostNames: 1, Looked: 3, Whole: true}}
	if diff := cmp.Diff(want, got.Batches); diff != "" {
		t.Errorf("batches differ (-want +got):\n%s", diff)
	}
	if got := r.pending(refs[0], tasks.Pictures); got != 4 {
		t.Errorf("%d picture tasks are pending, want 4", got)
	}
}

// Rounds walk over large batches a part at a time, over all shards.
func TestRoundsWalkOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	names := make([]string, 3*sweep.NamesAtOnce+7)
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	refs := r.add("names", 3, time.Hour, names...)
	s := sweep.New(r.deps("one"))
	rounds, restored := 0, 0
	for rounds < 10 {
		got := s.Once(t.Context(), sweep.NamesAtOnce, true)
		if err := got.Err(); err != nil {
			t.Fatal(err)
		}
		rounds++
		restored += got.Batches[0].LostNames
		if got.Batches[0].Whole {
			break
		}
	}
	if restored != len(names) || rounds < 4 || rounds > 7 {
		t.Errorf("%d names were restored in %d rounds, want %d in about 4", restored, rounds, len(names))
	}
	for _, ref := range []tasks.Ref{refs[0], refs[len(refs)-1]} {
		if got := r.state(ref, tasks.Lookups, 0); got != "pending" {
			t.Errorf("the task of %s is %s, want pending", ref.Name, got)
		}
	}
}

// What nobody can decode is moved aside and told, and its name comes back.
func TestUndecodableMessageIsMovedAside(t *testing.T) {
	t.Parallel()
	r := newRig(t, "two")
	refs := r.add("names", 1, time.Hour, "Ada", "Bob", "Cyd", "Dan")
	byName := make(map[string]tasks.Ref)
	for _, ref := range refs {
		byName[ref.Name] = ref
		r.lookup(ref)
		r.take(ref, -time.Minute)
	}
	task := func(name string) string {
		return r.key(byName[name], tasks.Lookups, "t:"+tasks.ID(byName[name], tasks.Lookups, 0))
	}
	other, err := r.rdb.HGet(t.Context(), task("Dan"), "msg").Result()
	if err != nil {
		t.Fatal(err)
	}
	r.do("HSET", task("Ada"), "msg", "\xff\xffgarbage")
	r.do("HDEL", task("Bob"), "msg")
	r.do("HSET", task("Cyd"), "msg", other)

	if got := r.once(false).Queues[0]; len(got.Unreadable) != 2 || len(got.Empty) != 1 {
		t.Errorf("a look finds %d unreadable and %d empty, want 2 and 1", len(got.Unreadable), len(got.Empty))
	}
	for range 2 {
		if err := r.once(true).Err(); err != nil {
			t.Fatal(err)
		}
	}
	n, asides, err := sweep.New(r.deps("one")).Asides(t.Context(), 10)
	if err != nil || n != 2 {
		t.Fatalf("%d messages are aside, %v, want 2", n, err)
	}
	var kept []string
	for _, a := range asides {
		kept = append(kept, string(a.Message))
	}
	slices.Sort(kept)
	want := []string{other, "\xff\xffgarbage"}
	slices.Sort(want)
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("messages kept differ (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"Ada": "pending", "Bob": "pending", "Cyd": "pending", "Dan": "active"} {
		if got := r.state(byName[name], tasks.Lookups, 0); got != want {
			t.Errorf("the task of %s is %s, want %s", name, got, want)
		}
	}
}

// asynq finds what is in hand only by its lease.
func TestTaskWithoutLease(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	refs := r.add("names", 1, time.Hour, "Ada", "Bob")
	for _, ref := range refs {
		r.lookup(ref)
		r.take(ref, time.Minute)
	}
	lease := r.key(refs[0], tasks.Lookups, "lease")
	id := tasks.ID(refs[0], tasks.Lookups, 0)
	r.do("ZREM", lease, id)
	r.do("ZADD", lease, 1, "nobody")
	got := r.once(true)
	if diff := cmp.Diff([]string{id}, got.Queues[0].Unleased); diff != "" {
		t.Errorf("tasks without a lease differ (-want +got):\n%s", diff)
	}
	members, err := r.rdb.ZRangeWithScores(t.Context(), lease, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	if len(members) != 2 {
		t.Errorf("%d leases, want those of the two tasks: %v", len(members), members)
	}
	if age := time.Since(time.Unix(int64(members[0].Score), 0)); members[0].Member != id || age < 0 || age > time.Minute {
		t.Errorf("the lease of %v ended %s ago, want that of %s just now", members[0].Member, age, id)
	}
}

func TestArchiveIsKeptShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	ref := r.add("names", 1, 0, "Ada")[0]
	r.lookup(ref)
	archived := r.key(ref, tasks.Lookups, "archived")
	pipe := r.rdb.Pipeline()
	const many = 2 * sweep.KeptArchived
	for i := range many {
		at := time.Now().Add(-time.Duration(i) * time.Second)
		if i < 10 {
			at = at.AddDate(0, 0, -8)
		}
		pipe.ZAdd(t.Context(), archived, redis.Z{Score: float64(at.Unix()), Member: fmt.Sprint(i)})
		pipe.HSet(t.Context(), r.key(ref, tasks.Lookups, fmt.Sprint("t:", i)), "msg", "", "state", "archived")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.once(true).Err(); err != nil {
		t.Fatal(err)
	}
	left, err := r.rdb.ZRange(t.Context(), archived, 0, -1).Result()
	if err != nil || len(left) != sweep.KeptArchived || slices.Contains(left, "3") || !slices.Contains(left, "10") {
		t.Errorf("%d are left, %v, want the latest %d", len(left), err, sweep.KeptArchived)
	}
	keys, err := r.rdb.Keys(t.Context(), r.key(ref, tasks.Lookups, "t:*")).Result()
	if err != nil || len(keys) != sweep.KeptArchived+1 {
		t.Errorf("%d tasks are left, %v, want %d", len(keys), err, sweep.KeptArchived+1)
	}
}

// One process sweeps at a time, and another one when that has gone.
func TestOneSweepsAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	r.add("names", 1, time.Hour, "Ada")
	restored := make(map[string]int)
	sweeper := func(id string) *sweep.Sweeper {
		d := r.deps(id)
		d.Restore = func(context.Context, string, []results.OpenName) error {
			restored[id]++
			return nil
		}
		return sweep.New(d)
	}
	one, two := sweeper("one"), sweeper("two")
	one.Round(t.Context())
	two.Round(t.Context())
	if diff := cmp.Diff(map[string]int{"one": 1}, restored); diff != "" {
		t.Errorf("rounds differ (-want +got):\n%s", diff)
	}
	// Run gives the turn back at its end.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	one.Run(over)
	two.Round(t.Context())
	if diff := cmp.Diff(map[string]int{"one": 1, "two": 1}, restored); diff != "" {
		t.Errorf("rounds differ (-want +got):\n%s", diff)
	}
}

// Keys of the wrong kind are told and harm nothing beside them.
func TestKeysOfTheWrongKind(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	lost := r.add("names", 1, time.Hour, "Ada")[0]
	r.add("broken", 1, time.Hour, "Bob")
	r.do("DEL", "harvest:{broken.0}:state:queued")
	r.do("SET", "harvest:{broken.0}:state:queued", "x")
	r.do("SADD", "asynq:queues", "picture-bulk")
	r.do("SET", "asynq:{picture-bulk}:active", "x")
	r.do("SADD", "asynq:queues", "default")
	r.do("SET", "asynq:{default}:active", "x")
	var ill error
	d := r.deps("one")
	d.Ill = func(err error) { ill = err }
	sweep.New(d).Round(t.Context())
	if ill == nil || !strings.Contains(ill.Error(), "picture-bulk") || strings.Contains(ill.Error(), "default") {
		t.Errorf("health is told %v, want that of picture-bulk alone", ill)
	}
	if got := r.state(lost, tasks.Lookups, 0); got != "pending" {
		t.Errorf("the task of another batch is %s, want pending", got)
	}
	r.do("DEL", "asynq:{picture-bulk}:active")
	s := sweep.New(d)
	s.Round(t.Context())
	if ill != nil {
		t.Errorf("health is told %v, want nothing", ill)
	}
	if err := s.Once(t.Context(), 100, false).Err(); err == nil || !strings.Contains(err.Error(), "harvest:{broken.0}:state:queued") {
		t.Errorf("got %v, want the key named", err)
	}
}

// askedTemps notes what a sweep takes the owners of temporary files for.
type askedTemps struct {
	t       *testing.T
	dead    map[string]bool
	removed int
}

func (a *askedTemps) CountTemps(_ context.Context, age time.Duration, gone func(string) bool) (int, error) {
	if age < time.Minute {
		a.t.Errorf("files of %s are meant", age)
	}
	n := 0
	for _, owner := range []string{"alive-1", "dead-1"} {
		if a.dead[owner] = gone(owner); a.dead[owner] {
			n++
		}
	}
	return n, nil
}

func (a *askedTemps) RemoveTemps(ctx context.Context, age time.Duration, gone func(string) bool) (int, error) {
	n, err := a.CountTemps(ctx, age, gone)
	a.removed += n
	return n, err
}

// The temporary files of workers that are alive, and of those that went just
// now, stay; somebody who asks for it need not wait.
func TestTemporaryFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	if _, err := r.db.Present(t.Context(), "alive-1"); err != nil {
		t.Fatal(err)
	}
	temps := &askedTemps{t: t, dead: make(map[string]bool)}
	d := r.deps("one")
	d.Temps = temps
	s := sweep.New(d)
	s.Round(t.Context())
	if diff := cmp.Diff(map[string]bool{"alive-1": false, "dead-1": false}, temps.dead); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	s.Away("dead-1", time.Hour)
	s.Round(t.Context())
	if diff := cmp.Diff(map[string]bool{"alive-1": false, "dead-1": true}, temps.dead); diff != "" {
		t.Errorf("after a while (-want +got):\n%s", diff)
	}
	if temps.removed != 1 {
		t.Errorf("%d were removed, want 1", temps.removed)
	}
	for _, repair := range []bool{false, true} {
		if got := sweep.New(d).Once(t.Context(), 1, repair).Temps; got != 1 {
			t.Errorf("by hand: %d found, want 1", got)
		}
		want := 1
		if repair {
			want = 2
		}
		if temps.removed != want {
			t.Errorf("by hand, repair %v: %d were removed, want %d", repair, temps.removed, want)
		}
	}
}
