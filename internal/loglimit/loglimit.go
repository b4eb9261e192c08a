// Package loglimit keeps a log readable whatever goes wrong: of each message
// a few lines pass at once and then one every ten seconds, which tells how
// many were left out. It relies on messages that are constant, with what
// varies in their attributes.
package loglimit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// perMessage lines of one message pass at once, then one in every.
	perMessage = 10
	every      = 10 * time.Second
	// Over all messages: in case that one varies after all.
	perSecond = 5
	atOnce    = 50
	// maxMessages bounds what is remembered.
	maxMessages = 1000
)

// Handler passes on to another one. Lines of level debug are not limited: who
// asks for them wants them all.
type Handler struct {
	next slog.Handler
	book *book
}

var _ slog.Handler = (*Handler)(nil)

// New returns a Handler before next.
func New(next slog.Handler) *Handler {
	return &Handler{next: next, book: &book{
		all: rate.NewLimiter(perSecond, atOnce), messages: make(map[string]*message),
	}}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		leftOut, ok := h.book.take(r.Message)
		if !ok {
			return nil
		}
		if leftOut > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("left_out", leftOut))
		}
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler. The limits stay common ones.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), book: h.book}
}

// WithGroup implements slog.Handler. The limits stay common ones.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), book: h.book}
}

type book struct {
	mu       sync.Mutex
	all      *rate.Limiter
	messages map[string]*message
}

type message struct {
	limit   *rate.Limiter
	leftOut int
}

// take reports whether a line may pass, and how many like it did not since
// the last one that did.
func (b *book) take(text string) (leftOut int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.messages[text]
	if m == nil {
		if len(b.messages) >= maxMessages {
			clear(b.messages)
		}
		m = &message{limit: rate.NewLimiter(rate.Every(every), perMessage)}
		b.messages[text] = m
	}
	if !m.limit.Allow() || !b.all.Allow() {
		m.leftOut++
		return 0, false
	}
	leftOut, m.leftOut = m.leftOut, 0
	return leftOut, true
}
