package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// Status is what is to be done with a batch.
type Status string

// The statuses.
const (
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "cancelled"
	Deleting Status = "deleting"
)

// Batch describes a batch.
type Batch struct {
	Name     string
	Provider string
	// Params of the provider that are not its defaults.
	Params Params
	Shards int
	Status Status
	// Source is the input that the batch was made from: a path, or "-".
	Source string
	// Store is the ID of the picture store, empty until a worker has bound it.
	Store string
	// Names is the [storage.Naming] of its pictures, empty until a worker has
	// bound it; see [Batch.Naming].
	Names string
	// Sidecars: a JSON file stands beside each picture of a settled name.
	Sidecars bool
	// MaxPictures bounds the pictures of each name. 0: the provider's bound.
	MaxPictures int
	// Created is when, by Redis's clock.
	Created time.Time
	// Birth tells this batch from a deleted one of the same name.
	Birth int64
	Epoch int64
	// Enqueuing is the number of enqueuers at work.
	Enqueuing int
	// Interrupted lists the sources of enqueuers that died before their end.
	Interrupted []string
	// Sealed: the input has come to its end.
	Sealed bool
	// Opens counts how often an enqueuer has opened the batch. Where it has
	// not grown nobody began to add names meanwhile.
	Opens int64
	// Limited: it is paused by a limit and not by command, see [DB.Limit].
	Limited bool
	// Broken is a [*KeyError] about the batch's own keys, see [DB.Batches].
	Broken error
	// Bytes of pictures stored so far, about: what a worker stored in its
	// last second is missing, and where it died, for ever.
	Bytes int64
}

// Finished reports whether the batch has reached its end, given its counts.
// A cancelled batch takes no names in and needs no end of its input.
func (b Batch) Finished(c Counts) bool {
	return (b.Sealed || b.Status == Stopped) && c.Open() == 0
}

// Phase says in a word where the batch is: running, enqueuing, interrupted,
// finished, or its status where that is not running.
func (b Batch) Phase(c Counts) string {
	switch {
	case b.Status != Running:
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

// LeaseTime is how long an enqueuer's lease lasts unless it is renewed.
const LeaseTime = 15 * time.Second

// Enqueuing is one enqueuer's hold on a batch.
type Enqueuing struct {
	db     *DB
	batch  string
	lease  string
	source string
	birth  int64
	epoch  int64
	shards int
	opened time.Time
	// Params of the batch's provider that are not its defaults.
	Params Params
	// New reports that the batch was created by this call.
	New    bool
	Status Status
	// Opens is [Batch.Opens], this call included.
	Opens int64
}

// Open creates the batch or joins it, with a lease of [LeaseTime] that
// [Enqueuing.Renew] prolongs. The shards of an existing batch stay as they
// are. A cancelled batch runs again. Errors: [*ProviderError],
// [ErrDeleting], and [ErrNoBatch] where it was deleted while it was opened.
func (db *DB) Open(ctx context.Context, batch, provider, source string, shards int) (*Enqueuing, error) {
	return db.open(ctx, batch, provider, source, shards, nil, false)
}

// OpenWith is [DB.Open] for a batch that has, or is to have, these params and
// no others. [*ParamsError] where it has others.
func (db *DB) OpenWith(ctx context.Context, batch, provider, source string, shards int, params Params) (*Enqueuing, error) {
	return db.open(ctx, batch, provider, source, shards, params, true)
}

func (db *DB) open(ctx context.Context, batch, provider, source string, shards int, params Params, with bool) (*Enqueuing, error) {
	// The list of batches comes first: a batch that is not listed is lost.
	if err := db.rdb.ZAddNX(ctx, db.keys.batches(), redis.Z{Member: batch}).Err(); err != nil {
		return nil, err
	}
	id := uuid.NewString()
	check := ""
	if with {
		check = "check"
	}
	reply, err := openScript.Run(ctx, db.rdb, []string{db.keys.batch(batch), db.keys.leases(batch)},
		provider, shards, source, id, LeaseTime.Milliseconds(), params.encode(), check).Slice()
	if err != nil {
		return nil, err
	}
	switch reply[0] {
	case "provider":
		return nil, &ProviderError{Batch: batch, Has: fmt.Sprint(reply[1]), Wanted: provider}
	case "params":
		return nil, &ParamsError{Batch: batch, Has: DecodeParams(fmt.Sprint(reply[1])), Wanted: params}
	case "deleting":
		return nil, fmt.Errorf("batch %q: %w", batch, ErrDeleting)
	}
	e := &Enqueuing{
		db: db, batch: batch, lease: id + " " + source, source: source,
		birth: number(reply[1]), epoch: number(reply[2]), Status: Status(fmt.Sprint(reply[4])),
		shards: int(number(reply[5])), New: number(reply[6]) == 1,
		opened: time.UnixMilli(number(reply[8])).Truncate(time.Second), Opens: number(reply[9]),
		Params: DecodeParams(fmt.Sprint(reply[10])),
	}
	// Listed again, for a deletion may have come between.
	if err := db.rdb.ZAdd(ctx, db.keys.batches(), redis.Z{Score: float64(e.birth), Member: batch}).Err(); err != nil {
		return nil, err
	}
	told := number(reply[7]) == 1
	if err := db.tellShards(ctx, batch, change{e.birth, e.epoch, number(reply[3]), e.shards, provider, e.Status, e.Params.encode()}, !told); err != nil {
		return nil, err
	}
	if told {
		return e, nil
	}
	there, err := toldScript.Run(ctx, db.rdb, []string{db.keys.batch(batch)}, e.birth).Bool()
	if err != nil {
		return nil, err
	}
	if !there {
		// Who deleted it may have been at the shards before they came into being.
		if err := db.dropShards(ctx, batch, e.birth, e.shards); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %q was deleted meanwhile", ErrNoBatch, batch)
	}
	return e, nil
}

// Shards is the number of shards that the batch was created with.
func (e *Enqueuing) Shards() int { return e.shards }

// Renew prolongs the lease and returns the batch's status. [ErrNoBatch] says
// that the batch was deleted.
func (e *Enqueuing) Renew(ctx context.Context) (Status, error) {
	st, err := renewScript.Run(ctx, e.db.rdb, e.keys(), e.birth, e.lease, LeaseTime.Milliseconds()).Text()
	return Status(st), noBatch(e.batch, err)
}

// Close gives the lease back. reachedEnd says that the whole input was
// added; without it the batch stays interrupted.
func (e *Enqueuing) Close(ctx context.Context, reachedEnd bool) error {
	end := 0
	if reachedEnd {
		end = 1
	}
	ok, err := closeScript.Run(ctx, e.db.rdb, e.keys(), e.birth, e.lease, e.source, end).Int()
	if err == nil && ok == 0 {
		return fmt.Errorf("%w: %q was deleted meanwhile", ErrNoBatch, e.batch)
	}
	return err
}

func (e *Enqueuing) keys() []string {
	return []string{e.db.keys.batch(e.batch), e.db.keys.leases(e.batch)}
}

// MaxColumnBytes bounds the names and values of all columns of a name
// together.
const MaxColumnBytes = 2 << 10

// Line is one name of an input with the line it stands on.
type Line struct {
	Number int64
	Name   string
	// Columns are what the input says beside the name, at most MaxColumnBytes,
	// and ColumnsTruncated says that there were more.
	Columns          []Attribute
	ColumnsTruncated bool
}

// ColumnBytes is what columns count towards [MaxColumnBytes].
func ColumnBytes(columns []Attribute) int {
	n := 0
	for _, c := range columns {
		n += len(c.Name) + len(c.Value)
	}
	return n
}

// Added is what adding a line came to.
type Added struct {
	Ref tasks.Ref
	// New: the name was not in the batch.
	New bool
	// Duplicate: the name came into the batch since this enqueuer opened it,
	// by another line.
	Duplicate bool
	// Was is the state of a settled name that [Enqueuing.AddAgain] has opened,
	// else "".
	Was State
	// State of the record that is there now; of a name that is asked again,
	// that of the record under way.
	State State
	// Other: the name was there with other columns, which stay.
	Other bool
}

// Add adds the lines, which must all belong to one shard, and returns what
// became of each, in order. A few hundred lines a call are best. A record
// that cannot be read counts as failed and is left alone. Errors:
// [ErrNoBatch], [ErrCancelled].
func (e *Enqueuing) Add(ctx context.Context, shard int, lines []Line) ([]Added, error) {
	db := e.db
	args := make([]any, 0, 2+3*len(lines))
	args = append(args, e.birth, (tasks.ExpressNames+e.shards-1)/e.shards)
	for _, l := range lines {
		columns, err := columnsLine(l.Columns, l.ColumnsTruncated)
		if err != nil {
			return nil, err
		}
		args = append(args, l.Number, l.Name, columns)
	}
	reply, err := addScript.Run(ctx, db.rdb, []string{
		db.keys.meta(e.batch, shard), db.keys.records(e.batch, shard), db.keys.state(e.batch, shard, Queued),
	}, args...).StringSlice()
	if err != nil {
		return nil, noBatch(e.batch, err)
	}
	if reply[0] == string(Stopped) {
		return nil, fmt.Errorf("batch %q: %w", e.batch, ErrCancelled)
	}
	epoch := number(reply[0])
	added := make([]Added, len(lines))
	for i, answer := range reply[1:] {
		a := Added{Ref: tasks.Ref{Batch: e.batch, Shard: shard, Epoch: epoch, Name: lines[i].Name}}
		if fresh, ok := strings.CutPrefix(answer, "new "); ok {
			lane, generation, _ := strings.Cut(fresh, " ")
			a.New, a.State, a.Ref.Lane, a.Ref.Generation = true, Queued, tasks.Lane(lane), number(generation)
		} else if r, err := parse(lines[i].Name, answer); err == nil {
			a.State, a.Ref.Generation, a.Ref.Lane = r.State, r.Generation, r.Lane
			a.Duplicate = r.Line != lines[i].Number && !r.Updated.Before(e.opened)
			a.Other = len(lines[i].Columns) > 0 && !slices.Equal(r.Columns, lines[i].Columns)
		} else {
			a.State = Failed
		}
		added[i] = a
	}
	return added, nil
}

// Batch returns the batch. [ErrNoBatch] where there is none.
func (db *DB) Batch(ctx context.Context, name string) (Batch, error) {
	reply, err := describeScript.Run(ctx, db.rdb, []string{db.keys.batch(name), db.keys.leases(name)}, LeaseTime.Milliseconds()).Slice()
	if err != nil {
		return Batch{}, db.wrongType(ctx, Batch{Name: name}, err)
	}
	fields, _ := reply[0].([]any)
	if len(fields) == 0 {
		return Batch{}, fmt.Errorf("%w: %q", ErrNoBatch, name)
	}
	m := make(map[string]string)
	for i := 0; i+1 < len(fields); i += 2 {
		m[fmt.Sprint(fields[i])] = fmt.Sprint(fields[i+1])
	}
	b := Batch{
		Name: name, Provider: m["provider"], Status: Status(m["status"]), Source: m["source"], Store: m["store"],
		Names: m["names"], Sidecars: m["sidecars"] == "1",
		Params: DecodeParams(m["params"]), Limited: m["cause"] == causeLimit, Bytes: number(m["bytes"]),
		Shards: int(number(m["shards"])), Birth: number(m["birth"]), Epoch: number(m["epoch"]), Enqueuing: int(number(reply[1])),
		Opens: number(m["opens"]), MaxPictures: int(number(m["max_pictures"])),
	}
	b.Created = time.UnixMicro(b.Birth).UTC()
	broken, _ := reply[2].([]any)
	for _, source := range broken {
		b.Interrupted = append(b.Interrupted, fmt.Sprint(source))
	}
	b.Sealed = m["ended"] == "1" && b.Enqueuing == 0 && len(b.Interrupted) == 0
	return b, nil
}

// Batches returns every batch, the oldest first. One that cannot be read has
// nothing but its name and Broken.
func (db *DB) Batches(ctx context.Context) ([]Batch, error) {
	names, err := db.rdb.ZRange(ctx, db.keys.batches(), 0, -1).Result()
	if err != nil {
		return nil, err
	}
	var batches []Batch
	for _, n := range names {
		b, err := db.Batch(ctx, n)
		if errors.Is(err, ErrNoBatch) {
			continue
		}
		if _, broken := errors.AsType[*KeyError](err); broken {
			b = Batch{Name: n, Broken: err}
		} else if err != nil {
			return nil, err
		}
		batches = append(batches, b)
	}
	slices.SortFunc(batches, func(a, b Batch) int { return cmp.Compare(a.Birth, b.Birth) })
	return batches, nil
}

// BreakLeases ends the lease of every enqueuer at once. It is for the moment
// when none can be alive: a data folder that was opened by one process alone.
func (db *DB) BreakLeases(ctx context.Context) error {
	names, err := db.rdb.ZRange(ctx, db.keys.batches(), 0, -1).Result()
	if err != nil {
		return err
	}
	for _, name := range names {
		leases, err := db.rdb.ZRange(ctx, db.keys.leases(name), 0, -1).Result()
		if err != nil {
			return err
		}
		for _, l := range leases {
			if err := db.rdb.ZAddXX(ctx, db.keys.leases(name), redis.Z{Score: 0, Member: l}).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Binding is how a batch's pictures are kept, for its whole life.
type Binding struct {
	// Store is the ID of the store.
	Store string
	// Names is the [storage.Naming] of the pictures.
	Names string
	// Sidecars: a JSON file stands beside each picture of a settled name.
	Sidecars bool
}

// Bind gives the batch the store and the naming of wanted, each unless the
// batch has one or wanted has none, and sidecars if wanted has them, and
// returns what the batch has.
func (db *DB) Bind(ctx context.Context, batch string, birth int64, wanted Binding) (Binding, error) {
	sidecars := 0
	if wanted.Sidecars {
		sidecars = 1
	}
	reply, err := bindScript.Run(ctx, db.rdb, []string{db.keys.batch(batch)}, birth, wanted.Store, wanted.Names, sidecars).Slice()
	if err != nil {
		return Binding{}, noBatch(batch, err)
	}
	has := Binding{Sidecars: number(reply[2]) == 1}
	has.Store, _ = reply[0].(string)
	has.Names, _ = reply[1].(string)
	return has, nil
}

// BindNames gives the batch the naming of its pictures, unless it has one.
func (e *Enqueuing) BindNames(ctx context.Context, names string) error {
	_, err := e.db.Bind(ctx, e.batch, e.birth, Binding{Names: names})
	return err
}

// Naming returns the rule by which the batch's pictures have their keys; as
// long as there are none, [storage.NamesReadable].
func (b Batch) Naming() (storage.Naming, error) {
	n, err := storage.ParseNaming(cmp.Or(b.Names, storage.NamesReadable))
	if err != nil {
		err = fmt.Errorf("batch %q names its pictures in a way that this version does not know; use the version that began it (%w)", b.Name, err)
	}
	return n, err
}

// BindMaxPictures gives the batch its bound of pictures, unless it has one by an
// earlier call; 0 leaves it to the provider. It must be called before names are
// added. With takes the bound that the batch has will do; otherwise another one
// is a [*MaxPicturesError].
func (e *Enqueuing) BindMaxPictures(ctx context.Context, most int, takes bool) error {
	has, err := maxPicturesScript.Run(ctx, e.db.rdb, []string{e.db.keys.batch(e.batch)}, e.birth, most).Int()
	if err != nil {
		return noBatch(e.batch, err)
	}
	if has != most && !takes {
		return &MaxPicturesError{Batch: e.batch, Has: has, Wanted: most}
	}
	return nil
}

// CheckMaxPictures returns a [*MaxPicturesError] where there is such a batch with
// another bound of pictures.
func (db *DB) CheckMaxPictures(ctx context.Context, batch string, most int) error {
	has, err := db.rdb.HGet(ctx, db.keys.batch(batch), "max_pictures").Int()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err == nil && has != most {
		err = &MaxPicturesError{Batch: batch, Has: has, Wanted: most}
	}
	return err
}

// MaxPictures is that of a batch which was born then, for a worker with tasks
// of it. It never changes.
func (db *DB) MaxPictures(ctx context.Context, batch string, birth int64) (int, error) {
	v, err := db.rdb.HMGet(ctx, db.keys.batch(batch), "birth", "max_pictures").Result()
	if err != nil || number(v[0]) != birth {
		return 0, err
	}
	return int(number(v[1])), nil
}

// Pause holds the batch back: its tasks come to nothing until it is resumed.
func (db *DB) Pause(ctx context.Context, batch string) error {
	_, err := db.setStatus(ctx, batch, Paused, false, "")
	return err
}

// causeLimit stands in the batch's hash for a pause by a limit.
const causeLimit = "limit"

// Limit pauses a batch that runs, and remembers that a limit was the cause:
// who goes on with it by the same command need not resume it first.
func (db *DB) Limit(ctx context.Context, batch string) error {
	_, err := db.changeStatus(ctx, batch, Paused, false, Running, causeLimit)
	return err
}

// Resume runs the batch and voids the tasks made before: the caller enqueues
// new ones for every open name, see [DB.OpenNames]. Interrupted half-way it
// is simply called again.
func (db *DB) Resume(ctx context.Context, batch string) error {
	_, err := db.setStatus(ctx, batch, Running, true, "")
	return err
}

// Delete removes the batch and all its records. Tasks that are left come to
// nothing. Interrupted half-way it is simply called again.
func (db *DB) Delete(ctx context.Context, batch string) error {
	score, err := db.rdb.ZScore(ctx, db.keys.batches(), batch).Result()
	listed := err == nil
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	c, err := db.setStatus(ctx, batch, Deleting, false, "")
	if RedisFull(err) {
		c, err = db.dropUnmarked(ctx, batch)
	}
	gone := errors.Is(err, ErrNoBatch)
	if err != nil && !gone {
		return err
	}
	if !gone {
		if err := db.dropShards(ctx, batch, c.birth, c.shards); err != nil {
			return err
		}
		if err := dropScript.Run(ctx, db.rdb, []string{db.keys.batch(batch), db.keys.leases(batch)}, c.birth).Err(); err != nil {
			return err
		}
	}
	// The list of batches comes last: what is listed can be deleted again.
	if listed {
		if err := unlistScript.Run(ctx, db.rdb, []string{db.keys.batches()}, batch, score).Err(); err != nil {
			return err
		}
	}
	if gone && !listed {
		return err
	}
	return nil
}

// dropUnmarked removes the records of a batch from a Redis that is too full to
// take the mark of a deletion, and then marks it if there is room by now. While
// there is none nobody can open the batch either.
func (db *DB) dropUnmarked(ctx context.Context, batch string) (change, error) {
	b, err := db.Batch(ctx, batch)
	if err != nil {
		return change{}, err
	}
	if err := db.dropShards(ctx, batch, b.Birth, b.Shards); err != nil {
		return change{}, err
	}
	c, err := db.setStatus(ctx, batch, Deleting, false, "")
	if RedisFull(err) {
		return change{birth: b.Birth, shards: b.Shards}, nil
	}
	return c, err
}

// RedisFull reports whether a write was refused for want of memory. Where a
// script makes it, the reply has its word at another place in each version of
// Redis.
func RedisFull(err error) bool {
	return err != nil && strings.Contains(err.Error(), "OOM command not allowed")
}

func (db *DB) dropShards(ctx context.Context, batch string, birth int64, shards int) error {
	for s := range shards {
		if err := dropScript.Run(ctx, db.rdb, db.shardKeys(batch, s), birth).Err(); err != nil {
			return err
		}
	}
	return nil
}

// change is one change of a batch's status.
type change struct {
	birth, epoch, rev int64
	shards            int
	provider          string
	status            Status
	params            string
}

// setStatus makes the batch's status st, or with from only if it is from,
// and tells the shards what the batch has then.
func (db *DB) setStatus(ctx context.Context, batch string, st Status, raise bool, from Status) (change, error) {
	return db.changeStatus(ctx, batch, st, raise, from, "")
}

func (db *DB) changeStatus(ctx context.Context, batch string, st Status, raise bool, from Status, cause string) (change, error) {
	inc := 0
	if raise {
		inc = 1
	}
	reply, err := statusScript.Run(ctx, db.rdb, []string{db.keys.batch(batch)}, string(st), inc, string(from), cause).Slice()
	if err != nil {
		return change{}, noBatch(batch, err)
	}
	c := change{number(reply[0]), number(reply[1]), number(reply[2]), int(number(reply[3])), fmt.Sprint(reply[4]), Status(fmt.Sprint(reply[5])), fmt.Sprint(reply[6])}
	if st == Deleting {
		return c, nil
	}
	return c, db.tellShards(ctx, batch, c, false)
}

func (db *DB) tellShards(ctx context.Context, batch string, c change, create bool) error {
	may := 0
	if create {
		may = 1
	}
	for s := range c.shards {
		err := shardScript.Run(ctx, db.rdb, db.shardKeys(batch, s), c.birth, c.epoch, c.rev, string(c.status), c.provider, may, c.params).Err()
		if err != nil {
			return err
		}
	}
	return nil
}

// shardKeys lists every key of a shard, its meta first.
func (db *DB) shardKeys(batch string, s int) []string {
	return append([]string{db.keys.meta(batch, s)}, db.keys.data(batch, s)...)
}

// number reads an integer of a script's reply, which is a string or an
// int64; what is none is 0.
func number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}
