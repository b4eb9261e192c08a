package fetch_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// newTLSServer answers with the protocol and the number of client
// certificates it saw.
func newTLSServer(t *testing.T, adjust func(*tls.Config)) (server *httptest.Server, caFile string) {
	t.Helper()
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		fmt.Fprintf(w, "%s %d", r.Proto, len(r.TLS.PeerCertificates))
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if adjust != nil {
		adjust(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, writePEM(t, "CERTIFICATE", server.Certificate().Raw)
}

func TestCertificatesAreVerified(t *testing.T) {
	t.Parallel()
	server, caFile := newTLSServer(t, nil)
	addr := server.Listener.Addr().String()
	other, _ := newTLSServer(t, nil)
	tests := []struct {
		name string
		cfg  fetch.Config
		url  string
		want failure.Reason // "" passes
	}{
		{"unknown authority", fetch.Config{}, server.URL, failure.ReasonTLS},
		{"authority from a file", fetch.Config{CAFile: caFile}, server.URL, ""},
		{"right authority, wrong name", fetch.Config{CAFile: caFile}, "https://localhost:" + addr[len("127.0.0.1:"):], failure.ReasonTLS},
		{"not verified", fetch.Config{InsecureHosts: []string{addr}}, server.URL, ""},
		{"another one not verified", fetch.Config{InsecureHosts: []string{addr}}, other.URL, failure.ReasonTLS},
		{"not verified, then another one", fetch.Config{InsecureHosts: []string{addr}, MaxRedirects: 1}, server.URL + "/?to=" + other.URL, failure.ReasonTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, err := get(t.Context(), newClient(t, tt.cfg), fetch.Request{URL: tt.url})
			if tt.want != "" {
				wantFailure(t, err, tt.want, failure.Final)
				return
			}
			if err != nil || string(body) != "HTTP/2.0 0" {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
}

func TestClientCertificateStaysAtItsOrigin(t *testing.T) {
	t.Parallel()
	server, caFile := newTLSServer(t, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	certFile, keyFile := newCertificate(t)
	client := newClient(t, fetch.Config{CAFile: caFile, CertFile: certFile, KeyFile: keyFile})
	for origin, want := range map[string]string{server.URL: "HTTP/2.0 1", "https://a.org": "HTTP/2.0 0", "": "HTTP/2.0 0"} {
		body, err := get(t.Context(), client, fetch.Request{URL: server.URL, CredentialOrigin: origin})
		if err != nil || string(body) != want {
			t.Errorf("origin %q: got %q, %v, want %q", origin, body, err, want)
		}
	}
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	t.Run("TLS 1.1", func(t *testing.T) {
		t.Parallel()
		server, caFile := newTLSServer(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
		_, err := get(t.Context(), newClient(t, fetch.Config{CAFile: caFile}), fetch.Request{URL: server.URL})
		wantFailure(t, err, failure.ReasonTLS, failure.Temporary)
	})
	t.Run("plain HTTP", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(nil)
		t.Cleanup(server.Close)
		_, err := get(t.Context(), newClient(t, fetch.Config{}), fetch.Request{URL: "https" + server.URL[len("http"):]})
		wantFailure(t, err, failure.ReasonTLS, failure.Temporary)
	})
	t.Run("certificate demanded", func(t *testing.T) {
		t.Parallel()
		server, caFile := newTLSServer(t, func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 })
		_, err := get(t.Context(), newClient(t, fetch.Config{CAFile: caFile}), fetch.Request{URL: server.URL})
		wantFailure(t, err, failure.ReasonTLS, failure.Temporary)
	})
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		_, err = get(t.Context(), newClient(t, fetch.Config{Timeout: 300 * time.Millisecond}), fetch.Request{URL: "https://" + listener.Addr().String()})
		wantFailure(t, err, failure.ReasonTimeout, failure.Temporary)
	})
}

func TestHTTP2HeadersAreCapped(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kilobytes int
		limit     int64
		reason    failure.Reason
		kind      failure.Kind
	}{
		{6, 4 << 10, failure.ReasonTooLarge, failure.Final},
		// Where one frame does not hold it the transport hangs up and does
		// not say why.
		{300, 256 << 10, failure.ReasonNetwork, failure.Temporary},
	}
	for _, tt := range tests {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := range tt.kilobytes {
				w.Header().Set(fmt.Sprint("X-", i), fmt.Sprintf("%01000d", i))
			}
		}))
		server.EnableHTTP2 = true
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		client := newClient(t, fetch.Config{
			InsecureHosts:  []string{server.Listener.Addr().String()},
			MaxHeaderBytes: tt.limit,
		})
		_, err := get(t.Context(), client, fetch.Request{URL: server.URL})
		wantFailure(t, err, tt.reason, tt.kind)
	}
}

func TestHostileHTTP2Servers(t *testing.T) {
	t.Parallel()
	const maxBytes = 1 << 20
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, n *atomic.Int64)
		reason failure.Reason
		kind   failure.Kind
	}{
		{"endless body", func(w http.ResponseWriter, n *atomic.Int64) {
			for p := make([]byte, 16<<10); ; n.Add(int64(len(p))) {
				if _, err := w.Write(p); err != nil {
					return
				}
			}
		}, failure.ReasonTooLarge, failure.Final},
		{"endless 1xx", func(w http.ResponseWriter, n *atomic.Int64) {
			w.Header().Set("Link", strings.Repeat("x", 1000))
			for range 10_000 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}, failure.ReasonTooLarge, failure.Final},
		{"reset in the body", func(w http.ResponseWriter, n *atomic.Int64) {
			io.WriteString(w, "abc")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, failure.ReasonNetwork, failure.Temporary},
		{"shorter than declared", func(w http.ResponseWriter, n *atomic.Int64) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "abc")
		}, failure.ReasonTruncated, failure.Temporary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				tt.answer(w, &sent)
			}))
			server.EnableHTTP2 = true
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			t.Cleanup(server.Close)
			client := newClient(t, fetch.Config{
				InsecureHosts: []string{server.Listener.Addr().String()},
				MaxBytes:      maxBytes,
			})
			_, err := get(t.Context(), client, fetch.Request{URL: server.URL})
			wantFailure(t, err, tt.reason, tt.kind)
			if n := sent.Load(); n > maxBytes+8<<20 {
				t.Errorf("the server got rid of %d bytes", n)
			}
		})
	}
}

func newCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", cert), writePEM(t, "PRIVATE KEY", der)
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
