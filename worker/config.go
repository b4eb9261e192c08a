package worker

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Config is the worker's share of the settings, worker.*.
type Config struct {
	// Concurrency is how many lookups of each provider, and how many
	// pictures, are under way at once in this process. Names that share a
	// request count as one. Default 20.
	Concurrency int `mapstructure:"concurrency"`
	// Lookups and Pictures set the two apart. Default 0: Concurrency.
	Lookups  int `mapstructure:"lookups"`
	Pictures int `mapstructure:"pictures"`
	// Only takes tasks of one kind: "lookup" or "picture". Default: both.
	Only string `mapstructure:"only"`
	// MaxAttempts is how often a lookup or a picture is tried before its
	// failure is recorded. Default 5.
	MaxAttempts int `mapstructure:"max_attempts"`
	// RetryDelay is the wait after the first failed try; it doubles with each
	// further one up to MaxRetryDelay, less a random part. Defaults 1s, 1m.
	RetryDelay    time.Duration `mapstructure:"retry_delay"`
	MaxRetryDelay time.Duration `mapstructure:"max_retry_delay"`
	// ShutdownTimeout is how long running tasks may go on after a signal;
	// then they go back to the queue. Default 30s.
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout"`
	// PollInterval is how often an empty queue is looked at. Default 200ms.
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// Listen is the host:port for /healthz, /readyz and /metrics; an empty
	// host is every address of the machine. Empty, or the word none: no
	// such port. Default 127.0.0.1:9464.
	Listen string `mapstructure:"listen"`
}

// DefaultListen is the default of Config.Listen: that of OpenTelemetry's
// exporters for Prometheus.
const DefaultListen = "127.0.0.1:9464"

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Concurrency: 20, MaxAttempts: 5,
		RetryDelay: time.Second, MaxRetryDelay: time.Minute,
		ShutdownTimeout: 30 * time.Second, PollInterval: 200 * time.Millisecond,
		Listen: DefaultListen,
	}
}

// maxConcurrency keeps a slip of the keyboard from opening a million sockets.
const maxConcurrency = 10_000

// Validate reports every problem by its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		bad("worker.concurrency is %d: give 1 to %d; without any nothing is done, and each takes a connection", c.Concurrency, maxConcurrency)
	}
	own := func(key string, n int) {
		if n < 0 || n > maxConcurrency {
			bad("%s is %d: give 1 to %d, or 0 for worker.concurrency", key, n, maxConcurrency)
		}
	}
	own("worker.lookups", c.Lookups)
	own("worker.pictures", c.Pictures)
	if c.Only != "" && c.Only != "lookup" && c.Only != "picture" {
		bad("worker.only is %q: give lookup, picture, or nothing for both", c.Only)
	}
	if c.MaxAttempts < 1 || c.MaxAttempts > 1000 {
		bad("worker.max_attempts is %d: give 1 to 1000", c.MaxAttempts)
	}
	if c.RetryDelay < 0 || c.RetryDelay > c.MaxRetryDelay {
		bad("worker.retry_delay is %s: give 0s to worker.max_retry_delay, %s", c.RetryDelay, c.MaxRetryDelay)
	}
	if c.MaxRetryDelay > 24*time.Hour {
		bad("worker.max_retry_delay is %s: give at most 24h", c.MaxRetryDelay)
	}
	if c.ShutdownTimeout < 0 || c.ShutdownTimeout > time.Hour {
		bad("worker.shutdown_timeout is %s: give 0s to 1h", c.ShutdownTimeout)
	}
	if c.PollInterval < time.Millisecond || c.PollInterval > time.Minute {
		bad("worker.poll_interval is %s: give 1ms to 1m", c.PollInterval)
	}
	if c.Listens() {
		if _, port, err := net.SplitHostPort(c.Listen); err != nil {
			bad("worker.listen is %.60q: give host:port, such as %s, or none", c.Listen, DefaultListen)
		} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			bad("worker.listen is %.60q: its port is a number from 0 to 65535", c.Listen)
		}
	}
	return errors.Join(errs...)
}

// Listens reports whether Listen names an address.
func (c Config) Listens() bool { return c.Listen != "" && c.Listen != "none" }

// LookupSlots is how many lookups of one provider run at once; where names
// share requests, how many of these.
func (c Config) LookupSlots() int {
	if c.Lookups > 0 {
		return c.Lookups
	}
	return c.Concurrency
}

// PictureSlots is how many pictures are fetched at once.
func (c Config) PictureSlots() int {
	if c.Pictures > 0 {
		return c.Pictures
	}
	return c.Concurrency
}
