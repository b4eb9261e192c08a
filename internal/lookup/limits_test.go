package lookup

import (
	"math"
	"testing"
	"time"
)

func TestLeastTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		title  string
		limits Limits
		n      int
		want   time.Duration
	}{
		{"no limits", Limits{InFlight: 1}, 1_000_000, 0},
		{"no names", Limits{PerHour: 60}, 0, 0},
		{"one window full", Limits{PerHour: 60}, 60, 0},
		{"one more", Limits{PerHour: 60}, 61, time.Hour},
		{"a thousand", Limits{PerHour: 60}, 1000, 16 * time.Hour},
		{"a second", Limits{PerSecond: 1}, 11, 10 * time.Second},
		{"the day is not the bound", Limits{PerMinute: 60, PerDay: 10_000}, 601, 10 * time.Minute},
		{"the day, then the minutes", Limits{PerMinute: 60, PerDay: 10_000}, 10_601, 24*time.Hour + 10*time.Minute},
		{"a minute stricter than the hour", Limits{PerMinute: 1, PerHour: 1000}, 121, 2 * time.Hour},
		{"beyond all time", Limits{PerDay: 1}, math.MaxInt, math.MaxInt64},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			if got := tt.limits.LeastTime(tt.n); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
