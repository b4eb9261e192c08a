package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

func statusCommand(env *Env) *cobra.Command {
	var asJSON, watch, hosts bool
	c := &cobra.Command{
		Use:   "status [BATCH]",
		Short: "Show how far batches are",
		Long: `Show how many names of each batch are in which state, and why names failed.
Without BATCH all batches are shown. --watch shows it again every second until
all of them are finished.

--hosts shows, in the place of batches, what all workers together ask of the
hosts that have limits, asked to wait, or are down: requests that wait and that
are in flight, how much of each limit is used, until when the host is left
alone, when it last answered 429 or asked to wait, and whether its breaker lets
requests through.`,
		Example: `  harvest status
  harvest status names --watch
  harvest status --hosts`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if hosts && len(args) > 0 {
				return usagef("--hosts shows the hosts of all batches: leave %s out", quoteArg(args[0]))
			}
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read, slog.LevelWarn)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			wipe := watch && !asJSON && isTerminal(env.Out)
			show := (&statusView{a: a, out: env.Out, asJSON: asJSON, clear: wipe}).show
			if hosts {
				g := a.Gate()
				defer g.Close()
				show = (&hostsView{gate: g, place: a.Place, out: env.Out, asJSON: asJSON, clear: wipe}).show
			}
			for {
				open, err := show(ctx, args)
				if errors.Is(err, errNoBatches) || errors.Is(err, errNoHosts) {
					fmt.Fprintln(env.Err, err)
					return nil
				}
				if err != nil || !watch || !open {
					return err
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a batch, or host, and line")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "show it every second until all is finished, or hosts until interrupted")
	c.Flags().BoolVar(&hosts, "hosts", false, "show hosts in the place of batches")
	return c
}

// statusView shows batches, and remembers the last look for the rate.
type statusView struct {
	a      *app.App
	out    io.Writer
	asJSON bool
	clear  bool
	last   map[string]sample
}

type sample struct {
	at      time.Time
	settled int64
}

// statusJSON is one batch in `status --json`; docs/json.md says what the keys
// mean.
type statusJSON struct {
	Batch       string           `json:"batch"`
	Provider    string           `json:"provider"`
	Status      results.Status   `json:"status"`
	State       string           `json:"state"`
	Created     time.Time        `json:"created"`
	Source      string           `json:"source"`
	Shards      int              `json:"shards"`
	Enqueuing   int              `json:"enqueuing"`
	Interrupted []string         `json:"interrupted,omitempty"`
	Sealed      bool             `json:"sealed"`
	Finished    bool             `json:"finished"`
	Names       int64            `json:"names"`
	States      results.Counts   `json:"states"`
	Reasons     map[string]int64 `json:"reasons,omitempty"`
	PerSecond   float64          `json:"per_second,omitempty"`
	ETASeconds  float64          `json:"eta_seconds,omitempty"`
}

// show writes the batches once and reports whether one is not finished.
func (s *statusView) show(ctx context.Context, args []string) (bool, error) {
	batches, err := s.batches(ctx, args)
	if err != nil {
		return false, err
	}
	open := false
	var all []statusJSON
	for _, b := range batches {
		j, err := s.status(ctx, b)
		if err != nil {
			return false, err
		}
		open = open || !j.Finished
		all = append(all, j)
	}
	if s.asJSON {
		enc := json.NewEncoder(s.out)
		for _, j := range all {
			if err := enc.Encode(j); err != nil {
				return false, err
			}
		}
		return open, nil
	}
	out := bufio.NewWriter(s.out)
	if s.clear {
		fmt.Fprint(out, "\x1b[H\x1b[2J")
	}
	for i, j := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		j.text(out)
	}
	return open, out.Flush()
}

func (s *statusView) batches(ctx context.Context, args []string) ([]results.Batch, error) {
	if len(args) > 0 {
		b, err := chooseBatch(ctx, s.a, args)
		return []results.Batch{b}, err
	}
	all, err := s.a.DB.Batches(ctx)
	if err == nil && len(all) == 0 {
		_, err = chooseBatch(ctx, s.a, nil)
	}
	return all, err
}

func (s *statusView) status(ctx context.Context, b results.Batch) (statusJSON, error) {
	c, err := s.a.DB.Counts(ctx, b)
	if err != nil {
		return statusJSON{}, err
	}
	reasons, err := s.a.DB.Reasons(ctx, b)
	if err != nil {
		return statusJSON{}, err
	}
	j := statusJSON{
		Batch: b.Name, Provider: b.Provider, Status: b.Status, Created: b.Created, Source: b.Source, Shards: b.Shards,
		Enqueuing: b.Enqueuing, Interrupted: b.Interrupted, Sealed: b.Sealed, Finished: b.Finished(c),
		Names: c.Total(), States: c, State: standing(b, c),
	}
	for _, r := range reasons {
		if j.Reasons == nil {
			j.Reasons = make(map[string]int64)
		}
		j.Reasons[string(r.Reason)] = r.Names
	}
	now := sample{time.Now(), c.Settled()}
	if last, ok := s.last[b.Name]; ok && c.Open() > 0 {
		j.PerSecond = float64(now.settled-last.settled) / now.at.Sub(last.at).Seconds()
		if j.PerSecond > 0 && b.Sealed {
			j.ETASeconds = float64(c.Open()) / j.PerSecond
		}
	} else {
		if s.last == nil {
			s.last = make(map[string]sample)
		}
		s.last[b.Name] = now
	}
	return j, nil
}

// standing says in a word where a batch is.
func standing(b results.Batch, c results.Counts) string {
	switch {
	case b.Status != results.Running:
		return string(b.Status)
	case b.Finished(c):
		return "finished"
	case len(b.Interrupted) > 0 && b.Enqueuing == 0:
		return "interrupted"
	case b.Enqueuing > 0:
		return "enqueuing"
	}
	return "running"
}

func (j statusJSON) text(w io.Writer) {
	fmt.Fprintf(w, "%s: %s, %s, provider %s, since %s\n", j.Batch, j.State, nameCount(j.Names), j.Provider,
		j.Created.Local().Format(time.DateTime))
	fmt.Fprintf(w, "  %s\n", states(j.States))
	if j.PerSecond > 0 {
		fmt.Fprintf(w, "  %.1f names/s", j.PerSecond)
		if j.ETASeconds > 0 {
			fmt.Fprintf(w, ", about %s left", span(time.Duration(j.ETASeconds*float64(time.Second))))
		}
		fmt.Fprintln(w)
	}
	if len(j.Reasons) > 0 {
		var parts []string
		for _, r := range reasonWords() {
			if n := j.Reasons[r]; n > 0 {
				parts = append(parts, fmt.Sprintf("%s %s", count(n), r))
			}
		}
		fmt.Fprintf(w, "  failed for: %s\n", strings.Join(parts, ", "))
	}
	if j.State == "interrupted" {
		fmt.Fprintf(w, "  interrupted: not all names of %s were enqueued; enqueue that file again to complete it\n",
			printable(strings.Join(j.Interrupted, ", ")))
	}
}
