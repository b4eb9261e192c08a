package fetch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/picharvest/picharvest/internal/netguard"
)

// maxHeaderBytes bounds Config.MaxHeaderBytes and is its default.
const maxHeaderBytes = 256 << 10

// ProxyEnvironment is the value of Config.Proxy that reads HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY.
const ProxyEnvironment = "environment"

// Config is how a Client behaves.
type Config struct {
	// UserAgent is sent with every request. Required.
	UserAgent string
	// Timeout bounds the whole exchange, from DNS over all redirects to the
	// body's last byte. Required.
	Timeout time.Duration
	// MaxBytes bounds the inflated body. Required.
	MaxBytes int64
	// MaxHeaderBytes bounds the header of each answer, 1xx ones included.
	// 256 KB at most and by default.
	MaxHeaderBytes int64
	// MaxRedirects is how many redirects are followed. Default 0.
	MaxRedirects int
	// SameOrigin refuses redirects to another scheme, host or port than the
	// first URL's.
	SameOrigin bool
	// Guard judges every URL and every address dialled. Nil: everything
	// passes, which is right only for URLs of the operator's own.
	Guard *netguard.Guard
	// MaxIdleConns is how many idle connections are kept, in all or to one
	// host. Set it to the number of requests in flight. Default 2.
	MaxIdleConns int
	// Proxy is "" for none, whatever the environment says, or "environment",
	// or the URL of an http, https or socks5 proxy. What goes through a proxy
	// is resolved and dialled there: the proxy is then the guard.
	Proxy string
	// CAFile names PEM certificates that are trusted beside the system's.
	CAFile string
	// CertFile and KeyFile name a client certificate and its key in PEM, read
	// again at each handshake. Only Request.CredentialOrigin gets to see it.
	CertFile, KeyFile string
	// InsecureHosts are the host:port whose certificate is not verified.
	InsecureHosts []string
}

// Validate returns all problems of c, each with its settings key. It opens no
// file.
func (c Config) Validate() error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf(format, args...))
	}
	if c.UserAgent == "" || strings.ContainsFunc(c.UserAgent, unicode.IsControl) {
		problem("user_agent: want one line of text")
	}
	if c.Timeout <= 0 {
		problem("timeout: %v: want more than 0", c.Timeout)
	}
	if c.MaxBytes <= 0 {
		problem("max_bytes: %d: want more than 0", c.MaxBytes)
	}
	if c.MaxHeaderBytes < 0 || c.MaxHeaderBytes > maxHeaderBytes {
		problem("max_header_bytes: %d: want at most %d", c.MaxHeaderBytes, maxHeaderBytes)
	}
	if c.MaxRedirects < 0 {
		problem("max_redirects: %d: want 0 or more", c.MaxRedirects)
	}
	if c.MaxIdleConns < 0 {
		problem("max_idle_conns: %d: want 0 or more", c.MaxIdleConns)
	}
	if !validProxy(c.Proxy) {
		problem(`proxy: "%s": want "environment" or the URL of an http, https or socks5 proxy`, netguard.RedactURL(c.Proxy))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		problem("cert_file, key_file: want both or neither")
	}
	for _, host := range c.InsecureHosts {
		if httpsOrigin(host) == "" {
			problem("insecure_hosts: %q: want host:port", host)
		}
	}
	return errors.Join(problems...)
}

func validProxy(proxy string) bool {
	if proxy == "" || proxy == ProxyEnvironment {
		return true
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Hostname() == "" {
		return false
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return true
	}
	return false
}

// httpsOrigin returns the origin of TLS at host:port, "" if that is malformed.
func httpsOrigin(hostPort string) string {
	u, err := url.Parse("https://" + hostPort)
	if err != nil || u.Port() == "" || u.Host != hostPort {
		return ""
	}
	return netguard.Origin(u)
}
