//go:build integration

package integration

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// The primary dies in mid-run, the sentinels make its replica the new one, and
// the batch goes on there by itself.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	const n = 1000
	primary := redistest.StartTCP(t, "--requirepass", "pw", "--masterauth", "pw", "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(primary.Addr())
	replica := redistest.StartTCP(t, "--requirepass", "pw", "--masterauth", "pw", "--replicaof", host+" "+port)
	sentinels := redistest.StartSentinels(t, 3, "names", primary, "pw")
	admin := redis.NewClient(&redis.Options{Addr: replica.Addr(), Password: "pw"})
	t.Cleanup(func() { admin.Close() })
	says := func(line string) bool {
		return strings.Contains(admin.Info(t.Context(), "replication").Val(), line)
	}
	eventually(t, soon, "the replica follows", func() bool { return says("master_link_status:up") })

	m := newMachine(t).set("HARVEST_REDIS_SENTINEL_MASTER=names", "HARVEST_REDIS_SENTINEL_ADDRS="+strings.Join(sentinels, ","),
		"HARVEST_REDIS_PASSWORD=pw")
	d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "50ms")
	m.asking(d)
	release := takeHeavy(t)
	names := m.writeNames("names.txt", n)
	for range 3 {
		m.start("worker", "--concurrency", "10").says("worker started")
	}
	waiting := m.start("enqueue", "--file", "names.txt", "--wait")
	eventually(t, soon, "300 pictures are asked", func() bool { return d.counts().Pictures >= 300 })
	eventually(t, soon, "all names are on the replica", func() bool {
		n, err := admin.HLen(t.Context(), "harvest:{names.0}:records").Result()
		return err == nil && int(n) == len(names)
	})
	primary.Kill()
	struck := d.counts().Pictures
	if struck >= n {
		t.Fatal("all was done before the primary died")
	}
	eventually(t, soon, "the replica takes over", func() bool { return says("role:master") })
	// What had not reached the replica runs again when its lease is over.
	m.untilStatus(commandWithin, "names", "nearly all names are done", func(s batchStatus) bool { return s.settled() >= n-100 })
	release()
	if e := waiting.wait(2 * commandWithin); e.code != 0 {
		t.Fatal(e)
	}
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	t.Logf("died after %d of %d pictures; asked again after a good answer: %d", struck, n, repeats(d.counts()))
}

// A batch is spread over a Cluster, and one of its nodes dies and comes back
// in mid-run.
func TestCluster(t *testing.T) {
	t.Parallel()
	const n = 1000
	nodes := redistest.StartCluster(t, 3, func(int) []string { return []string{"--appendfsync", "always"} })
	m := newMachine(t).set("HARVEST_REDIS_CLUSTER_ADDRS=" + nodes[0].Addr())
	d := startDemo(m, "--people", strconv.Itoa(n), "--latency", "50ms")
	m.asking(d)
	release := takeHeavy(t)
	names := m.writeNames("names.txt", n)
	for range 3 {
		m.start("worker", "--concurrency", "10").says("worker started")
	}
	waiting := m.start("enqueue", "--file", "names.txt", "--shards", "12", "--wait")
	eventually(t, soon, "300 pictures are asked", func() bool { return d.counts().Pictures >= 300 })
	for i, node := range nodes {
		if keys := node.Client().Keys(t.Context(), "harvest:{names.*}:records").Val(); len(keys) == 0 {
			t.Errorf("node %d has no records of the batch", i)
		}
	}
	nodes[1].Kill()
	struck := d.counts().Pictures
	if struck >= n {
		t.Fatal("all was done before the node died")
	}
	nodes[1].Restart()
	m.untilStatus(commandWithin, "names", "nearly all names are done", func(s batchStatus) bool { return s.settled() >= n-100 })
	release()
	if e := waiting.wait(2 * commandWithin); e.code != 0 {
		t.Fatal(e)
	}
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	t.Logf("a node died after %d of %d pictures; asked again after a good answer: %d", struck, n, repeats(d.counts()))
}

// The user that the manual tells to make has all rights that the programs
// use: after every command, over TLS with a client certificate, the server
// has denied nothing.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t)
	port := redistest.FreePort(t)
	s := redistest.StartTCP(t, ca.ServerArgs(t, port)...)
	m := newMachine(t).set("HARVEST_REDIS_URL=rediss://127.0.0.1:" + strconv.Itoa(port))
	m.trust(t, ca)
	m.restricted(t, s)
	m.everyCommand(t)
	checkRights(t, s)
}

// A Redis by a provider: a Cluster that speaks TLS alone, takes no CONFIG, and
// gives a user without rights on anything but our keys.
func TestManagedRedis(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t)
	ports := make([]int, 3)
	nodes := redistest.StartCluster(t, len(ports), func(i int) []string {
		ports[i] = redistest.FreePort(t)
		return append(ca.ServerArgs(t, ports[i]), "--tls-cluster", "yes", "--tls-replication", "yes",
			"--rename-command", "CONFIG", "not-for-customers", "--appendonly", "no")
	})
	m := newMachine(t).set("HARVEST_REDIS_CLUSTER_ADDRS=127.0.0.1:"+strconv.Itoa(ports[0]), "HARVEST_REDIS_TLS_ENABLED=true",
		"HARVEST_REDIS_DURABILITY=managed", "HARVEST_QUEUE_SHARDS=6")
	m.trust(t, ca)
	for _, node := range nodes {
		m.restricted(t, node)
	}
	if err := nodes[0].Client().ConfigGet(t.Context(), "maxmemory").Err(); err == nil {
		t.Fatal("CONFIG is there")
	}
	m.everyCommand(t)
	for _, node := range nodes {
		checkRights(t, node)
	}
}

// Installations with namespaces share a Redis, a batch's name and a provider,
// and the users of the manual keep each from the keys of the others.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	place := func(namespace string) *machine {
		m := newMachine(t).set("HARVEST_REDIS_URL=" + s.URL())
		if namespace != "" {
			m.set("HARVEST_REDIS_NAMESPACE="+namespace, "HARVEST_REDIS_USERNAME="+namespace, "HARVEST_REDIS_PASSWORD=pw-"+namespace)
			m.makeUser(t, s, namespace, "pw-"+namespace, aclRules(t, "ACL SETUSER harvest_two "), "two", namespace)
		}
		m.asking(startDemo(m, "--people", "100"))
		return m
	}
	one, two, none := place("one"), place("two"), place("")
	wants := map[*machine]int{one: 40, two: 70}
	var workers []*process
	for m, n := range wants {
		m.writeNames("names.txt", n)
		w := m.start("worker")
		w.says("worker started")
		workers = append(workers, w)
	}
	none.start("worker").says("worker started")
	if e := none.run("harvest", "status", "--json"); e.code != 0 || e.stdout != "" {
		t.Errorf("without a namespace, before anything is there: %s", e)
	}
	for m := range wants {
		if e := m.run("enqueue", "--file", "names.txt", "--wait"); e.code != 0 || !strings.Contains(e.stderr, "1 worker is alive") {
			t.Fatal(e)
		}
	}
	for m, n := range wants {
		names := people(t, n)
		m.checkDone("names", names, expected(t, demo.Config{People: 100}, names))
	}
	one.ok("harvest", "delete", "names", "--yes")
	if s := two.status("names"); s.Status != "running" || s.States["done"] != 70 {
		t.Errorf("after the other namespace deleted its batch: %+v", s)
	}
	if e := none.run("harvest", "status", "--json"); e.code != 0 || e.stdout != "" {
		t.Errorf("without a namespace: %s", e)
	}
	for _, w := range workers {
		if strings.Contains(w.stderr.String(), "leaves a queue alone") {
			t.Errorf("a worker looks at the queues of others:\n%s", w.stderr.String())
		}
	}
	for _, entry := range denied(t, s) {
		t.Errorf("denied: %v", entry)
	}
}

// A worker that waits for its Redis leaves the machine to others.
func TestWaitingForRedisIsCheap(t *testing.T) {
	t.Parallel()
	m := newMachine(t).set("HARVEST_REDIS_URL=unix://" + filepath.Join(t.TempDir(), "nobody"))
	w := m.start("worker")
	began := time.Now()
	w.says(`"next_try_in":"4s"`)
	waited := time.Since(began)
	w.kill()
	used := w.cmd.ProcessState.UserTime() + w.cmd.ProcessState.SystemTime()
	// A second is for the start of the program on a slow machine.
	if limit := waited/10 + time.Second; used > limit {
		t.Errorf("it used %v of a processor in %v, want less than 5 %% of it", used, waited)
	}
	t.Logf("%v of a processor in %v, its start included", used, waited)
}

// trust makes the programs trust ca and show a certificate of it.
func (m *machine) trust(t *testing.T, ca *redistest.Authority) {
	t.Helper()
	cert, key := ca.Issue(t, "worker")
	m.set("HARVEST_REDIS_TLS_CA_FILE="+ca.File, "HARVEST_REDIS_TLS_CERT_FILE="+cert, "HARVEST_REDIS_TLS_KEY_FILE="+key)
}

// restricted makes the manual's user on s and points the programs to it, with
// the password in a file.
func (m *machine) restricted(t *testing.T, s *redistest.Server) {
	t.Helper()
	m.makeUser(t, s, "harvest", "s3cret/word", aclRules(t, "ACL SETUSER harvest "))
	m.write("password", "s3cret/word\n")
	m.set("HARVEST_REDIS_USERNAME=harvest", "HARVEST_REDIS_PASSWORD_FILE="+m.path("password"))
}

// makeUser makes a user by rules of the manual, in which replace are pairs as
// of strings.NewReplacer.
func (m *machine) makeUser(t *testing.T, s *redistest.Server, user, password string, rules []string, replace ...string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", user}
	for _, rule := range rules {
		if strings.HasPrefix(rule, ">") {
			rule = ">" + password
		}
		args = append(args, strings.NewReplacer(replace...).Replace(rule))
	}
	if err := s.Client().Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("make the user: %v", err)
	}
}

// aclRules returns the rules in the line of the manual that begins so.
func aclRules(t *testing.T, prefix string) []string {
	t.Helper()
	manual, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(manual)) {
		if strings.HasPrefix(line, prefix) {
			return strings.Fields(line)[3:]
		}
	}
	t.Fatalf("docs/operations.md has no line that begins with %q", prefix)
	return nil
}

// denied returns what s denied its users.
func denied(t *testing.T, s *redistest.Server) []any {
	t.Helper()
	entries, err := s.Client().Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// checkRights checks that s denied its user nothing, and would deny it what
// is not ours.
func checkRights(t *testing.T, s *redistest.Server) {
	t.Helper()
	for _, entry := range denied(t, s) {
		t.Errorf("denied: %v", entry)
	}
	user := redis.NewClient(&redis.Options{
		Addr: s.Addr(), Username: "harvest", Password: "s3cret/word", MaxRetries: -1,
	})
	defer user.Close()
	for _, args := range [][]any{
		{"GET", "other"}, {"SET", "other", "1"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"KEYS", "*"}, {"SHUTDOWN"},
		{"ACL", "LIST"}, {"MONITOR"}, {"SUBSCRIBE", "other"}, {"PUBLISH", "other", "1"},
	} {
		err := user.Do(context.Background(), args...).Err()
		if err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.HasPrefix(err.Error(), "ERR unknown command") {
			t.Errorf("%v: got %v, want it denied", args, err)
		}
	}
}

// everyCommand runs a batch to its end and each command that uses Redis.
func (m *machine) everyCommand(t *testing.T) {
	t.Helper()
	const n = 60
	d := startDemo(m, "--people", strconv.Itoa(n))
	m.asking(d)
	takeHeavy(t)
	names := m.writeNames("names.txt", n)
	m.write("more.txt", "Nobody Knows\n")
	w := m.start("worker")
	w.says("worker started")
	m.ok("enqueue", "--file", "names.txt", "--wait")
	m.checkDone("names", names, expected(t, demo.Config{People: n}, names))
	checkOnce(t, d.counts(), names)
	m.write("all.txt", strings.Join(slices.Concat(names, []string{"Nobody Knows"}), "\n"))
	run := func(commands ...[]string) {
		t.Helper()
		for _, args := range commands {
			m.ok(args[0], args[1:]...)
		}
	}
	run([][]string{
		{"enqueue", "--file", "all.txt", "--batch", "names", "--refresh", "--wait"},
		{"harvest", "status"},
		{"harvest", "status", "--hosts"},
		{"harvest", "results", "names"},
		{"harvest", "results", "names", "--state", "not_found", "--json"},
		{"harvest", "results", "--name", names[0]},
		{"harvest", "doctor"},
		{"harvest", "doctor", "names", "--repair"},
		{"harvest", "verify", "names"},
		{"harvest", "duplicates", "names"},
		{"harvest", "export", "names", "--to", "names.csv"},
		{"harvest", "retry", "names", "--state", "not_found", "--yes"},
		{"enqueue", "--file", "names.txt", "--wait"},
		{"enqueue", "--file", "names.txt", "--sync", "--yes"},
		{"harvest", "forget", names[0], "--yes"},
	}...)
	m.write("names.jsonl", m.ok("harvest", "results", "names", "--json").stdout)
	m.serves("/api/v1/batches", "/batches/names", "/queues/api/queues", "/queues/api/redis_info")
	w.signal(syscall.SIGTERM)
	if e := w.wait(soon); e.code != 0 {
		t.Error(e)
	}
	run([][]string{
		{"harvest", "import", "names.jsonl", "--batch", "copy"},
		{"harvest", "delete", "copy", "--yes"},
		{"enqueue", "--file", "more.txt"},
		{"harvest", "pause", "more", "--yes"},
		{"harvest", "resume", "more", "--yes"},
		{"harvest", "cancel", "more", "--yes"},
		{"harvest", "delete", "names", "--pictures", "--yes"},
	}...)
	if listed := decodeLines[batchStatus](t, m.ok("harvest", "status", "--json").stdout); len(listed) != 1 || listed[0].Batch != "more" {
		t.Errorf("batches in the end: %+v, want more alone", listed)
	}
	for _, never := range []string{"WARN", "ERROR", "s3cret"} {
		if strings.Contains(w.stderr.String(), never) {
			t.Errorf("the worker says %s:\n%s", never, w.stderr.String())
		}
	}
}

// serves asks `harvest serve` for each path.
func (m *machine) serves(paths ...string) {
	m.t.Helper()
	p := m.start("harvest", "serve", "--listen", "127.0.0.1:0")
	p.says("http://127.0.0.1:")
	for _, path := range paths {
		resp, err := http.Get(demoURL.FindString(p.stderr.String()) + path)
		if err != nil {
			m.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			m.t.Errorf("%s is answered with %s", path, resp.Status)
		}
	}
	p.signal(syscall.SIGTERM)
	p.wait(soon)
}
