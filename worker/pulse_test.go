package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStuck(t *testing.T) {
	t.Parallel()
	// Each runs a worker's loop for an hour, a round a second, and says how
	// the minute goes.
	for name, test := range map[string]struct {
		minute func(p *pulse, n int) (loop, redis bool)
		want   string
	}{
		"idle":            {func(*pulse, int) (bool, bool) { return true, true }, ""},
		"Redis is away":   {func(p *pulse, n int) (bool, bool) { hang(p, n); return true, false }, ""},
		"Redis flickers":  {func(p *pulse, n int) (bool, bool) { hang(p, n); return true, n%10 != 0 }, ""},
		"tasks end":       {func(p *pulse, _ int) (bool, bool) { p.begin(); p.end(); return true, true }, ""},
		"one task hangs":  {func(p *pulse, n int) (bool, bool) { hang(p, n); p.begin(); p.end(); return true, true }, ""},
		"all tasks hang":  {func(p *pulse, n int) (bool, bool) { hang(p, n); return true, true }, "1 tasks are running and none has ended"},
		"the loop hangs":  {func(_ *pulse, n int) (bool, bool) { return n < 10, true }, "loop has not come round"},
		"a worker drains": {func(p *pulse, n int) (bool, bool) { p.draining.Store(true); return n < 10, true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := new(pulse)
				for n := range 60 {
					loop, redis := test.minute(p, n)
					for range 60 {
						if loop {
							p.cameRound(time.Now(), redis)
						}
						time.Sleep(time.Second)
					}
				}
				err := p.stuck(time.Now())
				if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

// hang begins a task in the first minute and never ends it.
func hang(p *pulse, n int) {
	if n == 0 {
		p.begin()
	}
}
