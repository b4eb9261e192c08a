package redisconn_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestRoom(t *testing.T) {
	t.Parallel()
	limited := redistest.Start(t, "--maxmemory", "64mb")
	silent := redistest.Start(t, "--maxmemory", "64mb", "--rename-command", "INFO", "hidden")
	tests := map[string]struct {
		url   string
		bytes int64
		full  bool
	}{
		"room":            {limited.URL(), 0, false},
		"room for some":   {limited.URL(), 40 << 20, false},
		"none for more":   {limited.URL(), 55 << 20, true},
		"no limit":        {redistest.Start(t).URL(), 1 << 40, false},
		"does not say":    {silent.URL(), 1 << 40, false},
		"knows no memory": {"redis://" + redistest.Mini(t).Addr(), 1 << 40, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, config(tt.url))
			err := c.Room(t.Context(), tt.bytes)
			full, is := errors.AsType[*redisconn.FullError](err)
			if is != tt.full || !is && err != nil {
				t.Fatalf("got %v, want full: %v", err, tt.full)
			}
			if is && (full.Max != 64<<20 || !strings.Contains(err.Error(), limited.Addr()) || !strings.Contains(err.Error(), "64.0 MiB")) {
				t.Errorf("got %q, want it to name server and limit", err)
			}
		})
	}
}

// One primary without room is enough: nobody knows whose names come next.
func TestRoomInACluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t, 3, nil)
	cfg := config("")
	cfg.Cluster.Addrs = []string{nodes[0].Addr()}
	c, _ := open(t, cfg)
	if err := c.Room(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := nodes[2].Client().ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Room(t.Context(), 0); err == nil || !strings.Contains(err.Error(), nodes[2].Addr()) {
		t.Errorf("got %v, want %s named", err, nodes[2].Addr())
	}
}
