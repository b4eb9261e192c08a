package lookup

import (
	"math"
	"time"
)

// Limits are what one host allows: requests begun per window, and at once.
// Several may hold together. Zero is no limit.
type Limits struct {
	PerSecond, PerMinute, PerHour, PerDay int
	InFlight                              int
}

// ServiceLimits are the limits of the two kinds of hosts of a service.
type ServiceLimits struct {
	// Lookup holds for the lookup's host.
	Lookup Limits
	// Anonymous holds instead of Lookup while an optional secret is not set.
	// Zero where the service makes no difference.
	Anonymous Limits
	// Picture holds for each picture host.
	Picture Limits
}

type window struct {
	length time.Duration
	count  int
}

// LeastTime returns the least time between the first and the last of n
// requests. InFlight plays no part in it, since nobody knows how long a
// request takes.
func (l Limits) LeastTime(n int) time.Duration {
	return leastTime([]window{
		{24 * time.Hour, l.PerDay},
		{time.Hour, l.PerHour},
		{time.Minute, l.PerMinute},
		{time.Second, l.PerSecond},
	}, n)
}

// leastTime takes the longest window first: after the full windows, the
// requests left over still obey the shorter ones.
func leastTime(ws []window, n int) time.Duration {
	if len(ws) == 0 || n <= 1 {
		return 0
	}
	w, rest := ws[0], ws[1:]
	least := leastTime(rest, n)
	if w.count <= 0 {
		return least
	}
	full := (n - 1) / w.count
	if int64(full) > math.MaxInt64/2/int64(w.length) {
		return math.MaxInt64
	}
	return max(least, time.Duration(full)*w.length+min(leastTime(rest, n-full*w.count), math.MaxInt64/2))
}
