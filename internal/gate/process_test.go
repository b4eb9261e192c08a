package gate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/redistest"
)

// childEnv holds the task of a process that this test binary starts again.
const childEnv = "HARVEST_TEST_GATE_CHILD"

// childTask is what each child does until it is killed: callers goroutines for
// each URL, who ask the gate and then the URL.
type childTask struct {
	Redis   string
	URLs    []string
	Limits  gate.Limits
	Callers int
}

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		if err := child(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(encoded string) error {
	var task childTask
	if err := json.Unmarshal([]byte(encoded), &task); err != nil {
		return err
	}
	opt, err := redis.ParseURL(task.Redis)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	g := gate.New(rdb, "", gate.Options{})
	defer g.Close()
	ctx := context.Background()
	var wg sync.WaitGroup
	for _, raw := range task.URLs {
		u, err := url.Parse(raw)
		if err != nil {
			return err
		}
		ask := gate.Ask{Host: u.Host, Limits: task.Limits, Wait: time.Minute}
		for range task.Callers {
			wg.Go(func() {
				for {
					release, err := g.Acquire(ctx, ask)
					if err != nil {
						if _, ok := errors.AsType[*gate.LaterError](err); ok {
							continue
						}
						return // Redis is gone: the test is over
					}
					resp, err := http.Get(raw)
					if err == nil {
						resp.Body.Close()
						if wait, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
							_ = g.Hold(ctx, u.Host, time.Duration(wait)*time.Second)
						}
					}
					release()
				}
			})
		}
	}
	wg.Wait()
	return nil
}

// startChild starts a child, which is killed when the test ends.
func startChild(t *testing.T, task childTask) *exec.Cmd {
	t.Helper()
	encoded, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(encoded))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd
}

func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, and says so
	}
}

// site is a server that notes who came when.
type site struct {
	*httptest.Server
	took time.Duration
	mu   sync.Mutex
	now  int
	most int
	came []time.Time
	// retryAfter is what the request with this number is told.
	limitedAt, retryAfter int
	limited               time.Time
}

func newSite(t *testing.T, took time.Duration) *site {
	t.Helper()
	s := &site{took: took}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.came = append(s.came, time.Now())
	s.now++
	s.most = max(s.most, s.now)
	limit := s.limitedAt > 0 && len(s.came) == s.limitedAt
	s.mu.Unlock()
	select {
	case <-time.After(s.took):
	case <-r.Context().Done():
	}
	s.mu.Lock()
	s.now--
	if limit {
		s.limited = time.Now()
	}
	s.mu.Unlock()
	if limit {
		w.Header().Set("Retry-After", strconv.Itoa(s.retryAfter))
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func (s *site) visits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.came)
}

// threeProcesses runs three children against a host that allows 20/s and 3 in
// flight, and returns how often it was asked within d.
func threeProcesses(t *testing.T, d time.Duration) int {
	t.Helper()
	redisServer := redistest.Start(t, "--appendonly", "no")
	s := newSite(t, 30*time.Millisecond)
	// The minute's limit limits nothing: its log shows every grant.
	limits := gate.Limits{PerSecond: 20, InFlight: 3, PerMinute: 100_000}
	for range 3 {
		startChild(t, childTask{Redis: redisServer.URL(), URLs: []string{s.URL}, Limits: limits, Callers: 10})
	}
	eventually(t, "the first request", func() bool { return s.visits() > 0 })
	<-time.After(d)
	n := s.visits()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	log, err := redisServer.Client().LRange(t.Context(), "harvest:gate:{"+u.Host+"}:log:minute", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	times := make([]int64, len(log))
	for i, entry := range log {
		if times[i], err = strconv.ParseInt(entry, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for i := 20; i < len(times); i++ {
		if times[i]-times[i-20] <= 1_000_000 {
			t.Fatalf("21 grants within %d µs, want at most 20 in a second", times[i]-times[i-20])
		}
	}
	s.mu.Lock()
	most := s.most
	s.mu.Unlock()
	if most > 3 {
		t.Errorf("%d requests at once, want at most 3", most)
	}
	t.Logf("%d requests and %d grants in %v, at most %d at once", n, len(times), d, most)
	return n
}

func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	if n := threeProcesses(t, 3*time.Second); n < 30 || n > 80 { // the machine may be busy
		t.Errorf("%d requests in 3s at 20/s", n)
	}
}

// retryAfter has one host ask three processes to wait, beside one that does not.
func retryAfter(t *testing.T, seconds int, limits gate.Limits) {
	t.Helper()
	redisServer := redistest.Start(t, "--appendonly", "no")
	bad, good := newSite(t, 5*time.Millisecond), newSite(t, 5*time.Millisecond)
	bad.limitedAt, bad.retryAfter = 200, seconds
	for range 3 {
		startChild(t, childTask{Redis: redisServer.URL(), URLs: []string{bad.URL, good.URL}, Limits: limits, Callers: 3})
	}
	eventually(t, "the host asked to wait", func() bool {
		bad.mu.Lock()
		defer bad.mu.Unlock()
		return !bad.limited.IsZero()
	})
	before := good.visits()
	window := time.Duration(seconds) * time.Second
	<-time.After(window)
	if n := good.visits() - before; n < 30 {
		t.Errorf("the other host was asked %d times meanwhile, want at least 30", n)
	}
	asked := bad.visits()
	eventually(t, "it goes on after", func() bool { return bad.visits() > asked+10 })
	bad.mu.Lock()
	defer bad.mu.Unlock()
	inside, late := 0, time.Duration(0)
	for _, came := range bad.came {
		if d := came.Sub(bad.limited); d > 0 && d < window {
			late = max(late, d)
			if d > time.Second {
				inside++
			}
		}
	}
	if inside > 0 {
		t.Errorf("%d requests begun inside the window, later than 1s after it was set", inside)
	}
	t.Logf("the last request inside the window %v after its opening", late)
}

func TestRetryAfterInThreeProcesses(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]gate.Limits{"no limits": {}, "in flight": {InFlight: 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			retryAfter(t, 2, limits)
		})
	}
}

// TestOutage has a service fail for a while under 1,000 names that may each
// fail five times.
func TestOutage(t *testing.T) {
	t.Parallel()
	const names, attempts = 1000, 5
	rdb := redistest.Start(t, "--appendonly", "no").Client()
	o := gate.Options{Breaker: gate.Breaker{After: 10, Delay: 50 * time.Millisecond, MaxDelay: 200 * time.Millisecond, Ramp: 16}}
	ask := gate.Ask{Host: "a.example", Breaker: "people", Wait: time.Minute}
	work := make(chan int, names)
	for range names {
		work <- 0
	}
	start := time.Now()
	down := func() bool { d := time.Since(start); return d > 100*time.Millisecond && d < 3*time.Second }
	var mu sync.Mutex
	failed, left, asked := 0, names, 0
	var wg sync.WaitGroup
	for range 3 {
		g := newGate(t, rdb, o)
		for range 20 {
			wg.Go(func() {
				for tries := range work {
					release, err := g.Acquire(t.Context(), ask)
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(5 * time.Millisecond) // the request
					var reason failure.Reason
					if down() {
						reason = failure.ReasonUnavailable
					}
					release()
					held, err := g.Report(t.Context(), ask, reason, tries == 0)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if reason != "" {
						asked++
						if held == 0 {
							tries++
						}
					}
					switch {
					case reason == "":
						left--
					case tries >= attempts:
						failed++
						left--
					default:
						work <- tries
					}
					if left == 0 {
						close(work)
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if failed != 0 {
		t.Errorf("%d names failed, want 0", failed)
	}
	t.Logf("%d requests during the outage, done after %v", asked, time.Since(start))
}
