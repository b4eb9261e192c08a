package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrUnreachable is what an OpenError is when the server does not
	// answer, or not to us. Another try may succeed.
	ErrUnreachable = errors.New("redis is out of reach")
	// ErrUnsuitable is what an OpenError is when the server answers but must
	// not be used. It stays so until somebody changes it or the settings.
	ErrUnsuitable = errors.New("redis is unsuitable")
)

// OpenError says in one line why Open failed: the address without user or
// password, the cause, and what to do.
type OpenError struct {
	// Addr is the server's address as Config.Addr gives it.
	Addr string
	// Kind is ErrUnreachable or ErrUnsuitable.
	Kind error
	// Err is the cause.
	Err error
	// Cure is what to do.
	Cure string
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("redis at %s: %s; %s", e.Addr, oneLine(e.Err), e.Cure)
}

// Unwrap makes errors.Is find the kind and the cause.
func (e *OpenError) Unwrap() []error { return []error{e.Kind, e.Err} }

// check looks at the server with a client that does not retry, so that a
// refused connection is said at once.
func check(ctx context.Context, cfg Config, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	// The switch bounds what a context does not reach, such as a TLS
	// handshake with a silent server. What it would log is returned.
	stop := newKillSwitch(newTroubleLog(slog.New(slog.DiscardHandler)))
	defer context.AfterFunc(ctx, stop.kill)()
	client, err := newClient(cfg, stop, timing{
		retries: -1, dialTries: 1, dial: 3 * time.Second, io: 4 * time.Second, strict: true,
	})
	if err != nil {
		return err
	}
	defer client.Close()

	if err := firstPing(ctx, client, cfg); err != nil {
		return &OpenError{Addr: cfg.Addr(), Kind: ErrUnreachable, Err: cause(err), Cure: cure(err, cfg)}
	}
	primaries, err := infoOfPrimaries(ctx, client)
	switch {
	case err != nil && redis.HasErrorPrefix(err, "NOPERM"):
		logger.Warn("redis does not say whether it keeps data; allow its user the command INFO",
			"addr", cfg.Addr(), "error", oneLine(err))
		return nil
	case err != nil:
		logger.Warn("not every redis server could be asked whether it keeps data", "addr", cfg.Addr(), "error", oneLine(err))
		return nil
	}
	return judge(cfg, primaries, logger)
}

// firstPing asks until the server answers. A server that is just starting or
// failing over is asked again until ctx ends; any other error is final.
func firstPing(ctx context.Context, client redis.UniversalClient, cfg Config) error {
	for {
		err := client.Ping(ctx).Err()
		if err == nil || !starting(err) && !failingOver(err, cfg) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func starting(err error) bool {
	for _, word := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN"} {
		if strings.HasPrefix(err.Error(), word) {
			return true
		}
	}
	return false
}

// failingOver reports that the sentinels answer, and the primary that they
// still name does not.
func failingOver(err error, cfg Config) bool {
	return cfg.Sentinel.Master != "" && errors.Is(err, syscall.ECONNREFUSED) && !strings.Contains(err.Error(), "sentinels")
}

// serverInfo is what INFO says, by field. Where addr is "" it is the one that
// was configured.
type serverInfo struct {
	addr   string
	fields map[string]string
}

// infoOfPrimaries asks every primary for sections of INFO, the default ones
// where none are given.
func infoOfPrimaries(ctx context.Context, client redis.UniversalClient, sections ...string) ([]serverInfo, error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		text, err := client.Info(ctx, sections...).Result()
		if err != nil {
			return nil, err
		}
		return []serverInfo{{fields: parseInfo(text)}}, nil
	}
	var mu sync.Mutex
	var infos []serverInfo
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, sections...).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		infos = append(infos, serverInfo{addr: node.Options().Addr, fields: parseInfo(text)})
		return nil
	})
	return infos, err
}

// parseInfo reads the lines key:value of https://redis.io/docs/latest/commands/info/.
func parseInfo(text string) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[key] = value
		}
	}
	return fields
}

// judge refuses a server that would lose names, and warns of one that may. A
// field that is missing, as with servers that only speak the protocol, is
// passed over.
func judge(cfg Config, primaries []serverInfo, logger *slog.Logger) error {
	for _, p := range primaries {
		if p.addr == "" {
			p.addr = cfg.Addr()
		}
		refuse := func(cure, format string, args ...any) error {
			return &OpenError{Addr: p.addr, Kind: ErrUnsuitable, Err: fmt.Errorf(format, args...), Cure: cure}
		}
		if v := p.fields["redis_version"]; tooOld(v) {
			return refuse("install 6.2 or later", "version %s is too old", v)
		}
		if p.fields["cluster_enabled"] == "1" && len(cfg.Cluster.Addrs) == 0 {
			return refuse("set redis.cluster.addrs instead of redis.url", "it is a node of a Redis Cluster")
		}
		policy := p.fields["maxmemory_policy"]
		switch {
		case strings.HasPrefix(policy, "allkeys-") && !cfg.AllowEviction:
			return refuse("set its maxmemory-policy to noeviction, or redis.allow_eviction if losing names is acceptable",
				"maxmemory-policy %s lets it drop queued names when it is full", policy)
		case strings.HasPrefix(policy, "allkeys-"):
			logger.Warn("redis may drop queued names and results when it is full; set maxmemory-policy noeviction",
				"addr", p.addr, "maxmemory_policy", policy)
		case strings.HasPrefix(policy, "volatile-"):
			logger.Warn("redis may drop keys that expire when it is full; set maxmemory-policy noeviction",
				"addr", p.addr, "maxmemory_policy", policy)
		}
		if p.fields["aof_enabled"] == "0" && cfg.Durability != DurabilityManaged {
			logger.Warn("redis loses queued names and results when it dies; set appendonly yes there, or redis.durability: managed here if they are kept otherwise",
				"addr", p.addr)
		}
	}
	return nil
}

// tooOld reports a version before 6.2, the first that asynq can use. A version
// that cannot be read passes.
func tooOld(version string) bool {
	majorText, rest, _ := strings.Cut(version, ".")
	minorText, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(majorText)
	if err != nil {
		return false
	}
	minor, err := strconv.Atoi(minorText)
	if err != nil {
		return false
	}
	return major < 6 || major == 6 && minor < 2
}

// cause strips what go-redis wraps around the reason for a lost connection.
func cause(err error) error {
	if timedOut(err) {
		return errors.New("no answer in time")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	if errors.Is(err, io.EOF) {
		return errors.New("it closed the connection")
	}
	return err
}

func timedOut(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrKilled)
}

func cure(err error, cfg Config) string {
	text := err.Error()
	var unknownCA x509.UnknownAuthorityError
	var badHost x509.HostnameError
	var notTLS tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case strings.Contains(text, "redis.password_file"):
		return "make the file readable"
	case strings.Contains(text, "NOAUTH"), strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"),
		strings.Contains(text, "without any password configured"):
		return "check redis.username and redis.password or redis.password_file"
	case strings.Contains(text, "NOPERM"):
		return "allow its user the command PING"
	case strings.HasPrefix(text, "DENIED"):
		return "it is in protected mode; give it a password, or bind it to the address that is used here"
	case starting(err):
		return "it is still starting; try again"
	case strings.Contains(text, "cluster support disabled"):
		return "it is no cluster; set redis.url instead of redis.cluster.addrs"
	case errors.As(err, &unknownCA):
		return "set redis.tls.ca_file to the certificate of its authority"
	case errors.As(err, &badHost):
		return "set redis.tls.server_name to a name in its certificate"
	case errors.As(err, &notTLS):
		return "it does not speak TLS; write redis:// instead of rediss://"
	case errors.As(err, &dns):
		return "check the host in redis.url"
	case timedOut(err) && strings.HasPrefix(cfg.URL, "rediss://"):
		return "check redis.url; a server without TLS wants redis://"
	case failingOver(err, cfg):
		return "the sentinels name it as the primary, and may be choosing another one: try again"
	case cfg.Sentinel.Master != "":
		return "check redis.sentinel.addrs and redis.sentinel.master, and that the sentinels run"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return "start redis-server there, or set redis.url"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "check that it is Redis; a server with TLS wants rediss://"
	default:
		return "check redis.url, and that nothing between blocks it"
	}
}
