package ui

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// count writes a number with separators.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes a number of things.
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// pace writes names a second. app.js writes it likewise.
func pace(perSecond float64) string {
	switch {
	case perSecond <= 0:
		return ""
	case perSecond < 1:
		return fmt.Sprintf("%.1f names a minute", perSecond*60)
	case perSecond < 10:
		return fmt.Sprintf("%.1f names a second", perSecond)
	}
	return count(int64(math.Round(perSecond))) + " names a second"
}

// left writes how long something will take. app.js writes it likewise.
func left(seconds float64) string {
	switch {
	case seconds <= 0:
		return ""
	case seconds < 90:
		return fmt.Sprintf("about %.0f s left", math.Ceil(seconds))
	case seconds < 90*60:
		return fmt.Sprintf("about %.0f min left", math.Round(seconds/60))
	case seconds < 48*60*60:
		return fmt.Sprintf("about %.0f h left", math.Round(seconds/3600))
	}
	return fmt.Sprintf("about %.0f days left", math.Round(seconds/86400))
}

// moment writes a time for people who run no script; app.js turns it into the
// reader's own.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") + " UTC" }

// instant is moment to the second, for times that are compared.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

func machineTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
