package redisconn_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.StartTCP(t, "--requirepass", "pw", "--masterauth", "pw")
	host, port, _ := strings.Cut(primary.Addr(), ":")
	replica := redistest.StartTCP(t, "--replicaof", host+" "+port, "--requirepass", "pw", "--masterauth", "pw",
		"--repl-diskless-sync-delay", "0")
	sentinel := redistest.StartSentinels(t, 1, "mymaster", primary, "pw")[0]

	cfg := config("")
	cfg.Password = "pw"
	cfg.Sentinel = redisconn.Sentinel{Master: "mymaster", Addrs: []string{sentinel}}
	c, _ := open(t, cfg)
	roundTrip(t, c)
	harvest(t, c, 50)

	admin := redis.NewSentinelClient(&redis.Options{Addr: sentinel})
	defer admin.Close()
	waitFor(t, "the sentinel to know the replica", func() bool {
		replicas, err := admin.Replicas(t.Context(), "mymaster").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
	if err := admin.Failover(t.Context(), "mymaster").Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the failover", func() bool {
		addr, err := admin.GetMasterAddrByName(t.Context(), "mymaster").Result()
		return err == nil && strings.Join(addr, ":") == replica.Addr()
	})
	waitFor(t, "a key on the new primary", func() bool {
		return c.Pipelined.Set(t.Context(), "after", "v", 0).Err() == nil &&
			redisClient(t, replica, "pw").Get(t.Context(), "after").Val() == "v"
	})
	c.Kill()
	if err := c.Plain.Ping(t.Context()).Err(); err == nil {
		t.Error("ping after Kill: got no error")
	}

	// Nobody is left who could take over.
	primary.Kill()
	replica.Kill()
	var log logBuffer
	_, err := redisconn.Open(t.Context(), cfg, log.logger())
	if err == nil || !strings.Contains(err.Error(), "may be choosing another one") {
		t.Errorf("got %v, want it to say that the sentinels still name a dead primary", err)
	}
}

func redisClient(t *testing.T, s *redistest.Server, password string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: password})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, nil)
	cfg := config("")
	cfg.Cluster.Addrs = []string{nodes[0].Addr()}
	c, _ := open(t, cfg)
	for i := range 20 {
		key := fmt.Sprint("k", i)
		if err := c.Pipelined.Set(t.Context(), key, i, 0).Err(); err != nil {
			t.Errorf("set %s: %v", key, err)
		}
	}
	harvest(t, c, 100)

	t.Run("a node by its URL", func(t *testing.T) {
		var log logBuffer
		_, err := redisconn.Open(t.Context(), config(nodes[0].URL()), log.logger())
		if err == nil || !strings.Contains(err.Error(), "redis.cluster.addrs") {
			t.Errorf("got %v, want a hint at redis.cluster.addrs", err)
		}
	})
	t.Run("one primary evicts", func(t *testing.T) {
		if err := nodes[2].Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
			t.Fatal(err)
		}
		var log logBuffer
		_, err := redisconn.Open(t.Context(), cfg, log.logger())
		if err == nil || !strings.Contains(err.Error(), nodes[2].Addr()) {
			t.Errorf("got %v, want a refusal that names %s", err, nodes[2].Addr())
		}
	})
	t.Run("killed", func(t *testing.T) {
		for _, n := range nodes {
			n.Pause()
			defer n.Resume()
		}
		result := make(chan error, 1)
		go func() { result <- c.Pipelined.Set(context.Background(), "k", "v", 0).Err() }()
		time.Sleep(100 * time.Millisecond) // so that it waits for an answer
		start := time.Now()
		c.Kill()
		if err := <-result; err == nil {
			t.Error("set on a frozen cluster: got no error")
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v, want at most 2 s", took)
		}
	})
}
