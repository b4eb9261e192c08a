//go:build integration

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates for one test and writes them as files.
type authority struct {
	m    *machine
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(m *machine) *authority {
	m.t.Helper()
	a := &authority{m: m, pool: x509.NewCertPool()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

// sign writes name.pem and name.key.
func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.m.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.m.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := c, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
	if err != nil {
		a.m.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.m.t.Fatal(err)
	}
	a.m.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	a.m.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.m.t.Fatal(err)
	}
	return signed, key
}

// A directory in the house has its own authority, asks for a client certificate
// and a token, and has its pictures beside its answers, at a private address.
// Each of the four is needed, and what is missing names its cure.
func TestAServiceInTheHouse(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	ca := newAuthority(m)
	ca.sign("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	ca.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	own, err := tls.LoadX509KeyPair(m.path("server.pem"), m.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	picture := gray(t)
	var mu sync.Mutex
	stray := 0 // what a host saw that is none of the directory's business
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("X-Api-Key") != "" {
			stray++
		}
		w.Write(picture)
	}))
	t.Cleanup(elsewhere.Close)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Api-Key") != "s3cret":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/people":
			fmt.Fprintf(w, `{"people":[{"id":7,"phone":"1815","photos":["/photos/7.png",%q]}]}`, elsewhere.URL+"/7.png")
		default:
			w.Write(picture)
		}
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}
	srv.StartTLS()
	t.Cleanup(srv.Close)

	definition := strings.NewReplacer("SERVER", srv.URL, "ELSEWHERE", strings.TrimPrefix(elsewhere.URL, "http://")).Replace(`name: NAME
description: Staff directory
base_url: SERVER/v2
secrets: {key: {env: STAFF_KEY}}
request: {url: "{base}/people?login={name}", headers: {X-Api-Key: "${key}"}}
answer: {expect: [{path: people.0.id, is: present}]}
attributes: {phone: people.0.phone}
pictures:
  from: ["people.0.photos"]
  relative: resolve
  auth: same_origin
  allow: [lookup-origin, "ELSEWHERE"]
tls:
  ca_file: ca.pem
  cert_file: client.pem
  key_file: client.key
`)
	for name, left := range map[string]string{
		"staff": "", "no_ca": "  ca_file: ca.pem\n", "no_allow": `  allow: [lookup-origin, "` + strings.TrimPrefix(elsewhere.URL, "http://") + "\"]\n",
		"no_auth": "  auth: same_origin\n", "no_cert": "  cert_file: client.pem\n  key_file: client.key\n",
	} {
		m.write("providers/"+name+".yaml", strings.Replace(strings.Replace(definition, "NAME", name, 1), left, "", 1))
	}
	m.set("HARVEST_PROVIDERS_FOLDER="+m.path("providers"), "HARVEST_WORKER_MAX_ATTEMPTS=1")
	m.write("logins.txt", "ada\n")
	run := func(provider string) (ended, record) {
		t.Helper()
		e := m.run("harvest", "run", "--file", "logins.txt", "--batch", provider, "--provider", provider)
		return e, m.results(provider)[0]
	}
	if e := m.run("harvest", "run", "--file", "logins.txt", "--provider", "staff"); e.code != 2 || !strings.Contains(e.stderr, "set STAFF_KEY") {
		t.Errorf("without its secret: %v", e)
	}
	m.set("STAFF_KEY=s3cret")
	if e, r := run("staff"); e.code != 0 || r.State != "done" || len(r.Pictures) != 2 || r.Attributes["phone"] != "1815" {
		t.Errorf("%v\n%+v", e, r)
	}
	mu.Lock()
	if stray > 0 {
		t.Error("the token went to another host than the directory")
	}
	mu.Unlock()
	for provider, cure := range map[string]string{"no_ca": "tls.ca_file", "no_allow": "pictures.allow"} {
		if e, r := run(provider); e.code != 1 || r.State != "failed" || !strings.Contains(r.Message+r.Error, cure) {
			t.Errorf("%s: %+v does not name %s", provider, r, cure)
		}
	}
	if e, r := run("no_cert"); e.code != 1 || r.State != "failed" || r.Reason != "tls" {
		t.Errorf("without a client certificate: %+v", r)
	}
	// The other host's picture needs none of it.
	if e, r := run("no_auth"); e.code != 1 || r.State != "partial" {
		t.Errorf("without pictures.auth: %v", e)
	}
}
