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
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
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
	Store     storage.Store
	// Naming makes the key under which a picture is stored.
	Naming  Naming
	Checker *picture.Checker
	// Gate bounds what all workers together ask of one host. It must stay
	// open until [Worker.Run] has returned.
	Gate *gate.Gate
	// HostLimits are what a picture host allows, besides what providers say.
	HostLimits func(host string) gate.Limits
	Logger     *slog.Logger
	// ID names this process among all workers.
	ID string
	// Settled, if set, is called after a name has come to its end here.
	Settled func(batch string, r results.Record)
}

// Enqueuer is what the lookup handler needs of asynq's client.
type Enqueuer interface {
	EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error)
}

// Naming makes a picture's key from its batch, name, rank and bytes.
type Naming func(batch, name string, rank int, info picture.Info) string

// Worker does tasks until it is told to stop.
type Worker struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	attempts attempts
	hosts    *hosts
	lookup   lookupHandler
	picture  pictureHandler

	lookupSlots  map[string]*slots
	pictureSlots *slots
	asynqLog     asynqLog
	// running counts the handlers; asynq gives a task back that outlasts the
	// shutdown, but its handler still has something to clear away.
	running sync.WaitGroup

	// leaving is over when no new work is to begin.
	leaving context.Context
	leave   context.CancelFunc

	mu      sync.Mutex
	servers map[string][]*asynq.Server
	unknown map[string]bool

	// paused is until when Run has paused which queues.
	paused map[string]time.Time
}

// sayEvery is how often the log tells that tasks have to wait.
const sayEvery = 10 * time.Second

// New returns a worker. cfg must be valid.
func New(cfg Config, deps Deps) *Worker {
	leaving, leave := context.WithCancel(context.Background())
	w := &Worker{
		cfg: cfg, deps: deps, log: deps.Logger, leaving: leaving, leave: leave,
		lookupSlots: make(map[string]*slots), pictureSlots: newSlots(cfg.PictureSlots()),
		asynqLog: newAsynqLog(deps.Logger),
		servers:  make(map[string][]*asynq.Server), unknown: make(map[string]bool),
		hosts:  &hosts{gate: deps.Gate, limits: deps.HostLimits, log: deps.Logger},
		paused: make(map[string]time.Time),
	}
	for name := range deps.Providers {
		w.lookupSlots[name] = newSlots(cfg.LookupSlots())
	}
	w.attempts = attempts{
		db: deps.DB, log: deps.Logger, leaving: leaving, settled: deps.Settled, crowd: newCrowd(),
		maxAttempts: cfg.MaxAttempts, delay: cfg.RetryDelay, maxDelay: cfg.MaxRetryDelay,
		says: rate.Sometimes{Interval: sayEvery},
	}
	w.lookup = lookupHandler{
		db: deps.DB, queue: deps.Queue, namespace: deps.Namespace,
		providers: deps.Providers, hosts: w.hosts,
	}
	w.picture = pictureHandler{
		db: deps.DB, providers: deps.Providers, hosts: w.hosts, leaving: leaving,
		store: deps.Store, naming: deps.Naming, checker: deps.Checker, bound: make(map[bornBatch]string),
	}
	return w
}

// discoverEvery is how often new queues are looked for.
const discoverEvery = time.Second

// Run works until ctx is over, then stops taking tasks, lets the running ones
// end for at most Config.ShutdownTimeout, gives the rest back, and returns
// when no handler runs any more.
// The queues of providers named in first are served at once; all others as
// they come into being.
func (w *Worker) Run(ctx context.Context, first ...string) error {
	defer w.shutdown()
	for _, provider := range first {
		for _, lane := range []tasks.Lane{tasks.Express, tasks.Bulk} {
			if err := w.serve(tasks.Queue{Namespace: w.deps.Namespace, Kind: tasks.Lookups, Provider: provider, Lane: lane}); err != nil {
				return err
			}
			if err := w.serve(tasks.Queue{Namespace: w.deps.Namespace, Kind: tasks.Pictures, Lane: lane}); err != nil {
				return err
			}
		}
	}
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	var said time.Time
	for {
		if err := w.discover(ctx); err != nil {
			return err
		}
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

// Serves returns the names of the queues that are being served.
func (w *Worker) Serves() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for name := range w.servers {
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

// discover serves every queue that asynq knows and this worker can do.
func (w *Worker) discover(ctx context.Context) error {
	names, err := w.deps.Redis.SMembers(ctx, "asynq:queues").Result()
	if err != nil {
		// The servers say so themselves; the next look may succeed.
		w.log.Debug("look for queues", "error", err)
		return nil
	}
	for _, name := range names {
		if q, ok := tasks.ParseQueue(name); ok && q.Namespace == w.deps.Namespace {
			if err := w.serve(q); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve starts the servers for q unless they run or q is not for us.
func (w *Worker) serve(q tasks.Queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := q.String()
	if _, ok := w.servers[name]; ok || (w.cfg.Only != "" && w.cfg.Only != string(q.Kind)) {
		return nil
	}
	if q.Kind == tasks.Lookups && w.deps.Providers[q.Provider] == nil {
		if !w.unknown[name] {
			w.unknown[name] = true
			w.log.Warn("this worker leaves a queue alone: it has no definition of the provider; add it to the providers folder and start again",
				"queue", name, "provider", q.Provider)
		}
		return nil
	}
	handler, concurrency := w.handler(q)
	servers, err := startServers(w.deps.Redis, name, concurrency, w.cfg, handler, w.asynqLog)
	w.servers[name] = servers
	return err
}

func (w *Worker) handler(q tasks.Queue) (asynq.Handler, int) {
	express := q.Lane == tasks.Express
	if q.Kind == tasks.Lookups {
		return typed(tasks.TypeLookup, tasks.DecodeLookup, w.log, func(ctx context.Context, p tasks.LookupPayload) error {
			w.running.Add(1)
			defer w.running.Done()
			return w.lookupSlots[q.Provider].do(ctx, w.leaving, express, func() error {
				return w.attempts.run(ctx, p.Ref, results.LookupRank, w.lookup.step(p.Ref))
			})
		}), w.cfg.LookupSlots()
	}
	return typed(tasks.TypePicture, tasks.DecodePicture, w.log, func(ctx context.Context, p tasks.PicturePayload) error {
		w.running.Add(1)
		defer w.running.Done()
		return w.pictureSlots.do(ctx, w.leaving, express, func() error {
			return w.attempts.run(ctx, p.Ref, p.Rank, w.picture.step(p.Ref, p.Rank))
		})
	}), w.cfg.PictureSlots()
}

// shutdown ends taking work on all servers first, then doing it on all at
// once, so that the waits run side by side.
func (w *Worker) shutdown() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*asynq.Server
	for _, servers := range w.servers {
		all = append(all, servers...)
	}
	each(all, (*asynq.Server).Stop)
	w.leave()
	each(all, (*asynq.Server).Shutdown)
	w.running.Wait()
	w.servers = make(map[string][]*asynq.Server)

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := w.deps.DB.Leave(ctx, w.deps.ID); err != nil {
		w.log.Debug("say that this worker is leaving", "error", err)
	}
}

func each(servers []*asynq.Server, do func(*asynq.Server)) {
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { do(s) })
	}
	wg.Wait()
}
