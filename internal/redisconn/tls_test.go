package redisconn_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t)
	other := redistest.NewAuthority(t)
	addr := tlsFront(t, redistest.Start(t), ca)
	clientCert, clientKey := ca.Issue(t, "worker")
	good := config("rediss://" + addr)
	good.TLS = redisconn.TLS{CAFile: ca.File, CertFile: clientCert, KeyFile: clientKey, ServerName: "redis.test"}

	tests := map[string]struct {
		change func(*redisconn.Config)
		want   string // a piece of the error
	}{
		"verified":          {func(*redisconn.Config) {}, ""},
		"unknown authority": {func(c *redisconn.Config) { c.TLS.CAFile = other.File }, "redis.tls.ca_file"},
		"system authority":  {func(c *redisconn.Config) { c.TLS.CAFile = "" }, "redis.tls.ca_file"},
		"another name":      {func(c *redisconn.Config) { c.TLS.ServerName = "" }, "redis.tls.server_name"},
		"no such file":      {func(c *redisconn.Config) { c.TLS.CAFile = "/none" }, "redis.tls.ca_file"},
		"no certificate":    {func(c *redisconn.Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" }, "certificate required"},
		"without TLS": {func(c *redisconn.Config) {
			c.URL, c.TLS = "redis://"+addr, redisconn.TLS{}
		}, "rediss://"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			tt.change(&cfg)
			if tt.want == "" {
				c, _ := open(t, cfg)
				roundTrip(t, c)
				return
			}
			var log logBuffer
			_, err := redisconn.Open(t.Context(), cfg, log.logger())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to contain %q", err, tt.want)
			}
		})
	}
}

// tlsFront speaks TLS for s, which may be built without it, and wants a
// client certificate of ca.
func tlsFront(t *testing.T, s *redistest.Server, ca *redistest.Authority) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(ca.Issue(t, "redis.test"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer front.Close()
				if front.(*tls.Conn).Handshake() != nil {
					return
				}
				back, err := net.Dial("unix", s.Addr())
				if err != nil {
					return
				}
				defer back.Close()
				go func() {
					_, _ = io.Copy(back, front)
					back.Close()
				}()
				_, _ = io.Copy(front, back)
			}()
		}
	}()
	return l.Addr().String()
}
