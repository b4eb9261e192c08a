package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/tasks"
	"github.com/picharvest/picharvest/worker"
)

// crashEnv makes the test binary a worker process: "exit", "kill" or
// "picture", the Redis socket, the store and the site, on a line each.
const crashEnv = "HARVEST_TEST_CRASH_WORKER"

const killer = "Killer"

// deadlyPictures end the process at one URL.
type deadlyPictures struct{ *fetch.Client }

func (d deadlyPictures) Do(ctx context.Context, r fetch.Request) (*fetch.Response, error) {
	if strings.HasSuffix(r.URL, killer+"-deadly") {
		os.Exit(3)
	}
	return d.Client.Do(ctx, r)
}

// crashWorker is a worker process that dies on one name, or on one picture of
// it.
func crashWorker() int {
	arg := strings.Split(os.Getenv(crashEnv), "\n")
	how, socket, dir, site := arg[0], arg[1], arg[2], arg[3]
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	store, err := file.New(dir, fmt.Sprint("crash-", os.Getpid()))
	if err != nil {
		return 4
	}
	checker, err := picture.New(picture.DefaultConfig())
	if err != nil {
		return 4
	}
	readable, err := storage.ParseNaming(storage.NamesReadable)
	if err != nil {
		return 4
	}
	log := slog.New(slog.DiscardHandler)
	service := lookupFunc(func(_ context.Context, name string) (lookup.Answer, error) {
		switch {
		case name != killer:
		case how == "picture":
			return found([]string{site + "/" + name}, []string{site + "/" + name + "-deadly"}), nil
		case how == "kill":
			self, _ := os.FindProcess(os.Getpid()) // there is one
			_ = self.Kill()
			select {}
		default:
			os.Exit(3)
		}
		return found([]string{site + "/" + name}), nil
	})
	cfg := worker.DefaultConfig()
	cfg.PollInterval = 5 * time.Millisecond
	people, _, err := newProvider(service)
	if err != nil {
		return 4
	}
	people.Pictures = deadlyPictures{people.Pictures.(*fetch.Client)}
	g := gate.New(rdb, "", gate.Options{})
	defer g.Close()
	w := worker.New(cfg, worker.Deps{
		Gate: g, HostLimits: func(string) gate.Limits { return gate.Limits{} },
		Redis: rdb, Queue: asynq.NewClientFromRedisClient(rdb), DB: results.New(rdb, ""), Providers: map[string]*worker.Provider{"people": people},
		Store: store, Naming: readable, Checker: checker, Logger: log,
	})
	// The test ends it when all is done.
	if err := w.Run(context.Background(), "people"); err != nil {
		return 4
	}
	return 0
}

// A name that kills its worker ends failed at the third crash, and nothing
// happens to the names beside it.
func TestANameThatKillsItsWorker(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		how string
		// recover makes what the dead worker had in hand run again.
		recover func(t *testing.T, r *rig)
		ends    results.State
		// resumed: the killer had failed tries when its batch was resumed.
		resumed bool
	}{
		"exits, its process starts again":                    {"exit", reclaim, results.Failed, false},
		"is killed, its lease runs out":                      {"kill", expireLeases, results.Failed, false},
		"is killed in a batch that was resumed":              {"kill", expireLeases, results.Failed, true},
		"one picture of two exits, its process starts again": {"picture", reclaim, results.Partial, false},
		"one picture of two exits, its lease runs out":       {"picture", expireLeases, results.Partial, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			r := newRig(t, server.Client(), "")
			dir := filepath.Join(t.TempDir(), "pictures")
			names := []string{killer}
			for i := range 99 {
				names = append(names, fmt.Sprint("n", i))
			}
			if tc.resumed {
				r.resumeTried("names", names)
			} else {
				r.enqueue("names", "people", names...)
			}

			crashes := 0
			for !r.over("names") {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), crashEnv+"="+strings.Join([]string{tc.how, server.Addr(), dir, r.site.server.URL}, "\n"))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if r.watch(cmd) {
					crashes++
					tc.recover(t, r)
				}
				if crashes > 5 {
					t.Fatal("the name goes on killing workers")
				}
			}
			if crashes != 3 {
				t.Errorf("the name killed %d workers, want 3", crashes)
			}
			want := results.Counts{results.Done: 99, tc.ends: 1}
			if diff := cmp.Diff(want, r.finished("names")); diff != "" {
				t.Errorf("counts differ (-want +got):\n%s", diff)
			}
			if f := r.record("names", "n1").Explain(); f != nil {
				t.Errorf("a name beside it failed: %+v", f)
			}
			rec := r.record("names", killer)
			if f := rec.Explain(); f == nil || f.Reason != failure.ReasonCrashed {
				t.Errorf("the killer's failure is %+v, want crashed", f)
			}
			// What a dead worker had in hand is told of as well.
			died, ended := 0, 0
			for _, e := range rec.History {
				switch {
				case e.What == results.WorkerDied:
					died++
				case e.Reason == failure.ReasonCrashed:
					ended++
				}
			}
			if died < 2 || ended != 1 {
				t.Errorf("the killer's history is %+v, want 2 deaths and its end", rec.History)
			}
		})
	}
}

// resumeTried makes a batch whose first name failed four of its five tries, and
// resumes it.
func (r *rig) resumeTried(batch string, names []string) {
	r.t.Helper()
	refs := r.add(batch, "people", names...)
	for try := range worker.DefaultConfig().MaxAttempts - 1 {
		if _, _, ok, err := r.db.CountTry(r.t.Context(), refs[0], results.LookupRank, fmt.Sprint("try ", try),
			failure.Newf(failure.ReasonTimeout, failure.Temporary, "slow")); !ok || err != nil {
			r.t.Fatalf("count a try: %v, %v", ok, err)
		}
	}
	if err := r.db.Resume(r.t.Context(), batch); err != nil {
		r.t.Fatal(err)
	}
	for _, ref := range refs {
		ref.Epoch++
		r.lookupTask("people", ref)
	}
}

// watch waits until the process is dead or the batch finished, and reports
// whether it died by itself.
func (r *rig) watch(cmd *exec.Cmd) (crashed bool) {
	r.t.Helper()
	dead := make(chan error, 1)
	go func() { dead <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		select {
		case err := <-dead:
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() == 4 {
				r.t.Fatalf("the worker process ended with %v", err)
			}
			return true
		case <-tick.C:
			if !r.over("names") {
				continue
			}
		case <-deadline.C:
			r.t.Error("the worker process does nothing")
		}
		_ = cmd.Process.Kill() // it may be dead
		<-dead
		return false
	}
}

func (r *rig) over(batch string) bool {
	r.t.Helper()
	b, err := r.db.Batch(r.t.Context(), batch)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.db.Counts(r.t.Context(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Finished(c)
}

// reclaim does what a single process does when it starts again.
func reclaim(t *testing.T, r *rig) {
	t.Helper()
	moved, err := embedded.ReclaimActive(t.Context(), r.rdb, nil)
	if err != nil {
		t.Fatal(err)
	}
	for queue, ids := range moved {
		for _, id := range ids {
			info, err := r.inspector.GetTaskInfo(queue, id)
			if err != nil {
				t.Fatal(err)
			}
			p, err := tasks.DecodePicture(info.Payload)
			if info.Type == tasks.TypeLookup {
				var l tasks.LookupPayload
				l, err = tasks.DecodeLookup(info.Payload)
				p.Ref, p.Rank = l.Ref, results.LookupRank
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := r.db.Suspect(t.Context(), p.Ref, p.Rank); err != nil {
				t.Fatal(err)
			}
			if err := r.db.NoteDeath(t.Context(), p.Ref, p.Rank, fmt.Sprint("r", time.Now().UnixNano())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// expireLeases lets the leases of a dead worker have run out long ago, which
// the next asynq server finds when it starts.
func expireLeases(t *testing.T, r *rig) {
	t.Helper()
	for _, q := range r.queues() {
		key := "asynq:{" + q + "}:lease"
		ids, err := r.rdb.ZRange(t.Context(), key, 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			long := redis.Z{Score: float64(time.Now().Add(-time.Hour).Unix()), Member: id}
			if err := r.rdb.ZAddXX(t.Context(), key, long).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
