package web_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/internal/web"
)

// listen returns a server that asks nobody, and its listener.
func listen(t *testing.T, cfg web.Config) (*web.Server, net.Listener) {
	t.Helper()
	srv := unconnected(t, cfg)
	ln, err := srv.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return srv, ln
}

func unconnected(t *testing.T, cfg web.Config) *web.Server {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	srv, err := web.New(cfg, web.Deps{
		Control: control.New(control.Deps{}), Pictures: file.NewReader(t.TempDir()), Redis: rdb, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func TestPortThatIsTaken(t *testing.T) {
	t.Parallel()
	_, ln := listen(t, testConfig())
	cfg := testConfig()
	cfg.Listen = ln.Addr().String()
	_, err := unconnected(t, cfg).Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), cfg.Listen+" is in use") || !strings.Contains(err.Error(), "for example to 127.0.0.1:") {
		t.Errorf("got %v, want that it is in use and another port", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := writeCertificate(t, dir, "harvest.example")
	cfg := testConfig()
	cfg.TLS = web.TLSConfig{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	cfg.AllowedHosts, cfg.Token = []string{"harvest.example"}, secret
	srv, ln := listen(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	if at := srv.Address(ln).URL; !strings.HasPrefix(at, "https://harvest.example:") {
		t.Errorf("address: got %s", at)
	}
	client := newClient(t, &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "harvest.example"}, ForceAttemptHTTP2: true,
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ln.Addr().String()+"/?token="+secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusSeeOther {
		t.Errorf("got %s %s, want HTTP/2.0 and 303", res.Proto, res.Status)
	}
	if c := res.Cookies(); len(c) != 1 || !c[0].Secure || !strings.HasPrefix(c[0].Name, "__Host-") {
		t.Errorf("cookies: got %v, want one that is for https and this host alone", c)
	}
}

// writeCertificate writes cert.pem and key.pem for name and returns the pool
// that trusts them.
func writeCertificate(t *testing.T, dir, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return pool
}
