package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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
}

// startRedis starts a redis-server in dir, rtt away from who asks it at addr.
func startRedis(ctx context.Context, dir string, rtt time.Duration) (*redisServer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p, err := start(ctx, nil, "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
	if err != nil {
		return nil, err
	}
	r := &redisServer{process: p, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	r.client = redis.NewClient(&redis.Options{Addr: r.addr, DisableIdentity: true})
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

// used is the CPU that the server has spent so far.
func (r *redisServer) used(ctx context.Context) (time.Duration, error) {
	user, err := r.info(ctx, "cpu", "used_cpu_user")
	if err != nil {
		return 0, err
	}
	system, err := r.info(ctx, "cpu", "used_cpu_sys")
	return time.Duration((user + system) * float64(time.Second)), err
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
	return errors.Join(r.client.Close(), r.process.stop())
}

func freePort(ctx context.Context) (int, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
