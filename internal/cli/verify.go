package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/removal"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/verify"
)

type verifyFlags struct {
	repair, orphans, rebind bool
	all, sizeOnly, asJSON   bool
	yes                     bool
	concurrency             int
}

func verifyCommand(env *Env) *cobra.Command {
	var fl verifyFlags
	c := &cobra.Command{
		Use:   "verify BATCH",
		Short: "Compare the stored pictures with the records",
		Long: `Read the batch's pictures in the store and compare them with the records. Each
file that differs is a line, a mark and the file:

  -  the record has it, the store has not
  *  the file has other bytes than the record says
  +  the store has it, no record has (a file of the last ten minutes may be one
     that is about to be recorded, and is left out while the batch is at work)
  !  the file, or a record, could not be read
  =  the same; shown with --all

--repair fetches what is missing or differs again: such names are to be done
once more, by the workers or by the same harvest run as before. Sidecars
(storage.sidecar) it writes at once.
--remove-orphans removes the files of + lines. --rebind binds the batch to the
store that is here, where its own was replaced: by a copy that has another ID,
or by an empty one that --repair is to fill.

The exit code is 1 where anything differs, and is not repaired by this command.`,
		Example: `  harvest verify names
  harvest verify names --repair
  harvest verify names --rebind --repair --yes`,
		Args: oneBatch,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			a, err := env.open(ctx, c, app.Read)
			if err != nil {
				return err
			}
			defer a.Close(ctx)
			b, err := chooseBatch(ctx, a, args)
			if err != nil {
				return err
			}
			return (&verifying{env: env, a: a, b: b, fl: fl}).run(ctx)
		},
	}
	f := c.Flags()
	f.BoolVar(&fl.repair, "repair", false, "fetch what is missing or differs again")
	f.BoolVar(&fl.orphans, "remove-orphans", false, "remove files that no record has")
	f.BoolVar(&fl.rebind, "rebind", false, "bind the batch to the store that is here")
	f.BoolVar(&fl.all, "all", false, "show files that are the same, too")
	f.BoolVar(&fl.sizeOnly, "size-only", false, "compare sizes and read no bytes")
	f.BoolVar(&fl.asJSON, "json", false, "one JSON object a line")
	f.IntVar(&fl.concurrency, "concurrency", 0, "`number` of files read at once (default 16)")
	f.BoolVarP(&fl.yes, "yes", "y", false, "do not ask")
	env.setting(f, "storage.url", "storage", "", "`place` of the pictures: a folder, or s3://bucket/prefix?endpoint=URL (default: pictures in the data folder)")
	return c
}

// verifying is one comparison.
type verifying struct {
	env *Env
	a   *app.App
	b   results.Batch
	fl  verifyFlags

	out     *bufio.Writer
	enc     *json.Encoder
	lost    []results.Lost
	wanted  int64 // pictures that are to be fetched again
	names   int64 // whose names are so many
	again   int64 // of which so many were opened
	removed removal.Report
	orphans []removal.File
	remover *removal.Remover
	// lacking are names whose sidecars are to be written by beside, and
	// mended how many there were.
	lacking []string
	beside  func(ctx context.Context, name string) error
	mended  int64
}

const (
	// lostPage is how many names are opened again at once.
	lostPage = 500
	// orphansPage is how many files are removed at once: for each page all
	// records are looked at.
	orphansPage = 20_000
	// sidecarsAtOnce is how many names' sidecars are written at a time.
	sidecarsAtOnce = 16
)

func (v *verifying) run(ctx context.Context) error {
	began := time.Now()
	place := v.a.Settings.PicturesFolder()
	if v.fl.concurrency < 0 || v.fl.concurrency > 1000 {
		return usagef("--concurrency %d: give 1 to 1000", v.fl.concurrency)
	}
	if v.fl.rebind {
		if err := confirm(ctx, v.env, fmt.Sprintf("bind batch %s to the store %s", v.b.Name, place), v.fl.yes); err != nil {
			return err
		}
		if err := v.a.Rebind(ctx, v.b); err != nil {
			return err
		}
		var err error
		if v.b, err = v.a.DB.Batch(ctx, v.b.Name); err != nil {
			return err
		}
	}
	checker, closeStore, err := v.a.Verifier(ctx, v.b)
	if err != nil {
		return err
	}
	defer closeQuietly(closeStore)
	if v.fl.orphans {
		if err := confirm(ctx, v.env, fmt.Sprintf("remove what no record has of batch %s in %s", v.b.Name, place), v.fl.yes); err != nil {
			return err
		}
		r, closeRemover, err := v.a.Remover(ctx, v.b)
		if err != nil {
			return err
		}
		defer closeQuietly(closeRemover)
		v.remover = r
	}
	if v.fl.repair && checker.Sidecars {
		beside, closeSidecars, err := v.a.Sidecars(ctx, v.b)
		if err != nil {
			return err
		}
		defer closeQuietly(closeSidecars)
		v.beside = beside
	}
	checker.SizeOnly = v.fl.sizeOnly
	if v.fl.concurrency > 0 {
		checker.AtOnce = v.fl.concurrency
	}
	v.out = bufio.NewWriter(v.env.Out)
	v.enc = json.NewEncoder(v.out)
	v.enc.SetEscapeHTML(false)
	sum, err := checker.Batch(ctx, v.b, func(f verify.Finding) error { return v.found(ctx, f) })
	// What was found so far is said, and repaired, in any case.
	if err == nil {
		err = errors.Join(v.refetch(ctx), v.mend(ctx), v.removeOrphans(ctx))
	}
	if ferr := v.out.Flush(); err == nil {
		err = ferr
	}
	v.say(sum, time.Since(began))
	if err != nil {
		return err
	}
	left := sum
	if v.fl.repair && v.again > 0 {
		fmt.Fprintf(v.env.Err, "%s enqueued to fetch %s again%s\n", nameCount(v.again), plural(v.wanted, "picture"), whoDoes(ctx, v.a, v.b.Name))
	}
	switch {
	case v.fl.repair && v.again < v.names:
		fmt.Fprintf(v.env.Err, "%s not done or partial, or changed meanwhile, and left alone\n", areNames(v.names-v.again))
	case v.fl.repair:
		left.Missing, left.Different = 0, 0
	}
	if v.fl.repair && v.mended > 0 {
		left.Sidecars = 0
		fmt.Fprintf(v.env.Err, "%s written\n", plural(v.mended, "sidecar"))
	}
	if v.remover != nil {
		left.Orphans = 0
		fmt.Fprintf(v.env.Err, "%s removed (%s)\n", plural(v.removed.Pictures, "file"), size(v.removed.Bytes))
	}
	if left.Clean() {
		return nil
	}
	v.advise(left)
	return &coded{ExitFailed, nil}
}

// found shows one finding, and keeps what is to be done about it.
func (v *verifying) found(ctx context.Context, f verify.Finding) error {
	if err := v.show(f); err != nil {
		return err
	}
	switch {
	case f.Mark == verify.Orphan && v.remover != nil:
		if v.orphans = append(v.orphans, removal.File{Key: f.Key, Bytes: f.Bytes}); len(v.orphans) >= orphansPage {
			return v.removeOrphans(ctx)
		}
	case f.Sidecar && (f.Mark == verify.Missing || f.Mark == verify.Different) && v.fl.repair:
		v.mended++
		if n := len(v.lacking); n > 0 && v.lacking[n-1] == f.Name {
			return nil
		}
		if v.lacking = append(v.lacking, f.Name); len(v.lacking) >= lostPage {
			return v.mend(ctx)
		}
	case (f.Mark == verify.Missing || f.Mark == verify.Different) && v.fl.repair:
		v.wanted++
		// The findings of one name come together.
		if n := len(v.lost); n > 0 && v.lost[n-1].Record.Name == f.Name {
			v.lost[n-1].Ranks = append(v.lost[n-1].Ranks, f.Rank)
			return nil
		}
		if len(v.lost) >= lostPage {
			if err := v.refetch(ctx); err != nil {
				return err
			}
		}
		v.names++
		v.lost = append(v.lost, results.Lost{Record: f.Record, Ranks: []int{f.Rank}})
	}
	return nil
}

func (v *verifying) refetch(ctx context.Context) error {
	lost := v.lost
	v.lost = nil
	n, err := v.a.Enqueuer().Refetch(ctx, v.b, lost)
	v.again += n
	return err
}

// mend writes the sidecars of the names that lack some.
func (v *verifying) mend(ctx context.Context) error {
	names := v.lacking
	v.lacking = nil
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sidecarsAtOnce)
	for _, name := range names {
		g.Go(func() error { return v.beside(ctx, name) })
	}
	return g.Wait()
}

func (v *verifying) removeOrphans(ctx context.Context) error {
	if len(v.orphans) == 0 {
		return nil
	}
	files := v.orphans
	v.orphans = nil
	rep, err := v.remover.Orphans(ctx, files)
	v.removed.Pictures += rep.Pictures
	v.removed.Bytes += rep.Bytes
	return err
}

// verifyJSON is a line of `verify --json`; docs/json.md says what the keys
// mean.
type verifyJSON struct {
	Batch string      `json:"batch"`
	Mark  verify.Mark `json:"mark"`
	Key   string      `json:"key,omitempty"`
	File  string      `json:"file,omitempty"`
	Bytes int64       `json:"bytes,omitempty"`
	Name  string      `json:"name,omitempty"`
	Rank  int         `json:"rank,omitempty"`
	Error string      `json:"error,omitempty"`
}

func (v *verifying) show(f verify.Finding) error {
	if f.Mark == verify.Same && !v.fl.all {
		return nil
	}
	path := ""
	if f.Key != "" {
		path = app.PicturePath(v.a.Settings.PicturesFolder(), f.Key)
	}
	if v.fl.asJSON {
		j := verifyJSON{Batch: v.b.Name, Mark: f.Mark, Key: f.Key, File: path, Bytes: f.Bytes, Name: f.Name, Rank: f.Rank}
		if f.Err != nil {
			j.Error = f.Err.Error()
		}
		return v.enc.Encode(j)
	}
	if path == "" {
		path = f.Name
	}
	line := string(f.Mark) + " " + path
	if f.Err != nil {
		line += ": " + f.Err.Error()
	}
	_, err := io.WriteString(v.out, printable(line)+"\n")
	return err
}

// say sums up what was found.
func (v *verifying) say(s verify.Summary, took time.Duration) {
	sidecars := ""
	if s.Sidecars > 0 {
		sidecars = plural(s.Sidecars, "sidecar") + " missing or different, "
	}
	fmt.Fprintf(v.env.Err, "%s in %s: %s the same (%s), %s missing, %s different, %s that no record has, %s%s (%s)\n",
		v.b.Name, v.a.Settings.PicturesFolder(), count(s.Same), size(s.Bytes), count(s.Missing), count(s.Different), count(s.Orphans),
		sidecars, plural(s.Failed, "error"), span(took))
}

// advise says what to type next.
func (v *verifying) advise(s verify.Summary) {
	words := []string{"verify", v.b.Name}
	if s.Missing+s.Different+s.Sidecars > 0 {
		words = append(words, "--repair")
	}
	if s.Orphans > 0 {
		words = append(words, "--remove-orphans")
	}
	if len(words) > 2 {
		fmt.Fprintf(v.env.Err, "put it right with: %s\n", nextInStore(v.a, words...))
	}
}

// nextInStore is [next] for a command that reads the store.
func nextInStore(a *app.App, words ...string) string {
	if url := a.Settings.Storage.URL; url != "" {
		words = append(words, "--storage", url)
	}
	return next(a, words...)
}

// offerVerify says how pictures come back that are not where they were.
func offerVerify(ctx context.Context, w io.Writer, a *app.App, batch string) error {
	b, err := a.DB.Batch(ctx, batch)
	if err != nil {
		return ignoreNoBatch(err)
	}
	gone, err := a.PicturesGone(ctx, b)
	if err == nil && gone {
		fmt.Fprintf(w, "names of batch %s are done, and their pictures are not in %s any more; fetch them again with: %s\n",
			batch, a.Settings.PicturesFolder(), nextInStore(a, "verify", batch, "--repair"))
	}
	return err
}
