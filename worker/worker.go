package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// Deps are the parts that a worker calls.
type Deps struct {
	// Redis is what the asynq servers read from. It must stay open until
	// [Worker.Run] has returned.
	Redis redis.UniversalClient
	// Queue takes the picture tasks.
	Queue     Enqueuer
	Namespace string
	DB        *results.DB
	// Providers by name: the lookup queues that this worker serves.
	Providers map[string]*Provider
	// LeftOut says what each provider lacks that is defined and cannot be
	// used: its queues are left alone.
	LeftOut map[string]error
	Store   storage.Store
	// Naming makes the keys of pictures of batches that have none yet; others
	// keep theirs.
	Naming storage.Naming
	// Sidecars gives every batch whose pictures are stored here a JSON file
	// beside each, for good.
	Sidecars bool
	Checker  *picture.Checker
	// Licences says which licences' pictures are asked for.
	Licences licence.Config
	// Remover may be nil where nothing is ever removed.
	Remover Remover
	// Gate bounds what all workers together ask of one host. It must stay
	// open until [Worker.Run] has returned.
	Gate *gate.Gate
	// HostLimits are what a picture host allows, besides what providers say.
	HostLimits func(host string) gate.Limits
	// HonoursRobots says of which picture hosts the robots.txt counts, for
	// providers that can fetch it. Nil: of none.
	HonoursRobots func(host string) bool
	// Tags says which words of an X-Robots-Tag refuse a picture.
	Tags   robots.Config
	Logger *slog.Logger
	// ID names this process among all workers.
	ID string
	// Settled, if set, is called after a name has come to its end here.
	Settled func(batch string, r results.Record)
	// Observer, if set, is told how the work goes.
	Observer Observer
	// Stored, if set, is called after a picture was stored and recorded here.
	Stored func(batch string, bytes int64)
	// Sweep, if set, is called once and works beside the tasks until its
	// context is over.
	Sweep func(ctx context.Context)
}

// Enqueuer is what the lookup handler needs of asynq's client.
type Enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Worker does tasks until it is told to stop.
type Worker struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	attempts attempts
	hosts    *hosts
	lookup   lookupHandler
	picture  pictureHandler

	asynqLog asynqLog
	pulse    pulse
	underWay underWay
	// running counts the handlers; asynq gives a task back that outlasts the
	// shutdown, but its handler still has something to clear away.
	running sync.WaitGroup

	// leaving is over when no new work is to begin.
	leaving context.Context
	leave   context.CancelFunc

	mu      sync.Mutex
	servers []server
	served  map[string]bool // queues
	unknown map[string]bool

	// paused is until when Run has paused which queues.
	paused map[string]time.Time
}

// sayEvery is how often the log tells that tasks have to wait.
const sayEvery = 10 * time.Second

// New returns a worker. cfg must be valid.
func New(cfg Config, deps Deps) *Worker {
	if deps.Remover == nil {
		deps.Remover = keepAll{}
	}
	leaving, leave := context.WithCancel(context.Background())
	if deps.Observer == nil {
		deps.Observer = nobody{}
	}
	w := &Worker{
		cfg: cfg, deps: deps, log: deps.Logger, leaving: leaving, leave: leave,
		asynqLog: newAsynqLog(deps.Logger),
		served:   make(map[string]bool), unknown: make(map[string]bool),
		underWay: underWay{db: deps.DB, log: deps.Logger, shares: make(map[string]*share)},
		hosts: &hosts{
			gate: deps.Gate, limits: deps.HostLimits, log: deps.Logger, observer: deps.Observer,
			robots: robots.NewCache(), honours: deps.HonoursRobots, tags: deps.Tags,
		},
		paused: make(map[string]time.Time),
	}
	lookupSlots, gatherings := make(map[string]*slots), make(map[string]*gathering)
	for name, p := range deps.Providers {
		lookupSlots[name] = newSlots(cfg.lookupsAtOnce(p))
		if p.Together != nil {
			gatherings[name] = &gathering{
				name: name, provider: p, hosts: w.hosts, observer: deps.Observer, log: deps.Logger, goes: w.running.Go,
			}
		}
	}
	if w.hosts.honours == nil {
		w.hosts.honours = func(string) bool { return false }
	}
	w.attempts = attempts{
		db: deps.DB, log: deps.Logger, leaving: leaving, settled: deps.Settled, crowd: newCrowd(),
		maxAttempts: cfg.MaxAttempts, delay: cfg.RetryDelay, maxDelay: cfg.MaxRetryDelay,
		says: rate.Sometimes{Interval: sayEvery}, observer: deps.Observer,
	}
	providers := newRoster(deps.Providers)
	w.lookup = lookupHandler{
		db: deps.DB, attempts: &w.attempts, queue: deps.Queue, namespace: deps.Namespace,
		providers: providers, hosts: w.hosts, gatherings: gatherings, observer: deps.Observer,
		slots: lookupSlots,
	}
	if cfg.Only == "" {
		w.lookup.pictures = &w.picture
	}
	w.picture = pictureHandler{
		db: deps.DB, attempts: &w.attempts, providers: providers, hosts: w.hosts, leaving: leaving, log: deps.Logger,
		store: deps.Store, naming: deps.Naming, sidecars: deps.Sidecars, checker: deps.Checker, licences: deps.Licences, remover: deps.Remover, bound: make(map[bornBatch]kept),
		observer: deps.Observer,
		stored:   w.stored,
		slots:    newSlots(cfg.PictureSlots()),
		shelf:    newShelf(deps.Store.Probe, deps.Logger, deps.Observer),
	}
	w.attempts.beside, w.attempts.recall = w.picture.beside, w.picture.recall
	w.attempts.sweeper = sweeper{db: deps.DB, remover: deps.Remover, store: w.picture.checkStore, log: deps.Logger}
	return w
}

// stored adds a picture up that was stored and recorded.
func (w *Worker) stored(r tasks.Ref, bytes int64) {
	w.underWay.stored(r, bytes)
	if w.deps.Stored != nil {
		w.deps.Stored(r.Batch, bytes)
	}
}

// discoverEvery is how often new queues are looked for.
const discoverEvery = time.Second

// Run works until ctx is over, then stops taking tasks, lets the running ones
// end for at most Config.ShutdownTimeout, gives the rest back, and returns
// when no handler runs any more.
// The queues of providers named in first are served at once; all others as
// they come into being.
func (w *Worker) Run(ctx context.Context, first ...string) error {
	defer w.sweepBeside(ctx)()
	defer w.underWay.tend()()
	defer w.shutdown()
	var beside sync.WaitGroup
	beside.Go(func() { w.attempts.sweeper.all(ctx) })
	beside.Go(func() { w.picture.shelf.tend(ctx) })
	defer beside.Wait()
	defer context.AfterFunc(ctx, func() { w.pulse.draining.Store(true) })()
	var queues []tasks.Queue
	for _, provider := range first {
		for _, lane := range []tasks.Lane{tasks.Express, tasks.Bulk} {
			queues = append(queues,
				tasks.Queue{Namespace: w.deps.Namespace, Kind: tasks.Lookups, Provider: provider, Lane: lane},
				tasks.Queue{Namespace: w.deps.Namespace, Kind: tasks.Pictures, Lane: lane})
		}
	}
	if err := w.serve(queues); err != nil {
		return err
	}
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	var said time.Time
	for {
		began := time.Now()
		answered, err := w.discover(ctx)
		if err != nil {
			return err
		}
		w.pulse.cameRound(began, answered)
		w.pauseQueues(ctx)
		if time.Since(said) > results.PresenceTime/3 {
			said = time.Now()
			w.present(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweepBeside runs Deps.Sweep until ctx is over or the returned function is
// called, which waits for its end.
func (w *Worker) sweepBeside(ctx context.Context) (stop func()) {
	if w.deps.Sweep == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { w.deps.Sweep(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// Serves returns the names of the queues that are being served.
func (w *Worker) Serves() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for name := range w.served {
		names = append(names, name)
	}
	return names
}

// present tells the others that this worker is alive.
func (w *Worker) present(ctx context.Context) {
	if _, err := w.deps.DB.Present(ctx, w.deps.ID); err != nil && ctx.Err() == nil {
		w.log.Debug("say that this worker is alive", "error", err)
	}
}

// discover serves every queue that asynq knows and this worker can do. It
// reports whether Redis answered.
func (w *Worker) discover(ctx context.Context) (answered bool, err error) {
	names, err := w.deps.Redis.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		// The servers say so themselves; the next look may succeed.
		w.log.Debug("look for queues", "error", err)
		return false, nil
	}
	var queues []tasks.Queue
	for _, name := range names {
		if q, ok := tasks.ParseQueue(name); ok && q.Namespace == w.deps.Namespace {
			queues = append(queues, q)
		}
	}
	return true, w.serve(queues)
}

// serve starts servers for those of the queues that are not served yet and
// are for us. The shards of one queue share theirs.
func (w *Worker) serve(queues []tasks.Queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	shards := make(map[tasks.Queue][]string)
	for _, q := range queues {
		name := q.String()
		if w.served[name] || (w.cfg.Only != "" && w.cfg.Only != string(q.Kind)) {
			continue
		}
		if q.Kind == tasks.Lookups && w.deps.Providers[q.Provider] == nil {
			if !w.unknown[name] {
				w.unknown[name] = true
				w.leaveAlone(q)
			}
			continue
		}
		w.served[name] = true
		q.Shard = 0
		shards[q] = append(shards[q], name)
	}
	for q, names := range shards {
		handler, concurrency := w.handler(q)
		s, err := startServer(w.deps.Redis, names, concurrency, w.cfg, handler, w.asynqLog)
		if err != nil {
			return err
		}
		w.servers = append(w.servers, s)
	}
	return nil
}

// leaveAlone says why a lookup queue is not served.
func (w *Worker) leaveAlone(q tasks.Queue) {
	if err := w.deps.LeftOut[q.Provider]; err != nil {
		w.log.Warn("this worker leaves a queue alone until it is started with what the provider lacks; other queues are served",
			"queue", q.String(), "provider", q.Provider, "cause", err)
		return
	}
	w.log.Warn("this worker leaves a queue alone: it has no definition of the provider; add it to the providers folder and start again",
		"queue", q.String(), "provider", q.Provider)
}

// handler returns what does the tasks of q, and how many of them may be in
// hand at once: a lookup that goes on with its pictures keeps its task and
// not its slot.
func (w *Worker) handler(q tasks.Queue) (asynq.Handler, int) {
	if q.Kind == tasks.Lookups {
		return typed(tasks.TypeLookup, tasks.DecodeLookup, w.log, func(ctx context.Context, p tasks.LookupPayload) error {
			w.taken()
			defer w.ended()
			return w.underWay.do(ctx, p.Ref, func(ctx context.Context) error {
				return w.attempts.run(ctx, p.Ref, results.LookupRank, 0, w.lookup.step(p.Ref))
			})
		}), w.cfg.lookupsInHand(w.deps.Providers[q.Provider])
	}
	return typed(tasks.TypePicture, tasks.DecodePicture, w.log, func(ctx context.Context, p tasks.PicturePayload) error {
		w.taken()
		defer w.ended()
		return w.underWay.do(ctx, p.Ref, func(ctx context.Context) error {
			return w.attempts.run(ctx, p.Ref, p.Rank, p.Tries, w.picture.step(p.Ref, p.Rank))
		})
	}), inHand(w.cfg.PictureSlots())
}

// taken notes that a handler runs.
func (w *Worker) taken() {
	w.running.Add(1)
	w.pulse.begin()
}

// ended notes that a handler runs no more.
func (w *Worker) ended() {
	w.pulse.end()
	w.running.Done()
}

// shutdown ends taking work on all servers first, then doing it on all at
// once, so that the waits run side by side.
func (w *Worker) shutdown() {
	w.pulse.draining.Store(true)
	w.mu.Lock()
	all := w.servers
	w.servers = nil
	clear(w.served)
	w.mu.Unlock()
	each(all, func(s server) { s.Stop() })
	w.leave()
	each(all, func(s server) { s.shutdown(w.log) })
	w.running.Wait()

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := w.deps.DB.Leave(ctx, w.deps.ID); err != nil {
		w.log.Debug("say that this worker is leaving", "error", err)
	}
}

func each(servers []server, do func(server)) {
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { do(s) })
	}
	wg.Wait()
}
