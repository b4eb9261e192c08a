package embedded

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// snapshotVersion is raised when the file's form changes.
const snapshotVersion = 1

// snapshot is the content of the file of that name, in gob: values are bytes,
// which JSON could not hold.
type snapshot struct {
	Version int
	Keys    []snapshotKey
}

// snapshotKey is one key. Values are a string's one value, a list's or set's
// members, a hash's fields and values by turns, or a sorted set's members and
// scores by turns.
type snapshotKey struct {
	Key     string
	Type    string
	Expires int64 // unix milliseconds, 0 for never
	Values  []string
}

// dumpScript reads everything at one moment. Result: for each key an array of
// name, type, milliseconds to live, and an array of values.
var dumpScript = redis.NewScript(`
local all = {}
for _, key in ipairs(redis.call("KEYS", "*")) do
	local kind = redis.call("TYPE", key)
	if type(kind) == "table" then kind = kind.ok end
	local values = {}
	if kind == "string" then values = {redis.call("GET", key)}
	elseif kind == "list" then values = redis.call("LRANGE", key, 0, -1)
	elseif kind == "set" then values = redis.call("SMEMBERS", key)
	elseif kind == "hash" then values = redis.call("HGETALL", key)
	elseif kind == "zset" then values = redis.call("ZRANGE", key, 0, -1, "WITHSCORES")
	end
	table.insert(all, {key, kind, redis.call("PTTL", key), values})
end
return all`)

// saveSnapshot replaces file by all that the server holds at one moment.
func saveSnapshot(ctx context.Context, c *redis.Client, file string) error {
	reply, err := dumpScript.Run(ctx, c, nil).Slice()
	if err != nil {
		return fmt.Errorf("read the data of miniredis: %w", err)
	}
	snap := snapshot{Version: snapshotVersion, Keys: make([]snapshotKey, 0, len(reply))}
	now := time.Now().UnixMilli()
	for _, item := range reply {
		k, err := parseDump(item, now)
		if err != nil {
			return fmt.Errorf("read the data of miniredis: %w", err)
		}
		snap.Keys = append(snap.Keys, k)
	}
	return writeFile(file, func(w io.Writer) error { return gob.NewEncoder(w).Encode(snap) })
}

// parseDump reads one element of dumpScript's result.
func parseDump(item any, now int64) (snapshotKey, error) {
	parts, ok := item.([]any)
	if !ok || len(parts) != 4 {
		return snapshotKey{}, fmt.Errorf("unexpected element %T", item)
	}
	key, okKey := parts[0].(string)
	kind, okKind := parts[1].(string)
	ttl, okTTL := parts[2].(int64)
	values, okValues := parts[3].([]any)
	if !okKey || !okKind || !okTTL || !okValues {
		return snapshotKey{}, fmt.Errorf("unexpected parts %T %T %T %T", parts[0], parts[1], parts[2], parts[3])
	}
	k := snapshotKey{Key: key, Type: kind, Values: make([]string, len(values))}
	if _, ok := loadCommands[kind]; !ok {
		return k, fmt.Errorf("key %q has the type %s, which a snapshot cannot hold", key, kind)
	}
	if ttl >= 0 {
		k.Expires = now + ttl
	}
	for i, v := range values {
		if k.Values[i], ok = v.(string); !ok {
			return k, fmt.Errorf("key %q has a value of %T", key, v)
		}
	}
	return k, nil
}

// loadCommands are the commands that make a key of a type from its values.
var loadCommands = map[string]string{
	"string": "SET", "list": "RPUSH", "set": "SADD", "hash": "HSET", "zset": "ZADD",
}

// loadSnapshot puts the content of file into an empty server. A file that is
// missing is an empty one; keys that have expired meanwhile are left out.
func loadSnapshot(ctx context.Context, c *redis.Client, file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var snap snapshot
	if err := gob.NewDecoder(f).Decode(&snap); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if snap.Version != snapshotVersion {
		return fmt.Errorf("read %s: version %d, but this program reads %d", file, snap.Version, snapshotVersion)
	}
	now := time.Now().UnixMilli()
	pipe := c.Pipeline()
	for _, k := range snap.Keys {
		if k.Expires != 0 && k.Expires <= now {
			continue
		}
		if err := addKey(ctx, pipe, k); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if pipe.Len() >= 1000 {
			if _, err := pipe.Exec(ctx); err != nil {
				return fmt.Errorf("load %s: %w", file, err)
			}
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

// addKey queues the commands that make k. Long values go in pieces of an even
// number, since some come in pairs.
func addKey(ctx context.Context, pipe redis.Pipeliner, k snapshotKey) error {
	command, ok := loadCommands[k.Type]
	if !ok {
		return fmt.Errorf("key %q has the unknown type %q", k.Key, k.Type)
	}
	for piece := range slices.Chunk(k.Values, 1000) {
		args := []any{command, k.Key}
		if k.Type == "zset" {
			for pair := range slices.Chunk(piece, 2) {
				slices.Reverse(pair) // ZADD wants the score first
			}
		}
		for _, v := range piece {
			args = append(args, v)
		}
		pipe.Do(ctx, args...)
	}
	if k.Expires != 0 {
		pipe.PExpireAt(ctx, k.Key, time.UnixMilli(k.Expires))
	}
	return nil
}

// adopt makes the folder the child's: where it was miniredis's, its snapshot
// is loaded first. The engine file is written last and decides, so that a
// crash before it begins again with an empty server.
func adopt(ctx context.Context, c *child, dir string, fromMini bool) error {
	file := filepath.Join(dir, "snapshot")
	if fromMini {
		if err := migrate(ctx, c, file); err != nil {
			return err
		}
	}
	if err := writeEngine(dir, EngineRedis); err != nil {
		return err
	}
	if err := os.Rename(file, file+".migrated"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func migrate(ctx context.Context, c *child, file string) error {
	rdb, err := client(c.info().URL)
	if err != nil {
		return err
	}
	defer rdb.Close()
	if err := rdb.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty the new redis: %w", err)
	}
	// Nothing is on disk for sure before this is undone.
	if err := rdb.ConfigSet(ctx, "appendfsync", "always").Err(); err != nil {
		return fmt.Errorf("configure the new redis: %w", err)
	}
	if err := loadSnapshot(ctx, rdb, file); err != nil {
		return err
	}
	if err := rdb.ConfigSet(ctx, "appendfsync", "everysec").Err(); err != nil {
		return fmt.Errorf("configure the new redis: %w", err)
	}
	return nil
}
