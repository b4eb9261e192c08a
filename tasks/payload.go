package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The task types.
const (
	TypeLookup  = "harvest:lookup"
	TypePicture = "harvest:picture"
)

// PayloadVersion is written into every payload. A worker takes payloads of
// its own version and of older ones.
const PayloadVersion = 1

// Errors of the decoders.
var (
	// ErrPayload: the bytes are no payload; no worker will ever read them.
	ErrPayload = errors.New("unreadable payload")
	// ErrNewer: the payload is of a later version and waits for a newer worker.
	ErrNewer = errors.New("payload of a newer version")
)

// Ref says which name of which batch a task is about, and for which try at
// it the task was made.
type Ref struct {
	Batch string `json:"b"`
	// Shard of the batch that holds the name; see [Shard].
	Shard int `json:"s"`
	// Epoch of the batch when the task was made. Resuming a batch raises it
	// and thereby voids the tasks made before.
	Epoch int64  `json:"e"`
	Name  string `json:"n"`
	// Generation of the name: 1, and one more with every retry.
	Generation int64 `json:"g"`
	Lane       Lane  `json:"l"`
}

// LookupPayload asks a worker to look a name up.
type LookupPayload struct {
	Version int `json:"v"`
	Ref
}

// PicturePayload asks a worker to fetch one picture of a name. The URLs stand
// in the name's record, not here: a task cannot send a worker anywhere.
type PicturePayload struct {
	Version int `json:"v"`
	Ref
	// Rank of the picture among the name's, from 1.
	Rank int `json:"r"`
	// Tries at it that failed before it got a task of its own, in the run of
	// its lookup. asynq knows nothing of them.
	Tries int `json:"t,omitempty"`
}

// DecodeLookup reads the payload of a lookup task. Errors are [ErrPayload]
// or [ErrNewer].
func DecodeLookup(b []byte) (LookupPayload, error) {
	var p LookupPayload
	if err := decode(b, &p, &p.Version); err != nil {
		return LookupPayload{}, err
	}
	return p, p.check()
}

// DecodePicture reads the payload of a picture task. Errors are [ErrPayload]
// or [ErrNewer].
func DecodePicture(b []byte) (PicturePayload, error) {
	var p PicturePayload
	if err := decode(b, &p, &p.Version); err != nil {
		return PicturePayload{}, err
	}
	if p.Rank < 1 || p.Tries < 0 {
		return PicturePayload{}, fmt.Errorf("%w: rank %d after %d tries", ErrPayload, p.Rank, p.Tries)
	}
	return p, p.check()
}

func decode(b []byte, p any, version *int) error {
	err := json.Unmarshal(b, p)
	if err == nil && *version >= 1 && *version <= PayloadVersion {
		return nil
	}
	// What is wrong is said by the version first: a later payload may have
	// other types.
	var v struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	switch {
	case v.Version > PayloadVersion:
		return fmt.Errorf("%w: %d, this worker reads up to %d", ErrNewer, v.Version, PayloadVersion)
	case v.Version < 1:
		return fmt.Errorf("%w: version %d", ErrPayload, v.Version)
	}
	return fmt.Errorf("%w: %w", ErrPayload, err)
}

func (r Ref) check() error {
	switch {
	case r.Batch == "":
		return fmt.Errorf("%w: no batch", ErrPayload)
	case r.Name == "":
		return fmt.Errorf("%w: no name", ErrPayload)
	case r.Shard < 0 || r.Shard >= MaxShards:
		return fmt.Errorf("%w: shard %d", ErrPayload, r.Shard)
	case r.Generation < 1:
		return fmt.Errorf("%w: generation %d", ErrPayload, r.Generation)
	case !r.Lane.valid():
		return fmt.Errorf("%w: lane %q", ErrPayload, r.Lane)
	}
	return nil
}
