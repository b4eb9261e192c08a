package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

const queuesPath = "/queues"

// plainRedis hands our own client to asynqmon.
type plainRedis struct{ redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (p plainRedis) MakeRedisClient() any { return p.UniversalClient }

var _ asynq.RedisConnOpt = plainRedis{}

// queues returns asynqmon. Its handler is never closed: that would close the
// client.
func (s *Server) queues() (http.Handler, error) {
	mon := asynqmon.New(asynqmon.Options{
		RootPath: queuesPath, RedisConnOpt: plainRedis{s.deps.Redis}, ReadOnly: !s.cfg.QueuesWritable,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(readable),
	})
	index, err := newQueuesIndex(mon)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, queuesPath)
		h := w.Header()
		h.Set("Content-Security-Policy", index.policy)
		switch {
		case strings.HasPrefix(path, "/api/"):
			// asynqmon would try for long, and say no more than that it failed.
			if err := s.deps.Control.AliveNow(r.Context()); err != nil {
				s.fail(w, r, err)
				return
			}
			h.Set("Content-Type", "application/json")
			mon.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/static/"):
			h.Set("Cache-Control", "private, max-age=86400") // its names carry hashes
			mon.ServeHTTP(w, r)
		case isAsset(path):
			mon.ServeHTTP(w, r)
		default:
			h.Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(index.page) // a client that left is no concern of ours
		}
	}), nil
}

// isAsset reports whether path is a file at the top of asynqmon's build. All
// else is its one page.
func isAsset(path string) bool {
	return strings.Count(path, "/") == 1 && strings.Contains(path, ".")
}

// readable says in words what a task of ours is for, and shows others as
// asynqmon would.
func readable(taskType string, payload []byte) string {
	var err error
	switch taskType {
	case tasks.TypeLookup:
		var p tasks.LookupPayload
		if p, err = tasks.DecodeLookup(payload); err == nil {
			return "look up " + words(p.Ref)
		}
	case tasks.TypePicture:
		var p tasks.PicturePayload
		if p, err = tasks.DecodePicture(payload); err == nil {
			return fmt.Sprintf("fetch picture %d of %s", p.Rank, words(p.Ref))
		}
	}
	raw := asynqmon.DefaultPayloadFormatter.FormatPayload(taskType, payload)
	if err != nil {
		return err.Error() + ": " + raw
	}
	return raw
}

func words(r tasks.Ref) string {
	return fmt.Sprintf("%q, batch %s, lane %s, generation %d, epoch %d", r.Name, r.Batch, r.Lane, r.Generation, r.Epoch)
}

// queuesIndex is asynqmon's page without what it would load from elsewhere,
// and the strictest policy that it bears: its own scripts by their hashes, and
// styles that it writes while it runs.
type queuesIndex struct {
	page   []byte
	policy string
}

var (
	outsideLink  = regexp.MustCompile(`<link[^>]*href="https?://[^>]*>`)
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
)

func newQueuesIndex(mon http.Handler) (queuesIndex, error) {
	rec := &page{header: make(http.Header)}
	r, err := http.NewRequest(http.MethodGet, queuesPath+"/", nil) //nolint:noctx // answered from memory
	if err != nil {
		return queuesIndex{}, err
	}
	mon.ServeHTTP(rec, r)
	page := outsideLink.ReplaceAll(rec.Bytes(), nil)
	if rec.status > http.StatusOK || !bytes.Contains(page, []byte("<script")) {
		return queuesIndex{}, errors.New("asynqmon has no page: this build lacks its files")
	}
	var hashes strings.Builder
	for _, m := range inlineScript.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(m[1])
		hashes.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	return queuesIndex{page, "default-src 'none'; script-src 'self'" + hashes.String() + "; style-src 'self' 'unsafe-inline'; " +
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"}, nil
}

// page is a response that is kept.
type page struct {
	bytes.Buffer
	header http.Header
	status int
}

func (p *page) Header() http.Header    { return p.header }
func (p *page) WriteHeader(status int) { p.status = status }
