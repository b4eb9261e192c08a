package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/lookup"
)

// runPages are the pages of `run --serve`. Without --serve they are nothing,
// and their methods do nothing.
type runPages struct {
	serve bool

	env       *Env
	a         *app.App
	catalogue *lookup.Catalogue
	url       string
	served    chan error
	stop      context.CancelFunc
}

// webListen is the flag of `run` for web.listen; its --listen is the worker's.
const webListen = "web-listen"

func (p *runPages) add(env *Env, c *cobra.Command) {
	c.Flags().BoolVar(&p.serve, "serve", false, "show the pictures in a browser as they come, and go on until Ctrl-C")
	webFlag(env, c, webListen)
}

// check refuses --web-listen without pages.
func (p *runPages) check(c *cobra.Command) error {
	if c.Flags().Changed(webListen) && !p.serve {
		return usagef("--" + webListen + " is the address of the pages: add --serve")
	}
	return nil
}

// start serves the pages and says where.
func (p *runPages) start(ctx context.Context, env *Env, a *app.App, catalogue *lookup.Catalogue) error {
	if !p.serve {
		return nil
	}
	s, err := a.Web(catalogue)
	if err != nil {
		return usage(err)
	}
	ln, err := s.Listen(ctx)
	if err != nil {
		return usage(err)
	}
	p.env, p.a, p.catalogue = env, a, catalogue
	p.url = sayAddress(env, a, s, ln)
	ctx, p.stop = context.WithCancel(ctx)
	p.served = make(chan error, 1)
	go func() { p.served <- s.Serve(ctx, ln) }()
	return nil
}

// stay keeps the pages up after a run that came to its end with err, and does
// what is asked for there, until ctx is over. It returns err, without words
// where it has said them.
func (p *runPages) stay(ctx context.Context, err error) error {
	if p.served == nil {
		return err
	}
	code := exitCode(ctx, err)
	if ctx.Err() == nil && (code == ExitOK || code == ExitFailed || code == ExitLimit) {
		if text := message(err); text != "" {
			fmt.Fprintln(p.env.Err, text)
		}
		if err != nil {
			err = &coded{code, nil}
		}
		fmt.Fprintf(p.env.Err, "the pages stay at %s until Ctrl-C\n", p.url)
		if code == ExitLimit {
			<-ctx.Done()
		} else if workErr := p.work(ctx); workErr != nil && err == nil {
			err = workErr
		}
	}
	p.stop()
	if serveErr := <-p.served; serveErr != nil && err == nil {
		err = serveErr
	}
	return err
}

// stayPoll is how often work looks at its queues: people click, and a page may
// stay open for days.
const stayPoll = 200 * time.Millisecond

// work does what is retried or added in the pages.
func (p *runPages) work(ctx context.Context) error {
	p.a.Settings.Worker.PollInterval = stayPoll
	w, closeStore, err := p.a.Worker(ctx, p.catalogue, p.a.Settings.Provider, app.Told{})
	if err != nil {
		return setup(err)
	}
	defer closeQuietly(closeStore)
	return w.Run(ctx, p.a.Settings.Provider)
}
