package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate is that of the server. It is read anew when its files change,
// since certificates of today live for weeks.
type certificate struct {
	files TLSConfig

	mu      sync.Mutex
	cert    *tls.Certificate
	changed time.Time
	looked  time.Time
}

// lookEvery is how often the files are looked at.
const lookEvery = time.Minute

func loadCertificate(files TLSConfig) (*certificate, error) {
	c := &certificate{files: files}
	return c, c.load()
}

func (c *certificate) load() error {
	info, err := os.Stat(c.files.CertFile)
	if err != nil {
		return fmt.Errorf("web.tls.cert_file: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return fmt.Errorf("web.tls: %s and %s: %w", c.files.CertFile, c.files.KeyFile, err)
	}
	c.cert, c.changed = &cert, info.ModTime()
	return nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()), nil },
	}
}

// get returns the certificate. One that cannot be read leaves the last one in
// use.
func (c *certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < lookEvery {
		return c.cert
	}
	c.looked = now
	if info, err := os.Stat(c.files.CertFile); err == nil && !info.ModTime().Equal(c.changed) {
		_ = c.load()
	}
	return c.cert
}

// name returns a name that the certificate is for, "" where it has none.
func (c *certificate) name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaf, err := x509.ParseCertificate(c.cert.Certificate[0])
	if err != nil || len(leaf.DNSNames) == 0 || leaf.DNSNames[0] == "" || leaf.DNSNames[0][0] == '*' {
		return ""
	}
	return leaf.DNSNames[0]
}
