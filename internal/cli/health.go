package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthWithin bounds the question; the checks behind it take less.
const healthWithin = 3 * time.Second

func healthCommand(env *Env) *cobra.Command {
	var alive bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Ask the worker on this machine whether it is ready",
		Long: `Ask the worker on this machine, at worker.listen, whether it can do its work:
whether Redis, the picture store and its queues are there. Exit code 0 says
that it is ready, 3 that it is not, or that no worker answers. For a container's
health check, where there is no other program to ask with.

--alive asks whether the worker itself is well, whatever Redis does: if not,
only a new start helps.`,
		Example: `  harvest health
  harvest health --alive --listen 127.0.0.1:9465`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := env.load(c)
			if err != nil {
				return err
			}
			if !s.Worker.Listens() {
				return usagef("worker.listen is none: workers with these settings answer nobody; give --listen HOST:PORT")
			}
			path := "/readyz"
			if alive {
				path = "/healthz"
			}
			return askHealth(c.Context(), env, s.Worker.Listen, path)
		},
	}
	env.setting(c.Flags(), "worker.listen", "listen", "", "`host:port` of the worker")
	c.Flags().BoolVar(&alive, "alive", false, "ask whether the worker is well, not whether it is ready")
	return c
}

// askHealth shows what a worker answers.
func askHealth(ctx context.Context, env *Env, listen, path string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err // the settings were checked
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthWithin)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return usage(err)
	}
	// Without the proxy of the environment: the worker is on this machine.
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return &coded{ExitUnavailable, fmt.Errorf("no worker answers at %s: %w", url, errors.Unwrap(err))}
	}
	defer resp.Body.Close()
	if _, err := io.Copy(env.Out, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return &coded{ExitUnavailable, err}
	}
	if resp.StatusCode != http.StatusOK {
		return &coded{ExitUnavailable, nil}
	}
	return nil
}
