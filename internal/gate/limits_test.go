package gate_test

import (
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/gate"
)

func TestConfigFor(t *testing.T) {
	t.Parallel()
	c := gate.DefaultConfig()
	c.Hosts = map[string]gate.Limits{
		"*.wikimedia.org":      {InFlight: 2},
		"*.up.wikimedia.org":   {InFlight: 3},
		"upload.wikimedia.org": {InFlight: 4},
		"photos.corp":          {InFlight: 5},
		"photos.corp:8080":     {InFlight: 6},
		"free.example":         {},
	}
	for host, want := range map[string]int{
		"commons.wikimedia.org": 2, "a.up.wikimedia.org": 3, "Upload.Wikimedia.org": 4, "wikimedia.org": 16,
		"evilwikimedia.org": 16, "photos.corp": 5, "photos.corp:8080": 6, "photos.corp:81": 5, "free.example": 0,
		"a.example:8080": 16, "127.0.0.1:80": 0, "localhost:9": 0, "10.1.2.3": 0, "[::1]:80": 0, "8.8.8.8": 16,
		"nas": 0, "nas.local": 0, "nas.home.arpa": 0,
	} {
		if got := c.For(host).InFlight; got != want {
			t.Errorf("%s: got %d in flight, want %d", host, got, want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := gate.DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	c := gate.Config{
		PublicHosts: gate.Limits{InFlight: -1},
		Hosts: map[string]gate.Limits{
			"a*.example": {}, "http://a.example": {}, "": {}, "a.example:99999": {},
			"ok.example:80": {PerDay: 2_000_000}, "*.ok.example": {InFlight: 3}, "::1": {}, "[::1]:80": {}, "OK.example:80": {},
		},
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	want := []string{
		"picture.public_hosts.in_flight is -1",
		"picture.hosts.: ", "picture.hosts.a*.example: ", "picture.hosts.a.example:99999: ", "picture.hosts.http://a.example: ",
		"picture.hosts.ok.example:80: is the same host as OK.example:80: keep one",
		"picture.hosts.ok.example:80.per_day is 2000000",
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d problems, want %d:\n%v", len(lines), len(want), err)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("got %q, want it to start with %q", lines[i], w)
		}
	}
}
