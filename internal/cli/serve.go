package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/web"
)

func serveCommand(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Show batches and pictures in a browser, and answer the HTTP API",
		Long: `Serve the pages with batches and pictures, the HTTP API under /api/v1/, and
asynqmon with the queues under /queues/, until interrupted. It does no work
itself: names that are added wait for a worker or for harvest run.

It listens on this machine alone, port 8080. On any other address it asks for
a token (web.token); where none is set it makes one and prints the address
that has it.`,
		Example: `  harvest serve
  harvest serve --redis redis://redis:6379 --listen 0.0.0.0:8080
  curl http://127.0.0.1:8080/api/v1/batches`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			ctx := c.Context()
			settings, err := env.load(c)
			if err != nil {
				return err
			}
			a, err := app.Open(ctx, settings, app.Own, env.logger(settings, slog.LevelInfo))
			if err != nil {
				return err
			}
			defer closeApp(a, &err)
			catalogue, err := app.Catalogue(a.Settings)
			if err != nil {
				return usage(err)
			}
			s, err := a.Web(catalogue)
			if err != nil {
				return usage(err)
			}
			return serve(ctx, env, a, s)
		},
	}
	webFlag(env, c, "listen")
	env.setting(c.Flags(), "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	return c
}

// webFlag adds the flag for where the web server listens.
func webFlag(env *Env, c *cobra.Command, name string) {
	env.setting(c.Flags(), "web.listen", name, "", "`host:port` of the pages (default 127.0.0.1:8080)")
}

// serve says where the server is and serves until ctx ends.
func serve(ctx context.Context, env *Env, a *app.App, s *web.Server) error {
	ln, err := s.Listen(ctx)
	if err != nil {
		return usage(err)
	}
	sayAddress(env, a, s, ln)
	return s.Serve(ctx, ln)
}

// sayAddress says where the pages are, and returns it.
func sayAddress(env *Env, a *app.App, s *web.Server, ln net.Listener) string {
	at := s.Address(ln)
	fmt.Fprintf(env.Err, "%s is shown at %s\n", a.Place, at.URL)
	if at.SignIn != "" {
		fmt.Fprintf(env.Err, "sign in with %s\n", at.SignIn)
	}
	return at.URL
}
