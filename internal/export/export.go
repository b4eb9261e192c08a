package export

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// Format is what an export is written as.
type Format string

// The formats.
const (
	CSV        Format = "csv"        // a table, a row for each picture
	JSONL      Format = "jsonl"      // the lines of `results --json`
	Parquet    Format = "parquet"    // the same table, with picture bytes if wanted
	WebDataset Format = "webdataset" // tar files of pictures with JSON and text
	Folder     Format = "folder"     // the pictures by readable names, with a table
)

// Formats lists every format.
func Formats() []Format { return []Format{CSV, JSONL, Parquet, WebDataset, Folder} }

// Binary reports whether the format is no text.
func (f Format) Binary() bool { return f == Parquet || f == WebDataset }

// Many reports whether an export is many files, in a folder of their own.
func (f Format) Many() bool { return f == WebDataset || f == Folder }

// Options say how an export is written.
type Options struct {
	Format Format
	// Table is for CSV. A folder's table has the BOM too.
	Table TableOptions
	// Images puts the bytes of pictures into Parquet.
	Images bool
	// Gzip packs CSV and JSON lines.
	Gzip bool
	// Shard bounds the shards of a WebDataset. Default [DefaultShard].
	Shard ShardSize
	// Unsettled takes names in whose pictures are still to come.
	Unsettled bool
	// DryRun counts, reads no picture and writes nothing.
	DryRun bool
	// Progress, if set, is called after every name, from one goroutine.
	Progress func(Report)
}

// Reads reports whether pictures are read for such an export.
func (o Options) Reads() bool {
	return !o.DryRun && (o.Format.Many() || o.Images && o.Format == Parquet)
}

// Source is what is exported: names of one batch in the order of their lines.
type Source struct {
	Batch results.Batch
	// Records is results.DB.Each.
	Records iter.Seq2[results.Record, error]
	// Again is results.DB.Get.
	Again func(ctx context.Context, name string) (results.Record, error)
	// Describe is recordjson.Of, with the files of pictures.
	Describe func(results.Record) recordjson.Name
	// Wanted, if set, leaves names out.
	Wanted func(recordjson.Name) bool
	// Pictures are read where their bytes are exported.
	Pictures Pictures
	// None, if set, is called where no name was exported, before the export gets
	// its name. With an error of it there is none.
	None func() error
}

// Report is what an export holds. Its JSON is that of `export --json` and of
// the file [Manifest].
type Report struct {
	Batch    string `json:"batch"`
	Provider string `json:"provider"`
	Format   Format `json:"format"`
	// Names, and the rows that they make in a table.
	Names int64 `json:"names"`
	Rows  int64 `json:"rows"`
	// Pictures that are stored, and their bytes: of these names, and without
	// those that have a problem.
	Pictures int64 `json:"pictures"`
	Bytes    int64 `json:"bytes"`
	// Unsettled names were left out, since they are not at their end.
	Unsettled int64 `json:"unsettled,omitempty"`
	// UnreadableNames have a record that cannot be read.
	UnreadableNames int64 `json:"unreadable_names,omitempty"`
	// Problems counts pictures by what keeps them out.
	Problems map[Problem]int64 `json:"problems,omitempty"`
	// Broken says which of the batch's keys hold what is not ours: names may
	// be missing.
	Broken string `json:"broken,omitempty"`
	// Shards of a WebDataset.
	Shards []Shard `json:"shardlist,omitempty"`
}

// Whole reports whether nothing is amiss with what was exported.
func (r Report) Whole() bool {
	return r.UnreadableNames == 0 && len(r.Problems) == 0 && r.Broken == ""
}

// sink takes what is exported, in order.
type sink interface {
	// add writes one item. The bytes are not kept.
	add(ctx context.Context, it *item) error
	// end writes what is left and shows the export as a whole.
	end(ctx context.Context, r *Report) error
	// abort lets go of what is under way.
	abort() error
}

// item is a row on its way: a picture of a name, or a name without pictures.
type item struct {
	name *recordjson.Name
	// picture is nil where there is none.
	picture *recordjson.Picture
	row     Row
	// first and last of its name.
	first, last bool

	// ready is closed when the picture was read, nil where none is.
	ready chan struct{}
	loaded
}

// has reports whether the item's picture is in the store, as far as is known.
func (it *item) has() bool { return it.picture != nil && it.picture.Key != "" && it.problem == "" }

// Run writes the export into target, which it finishes or discards. Pictures
// that are missing and names that cannot be read are counted and are no error.
func Run(ctx context.Context, src Source, target Target, opts Options) (Report, error) {
	if opts.Shard == (ShardSize{}) {
		opts.Shard = DefaultShard
	}
	if opts.DryRun {
		target = nowhere{}
	}
	report := Report{Batch: src.Batch.Name, Provider: src.Batch.Provider, Format: opts.Format}
	r := &run{src: src, opts: opts, report: &report}
	r.loader = &loader{
		pictures: src.Pictures, again: src.Again,
		memory: semaphore.NewWeighted(maxInMemory), files: semaphore.NewWeighted(readers),
	}
	err := r.all(ctx, target)
	if err == nil {
		err = target.Finish(ctx)
	}
	if err != nil {
		return report, errors.Join(err, target.Discard())
	}
	return report, nil
}

type run struct {
	src    Source
	opts   Options
	loader *loader
	report *Report
}

// ahead is how many rows are on their way.
const ahead = 4 * readers

func (r *run) all(ctx context.Context, target Target) error {
	to, err := r.sink(ctx, target)
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	items := make(chan *item, ahead)
	var left leftOut
	g.Go(func() (err error) {
		defer close(items)
		left, err = r.produce(inner, g, items)
		return err
	})
	g.Go(func() error {
		for it := range items {
			if err := r.take(inner, to, it); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return errors.Join(err, to.abort())
	}
	r.report.Unsettled, r.report.UnreadableNames, r.report.Broken = left.unsettled, left.unreadable, left.broken
	if r.report.Names == 0 && r.src.None != nil {
		if err := r.src.None(); err != nil {
			return errors.Join(err, to.abort())
		}
	}
	if err := to.end(ctx, r.report); err != nil {
		return errors.Join(err, to.abort())
	}
	return nil
}

// leftOut is what the records do not tell.
type leftOut struct {
	unsettled, unreadable int64
	broken                string
}

// produce sends the rows and begins to read their pictures.
func (r *run) produce(ctx context.Context, g *errgroup.Group, items chan<- *item) (left leftOut, _ error) {
	for rec, err := range r.src.Records {
		if ctx.Err() != nil {
			return left, context.Cause(ctx)
		}
		if rec.Forgotten {
			continue
		}
		var n recordjson.Name
		switch {
		case results.IsRecordError(err):
			n = recordjson.Unreadable(r.src.Batch, rec, err)
			left.unreadable++
		case isBroken(err):
			left.broken = err.Error() // it comes last: all others were listed
			return left, nil
		case err != nil:
			return left, err
		case rec.State.Open() && !r.opts.Unsettled:
			left.unsettled++
			continue
		default:
			n = r.src.Describe(rec)
		}
		if r.src.Wanted != nil && !r.src.Wanted(n) {
			continue
		}
		all, err := itemsOf(&n)
		if err != nil {
			return left, fmt.Errorf("name %q: %w", n.Name, err)
		}
		for _, it := range all {
			if err := r.begin(ctx, g, it); err != nil {
				return left, err
			}
			select {
			case items <- it:
			case <-ctx.Done():
				return left, context.Cause(ctx)
			}
		}
	}
	return left, nil
}

func isBroken(err error) bool {
	_, ok := errors.AsType[*results.KeyError](err)
	return ok
}

func itemsOf(n *recordjson.Name) ([]*item, error) {
	rows, err := Rows(*n)
	if err != nil {
		return nil, err
	}
	items := make([]*item, len(rows))
	for i, row := range rows {
		items[i] = &item{name: n, row: row, first: i == 0, last: i == len(rows)-1}
		if len(n.Pictures) > 0 {
			items[i].picture = &n.Pictures[i]
		}
	}
	return items, nil
}

// begin begins to read the picture of an item, where there is one to be read.
func (r *run) begin(ctx context.Context, g *errgroup.Group, it *item) error {
	if !r.opts.Reads() || !it.has() {
		return nil
	}
	weight, err := r.loader.reserve(ctx, it.picture)
	if err != nil {
		return err
	}
	it.ready = make(chan struct{})
	g.Go(func() error {
		defer close(it.ready)
		got, err := r.loader.load(ctx, it.name.Name, it.picture)
		it.loaded = got
		it.weight = weight
		return err
	})
	return nil
}

// take writes one item when its picture is there.
func (r *run) take(ctx context.Context, to sink, it *item) error {
	if it.ready != nil {
		<-it.ready
		defer r.loader.release(it.weight)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !it.gone {
		it.row.Problem = it.problem
		if err := to.add(ctx, it); err != nil {
			return err
		}
		r.count(it)
	}
	if it.last && r.opts.Progress != nil {
		r.opts.Progress(*r.report)
	}
	return nil
}

func (r *run) count(it *item) {
	r.report.Rows++
	if it.first {
		r.report.Names++
	}
	switch {
	case it.has():
		r.report.Pictures++
		r.report.Bytes += it.picture.Bytes
	case it.problem != "":
		if r.report.Problems == nil {
			r.report.Problems = make(map[Problem]int64)
		}
		r.report.Problems[it.problem]++
	}
}

// sink returns what writes the format into target.
func (r *run) sink(ctx context.Context, target Target) (sink, error) {
	switch r.opts.Format {
	case WebDataset:
		return newShards(ctx, target, r.src.Batch.Name, r.opts)
	case Folder:
		return newTree(ctx, target, r.src.Pictures, r.opts.Table)
	}
	if !slices.Contains(Formats(), r.opts.Format) {
		return nil, fmt.Errorf("unknown format %q", r.opts.Format)
	}
	return newSingle(ctx, target, r.opts)
}
