package results

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/tasks"
)

// OpenCount is how many names of a batch have work to come.
type OpenCount struct {
	Batch string
	Names int64
}

// OpenCounts returns the counts of the newest batches, at most limit of them,
// the newest first, and how many batches there are. It takes three trips to
// Redis whatever the number of batches and shards.
func (db *DB) OpenCounts(ctx context.Context, limit int) (counts []OpenCount, batches int64, err error) {
	lists := db.rdb.Pipeline()
	newest := lists.ZRevRange(ctx, db.keys.batches(), 0, int64(limit)-1)
	all := lists.ZCard(ctx, db.keys.batches())
	if _, err := lists.Exec(ctx); err != nil {
		return nil, 0, fmt.Errorf("list the batches: %w", err)
	}
	heads := db.rdb.Pipeline()
	shards := make([]*redis.SliceCmd, len(newest.Val()))
	for i, name := range newest.Val() {
		shards[i] = heads.HMGet(ctx, db.keys.batch(name), "shards")
	}
	if err := exec(ctx, heads); err != nil {
		return nil, 0, fmt.Errorf("read the batches: %w", err)
	}
	sizes := db.rdb.Pipeline()
	open := make([][]*redis.IntCmd, len(shards))
	for i, name := range newest.Val() {
		for s := range shardsOf(shards[i].Val()) {
			for _, st := range States() {
				if st.Open() {
					open[i] = append(open[i], sizes.ZCard(ctx, db.keys.state(name, s, st)))
				}
			}
		}
	}
	if err := exec(ctx, sizes); err != nil {
		return nil, 0, fmt.Errorf("count the open names: %w", err)
	}
	for i, name := range newest.Val() {
		c := OpenCount{Batch: name}
		for _, cmd := range open[i] {
			c.Names += cmd.Val()
		}
		counts = append(counts, c)
	}
	return counts, all.Val(), nil
}

// shardsOf reads a batch's number of shards; one that is gone has none.
func shardsOf(fields []any) int {
	if len(fields) == 0 {
		return 0
	}
	text, _ := fields[0].(string)
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return min(n, tasks.MaxShards)
}

// exec sends what stands in pipe, if anything does. What another program has
// put under one of our keys counts as nothing.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	if pipe.Len() == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return err
	}
	return nil
}
