package fetch_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/picharvest/picharvest/internal/fetch"
)

func TestConfigReportsEveryProblem(t *testing.T) {
	t.Parallel()
	err := fetch.Config{
		UserAgent:      "harvest\r\nX: y",
		MaxHeaderBytes: 1 << 20,
		MaxRedirects:   -1,
		MaxIdleConns:   -1,
		Proxy:          "ftp://user:secret@proxy",
		CertFile:       "cert.pem",
		InsecureHosts:  []string{"a.org:443", "a.org", "https://a.org:443", "a.org:443/x"},
	}.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	lines := strings.Split(err.Error(), "\n")
	keys := []string{
		"user_agent:", "timeout:", "max_bytes:", "max_header_bytes:", "max_redirects:", "max_idle_conns:", "proxy:",
		"cert_file, key_file:", `insecure_hosts: "a.org":`, `insecure_hosts: "https://a.org:443":`, `insecure_hosts: "a.org:443/x":`,
	}
	if len(lines) != len(keys) {
		t.Fatalf("got %d problems, want %d:\n%v", len(lines), len(keys), err)
	}
	for i, key := range keys {
		if !strings.HasPrefix(lines[i], key) {
			t.Errorf("got %q, want %s", lines[i], key)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells the password:\n%v", err)
	}
}

func TestNewNamesMissingFiles(t *testing.T) {
	t.Parallel()
	good := fetch.Config{UserAgent: "harvest/test", Timeout: time.Second, MaxBytes: 1}
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for key, adjust := range map[string]func(*fetch.Config){
		"ca_file":   func(c *fetch.Config) { c.CAFile = missing },
		"cert_file": func(c *fetch.Config) { c.CertFile, c.KeyFile = missing, missing },
	} {
		cfg := good
		adjust(&cfg)
		_, err := fetch.New(cfg)
		if err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: got %v", key, err)
		}
	}
	if _, err := fetch.New(good); err != nil {
		t.Error(err)
	}
}
