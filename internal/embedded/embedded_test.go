package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/redistest"
)

// ownerEnv turns the test binary into a process that opens a folder, see
// holdFolder.
const ownerEnv = "EMBEDDED_TEST_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerEnv); dir != "" {
		if err := holdFolder(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// holdFolder opens dir, prints one line about it, and closes it at the end of
// its input.
func holdFolder(dir string) error {
	ctx := context.Background()
	r, err := embedded.Open(ctx, dir, embedded.Options{
		Logger: slog.New(slog.DiscardHandler), Create: true, Engine: os.Getenv(ownerEnv + "_ENGINE"),
	})
	if err != nil {
		return err
	}
	fmt.Println(r.Owner(), r.Alone(), r.URL())
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return r.Close(ctx)
}

// holder is another process that has the folder open.
type holder struct {
	cmd   *exec.Cmd
	stdin io.Closer
	owner bool
	alone bool
	url   string
}

func startHolder(t *testing.T, dir, engine string) *holder {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), ownerEnv+"="+dir, ownerEnv+"_ENGINE="+engine)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &holder{cmd: cmd, stdin: stdin}
	t.Cleanup(func() { h.kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("other process: %v", err)
	}
	if _, err := fmt.Sscan(line, &h.owner, &h.alone, &h.url); err != nil {
		t.Fatalf("other process said %q: %v", line, err)
	}
	return h
}

func (h *holder) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

func (h *holder) close(t *testing.T) {
	t.Helper()
	h.stdin.Close()
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("other process: %v", err)
	}
}

// engines runs a test on both kinds of Redis.
func engines(t *testing.T, test func(t *testing.T, engine string)) {
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		redistest.Binary(t)
		test(t, embedded.EngineRedis)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		test(t, embedded.EngineMini)
	})
}

func options(engine string) embedded.Options {
	return embedded.Options{Logger: slog.New(slog.DiscardHandler), Create: true, Engine: engine}
}

func open(t *testing.T, dir string, opts embedded.Options) *embedded.Redis {
	t.Helper()
	r, err := embedded.Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRedis(t, r) })
	return r
}

func closeRedis(t *testing.T, r *embedded.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// client returns a client that goes on over a change of owner.
func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	opt.MaxRetries, opt.MaxRetryBackoff = 25, 500*time.Millisecond
	c := redis.NewClient(opt)
	t.Cleanup(func() { c.Close() })
	return c
}

// fill writes one key of each type, with bytes that are no text.
func fill(t *testing.T, c *redis.Client) {
	t.Helper()
	long := make([]any, 2500)
	for i := range long {
		long[i] = fmt.Sprint("item", i)
	}
	pipe := c.Pipeline()
	ctx := t.Context()
	pipe.Set(ctx, "string", "\x00\xff\xfe", 0)
	pipe.Set(ctx, "soon", "v", time.Hour)
	pipe.RPush(ctx, "list", long...)
	pipe.SAdd(ctx, "set", "a", "b")
	pipe.HSet(ctx, "hash", "f", "\x80", "g", "")
	pipe.ZAdd(ctx, "zset", redis.Z{Score: 1763834000, Member: "m"}, redis.Z{Score: 1.5, Member: "n"})
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

// content returns what fill wrote.
func content(t *testing.T, c *redis.Client) map[string]any {
	t.Helper()
	ctx := t.Context()
	members := c.SMembersMap(ctx, "set").Val()
	return map[string]any{
		"keys":   c.DBSize(ctx).Val(),
		"string": c.Get(ctx, "string").Val(),
		"expires": c.PTTL(ctx, "soon").Val() > 59*time.Minute &&
			c.PTTL(ctx, "soon").Val() <= time.Hour,
		"list length": c.LLen(ctx, "list").Val(),
		"list ends":   []string{c.LIndex(ctx, "list", 0).Val(), c.LIndex(ctx, "list", -1).Val()},
		"set":         members,
		"hash":        c.HGetAll(ctx, "hash").Val(),
		"zset":        c.ZRangeWithScores(ctx, "zset", 0, -1).Val(),
	}
}

func TestDataOutlivesClose(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		r := open(t, dir, options(engine))
		if r.Engine() != engine || !r.Owner() || !r.Alone() {
			t.Errorf("got %s, owner %v, alone %v", r.Engine(), r.Owner(), r.Alone())
		}
		c := client(t, r.URL())
		fill(t, c)
		want := content(t, c)
		closeRedis(t, r)
		if _, err := os.Stat(filepath.Join(dir, "redis", "owner.json")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("owner.json after the last close: %v", err)
		}

		r = open(t, dir, options(engine))
		if diff := cmp.Diff(want, content(t, client(t, r.URL()))); diff != "" {
			t.Errorf("after reopening (-want +got):\n%s", diff)
		}
	})
}

func TestStartIsQuick(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		closeRedis(t, open(t, dir, options(engine)))
		start := time.Now()
		open(t, dir, options(engine))
		t.Logf("opened in %v", time.Since(start))
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("opening took %v", took)
		}
	})
}

func TestPrivateFiles(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		open(t, dir, options(engine))
		for path, want := range map[string]os.FileMode{"redis": 0o700, "redis/owner.json": 0o600} {
			st, err := os.Stat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			if got := st.Mode().Perm(); got != want {
				t.Errorf("mode of %s: got %o, want %o", path, got, want)
			}
		}
	})
}

func TestOthersJoinAndTakeOver(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		ends := map[string]func(*testing.T, *holder){
			"closed": func(t *testing.T, h *holder) { h.close(t) },
			"killed": func(_ *testing.T, h *holder) { h.kill() },
		}
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				h := startHolder(t, dir, engine)
				if !h.owner || !h.alone {
					t.Errorf("first process: owner %v, alone %v", h.owner, h.alone)
				}
				r := open(t, dir, options(engine))
				again := open(t, dir, options(engine))
				if r.Owner() || r.Alone() || r.URL() != h.url || again.URL() != h.url {
					t.Errorf("joined: owner %v, alone %v, %s and %s, want %s", r.Owner(), r.Alone(), r.URL(), again.URL(), h.url)
				}
				c := client(t, r.URL())
				fill(t, c)
				want := content(t, c)
				if engine == embedded.EngineMini && name == "killed" {
					waitFor(t, "a snapshot", func() bool {
						st, err := os.Stat(filepath.Join(dir, "redis", "snapshot"))
						return err == nil && st.Size() > 1000
					})
				}
				end(t, h)
				if diff := cmp.Diff(want, content(t, c)); diff != "" {
					t.Errorf("after the owner's end (-want +got):\n%s", diff)
				}
				waitFor(t, "a new owner", func() bool { return r.Owner() != again.Owner() })
				if r.URL() != h.url || again.URL() != h.url {
					t.Errorf("the address changed from %s to %s and %s", h.url, r.URL(), again.URL())
				}
				last := startHolder(t, dir, engine)
				if last.owner || last.alone || last.url != h.url {
					t.Errorf("a later process: %+v", last)
				}
				last.close(t)
			})
		}
	})
}

func TestAddressStaysForThoseWhoJoined(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		owner := startHolder(t, dir, engine)
		joined := startHolder(t, dir, engine)
		for _, end := range []func(){func() { owner.close(t) }, owner.kill} {
			end()
			// Most often this is quicker than the one that stands by.
			owner = startHolder(t, dir, engine)
			if owner.url != joined.url || owner.alone {
				t.Errorf("got %+v, want the address %s", owner, joined.url)
			}
			if err := client(t, joined.url).Ping(t.Context()).Err(); err != nil {
				t.Errorf("ping: %v", err)
			}
		}
		joined.close(t)
		owner.close(t)
	})
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestNothingIsLostByKill(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	dir := t.TempDir()
	written := 0
	for round := range 5 {
		h := startHolder(t, dir, "")
		if !h.owner || !h.alone {
			t.Errorf("round %d: owner %v, alone %v, want both", round, h.owner, h.alone)
		}
		c := client(t, h.url)
		if got := c.LLen(t.Context(), "l").Val(); got != int64(written) {
			t.Errorf("round %d: got %d items, want %d", round, got, written)
		}
		for range 200 {
			if err := c.RPush(t.Context(), "l", written).Err(); err != nil {
				t.Fatal(err)
			}
			written++
		}
		h.kill()
	}
	r := open(t, dir, options(""))
	if got := client(t, r.URL()).LLen(t.Context(), "l").Val(); got != int64(written) {
		t.Errorf("at the end: got %d items, want %d", got, written)
	}
}

func TestServerThatDiesIsStartedAgain(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	r := open(t, t.TempDir(), options(""))
	c := client(t, r.URL())
	// As it is, a server that is killed may lose a second or two.
	if err := c.ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
		t.Fatal(err)
	}
	fill(t, c)
	want := content(t, c)
	for range 2 {
		info, err := c.InfoMap(t.Context(), "server").Result()
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Sscan(info["Server"]["process_id"], &pid); err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, content(t, c)); diff != "" {
			t.Errorf("after its server was killed (-want +got):\n%s", diff)
		}
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	h := startHolder(t, dir, embedded.EngineRedis)
	r := open(t, dir, options(""))
	c := client(t, r.URL())
	fill(t, c)
	h.close(t)
	want := content(t, c)
	waitFor(t, "the take-over", r.Owner)
	url := r.URL()
	closeRedis(t, r)
	socket := strings.TrimPrefix(url, "unix://")
	if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is still there: %v", err)
	}
	r = open(t, dir, options(""))
	if diff := cmp.Diff(want, content(t, client(t, r.URL()))); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
}

func TestOrphanIsEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private := filepath.Join(dir, "redis")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	// What is left where the system does not end a child with its parent.
	orphan := redistest.Start(t, "--dir", private, "--unixsocket", filepath.Join(private, "redis.sock"))
	owner := fmt.Sprintf(`{"url": "unix://%s/redis.sock", "engine": "redis-server", "server": %d}`, private, orphan.Pid())
	if err := os.WriteFile(filepath.Join(private, "owner.json"), []byte(owner), 0o600); err != nil {
		t.Fatal(err)
	}
	left := client(t, "unix://"+private+"/redis.sock")
	fill(t, left)
	want := content(t, left)
	r := open(t, dir, options(embedded.EngineRedis))
	if diff := cmp.Diff(want, content(t, client(t, r.URL()))); diff != "" {
		t.Errorf("after the take-over (-want +got):\n%s", diff)
	}
}

func TestForeignServerIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private := filepath.Join(dir, "redis")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := redistest.Start(t)
	owner := fmt.Sprintf(`{"url": %q, "engine": "redis-server", "server": 1}`, foreign.URL())
	if err := os.WriteFile(filepath.Join(private, "owner.json"), []byte(owner), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Open(t.Context(), dir, options(embedded.EngineRedis))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", foreign.Pid())) {
		t.Errorf("got %v, want a refusal that names process %d", err, foreign.Pid())
	}
	if err := foreign.Client().Ping(t.Context()).Err(); err != nil {
		t.Errorf("the foreign server: %v", err)
	}
}

func TestSnapshotMovesToServerOnce(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	dir := t.TempDir()
	r := open(t, dir, options(embedded.EngineMini))
	c := client(t, r.URL())
	fill(t, c)
	want := content(t, c)
	closeRedis(t, r)

	r = open(t, dir, options(""))
	if r.Engine() == embedded.EngineMini {
		t.Fatal("still miniredis")
	}
	c = client(t, r.URL())
	if diff := cmp.Diff(want, content(t, c)); diff != "" {
		t.Errorf("after the move (-want +got):\n%s", diff)
	}
	if err := c.Del(t.Context(), "string").Err(); err != nil {
		t.Fatal(err)
	}
	closeRedis(t, r)

	r = open(t, dir, options(""))
	if n := client(t, r.URL()).Exists(t.Context(), "string").Val(); n != 0 {
		t.Error("the snapshot was loaded twice")
	}
	closeRedis(t, r)

	_, err := embedded.Open(t.Context(), dir, options(embedded.EngineMini))
	if err == nil || !strings.Contains(err.Error(), "miniredis cannot read") {
		t.Errorf("back to miniredis: got %v, want a refusal", err)
	}
}

func TestServerDataWithoutServer(t *testing.T) {
	redistest.Binary(t)
	dir := t.TempDir()
	closeRedis(t, open(t, dir, options("")))
	t.Setenv("PATH", t.TempDir())
	_, err := embedded.Open(t.Context(), dir, options(""))
	if err == nil || !strings.Contains(err.Error(), "install redis-server 6.2 or later") {
		t.Errorf("got %v, want what to install", err)
	}

	var log bytes.Buffer
	opts := options("")
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := open(t, t.TempDir(), opts)
	if r.Engine() != embedded.EngineMini || !strings.Contains(log.String(), "install redis-server") {
		t.Errorf("a new folder: engine %s, log %q", r.Engine(), log.String())
	}
}

func TestServerTooOld(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0 malloc=libc bits=64'\n"
	if err := os.WriteFile(filepath.Join(bin, "redis-server"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	_, err := embedded.Open(t.Context(), t.TempDir(), options(embedded.EngineRedis))
	if err == nil || !strings.Contains(err.Error(), "version 6.0") {
		t.Errorf("got %v, want a word about version 6.0", err)
	}
}

func TestReadingMakesNoFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	_, err := embedded.Open(t.Context(), dir, embedded.Options{Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, embedded.ErrNoData) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrNoData that names %s", err, dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		var wg sync.WaitGroup
		all := make(chan *embedded.Redis, 8)
		for range cap(all) {
			wg.Go(func() {
				r, err := embedded.Open(t.Context(), dir, options(engine))
				if err != nil {
					t.Error(err)
					return
				}
				all <- r
			})
		}
		wg.Wait()
		close(all)
		owners := 0
		var open []*embedded.Redis
		for r := range all {
			open = append(open, r)
			if r.Owner() {
				owners++
			}
		}
		if owners != 1 {
			t.Errorf("got %d owners, want 1", owners)
		}
		for _, r := range open {
			wg.Go(func() { closeRedis(t, r) })
		}
		wg.Wait()
	})
}

func TestReclaimActive(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine string) {
		r := open(t, t.TempDir(), options(engine))
		c := client(t, r.URL())
		ctx := t.Context()
		for _, id := range []string{"first", "second", "third", "waiting"} {
			if _, err := asynq.NewClientFromRedisClient(c).Enqueue(asynq.NewTask("t", nil), asynq.Queue("q"), asynq.TaskID(id)); err != nil {
				t.Fatal(err)
			}
		}
		// What asynq's dequeue does, by a worker that then dies.
		for range 3 {
			id := c.LMove(ctx, "asynq:{q}:pending", "asynq:{q}:active", "RIGHT", "LEFT").Val()
			c.HSet(ctx, "asynq:{q}:t:"+id, "state", "active")
			c.ZAdd(ctx, "asynq:{q}:lease", redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: id})
		}
		c.LPush(ctx, "asynq:{q}:active", "gone")

		got, err := embedded.ReclaimActive(ctx, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string][]string{"q": {"third", "second", "first"}}, got); diff != "" {
			t.Errorf("moved (-want +got):\n%s", diff)
		}
		if n := c.Exists(ctx, "asynq:{q}:active", "asynq:{q}:lease", "asynq:{q}:t:gone").Val(); n != 0 {
			t.Errorf("%d keys are left", n)
		}

		ran := make(chan string, 4)
		srv := asynq.NewServerFromRedisClient(c, asynq.Config{
			Concurrency: 1, Queues: map[string]int{"q": 1}, LogLevel: asynq.FatalLevel,
			TaskCheckInterval: 10 * time.Millisecond, DelayedTaskCheckInterval: 100 * time.Millisecond,
		})
		err = srv.Start(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
			id, _ := asynq.GetTaskID(ctx)
			ran <- id
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		var order []string
		for range 4 {
			select {
			case id := <-ran:
				order = append(order, id)
			case <-time.After(20 * time.Second):
				t.Fatalf("only %v ran", order)
			}
		}
		if diff := cmp.Diff([]string{"first", "second", "third", "waiting"}, order); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestMiniredisKeysExpire(t *testing.T) {
	t.Parallel()
	r := open(t, t.TempDir(), options(embedded.EngineMini))
	c := client(t, r.URL())
	if err := c.Set(t.Context(), "k", "v", 300*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the key to expire", func() bool { return c.Exists(t.Context(), "k").Val() == 0 })
}

// The interrupt key of a terminal goes to a whole process group: it must not
// end the look for a server, which would then be taken for missing.
func TestTheLookForAServerIsNotInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no process groups")
	}
	bin := t.TempDir()
	asked := filepath.Join(t.TempDir(), "group")
	script := "#!/bin/sh\nps -o pgid= -p $$ > " + asked + "\nexit 1\n"
	for _, name := range []string{"redis-server", "valkey-server"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	_, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Logger: slog.New(slog.DiscardHandler), Create: true, Engine: embedded.EngineRedis})
	if err == nil {
		t.Fatal("a server that tells no version was taken")
	}
	group, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := exec.Command("ps", "-o", "pgid=", "-p", strconv.Itoa(os.Getpid())).Output()
	if err != nil {
		t.Skip(err)
	}
	if got := strings.TrimSpace(string(group)); got == "" || got == strings.TrimSpace(string(ours)) {
		t.Errorf("asked for its version in process group %q, and this process is in %q", got, strings.TrimSpace(string(ours)))
	}
}

func TestAStartThatIsInterruptedTakesNoOtherEngine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var said bytes.Buffer
	_, err := embedded.Open(ctx, t.TempDir(), embedded.Options{Logger: slog.New(slog.NewTextHandler(&said, nil)), Create: true})
	if !errors.Is(err, context.Canceled) || said.Len() > 0 {
		t.Errorf("got error %v and %q, want that it was cancelled and nothing said", err, said.String())
	}
}
