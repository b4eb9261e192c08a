package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
)

// Server is how one primary stands, by its INFO. What a server does not tell
// is zero.
type Server struct {
	// Addr is host:port of a node of a Cluster, else "".
	Addr    string
	Version string
	// LosesData says that it keeps nothing on disk as it goes.
	LosesData bool
	// Policy is its maxmemory-policy, and Used and Max are bytes of memory,
	// Max 0 where there is no limit.
	Policy    string
	Used, Max int64
}

// Servers asks every primary how it stands.
func (c *Conn) Servers(ctx context.Context) ([]Server, error) {
	infos, err := infoOfPrimaries(ctx, c.Plain)
	if err != nil {
		return nil, fmt.Errorf("ask redis for INFO: %w", err)
	}
	var servers []Server
	for _, i := range infos {
		number := func(key string) int64 {
			n, _ := strconv.ParseInt(i.fields[key], 10, 64) // what is none is not told
			return n
		}
		servers = append(servers, Server{
			Addr:    i.addr,
			Version: cmp.Or(i.fields["valkey_version"], i.fields["redis_version"]), LosesData: i.fields["aof_enabled"] == "0",
			Policy: i.fields["maxmemory_policy"], Used: number("used_memory"), Max: number("maxmemory"),
		})
	}
	return servers, nil
}
