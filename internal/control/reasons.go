package control

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/picharvest/picharvest/internal/results"
)

// Reasons is how many names failed for which reason, the most frequent first.
// In JSON it is an object that keeps this order.
type Reasons []results.ReasonCount

// MarshalJSON writes {"reason": names, …}.
func (r Reasons) MarshalJSON() ([]byte, error) {
	return counts(r, func(n results.ReasonCount) (string, int64) { return string(n.Reason), n.Names })
}

// Hosts is how many names failed at which host, the one with the most first.
// In JSON it is an object that keeps this order.
type Hosts []results.HostCount

// MarshalJSON writes {"host": names, …}.
func (h Hosts) MarshalJSON() ([]byte, error) {
	return counts(h, func(n results.HostCount) (string, int64) { return n.Host, n.Names })
}

// counts writes an object of numbers by word, in the order of list.
func counts[T any](list []T, of func(T) (string, int64)) ([]byte, error) {
	var b bytes.Buffer
	for i, n := range list {
		word, names := of(n)
		key, err := json.Marshal(word)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%d", key, names)
	}
	return fmt.Appendf(nil, "{%s}", b.Bytes()), nil
}
