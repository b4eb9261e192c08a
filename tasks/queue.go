package tasks

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Lane is one of the two queues of a kind: the first names of every batch
// travel in the express lane, so that a small batch never waits behind a
// large one.
type Lane string

// The lanes.
const (
	Express Lane = "express"
	Bulk    Lane = "bulk"
)

// ExpressNames is how many names of a batch go into the express lane.
const ExpressNames = 1000

// MaxShards bounds the shards of a batch.
const MaxShards = 256

func (l Lane) valid() bool { return l == Express || l == Bulk }

// Kind is what a queue holds.
type Kind string

// The kinds.
const (
	Lookups  Kind = "lookup"
	Pictures Kind = "picture"
)

// Queue names one asynq queue. Lookups have queues of their own for each
// provider: a service that allows 200 a minute must not hold up another.
type Queue struct {
	// Namespace keeps installations on one Redis apart; usually empty.
	Namespace string
	Kind      Kind
	// Provider is empty for pictures.
	Provider string
	Lane     Lane
	Shard    int
}

// String returns the queue's name: `lookup-people-express`, `picture-bulk`,
// `picture-bulk-3` for shard 3, `ns.picture-bulk` in namespace ns.
func (q Queue) String() string {
	var b strings.Builder
	if q.Namespace != "" {
		b.WriteString(q.Namespace)
		b.WriteByte('.')
	}
	b.WriteString(string(q.Kind))
	if q.Provider != "" {
		b.WriteByte('-')
		b.WriteString(q.Provider)
	}
	b.WriteByte('-')
	b.WriteString(string(q.Lane))
	if q.Shard > 0 {
		b.WriteByte('-')
		b.WriteString(strconv.Itoa(q.Shard))
	}
	return b.String()
}

// ParseQueue reads a queue's name and reports whether it is one of ours.
func ParseQueue(s string) (Queue, bool) {
	q := Queue{}
	if ns, rest, ok := strings.Cut(s, "."); ok {
		q.Namespace, s = ns, rest
	}
	parts := strings.Split(s, "-")
	if n, err := strconv.Atoi(parts[len(parts)-1]); err == nil && len(parts) > 2 {
		q.Shard, parts = n, parts[:len(parts)-1]
	}
	q.Lane = Lane(parts[len(parts)-1])
	q.Kind = Kind(parts[0])
	switch {
	case len(parts) < 2 || !q.Lane.valid():
		return Queue{}, false
	case q.Kind == Lookups && len(parts) > 2:
		q.Provider = strings.Join(parts[1:len(parts)-1], "-")
	case q.Kind == Pictures && len(parts) == 2:
	default:
		return Queue{}, false
	}
	return q, true
}

// Shard returns which of n shards holds name. The rule is data at rest:
// FNV-1a over the name's bytes, modulo n.
func Shard(name string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return int(h.Sum64() % uint64(n))
}

// CheckShards refuses a number of shards that makes no sense.
func CheckShards(n int) error {
	if n < 1 || n > MaxShards {
		return fmt.Errorf("queue.shards is %d: give 1 to %d; each shard is two queues that every worker looks at", n, MaxShards)
	}
	return nil
}
