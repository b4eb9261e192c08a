//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/picharvest/picharvest/tasks"
)

// faults are all that is tried, in the order of the table.
func faults() []fault {
	return append([]fault{
		{name: "workers killed", manual: "a worker is killed", short: true, latency: 100 * time.Millisecond, strike: killWorkers},
		{name: "workers killed while they write files", manual: "a worker is killed", short: true, names: 2000, latency: 120 * time.Millisecond, bytes: 200_000, strike: killWriters},
		{name: "worker frozen, then awake", manual: "a worker stands still and wakes up (a suspended machine)", short: true, strike: freeze},
		{name: "workers told to stop", manual: "a worker is told to stop (SIGTERM)", short: true, strike: stopOnce},
		{name: "workers told to stop twice", manual: "a worker is told to stop (SIGTERM)", strike: stopTwice},
		{name: "enqueuer killed half-way", manual: "an enqueuer is killed", before: feedHalf, strike: killEnqueuer},
		{name: "Redis killed", manual: "Redis is away, or restarts", short: true, strike: killRedis},
		{name: "Redis restarted", manual: "Redis is away, or restarts", strike: restartRedis},
		{name: "Redis paused", manual: "Redis does not answer for a while", strike: pauseRedis},
		{name: "connections killed", manual: "connections to Redis break", short: true, strike: killConnections},
		{name: "replies cut in the middle", manual: "connections to Redis break", short: true, tcp: true, before: cutBefore, strike: cutReplies},
		{name: "Redis read-only", manual: "failover, read-only replica", short: true, strike: readOnlyRedis},
		{name: "Redis full", manual: "Redis is full", strike: fullRedis},
		{name: "disk full", manual: "the picture store is full, read-only or away", before: tinyStore, strike: fullStore},
		{name: "disk read-only", manual: "the picture store is full, read-only or away", before: roomyStore, strike: readOnlyStore},
		{name: "store folder gone", manual: "the picture store is full, read-only or away", short: true, strike: missingStore},
		{name: "object store fails", manual: "a bucket refuses, cuts off or garbles", short: true, before: inABucket, strike: bucketFails, after: bucketFailed},
		{name: "lookup service out of reach", manual: "nobody listens at a lookup service's address, or it has none", strike: serviceAway},
		{name: "lookup service down", manual: "a lookup service is down: it gave no answer to ten names in a row", short: true, strike: serviceDown},
		{name: "a name kills its worker", manual: "a name kills its worker", before: poisonName, strike: poisonStruck},
		{name: "poison payloads", manual: "a task in a queue that is none of ours", strike: poisonPayloads},
		{name: "a message that cannot be decoded", manual: "a message that cannot be decoded in a queue", strike: undecodable, after: undecodableAfter},
		{name: "tasks without a lease", manual: "tasks in hand lost their leases", strike: unleased},
		{name: "what is not ours", manual: "a key of a queue holds something else", short: true, strike: notOurs, after: notOursAfter},
		{name: "wrong types under our keys", manual: "a key of a batch holds something else", strike: wrongTypes},
	}, clockFaults()...)
}

func killWorkers(f *trouble) string {
	kills := f.of(20, 6)
	for range kills {
		i := rand.IntN(len(f.workers))
		f.killed(i)
		f.renew()
		f.pass(time.Duration(rand.IntN(600)) * time.Millisecond)
	}
	return fmt.Sprint(kills, " kills")
}

func killWriters(f *trouble) string {
	kills := f.of(50, 10)
	for n := 0; n < kills; {
		f.until("somebody writes a file", func() bool {
			if f.killWriter() {
				n++
				return true
			}
			return !f.waiting.running()
		})
		if !f.waiting.running() {
			f.t.Fatalf("all was done after %d kills", n)
		}
	}
	return fmt.Sprintf("%d kills with a file begun", kills)
}

// killWriter kills a worker that has a temporary file. They are there for a
// millisecond each, so it looks often.
func (f *trouble) killWriter() bool {
	f.t.Helper()
	for range 200 {
		pids := f.temps()
		for i, w := range f.workers {
			if pids[w.cmd.Process.Pid] && w.running() {
				f.killed(i)
				return true
			}
		}
	}
	return false
}

func freeze(f *trouble) string {
	inFlight := f.site.counts(f.t).Lookups
	f.workers[0].signal(syscall.SIGSTOP)
	f.pass(45 * time.Second) // its leases are 30 s
	f.workers[0].signal(syscall.SIGCONT)
	twice := 0
	f.until("what it had in hand was done by others, and by itself", func() bool {
		twice = repeats(f.site.counts(f.t))
		return twice > 0 || !f.waiting.running()
	})
	return fmt.Sprintf("at %d lookups, for 45s; %d asked again", inFlight, twice)
}

func stopOnce(f *trouble) string {
	for i := range f.workers {
		f.workers[i].signal(syscall.SIGTERM)
		if e := f.workers[i].wait(soon); e.code != 0 {
			f.t.Errorf("a drained worker: %v", e)
		}
		f.renew()
	}
	return "3 exits with 0"
}

func stopTwice(f *trouble) string {
	for i := range f.workers {
		w := f.workers[i]
		w.signal(syscall.SIGTERM)
		w.says("stopping")
		if w.running() {
			w.signal(syscall.SIGTERM)
		}
		if e := w.wait(soon); e.code != 130 && e.code != 0 {
			f.t.Errorf("a worker that was told twice: %v", e)
		}
		f.renew()
	}
	return "3 exits"
}

func feedHalf(f *trouble) {
	f.apart = func() *process {
		p := f.start("enqueue", "--file", "-", "--batch", "names", "--wait")
		fmt.Fprintln(p.stdin, strings.Join(f.names[:f.fault.names*6/10], "\n"))
		return p
	}
}

func killEnqueuer(f *trouble) string {
	f.waiting.kill()
	f.waiting = f.start("enqueue", "--file", "-", "--batch", "names", "--wait")
	fmt.Fprintln(f.waiting.stdin, strings.Join(f.names, "\n"))
	f.waiting.stdin.Close()
	return "at 60 % of the input"
}

func killRedis(f *trouble) string {
	f.redis.Kill()
	f.redis.Restart()
	return fmt.Sprintf("at %d pictures", f.site.counts(f.t).Pictures)
}

func restartRedis(f *trouble) string {
	for i := range 3 {
		f.reach(f.fault.names * (2 + 2*i) / 10)
		f.redis.Stop()
		f.pass(time.Second)
		f.redis.Restart()
	}
	return "3 restarts"
}

func pauseRedis(f *trouble) string {
	f.do("CLIENT", "PAUSE", (20 * time.Second).Milliseconds(), "ALL")
	before := f.site.counts(f.t).Pictures
	f.pass(20 * time.Second)
	return fmt.Sprintf("for 20s at %d pictures", before)
}

func killConnections(f *trouble) string {
	killed, times := 0, f.of(50, 20)
	for range times {
		n, err := f.rdb.Do(f.t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Int()
		if err != nil {
			f.t.Fatal(err)
		}
		killed += n
		f.pass(100 * time.Millisecond)
	}
	if killed < times {
		f.t.Errorf("%d connections were killed in %d goes", killed, times)
	}
	return fmt.Sprintf("%d connections in %d goes", killed, times)
}

func cutBefore(f *trouble) {
	f.proxy = newProxy(f.t, f.redis.Addr())
	f.set("HARVEST_REDIS_URL=redis://" + f.proxy.ln.Addr().String())
}

func cutReplies(f *trouble) string {
	times := f.of(50, 20)
	for range times {
		f.proxy.cut.Store(1)
		f.pass(100 * time.Millisecond)
	}
	f.proxy.cut.Store(0)
	n := f.proxy.cuts.Load()
	if n < int64(times)/2 {
		f.t.Errorf("%d replies were cut", n)
	}
	return fmt.Sprint(n, " replies cut")
}

func readOnlyRedis(f *trouble) string {
	d := f.lasting(time.Minute, 10*time.Second)
	f.do("REPLICAOF", "127.0.0.1", "1")
	f.pass(d)
	f.do("REPLICAOF", "NO", "ONE")
	return f.refusals("READONLY", d)
}

// refusals says how often Redis refused a command with such an error.
func (f *trouble) refusals(kind string, d time.Duration) string {
	found := regexp.MustCompile(`errorstat_` + kind + `:count=(\d+)`).FindStringSubmatch(f.rdb.Info(f.t.Context(), "errorstats").Val())
	if found == nil {
		f.t.Fatalf("no command met %s", kind)
	}
	return fmt.Sprintf("for %v, %s commands refused", d, found[1])
}

func fullRedis(f *trouble) string {
	f.do("CONFIG", "SET", "maxmemory", "1")
	f.pass(20 * time.Second)
	f.do("CONFIG", "SET", "maxmemory", "0")
	return f.refusals("OOM", 20*time.Second)
}

func tinyStore(f *trouble) {
	f.set("HARVEST_STORAGE_URL=" + filepath.Join(smallDisk(f.t, "1m"), "pictures"))
}

func roomyStore(f *trouble) {
	f.set("HARVEST_STORAGE_URL=" + filepath.Join(smallDisk(f.t, "64m"), "pictures"))
}

// store is where the pictures are.
func (f *trouble) store() string {
	for _, v := range f.env {
		if dir, ok := strings.CutPrefix(v, "HARVEST_STORAGE_URL="); ok {
			return dir
		}
	}
	return f.path("harvest-data", "pictures")
}

func (f *trouble) remount(flags uintptr, data string) {
	f.t.Helper()
	if err := unix.Mount("tmpfs", filepath.Dir(f.store()), "tmpfs", unix.MS_REMOUNT|flags, data); err != nil {
		f.t.Fatalf("remount: %v", err)
	}
}

func fullStore(f *trouble) string {
	stored := func() int { return len(filesBelow(f.t, filepath.Join(f.store(), "names"))) }
	f.until("a worker says that the disk is full", f.anySays("no space left"))
	full := stored()
	f.pass(5 * time.Second)
	f.remount(0, "size=64m")
	if full >= f.fault.names {
		f.t.Errorf("%d files fit", full)
	}
	return fmt.Sprintf("after %d files", full)
}

// anySays returns whether any of the workers has said text.
func (f *trouble) anySays(text string) func() bool {
	return func() bool {
		for _, w := range f.workers {
			if strings.Contains(w.stderr.String(), text) {
				return true
			}
		}
		return false
	}
}

func readOnlyStore(f *trouble) string {
	// A file that is being written keeps the file system from turning so.
	f.until("it is read-only", func() bool {
		return unix.Mount("tmpfs", filepath.Dir(f.store()), "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "") == nil
	})
	f.until("a worker says so", f.anySays("read-only file system"))
	f.pass(5 * time.Second)
	f.remount(0, "size=64m")
	return "a worker says so"
}

func missingStore(f *trouble) string {
	if err := os.Rename(f.store(), f.store()+".away"); err != nil {
		f.t.Fatal(err)
	}
	f.until("a worker says so", f.anySays("no pictures are fetched until the store takes them again"))
	f.pass(3 * time.Second)
	if err := os.Rename(f.store()+".away", f.store()); err != nil {
		f.t.Fatal(err)
	}
	return "a worker says so"
}

func serviceDown(f *trouble) string {
	d := f.lasting(5*time.Minute, 15*time.Second)
	f.site.down.Store(true)
	f.pass(d)
	f.site.down.Store(false)
	if f.site.refused.Load() == 0 {
		f.t.Error("nobody asked")
	}
	return fmt.Sprintf("for %v, %d answers with 500", d, f.site.refused.Load())
}

// serviceAway leaves nobody at the lookup service's address.
func serviceAway(f *trouble) string {
	address := f.site.Listener.Addr().String()
	f.site.Listener.Close()
	f.site.CloseClientConnections()
	f.until("a worker says that lookups wait", f.anySays("connection refused"))
	const away = 20 * time.Second
	f.pass(away)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		f.t.Fatal(err)
	}
	again := &http.Server{Handler: f.site, ReadHeaderTimeout: soon}
	f.t.Cleanup(func() { again.Close() })
	go func() { _ = again.Serve(ln) }() // until it is closed
	return fmt.Sprintf("for %v at %d lookups", away, f.site.counts(f.t).Lookups)
}

// poisonName makes the worker die that asks about a name.
func poisonName(f *trouble) {
	poison := f.names[f.fault.names/2]
	f.ends[poison] = "failed"
	f.site.asked = func(r *http.Request) {
		if i := number(r); i >= 0 && r.URL.Query().Get("name") == poison {
			f.deaths.Add(1)
			_ = syscall.Kill(int(f.pids[i].Load()), syscall.SIGKILL) // it may be gone
		}
	}
}

func poisonStruck(f *trouble) string {
	f.until("it is given up", func() bool { return !f.waiting.running() })
	for _, r := range f.results("names", "--state", "failed") {
		if r.Reason != "crashed" {
			f.t.Errorf("%q failed: %s, want crashed", r.Name, r.Reason)
		}
	}
	if n := f.deaths.Load(); n != 3 {
		f.t.Errorf("%d workers died of it, want 3", n)
	}
	return fmt.Sprint(f.deaths.Load(), " workers died of it")
}

// lookups is the queue that all names of a fault travel in.
var lookups = tasks.Queue{Kind: tasks.Lookups, Provider: "people", Lane: tasks.Express}.String()

func queueKey(what string) string { return "asynq:{" + lookups + "}:" + what }

func poisonPayloads(f *trouble) string {
	c := asynq.NewClientFromRedisClient(f.rdb)
	payloads := []string{"", "{", "null", "[]", `{"v":1}`, `{"v":"x","batch":1}`, "\x00\xff", strings.Repeat("x", 1<<20)}
	for i, p := range payloads {
		for _, kind := range []string{tasks.TypeLookup, tasks.TypePicture, "unheard:of"} {
			id := fmt.Sprint("poison", i, strings.ReplaceAll(kind, ":", ""))
			task := asynq.NewTask(kind, []byte(p), asynq.Queue(lookups), asynq.TaskID(id), asynq.MaxRetry(1_000_000))
			if _, err := c.EnqueueContext(f.t.Context(), task); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	want := 3 * len(payloads)
	f.until("they are archived", func() bool {
		return f.rdb.ZCard(f.t.Context(), queueKey("archived")).Val() == int64(want)
	})
	for _, w := range f.workers {
		if !w.running() || strings.Contains(w.stderr.String(), "panic") {
			f.t.Errorf("a worker met garbage: %v", w.stderr.String())
		}
	}
	return fmt.Sprint(want, " archived")
}

// inHand waits until tasks are in hand and returns them.
func (f *trouble) inHand() []string {
	f.t.Helper()
	var ids []string
	f.until("tasks are in hand", func() bool {
		ids = f.rdb.LRange(f.t.Context(), queueKey("active"), 0, -1).Val()
		return len(ids) > 0 || !f.waiting.running()
	})
	return ids
}

// undecodable spoils the message of a task whose worker dies, so that no task
// of a dead worker in that queue is found by asynq any more.
func undecodable(f *trouble) string {
	for i := range f.workers {
		f.workers[i].signal(syscall.SIGSTOP) // they change nothing meanwhile
	}
	ids := f.inHand()
	f.do("HSET", queueKey("t:"+ids[0]), "msg", "no message\xff")
	for i := range f.workers {
		f.killed(i)
	}
	return fmt.Sprintf("3 workers with %d tasks in hand killed", len(ids))
}

func undecodableAfter(f *trouble) string {
	n := f.rdb.LLen(f.t.Context(), "harvest:aside").Val()
	if n != 1 {
		f.t.Errorf("%d messages were moved aside, want 1", n)
	}
	return fmt.Sprint(n, " moved aside")
}

// unleased takes the leases from the tasks of two workers that die, and of
// one that lives.
func unleased(f *trouble) string {
	for i := range f.workers {
		f.workers[i].signal(syscall.SIGSTOP)
	}
	n := len(f.inHand())
	f.killed(0)
	f.killed(1)
	f.do("DEL", queueKey("lease"))
	f.workers[2].signal(syscall.SIGCONT)
	return fmt.Sprintf("%d tasks in hand, 2 workers killed", n)
}

// wrongTypes puts something else in the place of records that are waited for,
// and of keys of batches that nobody asked for.
func wrongTypes(f *trouble) string {
	const records = "harvest:{names.0}:records"
	f.do("SET", "harvest:{stray.0}:records", "no hash")
	f.do("SET", "harvest:{stray}:batch", "no hash")
	f.do("RPUSH", "asynq:{lookup-people-stray}:pending", "no task")
	open := f.rdb.ZRangeArgs(f.t.Context(), redis.ZRangeArgs{Key: "harvest:{names.0}:state:queued", Start: -5, Stop: -1}).Val()
	if len(open) != 5 {
		f.t.Fatalf("%d names are queued", len(open))
	}
	for _, name := range open {
		f.do("HSET", records, name, "no record")
	}
	if e := f.waiting.wait(2 * commandWithin); e.code == 70 {
		f.t.Error(e)
	}
	s := f.status("names")
	if s.States["unreadable"] != len(open) || s.States["done"] != len(f.names)-len(open) {
		f.t.Errorf("status %+v, want %d unreadable and the rest done", s, len(open))
	}
	f.ok("harvest", "results", "names")
	f.ok("harvest", "retry", "names", "--state", "unreadable", "--yes")
	f.waiting = f.start("enqueue", "--file", "names.txt", "--wait")
	return fmt.Sprint(len(open), " records were none, then retried")
}
