package gate

import "time"

// Take runs one script for wanted grants, each at most a second ahead, and
// returns them as times from Redis's now.
func (g *Gate) Take(host string, l Limits, wanted int) ([]time.Duration, error) {
	line := &line{g: g, key: lineKey{host: host, limits: l}, id: "test"}
	r, err := g.take(line, "", wanted, nil, 0)
	return r.grants, err
}

// RenewNow renews all leases without waiting for their time.
func (g *Gate) RenewNow() bool { return g.renewAll() }
