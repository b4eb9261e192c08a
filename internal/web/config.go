package web

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/thumbnail"
)

// The values of Config.Auth.
const (
	// AuthAuto asks for a token unless the server listens on loopback and
	// none is configured.
	AuthAuto = "auto"
	// AuthAlways asks for a token.
	AuthAlways = "always"
	// AuthNone asks for none, wherever the server listens.
	AuthNone = "none"
)

// Config is the web server's share of the settings.
type Config struct {
	// Listen is host:port. Default 127.0.0.1:8080.
	Listen string `mapstructure:"listen"`
	// Auth is AuthAuto, AuthAlways or AuthNone. Default auto.
	Auth string `mapstructure:"auth"`
	// Token is what users must know. Default: one is made where it is needed.
	Token string `mapstructure:"token"`
	// PublicURL is the address at which users reach the server, where that is
	// not Listen: behind a proxy, or from a container. Default: none.
	PublicURL string `mapstructure:"public_url"`
	// AllowedHosts are the names, besides localhost, addresses and that of
	// PublicURL, by which
	// requests may call the server. Default: none.
	AllowedHosts []string `mapstructure:"allowed_hosts"`
	// CORSOrigins are the origins whose pages may use the API. Default: none.
	CORSOrigins []string `mapstructure:"cors_origins"`
	// QueuesWritable lets asynqmon change queues. Default false.
	QueuesWritable bool `mapstructure:"queues_writable"`
	// MaxUploadBytes bounds a names file that is posted. Default 64 MiB.
	MaxUploadBytes int64 `mapstructure:"max_upload_bytes"`
	// Thumbnails bounds the folder of thumbnails.
	Thumbnails thumbnail.Config `mapstructure:"thumbnails"`
	// TLS makes the server speak TLS.
	TLS TLSConfig `mapstructure:"tls"`
}

// TLSConfig names the files of a certificate; both or none are set.
type TLSConfig struct {
	// CertFile is a PEM file with the certificate and those between it and a
	// known authority.
	CertFile string `mapstructure:"cert_file"`
	// KeyFile is a PEM file with its key.
	KeyFile string `mapstructure:"key_file"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8080", Auth: AuthAuto, MaxUploadBytes: 64 << 20, Thumbnails: thumbnail.DefaultConfig()}
}

// minToken keeps tokens from being guessed.
const minToken = 16

// Validate reports every problem by its key. It opens no file.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if host, port, err := net.SplitHostPort(c.Listen); err != nil {
		bad("web.listen is %.80q: give host:port, such as 127.0.0.1:8080", c.Listen)
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		bad("web.listen is %.80q: give a port from 0 to 65535, not %.20q (%d)", c.Listen, port, n)
	} else if strings.ContainsAny(host, "/@ ") {
		bad("web.listen is %.80q: give a host or an address without a scheme", c.Listen)
	}
	if !slices.Contains([]string{AuthAuto, AuthAlways, AuthNone}, c.Auth) {
		bad("web.auth is %.40q: give %s, %s or %s", c.Auth, AuthAuto, AuthAlways, AuthNone)
	}
	switch {
	case c.Token == "":
	case c.Auth == AuthNone:
		bad("web.token is set and web.auth is none: set one of them")
	case len(c.Token) < minToken:
		bad("web.token has %d characters: give at least %d, for example from `openssl rand -hex 16`", len(c.Token), minToken)
	case strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }):
		bad("web.token: give letters, digits and signs of ASCII without blanks")
	}
	if c.PublicURL != "" && !isOrigin(c.PublicURL) {
		bad("web.public_url is %.80q: give an address such as https://harvest.example.org, without a path", c.PublicURL)
	}
	for _, h := range c.AllowedHosts {
		if strings.ContainsAny(h, ":/@* ") || h == "" {
			bad("web.allowed_hosts: %.80q: give the name alone, such as harvest.example.org", h)
		}
	}
	for _, o := range c.CORSOrigins {
		if !isOrigin(o) {
			bad("web.cors_origins: %.80q: give an origin such as https://example.org, without a path", o)
		}
	}
	if c.MaxUploadBytes < 1 {
		bad("web.max_upload_bytes is %d: give at least 1", c.MaxUploadBytes)
	}
	if err := c.Thumbnails.Validate(); err != nil {
		errs = append(errs, err)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("web.tls: give both cert_file and key_file, or none")
	}
	return errors.Join(errs...)
}

// isOrigin reports whether s is scheme, host and perhaps port alone.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Scheme+"://"+u.Host == s
}

// loopback reports whether Listen is reached from this machine alone.
func (c Config) loopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// protected reports whether a token is asked for.
func (c Config) protected() bool {
	return c.Auth == AuthAlways || c.Auth == AuthAuto && (c.Token != "" || !c.loopback())
}
