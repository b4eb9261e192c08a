package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/results"
)

func statusCommand(env *Env) *cobra.Command {
	var asJSON, watch, hosts bool
	c := &cobra.Command{
		Use:   "status [BATCH]",
		Short: "Show how far batches are",
		Long: `Show how many names of each batch are in which state, why and at which hosts
names failed, how many are settled a second and how long the rest will take,
and what is left of the quotas that hosts give for an hour or a day. Without
BATCH all batches are shown. --watch shows it again every second until all of
them are finished.

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
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			wipe := watch && !asJSON && isTerminal(env.Out) && canRedraw()
			g := a.Gate()
			defer g.Close()
			batches := &statusView{a: a, gate: g, out: env.Out, asJSON: asJSON, clear: wipe}
			show := batches.show
			if !hosts && !watch {
				if err := batches.firstLook(ctx, args); errors.Is(err, errNoBatches) {
					fmt.Fprintln(env.Err, err)
					return nil
				} else if err != nil {
					return err
				}
			}
			if hosts {
				show = (&hostsView{gate: g, place: a.Place, out: env.Out, asJSON: asJSON, clear: wipe,
					limits: a.Settings.Picture.Limits, notes: env.Err}).show
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
	gate   *gate.Gate
	out    io.Writer
	asJSON bool
	clear  bool
	last   map[string][]sample
}

type sample struct {
	at      time.Time
	settled int64
}

// statusJSON is one batch in `status --json`; docs/json.md says what the keys
// mean.
type statusJSON struct {
	Batch       string             `json:"batch"`
	Provider    string             `json:"provider"`
	Status      results.Status     `json:"status"`
	State       string             `json:"state"`
	Created     time.Time          `json:"created"`
	Source      string             `json:"source"`
	Shards      int                `json:"shards"`
	MaxPictures int                `json:"max_pictures,omitempty"`
	Enqueuing   int                `json:"enqueuing"`
	Interrupted []string           `json:"interrupted,omitempty"`
	Sealed      bool               `json:"sealed"`
	Finished    bool               `json:"finished"`
	Names       int64              `json:"names"`
	States      results.Counts     `json:"states"`
	Refreshing  int64              `json:"refreshing"`
	Stale       int64              `json:"stale"`
	Refresh     *results.Refreshed `json:"refresh,omitempty"`
	Reasons     map[string]int64   `json:"reasons,omitempty"`
	Hosts       map[string]int64   `json:"hosts,omitempty"`
	PerSecond   float64            `json:"per_second,omitempty"`
	ETASeconds  float64            `json:"eta_seconds,omitempty"`
	// Quotas are those of all hosts, whatever batch asks them.
	Quotas  map[string]map[string]quotaJSON `json:"quotas,omitempty"`
	Limited bool                            `json:"limited,omitempty"`
	Error   string                          `json:"error,omitempty"`
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
	quotas, err := s.quotas(ctx)
	if err != nil {
		return false, err
	}
	if s.asJSON {
		enc := json.NewEncoder(s.out)
		for _, j := range all {
			j.Quotas = quotas
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
	quotaText(out, quotas)
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
	err := b.Broken
	if err == nil {
		err = s.a.DB.CheckKeys(ctx, b)
	}
	if _, broken := errors.AsType[*results.KeyError](err); broken {
		return statusJSON{
			Batch: b.Name, Provider: b.Provider, Status: b.Status, State: "broken", Source: b.Source, Error: err.Error(),
		}, nil
	}
	if err != nil {
		return statusJSON{}, err
	}
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
		MaxPictures: b.MaxPictures,
		Enqueuing:   b.Enqueuing, Interrupted: b.Interrupted, Sealed: b.Sealed, Finished: b.Finished(c),
		Names: c.Total(), States: c.ByState(), State: b.Phase(c), Limited: b.Limited && b.Status == results.Paused,
		Refreshing: c[results.Refreshing], Stale: c[results.Stale],
	}
	refreshed, err := s.a.DB.Refreshed(ctx, b)
	if err != nil {
		return statusJSON{}, err
	}
	if !refreshed.Began.IsZero() {
		j.Refresh = &refreshed
	}
	for _, r := range reasons {
		if j.Reasons == nil {
			j.Reasons = make(map[string]int64)
		}
		j.Reasons[string(r.Reason)] = r.Names
	}
	hosts, err := s.a.DB.Hosts(ctx, b, statusHosts)
	if err != nil {
		return statusJSON{}, err
	}
	for _, h := range hosts {
		if j.Hosts == nil {
			j.Hosts = make(map[string]int64)
		}
		j.Hosts[h.Host] = h.Names
	}
	if c.Open() > 0 {
		j.PerSecond = s.rate(b.Name, c.Settled())
		if j.PerSecond > 0 && b.Sealed {
			j.ETASeconds = float64(c.Open()) / j.PerSecond
		}
	}
	return j, nil
}

const (
	// statusHosts is how many hosts a status tells apart.
	statusHosts = 100
	// topFew is how many reasons and hosts it writes out.
	topFew = 10
	// rateOver is the time over which names a second are counted.
	rateOver = 10 * time.Second
	// rateLook is how far apart the two looks of a single status are.
	rateLook = 500 * time.Millisecond
)

// rate notes how many names are settled and returns how many were a second,
// since the oldest look of the last seconds; 0 at the first.
func (s *statusView) rate(batch string, settled int64) float64 {
	if s.last == nil {
		s.last = make(map[string][]sample)
	}
	now := sample{time.Now(), settled}
	looks := append(s.last[batch], now)
	for len(looks) > 2 && now.at.Sub(looks[0].at) > rateOver {
		looks = looks[1:]
	}
	s.last[batch] = looks
	if len(looks) == 1 {
		return 0
	}
	// Deleting a name makes them fewer.
	return max(0, float64(now.settled-looks[0].settled)/now.at.Sub(looks[0].at).Seconds())
}

// firstLook makes the first of two looks, where a batch is moving: one alone
// shows no rate.
func (s *statusView) firstLook(ctx context.Context, args []string) error {
	batches, err := s.batches(ctx, args)
	if err != nil {
		return err
	}
	workers, err := s.a.DB.Workers(ctx)
	if err != nil || workers == 0 {
		return err
	}
	moving := false
	for _, b := range batches {
		c, err := s.a.DB.Counts(ctx, b)
		if isKeyError(err) {
			continue // told in its place
		}
		if err != nil {
			return err
		}
		if b.Status == results.Running && c.Open() > 0 {
			s.rate(b.Name, c.Settled())
			moving = true
		}
	}
	if !moving {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rateLook):
		return nil
	}
}

// quotas returns what hosts allow an hour or a day, and what is left of it.
func (s *statusView) quotas(ctx context.Context) (map[string]map[string]quotaJSON, error) {
	states, err := s.gate.Quotas(ctx)
	if err != nil || len(states) == 0 {
		return nil, err
	}
	quotas := make(map[string]map[string]quotaJSON)
	for _, h := range states {
		quotas[h.Host] = make(map[string]quotaJSON)
		for _, q := range h.Quotas {
			if q.Window >= time.Hour {
				quotas[h.Host]["per_"+q.Word()] = quotaJSON{Limit: q.Limit, Used: q.Used, Left: q.Left}
			}
		}
	}
	return quotas, nil
}

// quotaText writes the quotas for people.
func quotaText(w io.Writer, quotas map[string]map[string]quotaJSON) {
	for _, host := range slices.Sorted(maps.Keys(quotas)) {
		for _, window := range slices.Sorted(maps.Keys(quotas[host])) {
			q := quotas[host][window]
			fmt.Fprintf(w, "quota %s: %s of %s %s left\n", printable(host), count(int64(q.Left)), count(int64(q.Limit)),
				strings.ReplaceAll(window, "_", " "))
		}
	}
}

func (j statusJSON) text(w io.Writer) {
	if j.Error != "" {
		fmt.Fprintf(w, "%s: broken\n  %s\n", j.Batch, strings.ReplaceAll(j.Error, "\n", "\n  "))
		return
	}
	most := ""
	if j.MaxPictures > 0 {
		most = fmt.Sprintf(", %s a name at most", plural(int64(j.MaxPictures), "picture"))
	}
	fmt.Fprintf(w, "%s: %s, %s, provider %s%s, since %s\n", j.Batch, j.State, nameCount(j.Names), j.Provider, most,
		j.Created.Local().Format(time.DateTime))
	fmt.Fprintf(w, "  %s\n", states(j.States))
	if j.Refresh != nil {
		still := ""
		if j.Refreshing > 0 {
			still = ", " + count(j.Refreshing) + " to come"
		}
		fmt.Fprintf(w, "  %s%s, since %s\n", refreshWords(*j.Refresh), still, j.Refresh.Began.Local().Format(time.DateTime))
	}
	if j.Stale > 0 {
		fmt.Fprintf(w, "  %s stale: the last good answer is kept\n", count(j.Stale))
	}
	if j.PerSecond > 0 {
		fmt.Fprintf(w, "  %.1f names/s", j.PerSecond)
		if j.ETASeconds > 0 {
			fmt.Fprintf(w, ", about %s left", span(time.Duration(j.ETASeconds*float64(time.Second))))
		}
		fmt.Fprintln(w)
	}
	if len(j.Reasons) > 0 {
		fmt.Fprintf(w, "  failed for: %s\n", top(j.Reasons))
	}
	if len(j.Hosts) > 0 {
		fmt.Fprintf(w, "  failed at: %s\n", top(j.Hosts))
	}
	if n := j.States[results.Unreadable]; n > 0 {
		fmt.Fprintf(w, "  %s: something else than a record stands for them in Redis; `harvest results %s --state unreadable` says what, `harvest retry %s --state unreadable` looks them up anew\n",
			nameCount(n), j.Batch, j.Batch)
	}
	if open := j.States[results.Queued] + j.States[results.Found]; open > 0 && j.Status == results.Stopped {
		fmt.Fprintf(w, "  %s are not given up yet; if nobody is at it, harvest cancel %s does the rest\n", nameCount(open), j.Batch)
	}
	if j.Limited {
		fmt.Fprintln(w, "  paused by a limit of enqueue --wait; the same command again lets it go on")
	}
	if j.State == "interrupted" {
		fmt.Fprintf(w, "  interrupted: not all names of %s were enqueued; enqueue that file again to complete it\n",
			printable(strings.Join(j.Interrupted, ", ")))
	}
}

// top writes the words with the most names, and how many others there are.
func top(names map[string]int64) string {
	words := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(names[b], names[a]), cmp.Compare(a, b))
	})
	var parts []string
	for i, w := range words {
		if i == topFew {
			parts = append(parts, fmt.Sprintf("and %d others", len(words)-topFew))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", count(names[w]), printable(w)))
	}
	return strings.Join(parts, ", ")
}
