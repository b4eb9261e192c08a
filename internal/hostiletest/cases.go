package hostiletest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

// allCases lists every case. The groups are those of the demands.
func allCases(s *Server) []Case {
	b := &builder{s: s}
	b.places()
	b.redirects()
	b.exchanges()
	b.statuses()
	b.structures()
	b.bombs()
	b.answers()
	b.names()
	return b.cases
}

// builder collects cases.
type builder struct {
	s     *Server
	cases []Case
}

func done() Outcome { return Outcome{State: string(results.Done)} }

func final(r failure.Reason) Outcome {
	return Outcome{State: string(results.Failed), Reason: string(r), Kind: "final"}
}

func exhausted(r failure.Reason) Outcome {
	return Outcome{State: string(results.Failed), Reason: string(r), Kind: "exhausted"}
}

// asks is how often the step that decides is asked.
func asks(want Outcome) int {
	if want.Kind == "exhausted" {
		return Attempts
	}
	return 1
}

// picture adds a case whose answer is good and whose picture is send.
func (b *builder) picture(name string, want Outcome, send func(*call)) {
	b.cases = append(b.cases, Case{
		Name: name, Wants: []Outcome{want}, Lookups: 1, Pictures: asks(want), picture: send,
	})
}

// stored adds a case that ends done with these bytes, after tries requests.
func (b *builder) stored(name string, p []byte, tries int, send func(*call)) {
	b.cases = append(b.cases, Case{
		Name: name, Wants: []Outcome{done()}, Lookups: 1, Pictures: tries, SHA256: Sum(p), picture: send,
	})
}

// answer adds a case whose lookup is send and whose picture, if the answer
// points to it, is a good one.
func (b *builder) answer(name string, want Outcome, pictures int, send func(*call)) {
	p := whole["png"]
	c := Case{Name: name, Wants: []Outcome{want}, Lookups: asks(want), Pictures: pictures, lookup: send}
	if pictures > 0 {
		c.SHA256, c.picture = Sum(p), sends(p)
	}
	b.cases = append(b.cases, c)
}

// pointer adds a case whose answer is good but for the picture's URL, which is
// refused before anything is asked.
func (b *builder) pointer(name, url string, wants ...Outcome) {
	b.cases = append(b.cases, Case{
		Name: name, Wants: wants, Lookups: 1,
		lookup: func(c *call) { writeRecord(c, name, url) },
	})
}

// writeRecord answers as the lookup server of the exercise does.
func writeRecord(w http.ResponseWriter, name string, picture any) {
	writeJSON(w, map[string]any{
		"status": "success",
		"result": map[string]any{"name": name, "age": "30", "career": "tester", "picture": picture},
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// sends answers 200 with p.
func sends(p []byte) func(*call) {
	return func(c *call) {
		c.Header().Set("Content-Length", strconv.Itoa(len(p)))
		_, _ = c.Write(p)
	}
}

// status answers with a status and headers in pairs, and a little text.
func status(code int, header ...string) func(*call) {
	return func(c *call) {
		for i := 0; i+1 < len(header); i += 2 {
			c.Header().Set(header[i], header[i+1])
		}
		c.WriteHeader(code)
		if code >= 300 && code != http.StatusNotModified {
			_, _ = io.WriteString(c, "no\n")
		}
	}
}

// first answers the first request with bad and all others with good.
func first(bad, good func(*call)) func(*call) {
	return func(c *call) {
		if c.try == 1 {
			bad(c)
			return
		}
		good(c)
	}
}

// talks takes the connection over.
func talks(talk func(net.Conn)) func(*call) { return func(c *call) { c.raw(talk) } }

// says sends text and closes the connection.
func says(format string, args ...any) func(*call) {
	return talks(func(c net.Conn) { fmt.Fprintf(c, format, args...) })
}

func repeat(c net.Conn, s string) {
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

func drip(c net.Conn, s string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

// wait keeps the connection open until the other side closes it.
func wait(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func reset(c net.Conn) {
	if t, ok := c.(counted).Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
