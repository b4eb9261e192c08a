package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// trust is what an origin gets besides the ordinary. Each combination has a
// transport of its own, so that no connection serves two of them.
type trust struct {
	insecure    bool // its certificate is not verified
	certificate bool // it may see our client certificate
}

func newTransports(cfg Config) (map[trust]*http.Transport, error) {
	roots, err := loadRoots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	combinations := []trust{{}, {insecure: true}}
	if cfg.CertFile != "" {
		if _, err := loadCertificate(cfg); err != nil {
			return nil, err
		}
		combinations = append(combinations, trust{certificate: true}, trust{insecure: true, certificate: true})
	}
	proxy, addrs := newProxy(cfg.Proxy)
	transports := map[trust]*http.Transport{}
	for _, t := range combinations {
		config := &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            roots,
			InsecureSkipVerify: t.insecure,
		}
		if t.certificate {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return loadCertificate(cfg)
			}
		}
		transports[t] = newTransport(cfg, config, proxy, addrs)
	}
	return transports, nil
}

func newTransport(cfg Config, tlsConfig *tls.Config, proxy proxyFunc, proxies map[string]bool) *http.Transport {
	if cfg.MaxHeaderBytes == 0 {
		cfg.MaxHeaderBytes = maxHeaderBytes
	}
	if cfg.MaxIdleConns == 0 {
		cfg.MaxIdleConns = http.DefaultMaxIdleConnsPerHost
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            newDial(cfg, proxies),
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    part(cfg.Timeout, 2),
		ResponseHeaderTimeout:  part(cfg.Timeout, 3),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: cfg.MaxHeaderBytes,
		MaxIdleConns:           cfg.MaxIdleConns,
		MaxIdleConnsPerHost:    cfg.MaxIdleConns,
		IdleConnTimeout:        90 * time.Second,
		// The body inflates by itself, so as to count what comes out.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2: &http.HTTP2Config{
			// Bounds what a peer can send ahead of the reader.
			MaxReceiveBufferPerStream: 1 << 20,
			// Finds a connection whose other end is gone.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     part(cfg.Timeout, 2),
		},
	}
}

// part is quarters/4 of timeout: a phase's share of the whole exchange.
func part(timeout time.Duration, quarters int64) time.Duration {
	return max(timeout*time.Duration(quarters)/4, time.Millisecond)
}

func newDial(cfg Config, proxies map[string]bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	// A dial may outlive the request that wanted it, so it has a limit of its own.
	plain := net.Dialer{Timeout: part(cfg.Timeout, 3)}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialer := plain
		if !proxies[addr] {
			dialer.Control = cfg.Guard.Control(addr)
		}
		return dialer.DialContext(ctx, network, addr)
	}
}

type proxyFunc = func(*http.Request) (*url.URL, error)

// newProxy returns the function that chooses the proxy of a request, nil for
// none, and the addresses of the proxies, which the operator chose and the
// guard leaves alone. The proxy of a validated Config is always a URL.
func newProxy(proxy string) (proxyFunc, map[string]bool) {
	switch proxy {
	case "":
		return nil, nil
	case ProxyEnvironment:
		env := httpproxy.FromEnvironment()
		choose := env.ProxyFunc()
		addrs := proxyAddrs(env.HTTPProxy, env.HTTPSProxy)
		return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }, addrs
	}
	u, err := url.Parse(proxy)
	return func(*http.Request) (*url.URL, error) { return u, err }, proxyAddrs(proxy)
}

// proxyHint says what may be wrong where strangers' hosts cannot be reached
// and the environment names a proxy that is not used.
func proxyHint(cfg Config) string {
	env := httpproxy.FromEnvironment()
	if cfg.Guard == nil || cfg.Proxy != "" || env.HTTPProxy == "" && env.HTTPSProxy == "" {
		return ""
	}
	return "; HTTP_PROXY or HTTPS_PROXY is set and not used: if there is no other way out set picture.proxy: environment"
}

// proxyAddrs returns the addresses that the transport dials for proxies. Those
// of the environment may lack a scheme, or be empty.
func proxyAddrs(proxies ...string) map[string]bool {
	addrs := map[string]bool{}
	for _, raw := range proxies {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			u, err = url.Parse("http://" + raw)
		}
		if err == nil && u.Host != "" {
			addrs[proxyAddr(u)] = true
		}
	}
	return addrs
}

func proxyAddr(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// loadRoots returns the system's certificates and those of file, nil for the
// system's alone.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("ca_file: the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s has no PEM certificate", file)
	}
	return roots, nil
}

func loadCertificate(cfg Config) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file, key_file: %w", err)
	}
	return &cert, nil
}
