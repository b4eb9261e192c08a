package results

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Standing is what decides whether tasks of a batch are to go on.
type Standing struct {
	Epoch  int64
	Status Status
}

// Runs reports whether tasks that were made in epoch are to go on.
func (s Standing) Runs(epoch int64) bool { return s.Status == Running && epoch >= s.Epoch }

// Standing returns the standing of a batch, the zero one where it is gone. It
// is for a worker with tasks of that epoch under way, which tells how many
// bytes of pictures it stored since it last asked.
func (db *DB) Standing(ctx context.Context, batch string, epoch, bytes int64) (Standing, error) {
	reply, err := standingScript.Run(ctx, db.rdb, []string{db.keys.batch(batch)}, epoch, bytes).StringSlice()
	if errors.Is(err, redis.Nil) {
		return Standing{}, nil
	}
	if err != nil {
		return Standing{}, err
	}
	return Standing{number(reply[0]), Status(reply[1])}, nil
}
