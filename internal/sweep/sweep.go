package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/results"
)

const (
	// every is how often a round is made. What nobody can read comes to light
	// when its lease runs out, 30 s after it was taken, and is moved aside in
	// the next round; where the sweeping worker died, another's begins when
	// the turn runs out.
	every = 30 * time.Second
	// firstAfter spares a short run the first round.
	firstAfter = 10 * time.Second
	// roundWithin bounds a round, and turnFor is how long a process has the
	// turn after it last took it: longer, so that there are never two.
	roundWithin = time.Minute
	turnFor     = 90 * time.Second
	// deadFor is how long a worker must have been away before its temporary
	// files go, and tempAge how long they must have been left alone.
	deadFor = 2 * time.Minute
	tempAge = 10 * time.Minute
)

// Deps are the parts that a sweeper calls.
type Deps struct {
	Redis     redis.UniversalClient
	Namespace string
	DB        *results.DB
	// Restore enqueues what open names lack. A task that is there already must
	// stay the only one.
	Restore func(ctx context.Context, provider string, names []results.OpenName) error
	// Temps are the temporary files in the store. Nil where there are none.
	Temps Temps
	// Ill, if set, is told after each round in which queues tasks of dead
	// workers cannot come back until somebody acts, or nil where in none.
	Ill    func(error)
	Logger *slog.Logger
	// ID names this process among all workers.
	ID string
}

// Temps are temporary files, of which dead workers leave some. Both methods
// mean those that nobody has written to within age and whose owner is dead.
type Temps interface {
	CountTemps(ctx context.Context, age time.Duration, dead func(owner string) bool) (int, error)
	RemoveTemps(ctx context.Context, age time.Duration, dead func(owner string) bool) (int, error)
}

// Sweeper sweeps. It is not safe for concurrent use.
type Sweeper struct {
	rdb       redis.UniversalClient
	namespace string
	db        *results.DB
	restore   func(context.Context, string, []results.OpenName) error
	temps     Temps
	ill       func(error)
	log       *slog.Logger
	id        string

	// walks are how far the open names of each batch have been looked through,
	// and gone since when a worker that left temporary files has been away.
	walks map[string]place
	gone  map[string]time.Time

	out lookout

	// What follows is of one round: Redis's time when it began, how old the
	// head of each queue is, what is in hand there, and searches so far.
	now      time.Time
	heads    map[queueKeys]int64
	hands    map[queueKeys]map[string]bool
	searches int
}

// New returns a Sweeper.
func New(d Deps) *Sweeper {
	return &Sweeper{
		rdb: d.Redis, namespace: d.Namespace, db: d.DB, restore: d.Restore, temps: d.Temps, ill: d.Ill,
		log: d.Logger, id: d.ID,
		walks: make(map[string]place), gone: make(map[string]time.Time),
	}
}

// Run sweeps twice a minute, and looks for tasks whose worker is gone every 5 s,
// whenever this process has the turn, until ctx is over; then it gives the
// turns back.
func (s *Sweeper) Run(ctx context.Context) {
	next := time.NewTimer(firstAfter)
	defer next.Stop()
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			for _, what := range []string{"sweeper", "lookout"} {
				if _, err := s.turn(late, what, 0); err != nil {
					s.log.Debug("give a turn back", "turn", what, "error", err)
				}
			}
			return
		case <-looks.C:
			s.look(ctx)
		case <-next.C:
			s.round(ctx)
			next.Reset(every)
		}
	}
}

// round makes a round if this process has the turn, and tells what it did.
func (s *Sweeper) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, roundWithin)
	defer cancel()
	mine, err := s.turn(ctx, "sweeper", turnFor)
	if err != nil {
		// The next round may succeed, and the servers say what is wrong.
		s.log.Debug("take the turn to sweep", "error", err)
		return
	}
	if !mine {
		s.tellHealth(nil) // whoever has the turn knows
		return
	}
	r := s.sweep(ctx, true, namesARound, deadFor)
	if ctx.Err() != nil {
		s.log.Debug("a sweep was cut off", "error", ctx.Err())
		return
	}
	s.tell(r)
}

func (s *Sweeper) turn(ctx context.Context, what string, ttl time.Duration) (bool, error) {
	return turnScript.Run(ctx, s.rdb, []string{prefix(s.namespace) + what}, s.id, ttl.Milliseconds()).Bool()
}

// Once looks at everything, and at up to names open names, whoever has the
// turn, and repairs what it finds if it is to. Having seen nothing before, it
// takes a worker for dead that does not say at this moment that it is alive.
func (s *Sweeper) Once(ctx context.Context, names int, repair bool) Report {
	return s.sweep(ctx, repair, names, 0)
}

// sweep makes one round over all queues and batches and about so many names.
// Workers are dead that have been seen to be away for so long.
func (s *Sweeper) sweep(ctx context.Context, repair bool, names int, away time.Duration) Report {
	var r Report
	failed := func(doing string, err error) {
		if err != nil {
			r.Errs = append(r.Errs, fmt.Errorf("%s: %w", doing, err))
		}
	}
	var err error
	if s.now, err = s.rdb.Time(ctx).Result(); err != nil {
		failed("ask Redis for the time", err)
		return r
	}
	s.heads, s.hands, s.searches = make(map[queueKeys]int64), make(map[queueKeys]map[string]bool), 0

	queues, err := s.queues(ctx)
	failed("sweep", err)
	for _, name := range queues {
		r.Queues = append(r.Queues, s.sweepQueue(ctx, name, repair))
	}
	running, broken, err := s.running(ctx)
	failed("list the batches", err)
	r.Batches = broken
	for i, b := range running {
		// What one batch does not use the next ones have.
		share := int(math.Ceil(float64(names) / float64(len(running)-i)))
		swept := s.sweepBatch(ctx, b, share, repair)
		names -= min(names, swept.Looked)
		r.Batches = append(r.Batches, swept)
	}
	if repair {
		failed("sweep", s.forgetServers(ctx))
	}
	r.Temps, err = s.sweepTemps(ctx, repair, away)
	failed("look for temporary files of dead workers", err)
	return r
}

// running returns the batches with names to be worked on, and those of which
// that cannot be told.
func (s *Sweeper) running(ctx context.Context) (running []results.Batch, broken []Batch, err error) {
	batches, err := s.db.Batches(ctx)
	if err != nil {
		return nil, nil, err
	}
	walks := make(map[string]place)
	for _, b := range batches {
		if b.Broken != nil || b.Status != results.Running {
			continue
		}
		switch c, err := s.db.Counts(ctx, b); {
		case err != nil:
			broken = append(broken, Batch{Name: b.Name, Err: err})
		case c.Open() > 0:
			running = append(running, b)
			walks[b.Name] = s.walks[b.Name]
		}
	}
	s.walks = walks
	return running, broken, nil
}

// sweepTemps counts what workers that died left in the store, and removes it.
func (s *Sweeper) sweepTemps(ctx context.Context, repair bool, away time.Duration) (int, error) {
	if s.temps == nil {
		return 0, nil
	}
	look := s.temps.CountTemps
	if repair {
		look = s.temps.RemoveTemps
	}
	ids, err := s.db.WorkerIDs(ctx)
	if err != nil {
		return 0, err
	}
	alive := make(map[string]bool)
	for _, id := range ids {
		alive[id] = true
	}
	gone := make(map[string]time.Time)
	n, err := look(ctx, tempAge, func(owner string) bool {
		if alive[owner] {
			return false
		}
		since, ok := s.gone[owner]
		if !ok {
			since = s.now
		}
		gone[owner] = since
		return s.now.Sub(since) >= away
	})
	s.gone = gone
	return n, err
}

// tell says in the log what was repaired and what could not be.
func (s *Sweeper) tell(r Report) {
	for _, q := range r.Queues {
		if len(q.Unreadable) > 0 {
			s.log.Warn("messages that cannot be decoded were moved aside; harvest doctor shows them",
				"queue", q.Name, "messages", len(q.Unreadable), "task_id", q.Unreadable[0].ID, "cause", q.Unreadable[0].Cause)
		}
		if n := len(q.Unleased) + len(q.Empty) + len(q.Strays); n > 0 {
			s.log.Warn("tasks that nobody held come back", "queue", q.Name,
				"without_lease", len(q.Unleased), "without_message", len(q.Empty), "stray_leases", len(q.Strays))
		}
	}
	for _, b := range r.Batches {
		if b.LostNames > 0 && b.Err == nil {
			s.log.Warn("names whose tasks were in no queue were put back", "batch", b.Name, "names", b.LostNames)
		}
	}
	if r.Temps > 0 {
		s.log.Info("temporary files of dead workers were removed", "files", r.Temps)
	}
	if err := r.Err(); err != nil {
		s.log.Warn("not everything could be looked at or put right; see harvest doctor", "cause", err)
	}
	s.tellHealth(r.stuck())
}

func (s *Sweeper) tellHealth(err error) {
	if s.ill != nil {
		s.ill(err)
	}
}
