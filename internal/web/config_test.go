package web_test

import (
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/web"
)

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	if err := web.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for want, change := range map[string]func(*web.Config){
		`web.listen is "8080": give host:port`:                func(c *web.Config) { c.Listen = "8080" },
		`give a port from 0 to 65535`:                         func(c *web.Config) { c.Listen = "localhost:70000" },
		`without a scheme`:                                    func(c *web.Config) { c.Listen = "[http://localhost]:80" },
		`web.auth is "off": give auto, always or none`:        func(c *web.Config) { c.Auth = "off" },
		`web.token has 5 characters`:                          func(c *web.Config) { c.Token = "12345" },
		`ASCII without blanks`:                                func(c *web.Config) { c.Token = "sixteen bytes and blanks" },
		`web.token is set and web.auth is none`:               func(c *web.Config) { c.Token, c.Auth = secret, web.AuthNone },
		`web.public_url is "harvest.corp"`:                    func(c *web.Config) { c.PublicURL = "harvest.corp" },
		`web.public_url is "https://harvest.corp/x"`:          func(c *web.Config) { c.PublicURL = "https://harvest.corp/x" },
		`web.allowed_hosts: "harvest.corp:80"`:                func(c *web.Config) { c.AllowedHosts = []string{"harvest.corp:80"} },
		`web.cors_origins: "*"`:                               func(c *web.Config) { c.CORSOrigins = []string{"*"} },
		`web.max_upload_bytes is 0`:                           func(c *web.Config) { c.MaxUploadBytes = 0 },
		`web.tls: give both cert_file and key_file`:           func(c *web.Config) { c.TLS.CertFile = "x" },
		`web.auth is "off": give auto, always or none` + "\n": func(c *web.Config) { c.Auth, c.MaxUploadBytes = "off", 0 },
	} {
		cfg := web.DefaultConfig()
		change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err != nil && cfg.Token != "" && strings.Contains(err.Error(), cfg.Token) {
			t.Errorf("the token is told: %v", err)
		}
	}
}
