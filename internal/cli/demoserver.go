package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/demo"
)

func demoServerCommand(env *Env) *cobra.Command {
	var (
		cfg   demo.Config
		names bool
	)
	c := &cobra.Command{
		Use:   "demo-server",
		Short: "Serve the lookup service of the demo",
		Long: `Serve a small lookup service: GET /?name=N or GET /N answers with a JSON record
that points to a picture, GET / is a page to try it. It knows three people,
those of --catalog, and as many made-up ones as --people says. As a stage for
tests it can be slow, forget names and fail.`,
		Example: `  harvest demo-server
  harvest demo-server --people 10000 --latency 50ms --error-rate 0.01
  harvest demo-server --people 10000 --names > many.txt
  curl 'http://127.0.0.1:8000/?name=Brus%20Lee'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := env.load(c)
			if err != nil {
				return err
			}
			cfg.Log = env.logger(s, slog.LevelInfo)
			d, err := demo.New(cfg)
			if err != nil {
				return usage(err)
			}
			defer d.Close()
			if names {
				return printNames(env.Out, d)
			}
			ln, err := d.Listen(c.Context())
			if err != nil {
				return usage(err)
			}
			fmt.Fprintf(env.Err, "the demo server answers at http://%s/\n", ln.Addr())
			return d.Serve(c.Context(), ln)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Listen, "listen", demo.DefaultListen, "`host:port` to listen on")
	f.StringVar(&cfg.PublicURL, "public-url", "", "`URL` at which clients reach the server")
	f.StringVar(&cfg.Catalog, "catalog", "", "`folder` of pictures, or file of people (.json, .jsonl, .csv)")
	f.IntVar(&cfg.People, "people", 0, "`number` of made-up people besides")
	f.IntVar(&cfg.PictureBytes, "picture-bytes", 0, "least `size` of a made-up person's picture")
	f.StringVar(&cfg.CORSOrigin, "cors-origin", "", "`origin` whose pages may read the answers, or *")
	f.DurationVar(&cfg.Latency, "latency", 0, "`time` that each answer takes")
	f.DurationVar(&cfg.Jitter, "jitter", 0, "largest random `time` added to it")
	f.Float64Var(&cfg.UnknownRate, "unknown-rate", 0, "`share` of names that are unknown, 0 to 1")
	f.Float64Var(&cfg.ErrorRate, "error-rate", 0, "`share` of answers with status 500, 0 to 1")
	f.Float64Var(&cfg.BusyRate, "busy-rate", 0, "`share` of answers that ask to come later, 0 to 1")
	f.IntVar(&cfg.BusyStatus, "busy-status", 0, "their `status`: 429 (default) or 503")
	f.DurationVar(&cfg.RetryAfter, "retry-after", 0, "the `time` they ask for (default 1s)")
	f.BoolVar(&names, "names", false, "print the names that it would know, and end")
	f.BoolVar(&cfg.Count, "count", false, "count requests; GET /-/counts shows them")
	return c
}

// printNames writes a names file of everybody the server knows.
func printNames(w io.Writer, d *demo.Server) error {
	out := bufio.NewWriter(w)
	for name := range d.Names() {
		if _, err := fmt.Fprintln(out, name); err != nil {
			return err
		}
	}
	return out.Flush()
}

// startDemo serves the built-in demo in this process and points its provider
// there. The port is kept in the data folder: pictures of an interrupted run
// are looked for where it said they are.
func startDemo(ctx context.Context, a *app.App) (func(), error) {
	d, err := demo.New(demo.Config{})
	if err != nil {
		return nil, err
	}
	ln, err := listenDemo(ctx, filepath.Join(a.Settings.Data, "demo-address"))
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if a.Settings.Providers.BaseURLs == nil {
		a.Settings.Providers.BaseURLs = make(map[string]string)
	}
	a.Settings.Providers.BaseURLs[demoProvider] = "http://" + ln.Addr().String()

	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- d.Serve(serving, ln) }()
	return func() {
		stop()
		if err := errors.Join(<-served, d.Close()); err != nil {
			a.Logger.Warn("the demo server did not end well", "error", err)
		}
	}, nil
}

func listenDemo(ctx context.Context, file string) (net.Listener, error) {
	var lc net.ListenConfig
	if last, err := os.ReadFile(file); err == nil {
		if ln, err := lc.Listen(ctx, "tcp", strings.TrimSpace(string(last))); err == nil {
			return ln, nil
		}
	}
	// With a Redis of its own a run needs no data folder but for this.
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, fmt.Errorf("start the demo server: %w", err)
	}
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the demo server: %w", err)
	}
	if err := os.WriteFile(file, []byte(ln.Addr().String()+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("start the demo server: %w", err), ln.Close())
	}
	return ln, nil
}
