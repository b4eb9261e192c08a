// Package health tells an orchestrator and an operator how a process is: an
// HTTP server of its own with /healthz, /readyz and /metrics. It asks the
// parts what they know and decides nothing about them.
//
// The two questions are different ones. /healthz: would a restart help? It
// never depends on Redis, or an outage would restart a whole fleet. /readyz:
// can this process do its work now?
package health

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Board is where parts of a process say what is wrong with them and that only
// a restart or an operator can mend it. Its zero value is well.
type Board struct {
	mu  sync.Mutex
	ill map[string]error
}

// Set says how a part is; nil: well.
func (b *Board) Set(part string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.ill, part)
		return
	}
	if b.ill == nil {
		b.ill = make(map[string]error)
	}
	b.ill[part] = err
}

// Err returns what the parts have said, or nil if all are well.
func (b *Board) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, part := range slices.Sorted(maps.Keys(b.ill)) {
		errs = append(errs, fmt.Errorf("%s: %w", part, b.ill[part]))
	}
	return errors.Join(errs...)
}

// Check is one thing that a process needs for its work.
type Check struct {
	Name string
	// Do looks at it, and returns what there is to know where it is there.
	// It should end with ctx; where it does not, nobody waits for it.
	Do func(ctx context.Context) (detail string, err error)
}

// checkWithin bounds the checks of one question: less than the second after
// which an orchestrator's probe usually gives up.
const checkWithin = 800 * time.Millisecond

// ask makes all checks side by side and reports each on a line.
func ask(ctx context.Context, checks []Check) (text string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	type answer struct {
		detail string
		err    error
	}
	answers := make([]chan answer, len(checks))
	for i, c := range checks {
		answers[i] = make(chan answer, 1)
		go func() {
			detail, err := c.Do(ctx)
			answers[i] <- answer{detail, err}
		}()
	}
	var b strings.Builder
	ok = true
	for i, c := range checks {
		a := answer{err: errors.New("does not answer")}
		select {
		case a = <-answers[i]:
		case <-ctx.Done():
			// An answer that came in time counts, though another one did not.
			select {
			case a = <-answers[i]:
			default:
			}
		}
		word := "ok"
		if a.err != nil {
			ok, word, a.detail = false, "not ready", a.err.Error()
		}
		line(&b, c.Name, word, a.detail)
	}
	return b.String(), ok
}

// line writes "name: word" and, where there is more to know, "(detail)".
func line(b *strings.Builder, name, word, detail string) {
	fmt.Fprintf(b, "%s: %s", name, word)
	if detail != "" {
		fmt.Fprintf(b, " (%s)", strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, detail))
	}
	b.WriteByte('\n')
}
