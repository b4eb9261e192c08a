package redisconn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	other := newAuthority(t)
	addr := tlsFront(t, redistest.Start(t), ca)
	clientCert, clientKey := ca.issue(t, "worker")
	good := config("rediss://" + addr)
	good.TLS = redisconn.TLS{CAFile: ca.file, CertFile: clientCert, KeyFile: clientKey, ServerName: "redis.test"}

	tests := map[string]struct {
		change func(*redisconn.Config)
		want   string // a piece of the error
	}{
		"verified":          {func(*redisconn.Config) {}, ""},
		"unknown authority": {func(c *redisconn.Config) { c.TLS.CAFile = other.file }, "redis.tls.ca_file"},
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

// authority signs certificates.
type authority struct {
	dir  string
	file string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = writePEM(t, filepath.Join(a.dir, "ca.pem"), "CERTIFICATE", der)
	return a
}

// issue returns the files of a certificate for name and of its key.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, k.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, filepath.Join(a.dir, name+".pem"), "CERTIFICATE", der),
		writePEM(t, filepath.Join(a.dir, name+".key"), "PRIVATE KEY", keyDER)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tlsFront speaks TLS for s, which may be built without it, and wants a
// client certificate of ca.
func tlsFront(t *testing.T, s *redistest.Server, ca *authority) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(ca.issue(t, "redis.test"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
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
