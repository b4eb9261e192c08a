package redisconn_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logBuffer is a log to look at while goroutines write to it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func config(url string) redisconn.Config {
	cfg := redisconn.DefaultConfig()
	cfg.URL = url
	return cfg
}

// open opens cfg and closes it when the test ends.
func open(t *testing.T, cfg redisconn.Config) (*redisconn.Conn, *logBuffer) {
	t.Helper()
	var log logBuffer
	c, err := redisconn.Open(t.Context(), cfg, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c, &log
}

// roundTrip sets and reads a key by both clients.
func roundTrip(t *testing.T, c *redisconn.Conn) {
	t.Helper()
	ctx := t.Context()
	if err := c.Pipelined.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Errorf("set: %v", err)
	}
	if got, err := c.Plain.Get(ctx, "k").Result(); got != "v" || err != nil {
		t.Errorf("get: got %q, %v, want v", got, err)
	}
}

func TestOpenForms(t *testing.T) {
	t.Parallel()
	unix := redistest.Start(t)
	tcp := redistest.StartTCP(t)
	locked := redistest.Start(t, "--requirepass", "s3cret/word")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret/word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func() redisconn.Config{
		"unix":             func() redisconn.Config { return config(unix.URL()) },
		"unix database":    func() redisconn.Config { return config(unix.URL() + "?db=3") },
		"tcp":              func() redisconn.Config { return config(tcp.URL()) },
		"tcp database":     func() redisconn.Config { return config(tcp.URL() + "/2") },
		"password in URL":  func() redisconn.Config { return config("unix://:s3cret%2Fword@" + locked.Addr()) },
		"password setting": func() redisconn.Config { c := config(locked.URL()); c.Password = "s3cret/word"; return c },
		"password file":    func() redisconn.Config { c := config(locked.URL()); c.PasswordFile = file; return c },
		"no autopipeline":  func() redisconn.Config { c := config(unix.URL() + "?db=4"); c.Autopipeline = false; return c },
	}
	for name, cfg := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log := open(t, cfg())
			roundTrip(t, c)
			if rtt, err := c.RTT(t.Context()); err != nil || rtt <= 0 {
				t.Errorf("RTT: got %v, %v", rtt, err)
			}
			if log.String() != "" {
				t.Errorf("log of a good server: %s", log)
			}
		})
	}
}

func TestPasswordFileIsReadForEachConnection(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "first")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(s.URL())
	cfg.PasswordFile = file
	c, _ := open(t, cfg)
	if err := c.Plain.ConfigSet(t.Context(), "requirepass", "second").Err(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := redis.NewClient(&redis.Options{Network: "unix", Addr: s.Addr(), Password: "second"})
	defer admin.Close()
	if err := admin.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c)
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	locked := redistest.StartTCP(t, "--requirepass", "right")
	evicting := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	plain := redistest.StartTCP(t)
	closed := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	old := fakeServer(t, "redis_version:5.0.14\r\n")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	sentinels := config("")
	sentinels.Sentinel = redisconn.Sentinel{Master: "mymaster", Addrs: []string{closed}}
	noCluster := config("")
	noCluster.Cluster.Addrs = []string{plain.Addr()}
	noFile := config(plain.URL())
	noFile.PasswordFile = filepath.Join(t.TempDir(), "none")

	tests := map[string]struct {
		cfg  redisconn.Config
		kind error
		want []string
	}{
		"refused":          {config("redis://u:s3cret@" + closed), redisconn.ErrUnreachable, []string{closed, "connection refused", "start redis-server"}},
		"no socket":        {config("unix:///nowhere/redis.sock"), redisconn.ErrUnreachable, []string{"/nowhere/redis.sock", "no such file", "start redis-server"}},
		"silent":           {config("redis://:s3cret@" + silent.Addr().String()), redisconn.ErrUnreachable, []string{silent.Addr().String(), "no answer in time"}},
		"silent TLS":       {config("rediss://:s3cret@" + silent.Addr().String()), redisconn.ErrUnreachable, []string{silent.Addr().String(), "no answer in time"}},
		"TLS to plain":     {config("rediss://:s3cret@" + plain.Addr()), redisconn.ErrUnreachable, []string{plain.Addr(), "wants redis://"}},
		"wrong password":   {config("redis://:s3cret@" + locked.Addr()), redisconn.ErrUnreachable, []string{locked.Addr(), "WRONGPASS", "redis.password"}},
		"no password":      {config(locked.URL()), redisconn.ErrUnreachable, []string{"NOAUTH", "redis.password"}},
		"no password file": {noFile, redisconn.ErrUnreachable, []string{"redis.password_file", "readable"}},
		"no sentinel":      {sentinels, redisconn.ErrUnreachable, []string{"mymaster", closed, "redis.sentinel"}},
		"no cluster":       {noCluster, redisconn.ErrUnreachable, []string{"cluster", "redis.url"}},
		"evicting":         {config(evicting.URL()), redisconn.ErrUnsuitable, []string{"allkeys-lru", "noeviction", "redis.allow_eviction"}},
		"too old":          {config("redis://:s3cret@" + old), redisconn.ErrUnsuitable, []string{"5.0.14", "6.2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log logBuffer
			start := time.Now()
			_, err := redisconn.Open(t.Context(), tt.cfg, log.logger())
			if err == nil {
				t.Fatal("got no error")
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v, want at most 5 s", took)
			}
			var open *redisconn.OpenError
			if !errors.As(err, &open) || !errors.Is(err, tt.kind) {
				t.Errorf("got %T %v, want an OpenError that is %v", err, err, tt.kind)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to contain %q", err, want)
				}
			}
			if strings.Contains(err.Error()+log.String(), "s3cret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line without password: %q, log %s", err, log.String())
			}
		})
	}
}

func TestOpenWarnings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args   []string
		change func(*redisconn.Config)
		want   string // "" for silence
	}{
		"safe":                {},
		"volatile":            {args: []string{"--maxmemory-policy", "volatile-ttl"}, want: "volatile-ttl"},
		"evicting by will":    {args: []string{"--maxmemory-policy", "allkeys-lfu"}, change: func(c *redisconn.Config) { c.AllowEviction = true }, want: "allkeys-lfu"},
		"no append-only file": {args: []string{"--appendonly", "no"}, want: "appendonly"},
		"managed":             {args: []string{"--appendonly", "no"}, change: func(c *redisconn.Config) { c.Durability = redisconn.DurabilityManaged }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(redistest.Start(t, tt.args...).URL())
			if tt.change != nil {
				tt.change(&cfg)
			}
			_, log := open(t, cfg)
			wantLines := 1
			if tt.want == "" {
				wantLines = 0
			}
			if got := strings.Count(log.String(), "\n"); got != wantLines || !strings.Contains(log.String(), tt.want) {
				t.Errorf("log: got %q, want %d line(s) with %q", log, wantLines, tt.want)
			}
		})
	}
}

func TestOpenOnMiniredis(t *testing.T) {
	t.Parallel()
	c, _ := open(t, config("redis://"+redistest.Mini(t).Addr()))
	roundTrip(t, c)
}

// fakeServer answers as a Redis that knows PING and INFO.
func fakeServer(t *testing.T, info string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					// *n, then n times $length and the argument.
					var args []string
					var n int
					if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
						return
					}
					for range n {
						var length int
						var arg string
						if _, err := fmt.Fscanf(r, "$%d\r\n%s\r\n", &length, &arg); err != nil {
							return
						}
						args = append(args, arg)
					}
					switch strings.ToLower(args[0]) {
					case "hello":
						fmt.Fprint(conn, "-ERR unknown command\r\n")
					case "auth":
						fmt.Fprint(conn, "+OK\r\n")
					case "ping":
						fmt.Fprint(conn, "+PONG\r\n")
					case "info":
						fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(info), info)
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// server starts an asynq server on c for one queue.
func server(t *testing.T, c *redisconn.Conn, handle asynq.HandlerFunc) *asynq.Server {
	t.Helper()
	return serverOn(t, c.ForServers(time.Millisecond), handle)
}

func serverOn(t *testing.T, rdb redis.UniversalClient, handle asynq.HandlerFunc) *asynq.Server {
	t.Helper()
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency:       4,
		Queues:            map[string]int{"q": 1},
		TaskCheckInterval: 20 * time.Millisecond,
		LogLevel:          asynq.FatalLevel,
		ShutdownTimeout:   time.Second,
	})
	if err := srv.Start(handle); err != nil {
		t.Fatal(err)
	}
	return srv
}

func TestAsynqOverEveryClient(t *testing.T) {
	t.Parallel()
	for _, autopipeline := range []bool{true, false} {
		t.Run(fmt.Sprintf("autopipeline %v", autopipeline), func(t *testing.T) {
			t.Parallel()
			cfg := config(redistest.Start(t).URL())
			cfg.Autopipeline = autopipeline
			c, _ := open(t, cfg)
			harvest(t, c, 200)
		})
	}
}

// harvest enqueues n tasks at once and waits until each ran.
func harvest(t *testing.T, c *redisconn.Conn, n int) {
	t.Helper()
	client := asynq.NewClientFromRedisClient(c.Pipelined)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("q"), asynq.TaskID(fmt.Sprint(i)))
			if err != nil {
				t.Errorf("enqueue %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	ran := make(chan string, 2*n)
	srv := server(t, c, func(ctx context.Context, _ *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		ran <- id
		return nil
	})
	defer srv.Shutdown()
	seen := make(map[string]bool)
	deadline := time.After(30 * time.Second)
	for len(seen) < n {
		select {
		case id := <-ran:
			seen[id] = true
		case <-deadline:
			t.Fatalf("%d of %d tasks ran", len(seen), n)
		}
	}
}

func TestKillEndsAShutdownWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*redistest.Server){
		"down":   (*redistest.Server).Kill,
		"frozen": (*redistest.Server).Pause,
	}
	for name, away := range tests {
		for _, autopipeline := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, autopipeline %v", name, autopipeline), func(t *testing.T) {
				t.Parallel()
				s := redistest.Start(t)
				cfg := config(s.URL())
				cfg.Autopipeline = autopipeline
				c, _ := open(t, cfg)
				client := asynq.NewClientFromRedisClient(c.Pipelined)
				if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("q")); err != nil {
					t.Fatal(err)
				}
				running, finish := make(chan struct{}), make(chan struct{})
				srv := server(t, c, func(context.Context, *asynq.Task) error {
					close(running)
					<-finish
					return nil
				})
				<-running
				away(s)
				close(finish)
				// Give each part of asynq the time to get stuck on Redis.
				time.Sleep(500 * time.Millisecond)
				start := time.Now()
				time.AfterFunc(100*time.Millisecond, c.Kill)
				srv.Shutdown()
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("shutdown took %v, want at most 2 s", took)
				}
				if err := c.Plain.Ping(t.Context()).Err(); !errors.Is(err, redisconn.ErrKilled) {
					t.Errorf("ping after Kill: got %v, want ErrKilled", err)
				}
			})
		}
	}
}

func TestIdleServersAskAFailingRedisSeldom(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fail, mend []any
		log        string // a piece of the one line
	}{
		"full":      {[]any{"CONFIG", "SET", "maxmemory", "1"}, []any{"CONFIG", "SET", "maxmemory", "0"}, "OOM"},
		"read only": {[]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}, "READONLY"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c, log := open(t, config(s.URL()))
			admin := s.Client()
			var servers []*asynq.Server
			shared := c.ForServers(200 * time.Millisecond) // as a worker has it
			for range 8 {
				servers = append(servers, serverOn(t, shared, func(context.Context, *asynq.Task) error { return nil }))
			}
			defer func() {
				var wg sync.WaitGroup
				for _, srv := range servers {
					wg.Go(srv.Shutdown)
				}
				wg.Wait()
			}()
			if err := admin.Do(t.Context(), tt.fail...).Err(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "a line about it", func() bool { return strings.Contains(log.String(), tt.log) })
			before := commands(t, admin)
			const span = 3 * time.Second
			time.Sleep(span) // the span that is measured
			rate := float64(commands(t, admin)-before) / span.Seconds()
			t.Logf("%.0f commands/s", rate)
			if rate >= 100 {
				t.Errorf("got %.0f commands/s from idle servers, want below 100", rate)
			}
			if got := strings.Count(log.String(), "trying again"); got != 1 {
				t.Errorf("got %d lines, want 1:\n%s", got, log)
			}
			if err := admin.Do(t.Context(), tt.mend...).Err(); err != nil {
				t.Fatal(err)
			}
			client := asynq.NewClientFromRedisClient(c.Pipelined)
			if _, err := client.Enqueue(asynq.NewTask("t", nil), asynq.Queue("q")); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the task to be done", func() bool {
				return admin.Exists(t.Context(), "asynq:{q}:processed").Val() == 1
			})
		})
	}
}

func commands(t *testing.T, c *redis.Client) int64 {
	t.Helper()
	info, err := c.InfoMap(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if _, err := fmt.Sscan(info["Stats"]["total_commands_processed"], &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// waitFor polls until ok holds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestCommandsOutliveARestart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c, log := open(t, config(s.URL()))
	roundTrip(t, c)
	s.Kill()
	result := make(chan error, 1)
	go func() { result <- c.Pipelined.Set(context.Background(), "after", "v", 0).Err() }()
	time.Sleep(time.Second) // the time that Redis is away
	if got := strings.Count(log.String(), "trying again"); got != 1 {
		t.Errorf("got %d lines about it, want 1:\n%s", got, log)
	}
	s.Restart()
	if err := <-result; err != nil {
		t.Errorf("set over a restart: %v", err)
	}
	roundTrip(t, c)
}
