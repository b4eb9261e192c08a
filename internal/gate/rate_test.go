package gate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/redistest"
)

// oracle keeps every grant and looks at all of them.
type oracle struct {
	limits gate.Limits
	grants []time.Time
}

// rule allows n grants in any time of a length.
type rule struct {
	n      int
	length time.Duration
}

func (o *oracle) rules() []rule {
	us := func(d time.Duration, n, of int) time.Duration {
		return (d * time.Duration(n) / time.Duration(of)).Truncate(time.Microsecond)
	}
	var rules []rule
	l := o.limits
	if l.PerSecond > 0 {
		rules = append(rules, rule{l.PerSecond, time.Second}, rule{1, us(time.Second, 1, l.PerSecond)})
	}
	if l.PerMinute > 0 {
		b := max(1, l.PerMinute/10)
		rules = append(rules, rule{l.PerMinute, time.Minute}, rule{b, us(time.Minute, b, l.PerMinute)})
	}
	if l.PerHour > 0 {
		rules = append(rules, rule{l.PerHour, time.Hour})
	}
	if l.PerDay > 0 {
		rules = append(rules, rule{l.PerDay, 24 * time.Hour})
	}
	return rules
}

// earliest is the first time from now on at which one more grant breaks no rule.
func (o *oracle) earliest(now time.Time) time.Time {
	at := now
	for _, g := range o.grants {
		if g.After(at) {
			at = g
		}
	}
	for again := true; again; {
		again = false
		for _, r := range o.rules() {
			inside, first := 0, time.Time{}
			for _, g := range o.grants {
				if at.Sub(g) <= r.length {
					if inside == 0 {
						first = g
					}
					inside++
				}
			}
			if inside >= r.n {
				at, again = first.Add(r.length+time.Microsecond), true
			}
		}
	}
	return at
}

// check fails the test if any rule is broken, however the window is laid.
func (o *oracle) check(t *testing.T) {
	t.Helper()
	for _, r := range o.rules() {
		for i := r.n; i < len(o.grants); i++ {
			if d := o.grants[i].Sub(o.grants[i-r.n]); d <= r.length {
				t.Fatalf("%+v: %d grants within %v, want at most %d in %v", o.limits, r.n+1, d, r.n, r.length)
			}
		}
	}
}

// play lets a gate and the oracle decide the same questions.
func play(t *testing.T, m *miniredis.Miniredis, g *gate.Gate, host string, l gate.Limits, steps []byte) {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	o := &oracle{limits: l}
	for _, s := range steps {
		// The high bits say how long it is quiet first, the low ones how many ask.
		now = now.Add(time.Duration(1<<(s>>3)) * 37 * time.Microsecond)
		m.SetTime(now)
		wanted := int(s&7) + 1
		got, err := g.Take(host, l, wanted)
		if err != nil {
			t.Fatal(err)
		}
		var want []time.Duration
		for range wanted {
			at := o.earliest(now)
			if at.Sub(now) > time.Second {
				break
			}
			o.grants = append(o.grants, at)
			want = append(want, at.Sub(now))
		}
		if len(got) > len(want) {
			t.Fatalf("%+v: got %v, want %v", l, got, want)
		}
		// Roundings may let a gate be a few µs later than the oracle.
		for i := range got {
			if d := got[i] - want[i]; d < 0 || d > 20*time.Microsecond {
				t.Fatalf("%+v: got %v, want %v", l, got, want)
			}
			o.grants[len(o.grants)-len(want)+i] = now.Add(got[i])
		}
		if n := len(want) - len(got); n > 1 {
			t.Fatalf("%+v: got %v, want %v", l, got, want)
		} else if n > 0 {
			o.grants = o.grants[:len(o.grants)-n]
		}
	}
	o.check(t)
}

func TestRateIsTheOracles(t *testing.T) {
	t.Parallel()
	m := redistest.Mini(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { rdb.Close() })
	g := newGate(t, rdb, gate.Options{})
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := gate.Limits{PerSecond: r.IntN(2) * (1 + r.IntN(30)), PerMinute: r.IntN(2) * (1 + r.IntN(100)), PerHour: r.IntN(2) * (1 + r.IntN(150)), PerDay: 1 + r.IntN(200)}
		steps := make([]byte, 80)
		for i := range steps {
			steps[i] = byte(r.IntN(256))
		}
		play(t, m, g, fmt.Sprintf("h%d.example", seed), l, steps)
	}
}

func FuzzRate(f *testing.F) {
	f.Add(uint8(20), uint8(0), uint8(0), uint8(0), []byte("\x00\x07\x47\x48\x80\x81\x07\x07"))
	f.Add(uint8(0), uint8(60), uint8(5), uint8(9), []byte("\x07\x07\x80\xa7\xb0\xff"))
	m := miniredis.NewMiniRedis()
	if err := m.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(m.Close)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	f.Cleanup(func() { rdb.Close() })
	n := 0
	f.Fuzz(func(t *testing.T, second, minute, hour, day uint8, steps []byte) {
		g := newGate(t, rdb, gate.Options{})
		n++
		l := gate.Limits{PerSecond: int(second), PerMinute: int(minute), PerHour: int(hour), PerDay: int(day)}
		play(t, m, g, fmt.Sprintf("f%d.example", n), l, steps[:min(len(steps), 100)])
	})
}

func TestDayQuotaOutlivesRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendfsync", "always")
	g := newGate(t, s.Client(), gate.Options{})
	ask := gate.Ask{Host: "a.example", Limits: gate.Limits{PerDay: 5}}
	for range 5 {
		acquire(t, g, ask)()
	}
	s.Kill()
	s.Restart()
	other := newGate(t, s.Client(), gate.Options{})
	for _, g := range []*gate.Gate{g, other} {
		if after := later(t, g, ask, "rate"); after < 7*time.Minute || after > 25*time.Hour {
			t.Errorf("come back after %v, want some minutes to a day", after)
		}
	}
	states, err := other.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := gate.Quota{Window: 24 * time.Hour, Limit: 5, Used: 5}
	if len(states) != 1 || len(states[0].Quotas) != 1 || states[0].Quotas[0] != want {
		t.Errorf("got %+v, want %+v", states, want)
	}
}

func BenchmarkGrant(b *testing.B) {
	for _, bm := range []struct {
		name   string
		limits gate.Limits
	}{
		{"none", gate.Limits{}},
		{"in_flight", gate.Limits{InFlight: 1000}},
		{"all", gate.Limits{PerSecond: 1_000_000, PerMinute: 1_000_000, PerHour: 1_000_000, PerDay: 1_000_000, InFlight: 1000}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			g := gate.New(redistest.Start(b, "--appendonly", "no").Client(), "", gate.Options{})
			defer g.Close()
			b.SetParallelism(50)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					release, err := g.Acquire(b.Context(), gate.Ask{Host: "a.example", Limits: bm.limits, Wait: time.Minute})
					if err != nil {
						b.Error(err)
						return
					}
					release()
				}
			})
		})
	}
}
