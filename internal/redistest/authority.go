package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Authority signs certificates for servers and clients of one test.
type Authority struct {
	// File is its own certificate in PEM.
	File string
	// Cert is the same.
	Cert *x509.Certificate

	dir string
	key *ecdsa.PrivateKey
}

// NewAuthority makes an authority that nobody trusts yet.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{dir: tb.TempDir(), key: newKey(tb)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	a.File = writePEM(tb, filepath.Join(a.dir, "ca.pem"), "CERTIFICATE", der)
	return a
}

// Issue returns the files of a certificate for name, a host or an address, and
// of its key.
func (a *Authority) Issue(tb testing.TB, name string) (cert, key string) {
	tb.Helper()
	k := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, k.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		tb.Fatal(err)
	}
	return writePEM(tb, filepath.Join(a.dir, name+".pem"), "CERTIFICATE", der),
		writePEM(tb, filepath.Join(a.dir, name+".key"), "PRIVATE KEY", keyDER)
}

// ServerArgs returns the options of a redis-server that also speaks TLS at
// port of 127.0.0.1, to clients with a certificate of a. The server must have
// been built with TLS, as those of the distributions are.
func (a *Authority) ServerArgs(tb testing.TB, port int) []string {
	tb.Helper()
	cert, key := a.Issue(tb, "127.0.0.1")
	return []string{
		"--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-ca-cert-file", a.File, "--tls-auth-clients", "yes",
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func writePEM(tb testing.TB, path, kind string, der []byte) string {
	tb.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
