package results

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
)

// HostCount is how many names failed at a host.
type HostCount struct {
	Host  string
	Names int64
}

// Hosts is [DB.FailedHosts] with how many names failed at each, the host with
// the most first. It costs a trip a host and not one a name.
func (db *DB) Hosts(ctx context.Context, b Batch, limit int) ([]HostCount, error) {
	hosts, err := db.FailedHosts(ctx, b, limit)
	if err != nil || len(hosts) == 0 {
		return nil, err
	}
	pipe := db.rdb.Pipeline()
	sizes := make(map[string][]*redis.IntCmd)
	for _, host := range hosts {
		for s := range b.Shards {
			sizes[host] = append(sizes[host], pipe.ZLexCount(ctx, db.keys.hosts(b.Name, s), "["+host+" ", "("+host+"!"))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	counts := make([]HostCount, 0, len(sizes))
	for host, cmds := range sizes {
		c := HostCount{Host: host}
		for _, cmd := range cmds {
			c.Names += cmd.Val()
		}
		counts = append(counts, c)
	}
	slices.SortFunc(counts, func(a, b HostCount) int {
		return cmp.Or(cmp.Compare(b.Names, a.Names), cmp.Compare(a.Host, b.Host))
	})
	return counts, nil
}

// maxAttributes bounds the attributes that are told apart.
const maxAttributes = 1000

// Attributes returns the names of the attributes that records of the batch
// have by name, those of the
// first records where there are more than 1,000. It reads every record.
func (db *DB) Attributes(ctx context.Context, b Batch) ([]string, error) {
	seen := make(map[string]bool)
	for r, err := range db.Each(ctx, b, Query{}) {
		if len(seen) >= maxAttributes {
			break
		}
		if IsRecordError(err) || (err == nil && r.Lookup == nil) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, a := range r.Lookup.Attributes {
			seen[a.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}
