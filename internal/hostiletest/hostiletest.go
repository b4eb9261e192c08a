// Package hostiletest is test code: a server that misbehaves on purpose, as a
// lookup service and as the host of the pictures it points to. It has one
// named case for each threat, with the outcome that a name with that trouble
// must end in, and a canary that stands for an internal service nobody may
// reach. No program links it.
package hostiletest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Attempts is the worker.max_attempts that the outcomes count with.
const Attempts = 3

// Limits that the outcomes count with; a run sets them.
const (
	// Timeout bounds one lookup and one picture. It is short, since several
	// cases wait for it in each of their tries.
	Timeout = 2 * time.Second
	// MaxPictureBytes is picture.max_bytes.
	MaxPictureBytes = 4 << 20
	// MaxAnswerBytes is a provider's max_bytes, the default.
	MaxAnswerBytes = 1 << 20
)

// Outcome is what must become of a name.
type Outcome struct {
	State string
	// Reason and Kind ("final" or "exhausted") are those of a failed name.
	Reason, Kind string
}

// Case is one threat and what must come of it.
type Case struct {
	// Name stands in the names file; the server knows the case by it.
	Name string
	// Wants are the outcomes that are right. There are several where
	// resolvers differ in whether a host is an address.
	Wants []Outcome
	// Lookups and Pictures say how often the server is to be asked where the
	// outcome is the first of Wants.
	Lookups, Pictures int
	// SHA256 is that of the picture's bytes where the outcome is done.
	SHA256 [32]byte

	lookup  func(*call) // nil: a record with one picture
	picture func(*call) // nil: never to be asked
}

// Good is a name with which nothing is wrong.
type Good struct {
	Name   string
	SHA256 [32]byte
}

// Server answers lookups at /?name= and pictures below /p/, good ones at /g/.
type Server struct {
	// URL is the base URL, http://127.0.0.1:PORT. Its host and port must be
	// allowed; nothing else on this machine may be.
	URL    string
	Canary *Canary

	http     *httptest.Server
	cases    []Case
	byName   map[string]int
	good     map[string]int
	pictures [][]byte
	ended    chan struct{}

	stats []stat // by case
	mu    sync.Mutex
	times map[string]time.Duration // of good names
	since time.Time
}

type stat struct{ lookups, pictures, sent atomic.Int64 }

// Start starts a server with all cases and that many good names. It ends with
// the test.
func Start(tb testing.TB, good int) *Server {
	tb.Helper()
	s := &Server{
		Canary: newCanary(tb), byName: map[string]int{}, good: map[string]int{},
		ended: make(chan struct{}), times: map[string]time.Duration{},
	}
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = nil
	s.http.Start()
	tb.Cleanup(func() {
		close(s.ended)
		s.http.Close()
	})
	s.URL = s.http.URL
	s.cases = allCases(s)
	s.stats = make([]stat, len(s.cases))
	for i, c := range s.cases {
		if _, ok := s.byName[c.Name]; ok {
			tb.Fatalf("two cases are named %q", c.Name)
		}
		s.byName[c.Name] = i
	}
	for i := range good {
		s.good["Good "+strconv.Itoa(i)] = i
		s.pictures = append(s.pictures, numbered(i))
	}
	return s
}

// Addr returns the server's host:port.
func (s *Server) Addr() string { return s.http.Listener.Addr().String() }

// Cases returns every case.
func (s *Server) Cases() []Case { return s.cases }

// Good returns the names with which nothing is wrong.
func (s *Server) Good() []Good {
	all := make([]Good, len(s.pictures))
	for name, i := range s.good {
		all[i] = Good{Name: name, SHA256: Sum(s.pictures[i])}
	}
	return all
}

// Asked returns how often a case's lookup and its picture were asked.
func (s *Server) Asked(name string) (lookups, pictures int) {
	st := &s.stats[s.byName[name]]
	return int(st.lookups.Load()), int(st.pictures.Load())
}

// Sent returns how many bytes of a case's bodies the other side took, what
// lies in the buffers of the sockets included.
func (s *Server) Sent(name string) int64 { return s.stats[s.byName[name]].sent.Load() }

// Reset forgets what was asked and begins to take the good names' times.
func (s *Server) Reset() {
	for i := range s.stats {
		st := &s.stats[i]
		st.lookups.Store(0)
		st.pictures.Store(0)
		st.sent.Store(0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times, s.since = map[string]time.Duration{}, time.Now()
}

// Times returns, for each good name whose picture was asked, when that was
// after Reset.
func (s *Server) Times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []time.Duration
	for _, d := range s.times {
		all = append(all, d)
	}
	return all
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/p/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		if i, err := strconv.Atoi(id); err == nil && i < len(s.cases) && s.cases[i].picture != nil {
			n := s.stats[i].pictures.Add(1)
			s.cases[i].picture(s.call(i, int(n), w, r))
			return
		}
		http.NotFound(w, r)
		return
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/g/"); ok {
		if i, err := strconv.Atoi(rest); err == nil && i < len(s.pictures) {
			_, _ = w.Write(s.pictures[i])
			s.mu.Lock()
			s.times["Good "+rest] = time.Since(s.since)
			s.mu.Unlock()
		}
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	name := r.URL.Query().Get("name")
	if i, ok := s.good[name]; ok {
		writeRecord(w, name, s.URL+"/g/"+strconv.Itoa(i))
		return
	}
	i, ok := s.byName[name]
	if !ok {
		http.Error(w, "no case of that name", http.StatusTeapot)
		return
	}
	// A hop of a lookup's own redirects is not the lookup once more.
	if !r.URL.Query().Has("hop") {
		s.stats[i].lookups.Add(1)
	}
	c := s.call(i, int(s.stats[i].lookups.Load()), w, r)
	if s.cases[i].lookup != nil {
		s.cases[i].lookup(c)
		return
	}
	writeRecord(w, name, s.pictureURL(i))
}

func (s *Server) pictureURL(i int) string { return s.URL + "/p/" + strconv.Itoa(i) }

func (s *Server) call(i, try int, w http.ResponseWriter, r *http.Request) *call {
	return &call{ResponseWriter: w, s: s, r: r, id: i, try: try}
}

// call is one request of a case.
type call struct {
	http.ResponseWriter
	s   *Server
	r   *http.Request
	id  int
	try int // from 1
}

// Write counts what was sent.
func (c *call) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.s.stats[c.id].sent.Add(int64(n))
	return n, err
}

// raw takes the connection over, and closes it when talk returns.
func (c *call) raw(talk func(net.Conn)) {
	conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	// Whatever the client does, no case outlives the run.
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.s.ended:
			_ = conn.SetDeadline(time.Now())
		case <-stop:
		}
	}()
	talk(counted{conn, &c.s.stats[c.id].sent})
}

// counted counts what a connection got rid of.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}
