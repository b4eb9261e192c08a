package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartCluster starts n primaries that share the slots, and returns when each
// knows all. more, if not nil, gives further options for each.
func StartCluster(tb testing.TB, n int, more func(node int) []string) []*Server {
	tb.Helper()
	const slots = 16384
	ctx := tb.Context()
	nodes := make([]*Server, n)
	ports := make([]int, n)
	for i := range nodes {
		ports[i] = FreePort(tb)
		args := []string{"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(ports[i])}
		if more != nil {
			args = append(args, more(i)...)
		}
		nodes[i] = StartTCP(tb, args...)
		c := nodes[i].Client()
		if err := c.ClusterAddSlotsRange(ctx, i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			tb.Fatal(err)
		}
		if err := c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	first := nodes[0].Client()
	for i, node := range nodes[1:] {
		host, port, err := net.SplitHostPort(node.Addr())
		if err != nil {
			tb.Fatal(err)
		}
		if err := first.Do(ctx, "CLUSTER", "MEET", host, port, ports[i+1]).Err(); err != nil {
			tb.Fatal(err)
		}
	}
	for _, node := range nodes {
		c := node.Client()
		eventually(tb, "the cluster", func(ctx context.Context) bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))
		})
	}
	return nodes
}

// StartSentinels starts n sentinels that watch primary by the name master and
// call it down when it was silent for a second; most of them decide. password
// is that of the servers they watch.
func StartSentinels(tb testing.TB, n int, master string, primary *Server, password string) (addrs []string) {
	tb.Helper()
	host, port, err := net.SplitHostPort(primary.Addr())
	if err != nil {
		tb.Fatal(err)
	}
	for range n {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
		startSentinel(tb, addr, fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s %[4]d\n"+
			"sentinel auth-pass %[1]s %[5]s\nsentinel down-after-milliseconds %[1]s 1000\n"+
			"sentinel failover-timeout %[1]s 5000\n", master, host, port, n/2+1, password))
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		c := redis.NewSentinelClient(&redis.Options{Addr: addr})
		eventually(tb, "the sentinels to know each other", func(ctx context.Context) bool {
			others, err := c.Sentinels(ctx, master).Result()
			return err == nil && len(others) == n-1
		})
		c.Close()
	}
	return addrs
}

func startSentinel(tb testing.TB, addr, text string) {
	tb.Helper()
	dir := tb.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(conf, []byte("port "+port+"\nbind 127.0.0.1\ndir "+dir+"\n"+text), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(Binary(tb), conf, "--sentinel")
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// eventually polls until ok, and fails the test after a while.
func eventually(tb testing.TB, what string, ok func(context.Context) bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*readyWithin)
	defer cancel()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			tb.Fatalf("waited %v for %s", 2*readyWithin, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
