package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"
)

// DefaultURL is where Open looks when the configuration names no server.
const DefaultURL = "redis://127.0.0.1:6379"

// The values of Config.Durability.
const (
	// DurabilityCheck looks at the server's persistence and warns.
	DurabilityCheck = "check"
	// DurabilityManaged trusts a provider who keeps the data by means that
	// INFO does not show, and says nothing about persistence.
	DurabilityManaged = "managed"
)

// Config is the settings under redis.*. Exactly one of URL, Sentinel and
// Cluster may name the server; without any it is DefaultURL.
type Config struct {
	// URL is redis://[user:password@]host[:port][/db], rediss:// for TLS, or
	// unix:///path/to/socket[?db=n]. Default: none.
	URL string `mapstructure:"url"`
	// Sentinel finds the primary through sentinels.
	Sentinel Sentinel `mapstructure:"sentinel"`
	// Cluster finds the primaries of a Redis Cluster.
	Cluster Cluster `mapstructure:"cluster"`

	// Username is the ACL user. Default: the server's default user.
	Username string `mapstructure:"username"`
	// Password goes with Username.
	Password string `mapstructure:"password"`
	// PasswordFile is a file with the password, read for every new
	// connection, so that a changed password needs no restart. Trailing line
	// ends are ignored.
	PasswordFile string `mapstructure:"password_file"`
	// TLS is how a rediss:// server, or any behind Sentinel or Cluster, is
	// verified.
	TLS TLS `mapstructure:"tls"`

	// Namespace keeps installations on one Redis apart: up to 32 of a-z, 0-9
	// and _. Default: none.
	Namespace string `mapstructure:"namespace"`
	// Autopipeline gathers the commands of concurrent callers into one
	// stream, see Conn.Pipelined. Default true.
	Autopipeline bool `mapstructure:"autopipeline"`
	// Durability is DurabilityCheck or DurabilityManaged. Default check.
	Durability string `mapstructure:"durability"`
	// AllowEviction accepts a server that may drop any key when it is full.
	// Default false.
	AllowEviction bool `mapstructure:"allow_eviction"`
	// PoolSize is the most connections for commands, per node. Default 10.
	PoolSize int `mapstructure:"pool_size"`
}

// Sentinel is the settings under redis.sentinel.*.
type Sentinel struct {
	// Master is the name under which the sentinels know the primary.
	Master string `mapstructure:"master"`
	// Addrs is the sentinels' host:port.
	Addrs []string `mapstructure:"addrs"`
	// Username and Password are for the sentinels themselves.
	Username string `mapstructure:"username"`
	Password string `mapstructure:"password"`
}

// Cluster is the settings under redis.cluster.*.
type Cluster struct {
	// Addrs is the host:port of some of the nodes; the others are learned.
	Addrs []string `mapstructure:"addrs"`
}

// TLS is the settings under redis.tls.*. Certificates are always verified,
// and nothing older than TLS 1.2 is spoken.
type TLS struct {
	// Enabled is for Sentinel and Cluster; a rediss:// URL implies it.
	Enabled bool `mapstructure:"enabled"`
	// CAFile has the PEM certificates to trust. Default: the system's.
	CAFile string `mapstructure:"ca_file"`
	// CertFile and KeyFile are a client certificate in PEM.
	CertFile string `mapstructure:"cert_file"`
	KeyFile  string `mapstructure:"key_file"`
	// ServerName is the name to expect in the certificate. Default: the host
	// that is dialled.
	ServerName string `mapstructure:"server_name"`
}

// DefaultConfig returns the settings with every default filled in.
func DefaultConfig() Config {
	return Config{Autopipeline: true, Durability: DurabilityCheck, PoolSize: 10}
}

// namespaces matches what Config.Namespace may be.
var namespaces = regexp.MustCompile(`^[a-z0-9_]{0,32}$`)

// Validate reports every problem of the settings by its key. No message
// contains a password. It reads no files; Open does.
func (c Config) Validate() error {
	var errs []error
	problem := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	named := 0
	if c.URL != "" {
		named++
		if _, err := parseURL(c.URL); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Sentinel.Master != "" || len(c.Sentinel.Addrs) > 0 {
		named++
		if c.Sentinel.Master == "" {
			problem("redis.sentinel.master: missing; name the primary as the sentinels know it")
		}
		if len(c.Sentinel.Addrs) == 0 {
			problem("redis.sentinel.addrs: missing; list the sentinels' host:port")
		}
	}
	if len(c.Cluster.Addrs) > 0 {
		named++
	}
	if named > 1 {
		problem("redis.url, redis.sentinel and redis.cluster exclude each other; set one")
	}
	errs = append(errs, checkAddrs("redis.sentinel.addrs", c.Sentinel.Addrs)...)
	errs = append(errs, checkAddrs("redis.cluster.addrs", c.Cluster.Addrs)...)

	if c.Password != "" && c.PasswordFile != "" {
		problem("redis.password and redis.password_file exclude each other; set one")
	}
	if c.URL != "" && (c.Username != "" || c.Password != "" || c.PasswordFile != "") {
		if u, err := parseURL(c.URL); err == nil && u.Password != "" {
			problem("redis.url: has a password, and so has redis.password or redis.password_file, or redis.username is set; give it once")
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		problem("redis.tls.cert_file and redis.tls.key_file belong together; set both")
	}
	if c.TLS != (TLS{}) && c.URL != "" && !strings.HasPrefix(c.URL, "rediss://") {
		problem("redis.tls: needs a redis.url that begins with rediss://")
	}
	if c.TLS != (TLS{}) && c.URL == "" && named > 0 && !c.TLS.Enabled {
		problem("redis.tls.enabled: false, but other redis.tls settings are there; set it true")
	}
	if !namespaces.MatchString(c.Namespace) {
		problem("redis.namespace: %q; use up to 32 of a-z, 0-9 and _", c.Namespace)
	}
	if c.Durability != DurabilityCheck && c.Durability != DurabilityManaged {
		problem("redis.durability: %q; use %s or %s", c.Durability, DurabilityCheck, DurabilityManaged)
	}
	if c.PoolSize < 1 || c.PoolSize > 1000 {
		problem("redis.pool_size: %d; use 1 to 1000", c.PoolSize)
	}
	return errors.Join(errs...)
}

// checkAddrs reports entries that are not host:port, and quotes none that may
// hold a password.
func checkAddrs(key string, addrs []string) []error {
	var errs []error
	for _, addr := range addrs {
		if strings.ContainsAny(addr, "/@") {
			errs = append(errs, fmt.Errorf("%s: an entry is not host:port; give user and password by redis.username and redis.password", key))
		} else if _, _, err := net.SplitHostPort(addr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port", key, addr))
		}
	}
	return errs
}

// IsSet reports whether the settings name a server; if not, Open uses
// DefaultURL.
func (c Config) IsSet() bool {
	return c.URL != "" || c.Sentinel.Master != "" || len(c.Sentinel.Addrs) > 0 || len(c.Cluster.Addrs) > 0
}

// Addr returns the server's address for messages: never with user or
// password.
func (c Config) Addr() string {
	switch {
	case c.Sentinel.Master != "":
		return fmt.Sprintf("%s (by sentinels %s)", c.Sentinel.Master, strings.Join(c.Sentinel.Addrs, ","))
	case len(c.Cluster.Addrs) > 0:
		return fmt.Sprintf("cluster %s", strings.Join(c.Cluster.Addrs, ","))
	}
	opt, err := parseURL(c.url())
	if err != nil {
		return "the address in redis.url"
	}
	return opt.Addr
}

func (c Config) url() string {
	if c.URL == "" {
		return DefaultURL
	}
	return c.URL
}

// parseURL reads a redis, rediss or unix URL. Its errors quote nothing of it:
// where a password is not escaped, any part may hold a piece of it.
func parseURL(raw string) (*redis.Options, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("redis.url: not a URL; write redis://[user:password@]host[:port][/db], and in a password %2F for /, %3A for :, %40 for @, %23 for #, %3F for ?, %25 for %")
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, errors.New("redis.url: must begin with redis://, rediss:// or unix://")
	}
	if u.Scheme == "unix" && u.Host != "" {
		return nil, errors.New("redis.url: the path after unix:// must begin with /, as in unix:///run/redis.sock")
	}
	opt, err := redis.ParseURL(raw)
	if err != nil {
		return nil, errors.New("redis.url: database or option not understood; the path is /0 to /15, and in a password / ? # are written %2F %3F %23")
	}
	return opt, nil
}

// tlsConfig builds the client's side of TLS, or nil where it is off.
func (c Config) tlsConfig() (*tls.Config, error) {
	if !c.TLS.Enabled && !strings.HasPrefix(c.url(), "rediss://") {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redis.tls.ca_file: no PEM certificate in %s", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("redis.tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}
