package redisconn

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Config)
		want   []string // a piece of each line
	}{
		"defaults":   {func(*Config) {}, nil},
		"url":        {func(c *Config) { c.URL = "redis://u:p@h:1/2" }, nil},
		"tls":        {func(c *Config) { c.URL, c.TLS.CAFile = "rediss://h", "ca.pem" }, nil},
		"sentinel":   {func(c *Config) { c.Sentinel = Sentinel{Master: "m", Addrs: []string{"h:1"}} }, nil},
		"cluster":    {func(c *Config) { c.Cluster.Addrs, c.TLS.Enabled = []string{"h:1"}, true }, nil},
		"user twice": {func(c *Config) { c.URL, c.Password = "redis://u@h", "p" }, nil},
		"password with slash": {
			func(c *Config) { c.URL = "redis://u:12/s3cret@h" },
			[]string{"redis.url: "},
		},
		"password with colon": {
			func(c *Config) { c.URL = "redis://:a:s3cret#@h" },
			[]string{"redis.url: not a URL"},
		},
		"scheme":          {func(c *Config) { c.URL = "s3cret://h" }, []string{"redis.url: must begin"}},
		"no scheme":       {func(c *Config) { c.URL = "127.0.0.1:6379" }, []string{"redis.url: "}},
		"relative socket": {func(c *Config) { c.URL = "unix://run/s3cret.sock" }, []string{"redis.url: the path"}},
		"option":          {func(c *Config) { c.URL = "redis://h?s3cret=1" }, []string{"redis.url: database or option"}},
		"everything": {
			func(c *Config) {
				*c = Config{
					URL: "redis://:s3cret@h", Username: "u", Password: "s3cret", PasswordFile: "f",
					Sentinel: Sentinel{Addrs: []string{"u:s3cret@h:1", "nowhere"}}, Cluster: Cluster{Addrs: []string{"h"}},
					TLS: TLS{CertFile: "c"}, Namespace: "No-Good", Durability: "perhaps", PoolSize: -1,
				}
			},
			[]string{
				"redis.sentinel.master: ", "exclude each other; set one", "redis.sentinel.addrs: an entry",
				`redis.sentinel.addrs: "nowhere"`, `redis.cluster.addrs: "h"`, "redis.password and redis.password_file",
				"redis.url: has a password", "redis.tls.cert_file", "redis.tls: needs", "redis.namespace: ",
				"redis.durability: ", "redis.pool_size: -1",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := DefaultConfig()
			tt.change(&c)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("got %q, want it to contain %q", got, want)
				}
			}
			lines := len(strings.FieldsFunc(got, func(r rune) bool { return r == '\n' }))
			if lines != len(tt.want) {
				t.Errorf("got %d problems, want %d:\n%s", lines, len(tt.want), got)
			}
			if strings.Contains(got, "s3cret") || strings.Contains(c.Addr(), "s3cret") {
				t.Errorf("a secret in %q or %q", got, c.Addr())
			}
		})
	}
}

func TestAddr(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ url, want string }{
		"none":  {"", "127.0.0.1:6379"},
		"tcp":   {"redis://u:p@h:1/2", "h:1"},
		"unix":  {"unix://u:p@/run/r.sock?db=1", "/run/r.sock"},
		"unix2": {"unix:///run/r.sock?db=1", "/run/r.sock"},
		"bad":   {"redis://u:p%@h", "the address in redis.url"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (Config{URL: tt.url}).Addr(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTooOld(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"": false, "5.0.14": true, "6.0.16": true, "6.2.0": false, "7.0.15": false, "10.1": false, "255.255.255": false, "x.y": false,
	}
	for version, want := range tests {
		if got := tooOld(version); got != want {
			t.Errorf("tooOld(%q): got %v, want %v", version, got, want)
		}
	}
}

func TestServerTrouble(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err  error
		want bool
	}{
		"none":          {nil, false},
		"no value":      {redis.Nil, false},
		"killed":        {ErrKilled, false},
		"not cached":    {errors.New("NOSCRIPT No matching script."), false},
		"task is gone":  {errors.New("NOT FOUND"), false},
		"full":          {errors.New("OOM command not allowed when used memory > 'maxmemory'."), true},
		"full, Redis 6": {errors.New("ERR Error running script (call to f_0): @user_script:3: -OOM command not allowed"), true},
		"replica":       {errors.New("READONLY You can't write against a read only replica."), true},
		"disk full":     {errors.New("MISCONF Errors writing to the AOF file"), true},
		"network":       {&url.Error{Op: "dial", Err: errors.New("refused")}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := serverTrouble(tt.err); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
