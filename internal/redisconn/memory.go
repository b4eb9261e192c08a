package redisconn

import (
	"context"
	"fmt"
	"strconv"
)

// fullAt is the share of maxmemory, in per cent, above which Room refuses.
// What is left is for the workers, whose outcomes take memory before the tasks
// that they finish give theirs back.
const fullAt = 80

// FullError says that Redis has too little memory left for new names. Another
// try may succeed when names are finished or batches deleted.
type FullError struct {
	// Addr is the server's address, without user or password.
	Addr string
	// Max is its maxmemory in bytes.
	Max int64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("redis at %s is nearly full: the last %d %% of its maxmemory of %.1f MiB are kept for the workers; "+
		"raise its maxmemory, or delete batches that are no longer needed (harvest delete BATCH)",
		e.Addr, 100-fullAt, float64(e.Max)/(1<<20))
}

// Room returns a *FullError when with bytes more over 80 % of the maxmemory of
// the server were in use, or of any primary's in a Cluster, and nil otherwise.
// A server that has no maxmemory, or does not say, is taken to have room:
// writing shows.
func (c *Conn) Room(ctx context.Context, bytes int64) error {
	primaries, err := infoOfPrimaries(ctx, c.Plain, "memory")
	if err != nil {
		return nil //nolint:nilerr // as documented
	}
	for _, p := range primaries {
		limit := p.bytes("maxmemory")
		// Buffers for replicas and the append-only file do not count.
		used := p.bytes("used_memory") - p.bytes("mem_not_counted_for_evict")
		if limit > 0 && used+bytes > limit/100*fullAt {
			if p.addr == "" {
				p.addr = c.addr
			}
			return &FullError{Addr: p.addr, Max: limit}
		}
	}
	return nil
}

// bytes returns a field that counts bytes, 0 where there is none.
func (s serverInfo) bytes(field string) int64 {
	n, err := strconv.ParseInt(s.fields[field], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
