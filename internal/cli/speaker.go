package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// speaker is a slog.Handler for people: a line is "warning: what happened
// (key value, key value)", without time and quotes.
type speaker struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (s *speaker) Enabled(_ context.Context, l slog.Level) bool { return l >= s.level }

// Handle implements slog.Handler.
func (s *speaker) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	var parts []string
	add := func(a slog.Attr) bool {
		parts = append(parts, a.Key+" "+a.Value.String())
		return true
	}
	for _, a := range s.attrs {
		add(a)
	}
	r.Attrs(add)
	if len(parts) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(parts, ", "))
	}
	_, err := io.WriteString(s.w, printable(b.String())+"\n")
	return err
}

// WithAttrs implements slog.Handler.
func (s *speaker) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *s
	c.attrs = append(append([]slog.Attr(nil), s.attrs...), attrs...)
	return &c
}

// WithGroup implements slog.Handler. Groups say nothing to people.
func (s *speaker) WithGroup(string) slog.Handler { return s }
