package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of one run, with an AOF synced every second.
type redisServer struct {
	*process
	client *redis.Client
	addr   string // for the program that is measured
	proxy  *delayProxy

	// data is where results are read: client, or that of the Cluster whose
	// first node this is.
	data   redis.UniversalClient
	others []*redisServer
}

// startRedis starts a redis-server in dir, rtt away from who asks it at addr.
func startRedis(ctx context.Context, dir string, rtt time.Duration, more ...string) (*redisServer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
	}, more...)
	p, err := start(ctx, nil, "redis-server", args...)
	if err != nil {
		return nil, err
	}
	r := &redisServer{process: p, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	r.client = redis.NewClient(&redis.Options{Addr: r.addr, DisableIdentity: true})
	r.data = r.client
	if err := r.ready(ctx); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	if rtt > 0 {
		if r.proxy, err = startDelayProxy(ctx, r.addr, rtt/2); err != nil {
			return nil, errors.Join(err, r.stop())
		}
		r.addr = r.proxy.addr()
	}
	return r, nil
}

func (r *redisServer) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := r.client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-r.ended:
			return r.err
		case <-ctx.Done():
			return fmt.Errorf("redis-server is not ready: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *redisServer) url() string { return "redis://" + r.addr }

// startCluster starts n primaries in folders under dir that share the slots,
// and returns when each knows all.
func startCluster(ctx context.Context, dir string, n int) (_ *redisServer, err error) {
	const slots = 16384
	var nodes []*redisServer
	defer func() {
		if err != nil {
			for _, node := range nodes {
				err = errors.Join(err, node.stop())
			}
		}
	}()
	var addrs []string
	for i := range n {
		bus, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		node, err := startRedis(ctx, filepath.Join(dir, strconv.Itoa(i)), 0, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
		if err != nil {
			return nil, err
		}
		nodes, addrs = append(nodes, node), append(addrs, node.addr)
		c := node.client
		if err := c.ClusterAddSlotsRange(ctx, i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			return nil, err
		}
		if err := c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(node.addr)
		if err != nil {
			return nil, err
		}
		if err := nodes[0].client.Do(ctx, "CLUSTER", "MEET", host, port, bus).Err(); err != nil && i > 0 {
			return nil, err
		}
	}
	for _, node := range nodes {
		if err := node.knows(ctx, n); err != nil {
			return nil, err
		}
	}
	first := nodes[0]
	first.others, first.data = nodes[1:], redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	return first, nil
}

// knows returns when the server knows all n nodes of its Cluster.
func (r *redisServer) knows(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		info, err := r.client.ClusterInfo(ctx).Result()
		if err != nil {
			return fmt.Errorf("the nodes of a Redis Cluster do not find each other: %w", err)
		}
		if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n)) {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the nodes of a Redis Cluster do not find each other: %w", err)
		}
	}
}

// usage is what a server has taken so far.
type usage struct {
	cpu   time.Duration
	bytes float64 // of data, without buffers of clients and files
}

// usage asks each node.
func (r *redisServer) usage(ctx context.Context) ([]usage, error) {
	var all []usage
	for _, node := range append([]*redisServer{r}, r.others...) {
		var f [3]float64
		for i, of := range [][2]string{{"cpu", "used_cpu_user"}, {"cpu", "used_cpu_sys"}, {"memory", "used_memory_dataset"}} {
			var err error
			if f[i], err = node.info(ctx, of[0], of[1]); err != nil {
				return nil, err
			}
		}
		all = append(all, usage{time.Duration((f[0] + f[1]) * float64(time.Second)), f[2]})
	}
	return all, nil
}

// setting tells harvest's programs where the server is.
func (r *redisServer) setting() string {
	if len(r.others) == 0 {
		return "HARVEST_REDIS_URL=" + r.url()
	}
	addrs := r.addr
	for _, node := range r.others {
		addrs += "," + node.addr
	}
	return "HARVEST_REDIS_CLUSTER_ADDRS=" + addrs
}

// commands is how many commands the server was sent so far. What scripts call
// stands in the same list and is left out: idle workers send little but scripts.
func (r *redisServer) commands(ctx context.Context) (float64, error) {
	text, err := r.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":calls=")
		switch name {
		case "cmdstat_eval", "cmdstat_evalsha", "cmdstat_smembers", "cmdstat_ping", "cmdstat_hello", "cmdstat_subscribe":
			calls, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseFloat(calls, 64)
			if err != nil {
				return 0, fmt.Errorf("INFO commandstats: %w", err)
			}
			sum += n
		}
	}
	return sum, nil
}

// info reads one figure of a section of INFO.
func (r *redisServer) info(ctx context.Context, section, key string) (float64, error) {
	text, err := r.client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+":"); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("INFO %s has no %s", section, key)
}

func (r *redisServer) stop() error {
	if r.proxy != nil {
		r.proxy.close()
	}
	var err error
	for _, node := range r.others {
		err = errors.Join(err, node.stop())
	}
	if r.data != r.client {
		err = errors.Join(err, r.data.Close())
	}
	return errors.Join(err, r.client.Close(), r.process.stop())
}

func freePort(ctx context.Context) (int, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
