package redistest_test

import (
	"testing"

	"github.com/picharvest/picharvest/internal/redistest"
)

func TestServerKeepsDataOverRestarts(t *testing.T) {
	t.Parallel()
	tests := map[string]func(testing.TB, ...string) *redistest.Server{
		"unix socket": redistest.Start,
		"tcp":         redistest.StartTCP,
	}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, "--appendfsync", "always")
			c := s.Client()
			if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			s.Kill()
			if got := s.Pid(); got != 0 {
				t.Errorf("pid after Kill: got %d, want 0", got)
			}
			s.Restart()
			if got, err := c.Get(t.Context(), "k").Result(); got != "v" || err != nil {
				t.Errorf("after kill and restart: got %q, %v, want v", got, err)
			}
		})
	}
}

func TestServerThatWantsAPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--requirepass", "secret")
	if err := s.Client().Ping(t.Context()).Err(); err == nil {
		t.Error("ping without password: got no error")
	}
}

func TestMini(t *testing.T) {
	t.Parallel()
	if redistest.Mini(t).Addr() == "" {
		t.Error("no address")
	}
}
