package main

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"
)

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(b.to, format, args...) }

// printFigures prints the median of each figure for each system.
func (b *bench) printFigures(r row, rounds []round) {
	t := tabwriter.NewWriter(b.to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\tnames/s\tof floor\tclient CPU\tRedis CPU\tpeak memory\tenqueued/s\t")
	for _, s := range r.systems {
		middle := func(of func(figures) float64) float64 {
			all := make([]float64, len(rounds))
			for i, this := range rounds {
				all[i] = of(this[s])
			}
			return median(all)
		}
		ratios := make([]float64, len(rounds))
		for i, this := range rounds {
			ratios[i] = this[s].perSecond / this[floor].perSecond
		}
		enqueued, redis := "-", "-"
		if n := middle(func(f figures) float64 { return f.enqueued }); n > 0 {
			enqueued = fmt.Sprintf("%.0f", n)
			redis = fmt.Sprintf("%.0f µs", middle(func(f figures) float64 { return micros(f.redis) }))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.0f µs\t%s\t%.0f MB\t%s\t\n", s,
			middle(func(f figures) float64 { return f.perSecond }), median(ratios),
			middle(func(f figures) float64 { return micros(f.client) }), redis,
			middle(func(f figures) float64 { return float64(f.peak) / (1 << 20) }), enqueued)
	}
	_ = t.Flush() // to the terminal, as all that is printed
}

// printTarget prints a figure beside its target and reports whether it was
// reached by the median.
func (b *bench) printTarget(t target, got []float64) bool {
	middle := median(got)
	verdict, sign := "reached", "≤"
	if t.atLeast {
		sign = "≥"
	}
	if !t.met(middle) {
		verdict = "MISSED"
	}
	spread := ""
	if len(got) > 1 {
		spread = fmt.Sprintf(" (%s to %s)", number(slices.Min(got)), number(slices.Max(got)))
	}
	b.printf("  %s %s: %s %s%s, target %s %s %s\n", verdict, t.what, number(middle), t.unit, spread, sign, number(t.want), t.unit)
	return t.met(middle)
}

// number writes three digits that matter.
func number(f float64) string {
	if f >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

func (b *bench) printTook(began time.Time) {
	b.printf("\nAll files and counts are right. %s\n", time.Since(began).Round(time.Second))
}
