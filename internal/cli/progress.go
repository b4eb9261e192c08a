package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/picharvest/picharvest/internal/results"
)

// The forms of progress.
const (
	progressAuto  = "auto"
	progressBar   = "bar"
	progressPlain = "plain"
	progressJSON  = "json"
	progressNone  = "none"
)

func progressWords() []string {
	return []string{progressAuto, progressBar, progressPlain, progressJSON, progressNone}
}

// progress shows how far a batch is, on stderr.
type progress interface {
	// name is called with every name that has come to its end in this
	// process, in the order of completion, from any goroutine.
	name(r results.Record)
	// counts is called a few times a second with where the batch is.
	counts(c results.Counts, sealed bool)
	// done ends the display.
	done()
}

// checkProgress refuses a form that there is not.
func checkProgress(form string) error {
	if !slices.Contains(progressWords(), form) {
		return usagef("unknown --progress %q%s", form, hint(form, progressWords()))
	}
	return nil
}

// newProgress returns the form that was asked for. auto is a bar on a
// terminal that can redraw one and plain lines elsewhere.
func newProgress(env *Env, form string) progress {
	if form == progressAuto {
		form = progressPlain
		if env.Err.redraws() {
			form = progressBar
		}
	}
	switch form {
	case progressBar:
		return newBar(env.Err)
	case progressPlain:
		return &lines{w: env.Err, began: time.Now()}
	case progressJSON:
		return &jsonLines{enc: json.NewEncoder(env.Err), began: time.Now()}
	}
	return silence{}
}

type silence struct{}

func (silence) name(results.Record)         {}
func (silence) counts(results.Counts, bool) {}
func (silence) done()                       {}

// bar is a progress bar with the name that was settled last.
type bar struct {
	screen *screen
	p      *mpb.Progress
	b      *mpb.Bar
	began  time.Time

	mu   sync.Mutex
	last string
	now  results.Counts
	from int64 // settled at the first look; -1 before it
}

func newBar(s *screen) *bar {
	b := &bar{screen: s, began: time.Now(), from: -1}
	b.p = mpb.New(mpb.WithOutput(s.w), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond), mpb.WithAutoRefresh())
	b.b = b.p.New(0, mpb.BarStyle().Rbound("]").Lbound("[").Filler("=").Tip(">").Padding(" "),
		mpb.PrependDecorators(decor.CountersNoUnit("%d/%d ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.label() })))
	s.through(b.p)
	return b
}

func (b *bar) label() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := " " + rate(b.now.Settled()-max(b.from, 0), b.began)
	if failed := b.now[results.Failed] + b.now[results.Partial]; failed > 0 {
		s += fmt.Sprintf(", %s failed", count(failed))
	}
	if b.last != "" {
		s += "  " + b.last
	}
	return s
}

func (b *bar) name(r results.Record) {
	b.mu.Lock()
	b.last = fmt.Sprintf("%s: %s", printable(r.Name), state(r))
	b.mu.Unlock()
}

func (b *bar) counts(c results.Counts, _ bool) {
	b.mu.Lock()
	if b.now = c; b.from < 0 {
		b.from = c.Settled()
	}
	b.mu.Unlock()
	b.b.SetTotal(max(c.Total(), 1), false)
	b.b.SetCurrent(c.Settled())
}

func (b *bar) done() {
	b.b.EnableTriggerComplete()
	b.b.Abort(false)
	b.p.Wait()
	b.screen.through(nil)
}

// rate is names a second, of those that were settled since the display began.
func rate(settled int64, began time.Time) string {
	d := time.Since(began).Seconds()
	if d <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f/s", float64(settled)/d)
}

// eachName is how many names are shown one by one where there is no bar.
const eachName = 100

// lines writes plain lines: each name of a small batch, and the counts every
// few seconds.
type lines struct {
	w     io.Writer
	began time.Time

	mu    sync.Mutex
	shown int
	last  time.Time
	from  int64 // settled at the first look
}

const linesEvery = 5 * time.Second

func (l *lines) name(r results.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown++; l.shown > eachName {
		return
	}
	what := ""
	if f := r.Explain(); f != nil {
		what = fmt.Sprintf(" (%s: %s)", f.Reason, printable(f.Message))
	}
	if r.Stale != nil {
		what = fmt.Sprintf(" (%s)", printable(staleWords(*r.Stale)))
	}
	fmt.Fprintf(l.w, "%s: %s%s\n", printable(r.Name), state(r), what)
	if l.shown == eachName {
		fmt.Fprintf(l.w, "further names are only counted\n")
	}
}

func (l *lines) counts(c results.Counts, sealed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.last, l.from = l.began, c.Settled()
	}
	if time.Since(l.last) < linesEvery {
		return
	}
	l.last = time.Now()
	total := count(c.Total())
	if !sealed {
		total += " so far"
	}
	fmt.Fprintf(l.w, "%s of %s: %s, %s\n", count(c.Settled()), total, states(c), rate(c.Settled()-l.from, l.began))
}

func (l *lines) done() {}

// states writes the states that have names.
func states(c results.Counts) string {
	s := ""
	for _, st := range results.States() {
		if c[st] == 0 {
			continue
		}
		if s != "" {
			s += ", "
		}
		s += count(c[st]) + " " + string(st)
	}
	if s == "" {
		return "nothing yet"
	}
	return s
}

// jsonLines writes one object a second.
type jsonLines struct {
	enc   *json.Encoder
	began time.Time

	mu   sync.Mutex
	last time.Time
}

func (j *jsonLines) name(results.Record) {}

func (j *jsonLines) counts(c results.Counts, sealed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if time.Since(j.last) < time.Second {
		return
	}
	j.last = time.Now()
	// A progress line that cannot be written is no reason to stop work.
	_ = j.enc.Encode(map[string]any{
		"event": "progress", "seconds": time.Since(j.began).Seconds(), "states": c.ByState(), "refreshing": c[results.Refreshing],
		"total": c.Total(), "settled": c.Settled(), "sealed": sealed,
	})
}

func (j *jsonLines) done() {}
