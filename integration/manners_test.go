//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/demo"
	"github.com/picharvest/picharvest/internal/redistest"
)

// pictureHost is a server of one picture that notes who came when.
type pictureHost struct {
	*httptest.Server
	body  []byte
	tells func(n int, w http.ResponseWriter) bool // answers the n-th request itself

	mu   sync.Mutex
	came []time.Time
	now  int
	most int
	told time.Time // when tells first answered
}

func newPictureHost(t *testing.T, tells func(n int, w http.ResponseWriter) bool) *pictureHost {
	t.Helper()
	d := knowing(t, demo.Config{})
	w := httptest.NewRecorder()
	d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/images/2.png", http.NoBody))
	h := &pictureHost{body: w.Body.Bytes(), tells: tells}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *pictureHost) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	h.came = append(h.came, time.Now())
	n := len(h.came)
	h.now++
	h.most = max(h.most, h.now)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.now--
	}()
	if h.tells != nil && h.tells(n, w) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.told.IsZero() {
			h.told = time.Now()
		}
		return
	}
	<-time.After(20 * time.Millisecond) // the time of a request
	_, _ = w.Write(h.body)              // the client may have left
}

func (h *pictureHost) host() string { return strings.TrimPrefix(h.URL, "http://") }

func (h *pictureHost) visits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.came)
}

// directory is a lookup service for names of the form HOSTNUMBER-I: it points
// to a picture at the host of that number.
func directory(t *testing.T, hosts ...*pictureHost) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("name")
		number, _, _ := strings.Cut(name, "-")
		i, err := strconv.Atoi(number)
		if err != nil {
			http.Error(w, "no such name", http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"status":"success","result":{"picture":"%s/%s.png"}}`, hosts[i].URL, name)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// mannered returns a machine with a Redis, whose provider "own" is a directory
// of hosts.
func mannered(t *testing.T, hosts ...*pictureHost) (*machine, *redistest.Server) {
	t.Helper()
	m := newMachine(t)
	rdb := m.onRedis()
	m.write("providers/own.yaml", strings.NewReplacer("URL", directory(t, hosts...), "name: slow", "name: own").Replace(slowProvider))
	m.set("HARVEST_PROVIDERS_FOLDER="+m.path("providers"), "HARVEST_PICTURE_ALLOW=127.0.0.0/8")
	return m, rdb
}

// namesAt writes a file of n names with pictures at a host.
func (m *machine) namesAt(file string, host, n int) {
	m.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d-%d\n", host, i)
	}
	m.write(file, b.String())
}

func (m *machine) workers(n int) []*process {
	m.t.Helper()
	var all []*process
	for range n {
		all = append(all, m.start("worker"))
	}
	for _, p := range all {
		p.says("worker started")
	}
	return all
}

// Three worker processes keep to 20 requests a second and 3 in flight at a
// host with more names than that takes; one of them is killed with places
// held, and the others go on at full rate.
func TestThreeWorkersAtALimitedHost(t *testing.T) {
	t.Parallel()
	h := newPictureHost(t, nil)
	m, rdb := mannered(t, h)
	// The minute's limit limits nothing: its log shows every grant.
	m.set("HARVEST_PICTURE_HOSTS=" + h.host() + "=per_second:20;in_flight:3;per_minute:100000")
	m.namesAt("big.txt", 0, 3000)
	m.ok("enqueue", "--file", "big.txt", "--provider", "own")
	all := m.workers(3)
	eventually(t, soon, "requests", func() bool { return h.visits() > 20 })
	<-time.After(10 * time.Second)
	killed := h.visits()
	all[0].kill()
	t.Logf("%d requests before the kill, 10 s after the first 20", killed)
	eventually(t, soon, "the places of the one that was killed are free", func() bool { return h.visits() > killed+200 })
	log, err := rdb.Client().LRange(t.Context(), "harvest:gate:{"+h.host()+"}:log:minute", 0, -1).Result()
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
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.most > 3 {
		t.Errorf("%d requests at once, want at most 3", h.most)
	}
	took := h.came[len(h.came)-1].Sub(h.came[0])
	t.Logf("%d requests in %v (%.1f/s), at most %d at once", len(h.came), took, float64(len(h.came))/took.Seconds(), h.most)
}

// One host asks to wait for 5 s; all three processes do, and the names of the
// other host go on.
func TestThreeWorkersObeyRetryAfter(t *testing.T) {
	t.Parallel()
	const window = 5 * time.Second
	bad := newPictureHost(t, func(n int, w http.ResponseWriter) bool {
		if n != 100 {
			return false
		}
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	good := newPictureHost(t, nil)
	m, _ := mannered(t, bad, good)
	m.namesAt("bad.txt", 0, 800)
	m.namesAt("good.txt", 1, 3000)
	m.set("HARVEST_PICTURE_HOSTS=" + good.host() + "=per_second:200")
	m.ok("enqueue", "--file", "bad.txt", "--provider", "own")
	m.ok("enqueue", "--file", "good.txt", "--provider", "own")
	m.workers(3)
	eventually(t, soon, "the host asks to wait", func() bool {
		bad.mu.Lock()
		defer bad.mu.Unlock()
		return !bad.told.IsZero()
	})
	before := good.visits()
	<-time.After(window)
	if n := good.visits() - before; n < 30 {
		t.Errorf("the other host was asked %d times meanwhile, want at least 30", n)
	}
	m.untilStatus(commandWithin, "bad", "all names are done", func(s batchStatus) bool { return s.States["done"] == 800 })
	bad.mu.Lock()
	defer bad.mu.Unlock()
	inside, last := 0, time.Duration(0)
	for _, came := range bad.came {
		if d := came.Sub(bad.told); d > 0 && d < window {
			last = max(last, d)
			if d > 2*time.Second { // promised: 1 s
				inside++
			}
		}
	}
	if inside > 0 {
		t.Errorf("%d requests inside the window more than 2 s after the answer, want 0", inside)
	}
	t.Logf("the last request inside the window %v after its opening", last)
}

// A host that says "a day" costs the good names beside it next to nothing. The
// ratio is printed, and held with room for a busy machine.
func TestADayBesideGoodNames(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, bad int) time.Duration {
		day := newPictureHost(t, func(_ int, w http.ResponseWriter) bool {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		})
		good := newPictureHost(t, nil)
		m, _ := mannered(t, day, good)
		m.set("HARVEST_PICTURE_HOSTS=" + good.host() + "=per_second:40")
		var b strings.Builder
		for i := range 200 {
			if i < bad {
				fmt.Fprintf(&b, "0-%d\n", i)
			}
			fmt.Fprintf(&b, "1-%d\n", i)
		}
		m.write("names.txt", b.String())
		m.ok("enqueue", "--file", "names.txt", "--provider", "own")
		m.workers(1)
		eventually(t, commandWithin, "all good names are asked for", func() bool { return good.visits() >= 200 })
		m.untilStatus(commandWithin, "names", "all good names are done", func(s batchStatus) bool { return s.States["done"] == 200 })
		if n := day.visits(); bad > 0 && (n == 0 || n > bad) {
			t.Errorf("the host that says a day was asked %d times", n)
		}
		good.mu.Lock()
		defer good.mu.Unlock()
		return good.came[len(good.came)-1].Sub(good.came[0])
	}
	alone := run(t, 0)
	beside := run(t, 50)
	t.Logf("200 good names: alone %v, beside 50 of a host that says a day %v: ratio %.3f (promised 1.1)",
		alone, beside, beside.Seconds()/alone.Seconds())
	if beside > 2*alone+5*time.Second {
		t.Errorf("took %v beside, %v alone", beside, alone)
	}
}

// A host that takes requests and never answers keeps the names of others
// waiting little: it has as many slots as its limit, and as many more names
// wait for those. The ratio is printed, and held with room for a busy machine.
func TestASilentHostBesideGoodNames(t *testing.T) {
	t.Parallel()
	const good = 900
	takeHeavy(t)
	run := func(t *testing.T, silent int) (p95 time.Duration) {
		over := make(chan struct{})
		mute := newPictureHost(t, func(int, http.ResponseWriter) bool { <-over; return true })
		t.Cleanup(func() { close(over) })
		well := newPictureHost(t, nil)
		m, _ := mannered(t, mute, well)
		m.set("HARVEST_PICTURE_HOSTS=" + mute.host() + "=in_flight:4")
		var b strings.Builder
		for i := range good {
			if i*silent/good != (i+1)*silent/good {
				fmt.Fprintf(&b, "0-%d\n", i)
			}
			fmt.Fprintf(&b, "1-%d\n", i)
		}
		m.write("names.txt", b.String())
		m.ok("enqueue", "--file", "names.txt", "--provider", "own")
		w := m.start("worker", "--concurrency", "16")
		m.untilStatus(commandWithin, "names", "all good names are done", func(s batchStatus) bool { return s.States["done"] == good })
		if n := mute.visits(); (n > 0) != (silent > 0) || n > silent {
			t.Errorf("the silent host was asked %d times for %d names", n, silent)
		}
		w.kill()
		well.mu.Lock()
		defer well.mu.Unlock()
		return well.came[good*95/100].Sub(well.came[0])
	}
	alone := run(t, 0)
	beside := run(t, 100)
	t.Logf("19 of 20 good names: alone after %v, beside 100 of a silent host after %v: ratio %.2f (promised 3)",
		alone, beside, beside.Seconds()/alone.Seconds())
	if beside > 3*alone+2*time.Second {
		t.Errorf("took %v beside, %v alone", beside, alone)
	}
}
