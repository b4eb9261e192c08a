// Package demo is the lookup server of the exercise: asked for a name, it
// answers with a small JSON record that points to the person's picture, and
// it serves the picture. Three people are built in, more come from a catalog
// or are made up by number, and for tests it can be slow, fail, ask to be
// asked later and count what it was asked. It keeps no state but those
// counts, has no secrets, and is not the gallery of harvested pictures.
package demo

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultListen is the address of a server whose Config names none.
	DefaultListen = "127.0.0.1:8000"
	// MaxPeople is the largest number of made-up people.
	MaxPeople = 10_000_000

	maxPictureBytes = 8 << 20 // a prepared file of this size is held for each of eight looks
	maxDelay        = time.Minute
	maxRetryAfter   = 24 * time.Hour
)

// Config says whom the server knows and how it behaves. The zero value is the
// demo of the exercise: three people, prompt answers.
type Config struct {
	// Listen is the host:port that Listen binds. Default 127.0.0.1:8000.
	Listen string
	// PublicURL is the scheme and host at which clients reach the server,
	// such as https://people.example.org; picture URLs begin with it.
	// Default: the Host of each request.
	PublicURL string
	// Catalog is a folder of pictures, each named as its person, or a file of
	// people: .json (an array), .jsonl, or .csv with a header row. A person
	// has name, age, career and picture, the last a path relative to the
	// file and within its folder. A folder may have a people.json or
	// people.jsonl. Pictures are jpeg, png, gif or webp by their bytes.
	// Default: the three people built in.
	Catalog string
	// People is how many made-up people there are besides, at most MaxPeople.
	People int
	// PictureBytes is the least size of a made-up person's picture, in bytes.
	// At most 8 MiB. Default: as small as it comes, about 500 bytes.
	PictureBytes int
	// CORSOrigin is the one origin whose pages may read the answers, or "*".
	// Default: none.
	CORSOrigin string

	// Latency is how long each lookup and picture waits before its answer.
	Latency time.Duration
	// Jitter is the upper bound of a random wait added to Latency.
	Jitter time.Duration
	// UnknownRate is the share, 0 to 1, of known names that the server treats
	// as unknown: always the same names.
	UnknownRate float64
	// ErrorRate is the share, 0 to 1, of lookups and pictures answered 500.
	ErrorRate float64
	// BusyRate is the share, 0 to 1, of lookups and pictures answered with
	// BusyStatus and Retry-After.
	BusyRate float64
	// BusyStatus is 429 or 503. Default 429.
	BusyStatus int
	// RetryAfter is what a busy answer asks for, in whole seconds. Default 1 s.
	RetryAfter time.Duration
	// Count keeps, for each name asked, how often its lookup and its picture
	// were asked, and serves the numbers at /-/counts. Memory grows with the
	// names asked. Default false.
	Count bool

	// Log receives one line a request, at debug. Default: none.
	Log *slog.Logger
}

// Validate reports all problems of c at once, each by its settings key. It
// does not look at the catalog.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("demo.%s: %w", key, fmt.Errorf(format, args...)))
	}

	if c.Listen != "" && !validListen(c.Listen) {
		bad("listen", "%.100q is no host:port; write 127.0.0.1:8000", c.Listen)
	}
	if c.PublicURL != "" && !validOrigin(c.PublicURL) {
		bad("public_url", "want scheme and host alone, such as https://people.example.org")
	}
	if c.CORSOrigin != "" && c.CORSOrigin != "*" && !validOrigin(c.CORSOrigin) {
		bad("cors_origin", "want * or one origin, such as https://app.example.org")
	}
	if c.People < 0 || c.People > MaxPeople {
		bad("people", "%d is not within 0 and %d", c.People, MaxPeople)
	}
	if c.PictureBytes < 0 || c.PictureBytes > maxPictureBytes {
		bad("picture_bytes", "%d is not within 0 and %d", c.PictureBytes, maxPictureBytes)
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{{"latency", c.Latency}, {"jitter", c.Jitter}} {
		if d.d < 0 || d.d > maxDelay {
			bad(d.key, "%s is not within 0 and %s", d.d, maxDelay)
		}
	}
	for _, r := range []struct {
		key  string
		rate float64
	}{{"unknown_rate", c.UnknownRate}, {"error_rate", c.ErrorRate}, {"busy_rate", c.BusyRate}} {
		if math.IsNaN(r.rate) || r.rate < 0 || r.rate > 1 {
			bad(r.key, "%v is no share; write 0 to 1, 0.05 for 5 %%", r.rate)
		}
	}
	if c.ErrorRate+c.BusyRate > 1 {
		bad("busy_rate", "with demo.error_rate it makes %v; together they are at most 1", c.ErrorRate+c.BusyRate)
	}
	if c.BusyStatus != 0 && c.BusyStatus != http.StatusTooManyRequests && c.BusyStatus != http.StatusServiceUnavailable {
		bad("busy_status", "%d is neither 429 nor 503", c.BusyStatus)
	}
	if c.RetryAfter < 0 || c.RetryAfter > maxRetryAfter || c.RetryAfter%time.Second != 0 {
		bad("retry_after", "%s is no whole number of seconds within 0 and %s", c.RetryAfter, maxRetryAfter)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.BusyStatus == 0 {
		c.BusyStatus = http.StatusTooManyRequests
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server answers lookups and serves pictures. It is safe for concurrent use.
type Server struct {
	cfg    Config
	listed *directory
	madeUp *madeUp
	home   asset
	assets map[string]asset
	stage  stage
	counts *counter // nil unless Config.Count
}

var (
	_ http.Handler = (*Server)(nil)
	_ io.Closer    = (*Server)(nil)
)

// New returns the server that c describes. It reads the catalog's list and
// looks at the head of each of its pictures; an error names the file and,
// where there is one, the line. Close releases the catalog.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()

	load := builtIn
	if c.Catalog != "" {
		load = func() (*directory, error) { return loadCatalog(c.Catalog) }
	}
	listed, err := load()
	if err != nil {
		return nil, err
	}
	made, err := newMadeUp(c.People, c.PictureBytes)
	if err != nil {
		return nil, errors.Join(err, listed.Close())
	}

	s := &Server{cfg: c, listed: listed, madeUp: made, stage: newStage(c)}
	if c.Count {
		s.counts = newCounter()
	}
	if s.home, s.assets, err = newHome(s); err != nil {
		return nil, errors.Join(err, listed.Close())
	}
	return s, nil
}

// Close releases the catalog's folder. Answers after it have no pictures.
func (s *Server) Close() error { return s.listed.Close() }

// Knows says whether the server has a record for name, which is compared byte
// for byte.
func (s *Server) Knows(name string) bool {
	_, ok := s.find(name)
	return ok
}

// Names yields every name that the server knows: those of the catalog, or
// built in, in their order, then the made-up ones. It yields each name once.
func (s *Server) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range s.listed.people {
			if !s.stage.hides(p.Name) && !yield(p.Name) {
				return
			}
		}
		for n := range s.madeUp.count {
			name := madeUpName(n)
			if _, taken := s.listed.byName[name]; taken || s.stage.hides(name) {
				continue
			}
			if !yield(name) {
				return
			}
		}
	}
}

// find returns the record of name.
func (s *Server) find(name string) (person, bool) {
	if s.stage.hides(name) {
		return person{}, false
	}
	if i, ok := s.listed.byName[name]; ok {
		return s.listed.people[i], true
	}
	return s.madeUp.person(name)
}

// validListen says whether a is host:port with a numeric port, the host
// possibly empty.
func validListen(a string) bool {
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// validOrigin says whether o is an http or https origin as RFC 6454 section
// 6.2 writes it: scheme, host, port and nothing else.
func validOrigin(o string) bool {
	scheme, host, ok := strings.Cut(o, "://")
	return ok && (scheme == "http" || scheme == "https") && validHost(host)
}

// validHost says whether h is a host or host:port of plain characters, so
// that it can stand in a URL as it is.
func validHost(h string) bool {
	if h == "" || len(h) > 255 || strings.ContainsFunc(h, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_:[]", r))
	}) {
		return false
	}
	// The URL parser checks brackets and that the port is a number.
	u, err := url.Parse("http://" + h)
	if err != nil || u.Host != h || u.Hostname() == "" {
		return false
	}
	if strings.HasPrefix(h, "[") {
		return net.ParseIP(u.Hostname()) != nil
	}
	if strings.Count(h, ":") > 1 || strings.HasSuffix(h, ":") {
		return false
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		return err == nil && n > 0
	}
	return true
}
