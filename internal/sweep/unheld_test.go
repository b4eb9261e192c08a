package sweep_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/sweep"
	"github.com/picharvest/picharvest/tasks"
)

// A task whose lease nobody prolongs comes back, once, and counts as a run
// that never came back; those whose worker lives stay where they are.
func TestTasksOfAWorkerThatIsGoneComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, "")
	refs := r.add("names", 1, time.Minute, "dead", "alive")
	dead, alive := refs[0], refs[1]
	for _, ref := range refs {
		r.lookup(ref)
		r.take(ref, 30*time.Second)
	}
	s := sweep.New(r.deps("one"))
	renew := func(i int) {
		r.do("ZADD", r.key(alive, tasks.Lookups, "lease"), time.Now().Add(time.Duration(30+5*i)*time.Second).Unix(), tasks.ID(alive, tasks.Lookups, 0))
	}
	look := func(from, to int, after time.Duration) {
		t.Helper()
		for i := from; i < to; i++ {
			renew(i)
			s.Look(t.Context(), after)
			if got := r.state(dead, tasks.Lookups, 0); got != "active" {
				t.Fatalf("after look %d it is %s, want active", i, got)
			}
		}
	}
	look(0, sweep.LooksUnheld-1, sweep.LookEvery)
	// Where looks lie far apart, what was seen before counts no more.
	look(10, 11, time.Minute)
	look(11, 10+sweep.LooksUnheld-1, sweep.LookEvery)
	renew(20)
	s.Look(t.Context(), sweep.LookEvery)
	if got := r.state(dead, tasks.Lookups, 0); got != "pending" {
		t.Errorf("the task of the dead worker is %s, want pending", got)
	}
	if got := r.state(alive, tasks.Lookups, 0); got != "active" {
		t.Errorf("the task of the other is %s, want active", got)
	}
	info, err := r.inspector.GetTaskInfo(r.queue(dead, tasks.Lookups), tasks.ID(dead, tasks.Lookups, 0))
	if err != nil || info.Retried != 1 || len(info.Payload) == 0 {
		t.Errorf("got %+v (%v), want one retry and its payload", info, err)
	}
	if n := r.pending(dead, tasks.Lookups); n != 1 {
		t.Errorf("%d tasks wait, want 1", n)
	}
}

// While Redis takes no writes leases cannot be prolonged, and nothing is taken
// back; nor by a process without the turn.
func TestNothingIsTakenBackWhereLeasesCannotBeProlonged(t *testing.T) {
	t.Parallel()
	for name, hinder := range map[string]func(r *rig, on bool){
		"read-only": func(r *rig, on bool) {
			if on {
				r.do("REPLICAOF", "127.0.0.1", "1")
			} else {
				r.do("REPLICAOF", "NO", "ONE")
			}
		},
		"another's turn": func(r *rig, on bool) {
			if on {
				r.do("SET", "harvest:lookout", "two", "PX", 60_000)
			} else {
				r.do("DEL", "harvest:lookout")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "")
			r.rdb = redis.NewClient(&redis.Options{Network: "unix", Addr: r.server.Addr(), MaxRetries: -1})
			t.Cleanup(func() { r.rdb.Close() })
			ref := r.add("names", 1, time.Minute, "A")[0]
			r.lookup(ref)
			r.take(ref, 30*time.Second)
			s := sweep.New(r.deps("one"))
			looks := func(n int) {
				for range n {
					s.Look(t.Context(), sweep.LookEvery)
				}
			}
			looks(2)
			hinder(r, true)
			looks(2 * sweep.LooksUnheld)
			hinder(r, false)
			looks(sweep.LooksUnheld - 1)
			if got := r.state(ref, tasks.Lookups, 0); got != "active" {
				t.Errorf("it is %s, want active", got)
			}
			looks(1)
			if got := r.state(ref, tasks.Lookups, 0); got != "pending" {
				t.Errorf("it is %s, want pending", got)
			}
		})
	}
}
