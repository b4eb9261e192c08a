package tasks

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/hibiken/asynq"
)

const (
	// maxRetry is out of reach on purpose: asynq archives a task that has
	// used up its retries without calling any handler, so the worker's own
	// count of tries must always come first.
	maxRetry = 1_000_000
	// timeout must be whole seconds for asynq. It bounds a handler that
	// waits for its host; the exchange itself has deadlines of its own.
	timeout = time.Hour
)

// NewLookupTask returns the task that looks up the name of r at provider.
func NewLookupTask(namespace, provider string, r Ref) (*asynq.Task, error) {
	payload, err := json.Marshal(LookupPayload{Version: PayloadVersion, Ref: r})
	if err != nil {
		return nil, err
	}
	q := Queue{Namespace: namespace, Kind: Lookups, Provider: provider, Lane: r.Lane, Shard: r.Shard}
	return asynq.NewTask(TypeLookup, payload, options(q, ID(r, Lookups, 0))...), nil
}

// NewPictureTask returns the task that fetches picture rank of the name of r.
func NewPictureTask(namespace string, r Ref, rank int) (*asynq.Task, error) {
	return NewTriedPictureTask(namespace, r, rank, 0)
}

// NewTriedPictureTask returns the same task for a picture at which some tries
// have failed already.
func NewTriedPictureTask(namespace string, r Ref, rank, tries int) (*asynq.Task, error) {
	payload, err := json.Marshal(PicturePayload{Version: PayloadVersion, Ref: r, Rank: rank, Tries: tries})
	if err != nil {
		return nil, err
	}
	q := Queue{Namespace: namespace, Kind: Pictures, Lane: r.Lane, Shard: r.Shard}
	return asynq.NewTask(TypePicture, payload, options(q, ID(r, Pictures, rank))...), nil
}

func options(q Queue, id string) []asynq.Option {
	return []asynq.Option{asynq.Queue(q.String()), asynq.TaskID(id), asynq.MaxRetry(maxRetry), asynq.Timeout(timeout)}
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID returns the task's ID: 26 characters for 128 bits of a hash over
// everything that makes the task this one and no other, each part with its
// length before it. The same task made twice has one ID, which is how asynq
// drops the second.
func ID(r Ref, k Kind, rank int) string {
	b := make([]byte, 0, 512)
	part := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	part(r.Batch)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Epoch))
	part(r.Name)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Generation))
	part(string(k))
	b = binary.BigEndian.AppendUint64(b, uint64(rank))
	sum := sha256.Sum256(b)
	return idEncoding.EncodeToString(sum[:16])
}
