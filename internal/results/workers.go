package results

import (
	"context"
	"time"
)

// PresenceTime is how long a worker counts as alive after it said so.
const PresenceTime = 15 * time.Second

// Present notes that the worker process id is alive, and returns how many
// are. Call it well within [PresenceTime].
func (db *DB) Present(ctx context.Context, id string) (int, error) {
	return db.present(ctx, id, PresenceTime)
}

// Leave notes that the worker process id is gone.
func (db *DB) Leave(ctx context.Context, id string) error {
	_, err := db.present(ctx, id, 0)
	return err
}

// Workers returns how many worker processes are alive.
func (db *DB) Workers(ctx context.Context) (int, error) {
	return db.present(ctx, "", 0)
}

// WorkerIDs returns the worker processes that are alive.
func (db *DB) WorkerIDs(ctx context.Context) ([]string, error) {
	// Counting them forgets those that are not.
	if _, err := db.Workers(ctx); err != nil {
		return nil, err
	}
	return db.rdb.ZRange(ctx, db.keys.workers(), 0, -1).Result()
}

func (db *DB) present(ctx context.Context, id string, ttl time.Duration) (int, error) {
	return presentScript.Run(ctx, db.rdb, []string{db.keys.workers()}, id, ttl.Milliseconds()).Int()
}
