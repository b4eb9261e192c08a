package results

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// KeyError says that something that is not ours stands under one of our keys.
// No command on the batch that needs the key can succeed until it is gone.
type KeyError struct{ Key, Has, Want string }

// Error names the key and the cure.
func (e *KeyError) Error() string {
	return fmt.Sprintf("key %s in Redis holds a %s where harvest keeps a %s: look who wrote it, and remove it there", e.Key, e.Has, e.Want)
}

// CheckKeys looks whether what stands under the keys of a batch is of the
// kind that it should be. Errors are [*KeyError], joined, or Redis's.
func (db *DB) CheckKeys(ctx context.Context, b Batch) error {
	want := map[string]string{db.keys.batch(b.Name): "hash", db.keys.leases(b.Name): "zset"}
	for s := range b.Shards {
		for _, key := range db.shardKeys(b.Name, s) {
			want[key] = "zset"
		}
		for _, key := range []string{
			db.keys.meta(b.Name, s), db.keys.records(b.Name, s), db.keys.tries(b.Name, s), db.keys.crashes(b.Name, s),
			db.keys.refreshed(b.Name, s),
		} {
			want[key] = "hash"
		}
		want[db.keys.dropped(b.Name, s)] = "set"
	}
	pipe := db.rdb.Pipeline()
	has := make(map[string]*redis.StatusCmd, len(want))
	for key := range want {
		has[key] = pipe.Type(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	var broken []error
	for key, cmd := range has {
		if kind := cmd.Val(); kind != "none" && kind != want[key] {
			broken = append(broken, &KeyError{key, kind, want[key]})
		}
	}
	return errors.Join(broken...)
}

// wrongType turns Redis's complaint about a key of the batch into one that
// names the key.
func (db *DB) wrongType(ctx context.Context, b Batch, err error) error {
	if !isWrongType(err) {
		return err
	}
	if broken := db.CheckKeys(ctx, b); broken != nil {
		return broken
	}
	return err
}

// isWrongType reports whether Redis complains about what stands under a key.
// Inside a script some servers put words of their own before it.
func isWrongType(err error) bool { return strings.Contains(err.Error(), "WRONGTYPE") }
