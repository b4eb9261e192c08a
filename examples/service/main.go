// Service stands in for a lookup service in the walk-throughs below docs/: it
// gives the answers and the pictures of a folder, at this machine alone.
//
//	service [-listen host:port] [-tls folder] [-token word] FOLDER
//
// FOLDER has answers.json, an object with an answer for each path and query,
// and the pictures that these answers point to. {base} in an answer stands for
// the address of the service, {pictures} for the same under the name localhost,
// as other services keep their pictures at another host. What is not in the
// folder is a 404.
//
// It needs nothing but Go: go build examples/service/main.go.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:18123", "`host:port` to listen on")
	authority := flag.String("tls", "", "serve https, and write the authority of the certificate, ca.pem, into this `folder`")
	token := flag.String("token", "", "answer only to requests with this `word` as their bearer token")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "give the folder with answers.json, for example: service examples/museum")
		os.Exit(2)
	}
	if err := serve(*listen, *authority, *token, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(listen, authority, token, folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, "answers.json"))
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", listen)
	if err != nil {
		return err
	}
	here := "http://" + ln.Addr().String()
	if authority != "" {
		config, err := certificate(authority)
		if err != nil {
			return err
		}
		here, ln = "https://"+ln.Addr().String(), tls.NewListener(ln, config)
	}
	there := strings.Replace(here, "127.0.0.1", "localhost", 1)
	s := service{token: token, files: http.FileServer(http.Dir(folder))}
	if err := json.Unmarshal([]byte(strings.NewReplacer("{base}", here, "{pictures}", there).Replace(string(text))), &s.answers); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(folder, "answers.json"), err)
	}
	fmt.Printf("%s at %s\n", folder, here)
	srv := http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	return srv.Serve(ln)
}

// service answers for a folder.
type service struct {
	answers map[string]json.RawMessage // by path and query
	token   string
	files   http.Handler
}

// ServeHTTP gives an answer with its ETag, so that a client which has it
// already is told so, or a file.
func (s service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		http.Error(w, `{"error": "the token is missing or wrong"}`, http.StatusUnauthorized)
		return
	}
	answer, ok := s.answers[r.RequestURI]
	if !ok {
		s.files.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", fmt.Sprintf(`"%.16x"`, sha256.Sum256(answer)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(answer))
}

// certificate makes an authority and a certificate of it for 127.0.0.1, both
// for a day, and writes the authority down for clients to trust.
func certificate(folder string) (*tls.Config, error) {
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "walk-through"}, NotBefore: now, NotAfter: now.AddDate(0, 0, 1),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: now, NotAfter: now.AddDate(0, 0, 1),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ownKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	caBytes, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	ownBytes, err := x509.CreateCertificate(rand.Reader, own, ca, &ownKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caBytes})
	if err := os.WriteFile(filepath.Join(folder, "ca.pem"), text, 0o600); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{ownBytes}, PrivateKey: ownKey}}}, nil
}
