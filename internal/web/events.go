package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/results"
)

const (
	// heartbeat is the longest silence of a stream.
	heartbeat = 15 * time.Second
	// eventWithin is how long one event may take on its way into the
	// connection; a reader that is slower is dropped.
	eventWithin = 10 * time.Second
	// reconnectAfter is what browsers are told to wait, in milliseconds.
	reconnectAfter = 2000
	// maxStreams bounds the streams that are open at once.
	maxStreams = 10_000
)

// streamEpoch tells the event IDs of this process from those of others.
var streamEpoch = uuid.NewString()[:8]

// events streams progress as server-sent events (WHATWG HTML, section 9.2):
//
//	batch    a batch as it is now, as GET /batches/BATCH has it
//	gone     {"batch": …} was deleted
//	trouble  a problem: nothing newer is known; what comes next ends it
//
// A client that comes back with Last-Event-ID gets what changed since. What a
// reader is too slow for is left out: the newest state of each batch is all
// that counts.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	batch := r.PathValue("batch")
	if batch != "" {
		// Any other error becomes an event: browsers do not come back to a
		// stream that was refused.
		if _, err := s.deps.Control.Batch(r.Context(), batch); errors.Is(err, results.ErrNoBatch) {
			return err
		}
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "too many streams are open; ask for the batch itself now and then"})
		return nil
	}
	defer s.streams.Add(-1)
	if err := keepReading(w); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would gather events
	stream := &stream{w: w, place: s.deps.Control.Place(), seen: lastSeen(r)}
	if r.Method == http.MethodHead {
		return nil
	}
	watch := s.deps.Control.Watch(batch)
	defer watch.Close()
	err := stream.begin()
	for err == nil {
		var snapshot control.Snapshot
		next, cancel := context.WithTimeout(r.Context(), heartbeat)
		snapshot, err = watch.Next(next)
		cancel()
		switch {
		case r.Context().Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			err = stream.send([]byte(":\n\n"))
		case err == nil:
			err = stream.snapshot(snapshot)
		}
	}
	return nil // the reader left, or was too slow
}

// stream writes events for one reader.
type stream struct {
	w     http.ResponseWriter
	place string
	// seen is the version that the reader has.
	seen     uint64
	troubled bool
}

// lastSeen reads the ID of the last event that the reader got from this
// process.
func lastSeen(r *http.Request) uint64 {
	epoch, version, _ := strings.Cut(r.Header.Get("Last-Event-ID"), "-")
	n, err := strconv.ParseUint(version, 10, 64)
	if epoch != streamEpoch || err != nil {
		return 0
	}
	return n
}

func (s *stream) begin() error { return s.send(fmt.Appendf(nil, "retry: %d\n\n", reconnectAfter)) }

func (s *stream) snapshot(snap control.Snapshot) error {
	var b bytes.Buffer
	if s.troubled && snap.Err == nil {
		s.seen = 0 // the reader is to see that the trouble is over
	}
	s.troubled = snap.Err != nil
	// In the order of their IDs, so that the last one stands for all before it.
	changes := slices.SortedFunc(slices.Values(snap.Batches), func(a, b control.Seen) int { return cmp.Compare(a.Version, b.Version) })
	for _, seen := range changes {
		if seen.Version <= s.seen {
			continue
		}
		if seen.Gone {
			event(&b, "gone", seen.Version, goneJSON{seen.Name})
		} else {
			event(&b, "batch", seen.Version, json.RawMessage(seen.JSON))
		}
	}
	if snap.Err != nil {
		p := asProblem(snap.Err, s.place)
		p.Title = http.StatusText(p.Status)
		event(&b, "trouble", snap.Version, p)
	}
	s.seen = snap.Version
	if b.Len() == 0 {
		return nil
	}
	return s.send(b.Bytes())
}

// goneJSON tells of a batch that was deleted.
type goneJSON struct {
	Batch string `json:"batch"`
}

func event(b *bytes.Buffer, name string, version uint64, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // of words and numbers alone; it cannot be
	}
	fmt.Fprintf(b, "event: %s\nid: %s-%d\ndata: %s\n\n", name, streamEpoch, version, data)
}

func (s *stream) send(p []byte) error {
	if err := extendWrite(s.w, eventWithin); err != nil {
		return err
	}
	if _, err := s.w.Write(p); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}
