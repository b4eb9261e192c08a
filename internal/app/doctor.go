package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/sweep"
	"github.com/picharvest/picharvest/tasks"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts.
const (
	Well     Verdict = "ok"
	Repaired Verdict = "repaired"
	// Warning: it works, and may not go on working.
	Warning Verdict = "warning"
	// Problem: names wait, or will be lost, until somebody acts.
	Problem Verdict = "problem"
)

// Finding is one line of an examination.
type Finding struct {
	// Check is a word for what was looked at.
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	// Cure says what to do.
	Cure string `json:"cure,omitempty"`
}

// Examination is what to look at.
type Examination struct {
	// Batch to look at; empty: all.
	Batch string
	// Repair puts right what a worker's sweeper would.
	Repair bool
	// Online asks the lookup services.
	Online bool
}

// doctor examines one installation.
type doctor struct {
	s    configs.Settings
	x    Examination
	tell func(Finding)
	// store is the ID of the picture store, empty where there is none.
	store   string
	noStore bool // there is none
}

// What is close to an end.
const (
	littleRoom  = 1 << 30
	noRoom      = 64 << 20
	fewFiles    = 256
	skewWarns   = 5 * time.Second
	skewBreaks  = 20 * time.Second
	examineOpen = 200_000 // open names a doctor looks at
	shownNames  = 3
)

// Examine looks at everything that harvest stands on and calls tell with each
// finding. open connects to Redis. The error is one that kept it from looking
// on, and has been told as a finding as well; [results.ErrNoBatch] where the
// batch does not exist.
func Examine(ctx context.Context, s configs.Settings, x Examination, open func(context.Context) (*App, error), tell func(Finding)) error {
	d := &doctor{s: s, x: x, tell: tell}
	d.limits()
	storeErr := d.pictures(ctx)
	catalogue, err := Catalogue(s)
	if err != nil {
		d.problem("provider", err.Error(), "correct the definition; harvest providers list shows all")
	}
	a, err := open(ctx)
	if errors.Is(err, embedded.ErrNoData) {
		d.warn("redis", err.Error(), "harvest run makes one")
		return storeErr
	}
	if err != nil {
		d.problem("redis", err.Error(), "")
		return err
	}
	defer a.Close(ctx)
	if err := d.redis(ctx, a); err != nil {
		d.problem("redis", err.Error(), "see that Redis answers, and is not full or read-only")
		return err
	}
	batches, err := d.batches(ctx, a)
	if err != nil {
		if !errors.Is(err, results.ErrNoBatch) {
			d.problem("batches", err.Error(), "")
		}
		return err
	}
	if catalogue != nil {
		d.providers(ctx, catalogue, batches)
	}
	if err := d.work(ctx, a, batches); err != nil {
		d.problem("queues", err.Error(), "")
		return err
	}
	return storeErr
}

func (d *doctor) ok(check, format string, args ...any) {
	d.tell(Finding{Check: check, Verdict: Well, Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(check, detail, cure string) { d.tell(Finding{check, Warning, detail, cure}) }

func (d *doctor) problem(check, detail, cure string) { d.tell(Finding{check, Problem, detail, cure}) }

// limits looks at what the system allows this process.
func (d *doctor) limits() {
	have, ok := openFiles()
	if !ok {
		return
	}
	// A lookup and a picture each have a connection, a picture a file too.
	need := uint64(fewFiles + 2*d.s.Worker.LookupSlots() + 3*d.s.Worker.PictureSlots())
	if have < need {
		d.warn("limits", fmt.Sprintf("a process may have %d files open; a worker with these settings may need %d", have, need),
			"raise it by ulimit -n, or LimitNOFILE of the service")
		return
	}
	d.ok("limits", "a process may have %d files open", have)
}

// pictures looks at the store without making one.
func (d *doctor) pictures(ctx context.Context) error {
	dir := d.s.PicturesFolder()
	there, err := isStore(ctx, d.s)
	switch {
	case err != nil:
		d.problem("store", err.Error(), "")
		return failure.New(failure.ReasonStore, failure.Hold, err)
	case !there:
		d.noStore = true
		d.warn("store", dir+" is no picture store yet", "the first worker makes it one; if there should be one, mount it")
		return nil
	}
	if d.store, err = CheckStore(ctx, d.s); err != nil {
		d.problem("store", err.Error(), "")
		return err
	}
	free, known := freeRoom(dir)
	switch detail := fmt.Sprintf("%s can be written, %d MB are free, its ID is %s", dir, free>>20, d.store); {
	case !known:
		d.ok("store", "%s can be written, its ID is %s", dir, d.store)
	case free < noRoom:
		d.problem("store", detail, "make room; workers go on by themselves")
	case free < littleRoom:
		d.warn("store", detail, "make room before it is full")
	default:
		d.ok("store", "%s", detail)
	}
	return nil
}

// redis looks at the servers, the clock and what their user may do.
func (d *doctor) redis(ctx context.Context, a *App) error {
	servers, err := a.Conn.Servers(ctx)
	if err != nil {
		d.warn("redis", err.Error(), "allow its user the command INFO, and see for yourself that it keeps data")
	}
	for _, srv := range servers {
		d.server(a, srv)
	}
	began := time.Now()
	there, err := a.Conn.Plain.Time(ctx).Result()
	if err != nil {
		return err
	}
	half := time.Since(began) / 2
	skew := there.Sub(began.Add(half)).Round(time.Millisecond)
	switch detail := fmt.Sprintf("this machine's and Redis's differ by %s, to within %s", skew.Abs(), half.Round(time.Millisecond)); {
	case skew.Abs() > skewBreaks:
		d.problem("clock", detail, "set the clocks by NTP: workers take each other's tasks for abandoned")
	case skew.Abs() > skewWarns:
		d.warn("clock", detail, "set the clocks by NTP")
	default:
		d.ok("clock", "%s", detail)
	}
	return d.rights(ctx, a)
}

func (d *doctor) server(a *App, srv redisconn.Server) {
	where := a.Place
	if srv.Addr != "" {
		where += ", node " + srv.Addr
	}
	detail := fmt.Sprintf("%s: version %s, %d MB used", where, srv.Version, srv.Used>>20)
	if srv.Max > 0 {
		detail += fmt.Sprintf(" of %d MB", srv.Max>>20)
	}
	switch {
	case strings.HasPrefix(srv.Policy, "allkeys-"):
		d.problem("redis", detail+", maxmemory-policy "+srv.Policy+": it drops queued names when it is full", "set maxmemory-policy noeviction there")
	case srv.Max > 0 && srv.Used > srv.Max/10*9:
		d.problem("redis", detail, "raise maxmemory, or delete batches: nothing goes on until 10 % is free")
	case srv.LosesData && a.Embedded == nil && d.s.Redis.Durability != redisconn.DurabilityManaged:
		d.warn("redis", detail+"; it loses queued names and results when it dies",
			"set appendonly yes there, or redis.durability: managed here if they are kept otherwise")
	case strings.HasPrefix(srv.Policy, "volatile-"):
		d.warn("redis", detail+", maxmemory-policy "+srv.Policy, "set maxmemory-policy noeviction there")
	case srv.Max > 0 && srv.Used > srv.Max/10*8:
		d.warn("redis", detail, "raise maxmemory, or delete batches")
	default:
		d.ok("redis", "%s", detail)
	}
}

// rights gives a few commands of each kind that harvest needs, on keys and
// channels that nobody uses.
func (d *doctor) rights(ctx context.Context, a *App) error {
	prefix := "harvest:"
	if a.Conn.Namespace != "" {
		prefix += a.Conn.Namespace + ":"
	}
	rdb := a.Conn.Plain
	const queue = "asynq:{harvest-doctor}:"
	var denied []string
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"write keys " + prefix + "*", func() error {
			return errors.Join(rdb.Set(ctx, prefix+"doctor", "1", time.Minute).Err(), rdb.Del(ctx, prefix+"doctor").Err())
		}},
		{"run scripts on keys asynq:*", func() error {
			return rdb.Eval(ctx, `redis.call('LPUSH', KEYS[1], 'x') return redis.call('DEL', KEYS[1])`, []string{queue + "pending"}).Err()
		}},
		{"publish on channels " + prefix + "*", func() error { return rdb.Publish(ctx, prefix+"doctor", "").Err() }},
		{"publish on channels asynq:*", func() error { return rdb.Publish(ctx, "asynq:doctor", "").Err() }},
		{"write keys asynq:*", func() error { return rdb.ZRem(ctx, "asynq:servers", "harvest-doctor").Err() }},
	} {
		switch err := c.do(); {
		case err != nil && strings.Contains(err.Error(), "NOPERM"):
			denied = append(denied, c.what)
		case err != nil && !errors.Is(err, redis.Nil):
			return err
		}
	}
	if len(denied) > 0 {
		d.problem("rights", "the user of Redis may not "+strings.Join(denied, ", nor "), "ACL SETUSER with ~asynq:* ~harvest:* &asynq:* &harvest:* +@all -@admin -@dangerous +info")
		return nil
	}
	d.ok("rights", "the user of Redis may do what is needed")
	return nil
}

// batches looks at each batch by itself, and returns those that can be read.
func (d *doctor) batches(ctx context.Context, a *App) ([]results.Batch, error) {
	var all []results.Batch
	if d.x.Batch != "" {
		b, err := a.DB.Batch(ctx, d.x.Batch)
		if _, broken := errors.AsType[*results.KeyError](err); broken {
			b, err = results.Batch{Name: d.x.Batch, Broken: err}, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	} else {
		var err error
		if all, err = a.DB.Batches(ctx); err != nil {
			return nil, err
		}
	}
	var whole []results.Batch
	for _, b := range all {
		well, err := d.batch(ctx, a, b)
		if err != nil {
			return nil, err
		}
		if well {
			whole = append(whole, b)
		}
	}
	if len(all) == 0 {
		d.ok("batches", "there are none in %s", a.Place)
	}
	return whole, nil
}

// batch looks at one batch and reports whether it can be read.
func (d *doctor) batch(ctx context.Context, a *App, b results.Batch) (bool, error) {
	check := "batch " + b.Name
	err := b.Broken
	if err == nil {
		err = a.DB.CheckKeys(ctx, b)
	}
	if _, broken := errors.AsType[*results.KeyError](err); broken {
		for line := range strings.Lines(err.Error()) {
			d.problem(check, strings.TrimSpace(line), "")
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	counts, err := a.DB.Counts(ctx, b)
	if err != nil {
		return false, err
	}
	well := true
	if len(b.Interrupted) > 0 {
		well = false
		d.warn(check, "interrupted: "+strings.Join(b.Interrupted, ", ")+" was not read to its end", "enqueue or run the same file again")
	}
	if d.noStore && b.Store != "" {
		well = false
		d.warn(check, "its pictures are in the store "+b.Store+", and "+d.s.PicturesFolder()+" is none",
			"mount its store there, or give --storage; a worker without it leaves the batch alone")
	}
	if d.store != "" && b.Store != "" && b.Store != d.store {
		well = false
		d.problem(check, "its pictures are in the store "+b.Store+", and "+d.s.PicturesFolder()+" is another",
			"mount its store there, or give --storage; workers with this one leave the batch alone")
	}
	bad, newer, err := d.records(ctx, a, b, counts)
	if err != nil {
		return false, err
	}
	if newer > 0 {
		well = false
		d.warn(check, fmt.Sprintf("%d records are of a newer version than this program", newer), "upgrade it; their tasks wait for a newer worker")
	}
	if bad > 0 {
		well = false
		d.problem(check, fmt.Sprintf("%d records cannot be read", bad),
			"harvest results "+b.Name+" shows which, and their key; harvest retry "+b.Name+" --state unreadable asks those anew that were open")
	}
	if well {
		names := fmt.Sprintf("%d names", counts.Total())
		if counts.Total() == 1 {
			names = "1 name"
		}
		d.ok(check, "%s, %d open, %s", names, counts.Open(), b.Phase(counts))
	}
	return true, nil
}

// records counts the records that cannot be read, and those of a newer
// version: of one batch by reading all, of many those that somebody has met.
func (d *doctor) records(ctx context.Context, a *App, b results.Batch, counts results.Counts) (bad, newer int64, err error) {
	if d.x.Batch == "" {
		return counts[results.Unreadable], 0, nil
	}
	for _, err := range a.DB.Each(ctx, b, results.Query{Batch: b.Name}) {
		switch {
		case err == nil:
		case errors.Is(err, results.ErrNewer):
			newer++
		case results.IsRecordError(err):
			bad++
		default:
			return 0, 0, err
		}
	}
	return bad, newer, nil
}

// providers looks at the providers that the batches need.
func (d *doctor) providers(ctx context.Context, c *lookup.Catalogue, batches []results.Batch) {
	needed := make(map[string]bool)
	for _, b := range batches {
		needed[b.Provider] = true
	}
	if d.s.Provider != "" {
		needed[d.s.Provider] = true
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		check := "provider " + name
		def, err := Definition(d.s, c, name)
		if err != nil {
			d.problem(check, err.Error(), "add its definition to the providers folder: workers leave its names alone")
			continue
		}
		client, err := LookupClient(d.s, def)
		switch {
		case err != nil:
			d.problem(check, err.Error(), "")
		case !d.x.Online || !def.Asks():
			d.ok(check, "%s, contact and secrets are there; --online asks it", cmp.Or(def.Origin(), "no lookup"))
		default:
			d.online(ctx, check, c, name, client)
		}
	}
}

// online asks a service about a name that it should know.
func (d *doctor) online(ctx context.Context, check string, c *lookup.Catalogue, provider string, client *lookup.Client) {
	name := "Ada Lovelace"
	if e, err := c.Get(provider); err == nil && len(e.Samples) > 0 {
		name = e.Samples[0].Name
	}
	began := time.Now()
	answer, err := client.Lookup(ctx, name)
	if err != nil {
		d.problem(check, err.Error(), "see the service's own status; harvest providers test "+provider+" shows the request")
		return
	}
	d.ok(check, "answers in %s: %s for %q", time.Since(began).Round(time.Millisecond), answer.Verdict, name)
}

// work looks at workers and queues, and repairs.
func (d *doctor) work(ctx context.Context, a *App, batches []results.Batch) error {
	ids, err := a.DB.WorkerIDs(ctx)
	if err != nil {
		return err
	}
	var open int64
	for _, b := range batches {
		c, err := a.DB.Counts(ctx, b)
		if err != nil {
			return err
		}
		if b.Status == results.Running {
			open += c.Open()
		}
	}
	switch {
	case len(ids) == 0 && open > 0 && a.Embedded != nil:
		d.warn("workers", fmt.Sprintf("none is alive, and %d names wait", open), "type the same harvest run again")
	case len(ids) == 0 && open > 0:
		d.problem("workers", fmt.Sprintf("none is alive, and %d names wait", open), "start one: harvest worker")
	default:
		d.ok("workers", "%d alive, %d names wait", len(ids), open)
	}
	var store storage.Store
	if d.store != "" {
		if store, err = newStore(ctx, d.s); err != nil {
			return err
		}
		defer store.Close()
	}
	sweeper := a.Sweeper(store, nil)
	d.swept(sweeper.Once(ctx, examineOpen, d.x.Repair))
	if err := d.queues(a); err != nil {
		return err
	}
	return d.asides(ctx, sweeper)
}

// swept tells what a sweep found.
func (d *doctor) swept(r sweep.Report) {
	found := func(check string, n int, detail string) {
		switch {
		case n == 0:
		case d.x.Repair:
			d.tell(Finding{Check: check, Verdict: Repaired, Detail: detail})
		default:
			d.problem(check, detail, "a worker puts it right within minutes, harvest doctor --repair at once")
		}
	}
	for _, q := range r.Queues {
		check := "queue " + q.Name
		if q.Err != nil {
			d.problem(check, q.Err.Error(), "until then tasks of dead workers do not come back: look who wrote that key, and remove it, or give the user of Redis its rights")
			continue
		}
		if len(q.Unreadable) > 0 {
			found(check, 1, fmt.Sprintf("%d messages cannot be decoded, such as task %s: %s; tasks of dead workers do not come back while they are there",
				len(q.Unreadable), q.Unreadable[0].ID, q.Unreadable[0].Cause))
		}
		found(check, len(q.Unleased), fmt.Sprintf("%d tasks are in hand without a lease, and nobody would find them", len(q.Unleased)))
		found(check, len(q.Empty), fmt.Sprintf("%d tasks are in hand without a message", len(q.Empty)))
		found(check, len(q.Strays), fmt.Sprintf("%d leases belong to no task", len(q.Strays)))
	}
	for _, b := range r.Batches {
		if d.x.Batch != "" && b.Name != d.x.Batch {
			continue
		}
		check := "batch " + b.Name
		if _, told := errors.AsType[*results.KeyError](b.Err); told {
			continue
		}
		if b.Err != nil {
			d.problem(check, b.Err.Error(), "")
			continue
		}
		names := strings.Join(b.Lost[:min(len(b.Lost), shownNames)], ", ")
		found(check, b.LostNames, fmt.Sprintf("%d names wait, and have no task in any queue: %s", b.LostNames, names))
		if !b.Whole {
			d.warn(check, fmt.Sprintf("only %d of its open names were looked at", b.Looked), "the workers' sweeper goes on through all of them")
		}
	}
	found("store", r.Temps, fmt.Sprintf("%d temporary files of workers that are gone lie in it", r.Temps))
	for _, err := range r.Errs {
		d.problem("queues", err.Error(), "")
	}
}

// queues tells how the queues stand.
func (d *doctor) queues(a *App) error {
	inspector := asynq.NewInspectorFromRedisClient(a.Conn.Plain)
	names, err := inspector.Queues()
	if err != nil {
		return fmt.Errorf("list the queues: %w", err)
	}
	slices.Sort(names)
	foreign := 0
	for _, name := range names {
		q, ours := tasks.ParseQueue(name)
		if !ours || q.Namespace != a.Conn.Namespace {
			foreign++
			continue
		}
		info, err := inspector.GetQueueInfo(name)
		if err != nil {
			d.problem("queue "+name, fmt.Sprintf("it cannot be read: %v", err), "look who else writes to keys asynq:{"+name+"}:*")
			continue
		}
		detail := fmt.Sprintf("%d waiting, %d in hand, %d to be tried again, %d archived", info.Pending, info.Active, info.Retry+info.Scheduled, info.Archived)
		if info.Paused {
			detail += ", paused: its service asked to be left alone, or somebody paused it in the queues' page"
		}
		d.ok("queue "+name, "%s", detail)
	}
	if foreign > 0 {
		d.ok("queues", "%d queues of other programs or namespaces are left alone", foreign)
	}
	return nil
}

// asides tells of the messages that were moved aside.
func (d *doctor) asides(ctx context.Context, s *sweep.Sweeper) error {
	n, latest, err := s.Asides(ctx, 1)
	if err != nil && strings.Contains(err.Error(), "WRONGTYPE") {
		d.problem("aside", "what stands under our key for messages that were moved aside is another program's: "+err.Error(), "look who wrote it, and remove it there")
		return nil
	}
	if err != nil {
		return err
	}
	if n > 0 && len(latest) > 0 {
		d.warn("aside", fmt.Sprintf("%d messages that could not be decoded were moved aside, the last on %s, task %s of queue %s: %s",
			n, latest[0].At.Format(time.RFC3339), latest[0].ID, latest[0].Queue, latest[0].Cause),
			"look who else writes to this Redis; their names were put back")
	}
	return nil
}
