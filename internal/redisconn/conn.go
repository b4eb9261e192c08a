// Package redisconn is the one place that makes Redis clients: from a URL,
// through Sentinel or for a Cluster, with TLS, retries and autopipelining. It
// checks at the start that the server can be reached and can be trusted with
// a queue. It knows no keys, and does not start servers; embedded does.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// openWithin bounds Open, so that a command says within 5 s that Redis
	// is out of reach.
	openWithin = 4500 * time.Millisecond
	// Together about 10 s of trying: a command outlives a restart or a
	// failover, which asynq's own retry of a finished task does not.
	maxRetries      = 25
	maxRetryBackoff = 500 * time.Millisecond
	dialTimeout     = 3 * time.Second
	// ioTimeout is for one read or write; a script over a long queue takes
	// less than a second.
	ioTimeout = 5 * time.Second
	// idleTime keeps an idle process at few connections.
	idleTime         = time.Minute
	pipelinePoolSize = 4
)

// Conn is the clients to one Redis installation. They share connections, and
// are safe for concurrent use.
type Conn struct {
	// Plain sends each command by itself: for subscriptions, transactions
	// and whatever is rare. asynqmon needs it.
	Plain redis.UniversalClient
	// Pipelined gathers the commands of concurrent callers, each keeping its
	// own error: for everything that is frequent. It is Plain where
	// autopipelining is off.
	Pipelined redis.UniversalClient
	// Namespace is the configured one.
	Namespace string

	addr    string
	servers redis.UniversalClient
	cluster bool
	stop    *killSwitch
	close   func() error
}

// Open makes the clients and checks the server: reachable, 6.2 or later, not
// evicting, and persistent, where the last is only warned of in the log. It
// returns within 5 s. Its errors are those of Config.Validate, or about a
// setting whose file cannot be read, or an *OpenError, which is one line
// without passwords. It directs the log of go-redis, which is one per process,
// to logger at level debug.
func Open(ctx context.Context, cfg Config, logger *slog.Logger) (*Conn, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	redis.SetLogger(newClientLog(logger))
	if err := check(ctx, cfg, logger); err != nil {
		return nil, err
	}
	trouble := newTroubleLog(logger)
	stop := newKillSwitch(trouble)
	plain, err := newClient(cfg, stop, timing{
		retries: maxRetries, dialTries: 0, dial: dialTimeout, io: ioTimeout,
	})
	if err != nil {
		return nil, err
	}
	c := &Conn{Plain: plain, Pipelined: plain, Namespace: cfg.Namespace, addr: cfg.Addr(), stop: stop}
	var pipeliner *redis.AutoPipeliner
	if cfg.Autopipeline {
		pipeliner, err = plain.AutoPipelineWithOptions(pipelining(ctx, cfg, plain))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("autopipeline redis commands: %w", err), plain.Close())
		}
		c.Pipelined = pipeliner
	}
	c.servers = &patientClient{UniversalClient: c.Pipelined, patience: &patience{stop: stop.killed, trouble: trouble}}
	c.cluster = len(cfg.Cluster.Addrs) > 0
	c.close = sync.OnceValue(func() error {
		var err error
		if pipeliner != nil {
			err = pipeliner.Close()
		}
		return errors.Join(err, plain.Close())
	})
	return c, nil
}

// nearTrip is the round trip up to which a server counts as near.
const nearTrip = 500 * time.Microsecond

// pipelining chooses by the round trip how commands are gathered. To a server
// far away each goes out at once, so that many trips are under way. Near by one
// trip follows the other, and each takes along what came meanwhile: that costs
// the server about a tenth less. Not to a Cluster: there a trip to a node that
// is away outlasts Kill by its dialling.
func pipelining(ctx context.Context, cfg Config, plain redis.UniversalClient) *redis.AutoPipelineOptions {
	far := &redis.AutoPipelineOptions{FullDuplex: true}
	if len(cfg.Cluster.Addrs) > 0 {
		return far
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if rtt, err := roundTrip(ctx, plain); err == nil && rtt <= nearTrip {
		return redis.DefaultBlockingAutoPipelineOptions()
	}
	return far
}

// ForClient returns Pipelined for asynq's client: the tasks that are enqueued
// at one time share a script.
func (c *Conn) ForClient() redis.UniversalClient { return newGatherClient(c.Pipelined) }

// ForServers returns Pipelined for asynq's servers: when Redis is full, read
// only or away, its scripts return their error only after a pause of up to
// 5 s, because a server whose dequeue fails asks again at once. The pauses
// keep all servers on this Conn together under 100 commands a second. Where
// there is nothing to do it answers by itself, from a look at all that is
// empty at most once in every: the servers may ask as often as they like, and
// a task waits for at most that much longer.
func (c *Conn) ForServers(every time.Duration) redis.UniversalClient {
	return &quietClient{UniversalClient: c.servers, quiet: newQuiet(c.servers, every, c.cluster)}
}

// RTT measures the round trip to the server, the least of five pings.
func (c *Conn) RTT(ctx context.Context) (time.Duration, error) { return roundTrip(ctx, c.Plain) }

func roundTrip(ctx context.Context, rdb redis.UniversalClient) (time.Duration, error) {
	least := time.Duration(0)
	for i := range 5 {
		start := time.Now()
		if err := rdb.Ping(ctx).Err(); err != nil {
			return 0, fmt.Errorf("ping redis: %w", err)
		}
		if took := time.Since(start); i == 0 || took < least {
			least = took
		}
	}
	return least, nil
}

// Kill makes every command fail with ErrKilled from now on, those that wait
// for an answer or for their next try included, and returns at once. It is
// for a shutdown whose deadline is over while Redis is away, which the retries
// would hold up for half a minute. Close is still needed, after asynq's
// servers have stopped.
func (c *Conn) Kill() { c.stop.kill() }

// Close closes the clients; calling it again does nothing. asynq's servers
// panic on a closed client, so stop them first.
func (c *Conn) Close() error { return c.close() }

// timing is how patient a client is.
type timing struct {
	retries   int // -1 for none
	dialTries int // 0 for the client's default of five
	dial, io  time.Duration
	strict    bool // hold commands to the context's deadline
}

// newClient makes a client of the kind that cfg names; every connection and
// every command goes by stop.
func newClient(cfg Config, stop *killSwitch, tm timing) (redis.UniversalClient, error) {
	tlsConf, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	opt := &redis.Options{}
	if cfg.Sentinel.Master == "" && len(cfg.Cluster.Addrs) == 0 {
		if opt, err = parseURL(cfg.url()); err != nil {
			return nil, err
		}
		if tlsConf != nil && tlsConf.ServerName == "" && opt.TLSConfig != nil {
			tlsConf.ServerName = opt.TLSConfig.ServerName
		}
	}
	if cfg.Username != "" {
		opt.Username = cfg.Username
	}
	if cfg.Password != "" {
		opt.Password = cfg.Password
	}
	if cfg.PasswordFile != "" {
		opt.CredentialsProviderContext = passwordFromFile(opt.Username, cfg.PasswordFile)
	}
	opt.TLSConfig = tlsConf
	opt.MaxRetries, opt.MaxRetryBackoff = tm.retries, maxRetryBackoff
	opt.DialTimeout, opt.ReadTimeout, opt.WriteTimeout = tm.dial, tm.io, tm.io
	opt.DialerRetries = tm.dialTries
	opt.ContextTimeoutEnabled = tm.strict
	opt.PoolSize, opt.PipelinePoolSize = cfg.PoolSize, pipelinePoolSize
	opt.ConnMaxIdleTime = idleTime
	// What a new connection would otherwise ask about itself first.
	opt.DisableIdentity = true
	opt.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	opt.Dialer = stop.dialer(redis.NewDialer(&redis.Options{DialTimeout: tm.dial, TLSConfig: tlsConf}))
	opt.Limiter = stop

	switch {
	case cfg.Sentinel.Master != "":
		return newSentinelClient(cfg, opt), nil
	case len(cfg.Cluster.Addrs) > 0:
		return newClusterClient(cfg, opt), nil
	default:
		return redis.NewClient(opt), nil
	}
}

func newSentinelClient(cfg Config, opt *redis.Options) *redis.Client {
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:                 cfg.Sentinel.Master,
		SentinelAddrs:              cfg.Sentinel.Addrs,
		SentinelUsername:           cfg.Sentinel.Username,
		SentinelPassword:           cfg.Sentinel.Password,
		Dialer:                     opt.Dialer,
		Username:                   opt.Username,
		Password:                   opt.Password,
		CredentialsProviderContext: opt.CredentialsProviderContext,
		MaxRetries:                 opt.MaxRetries,
		MaxRetryBackoff:            opt.MaxRetryBackoff,
		DialTimeout:                opt.DialTimeout,
		DialerRetries:              opt.DialerRetries,
		ReadTimeout:                opt.ReadTimeout,
		WriteTimeout:               opt.WriteTimeout,
		ContextTimeoutEnabled:      opt.ContextTimeoutEnabled,
		PipelinePoolSize:           opt.PipelinePoolSize,
		PoolSize:                   opt.PoolSize,
		ConnMaxIdleTime:            opt.ConnMaxIdleTime,
		TLSConfig:                  opt.TLSConfig,
		DisableIdentity:            opt.DisableIdentity,
	})
	// FailoverOptions has no field for it; the client reads it per command.
	client.Options().Limiter = opt.Limiter
	return client
}

func newClusterClient(cfg Config, opt *redis.Options) *redis.ClusterClient {
	redirects := opt.MaxRetries
	return redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: cfg.Cluster.Addrs,
		NewClient: func(node *redis.Options) *redis.Client {
			node.Limiter = opt.Limiter
			return redis.NewClient(node)
		},
		Dialer:                     opt.Dialer,
		Username:                   opt.Username,
		Password:                   opt.Password,
		CredentialsProviderContext: opt.CredentialsProviderContext,
		// Retries go round the nodes; a node's own would multiply them.
		MaxRedirects:             redirects,
		MaxRetries:               -1,
		MaxRetryBackoff:          opt.MaxRetryBackoff,
		DialTimeout:              opt.DialTimeout,
		DialerRetries:            opt.DialerRetries,
		ReadTimeout:              opt.ReadTimeout,
		WriteTimeout:             opt.WriteTimeout,
		ContextTimeoutEnabled:    opt.ContextTimeoutEnabled,
		PipelinePoolSize:         opt.PipelinePoolSize,
		PoolSize:                 opt.PoolSize,
		ConnMaxIdleTime:          opt.ConnMaxIdleTime,
		TLSConfig:                opt.TLSConfig,
		DisableIdentity:          opt.DisableIdentity,
		MaintNotificationsConfig: opt.MaintNotificationsConfig,
	})
}

// passwordFromFile returns the credentials for one new connection.
func passwordFromFile(username, file string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("redis.password_file: %w", err)
		}
		return username, strings.TrimRight(string(b), "\r\n"), nil
	}
}
