package results_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redistest"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/tasks"
)

// The model test plays a whole installation: enqueuers, workers and an
// operator work on one batch through the package, and a simulated queue
// stands between them. Everybody is stopped before every Redis command, so
// that a run is any interleaving of commands; any of them may die there, be
// frozen for long, or send a command twice because its reply was lost. What
// a seed does is fixed: replay one with
//
//	go test ./internal/results -run 'TestModel/redis' -model.seed N -model.seeds 1
var (
	modelSeed  = flag.Uint64("model.seed", 1, "first seed of the model test")
	modelSeeds = flag.Uint64("model.seeds", 40, "number of seeds of the model test")
)

const (
	modelBatch = "m"
	maxTries   = 3
	maxActors  = 8 // runs side by side
	maxCrashes = 3
	modelSteps = 900
	checkEvery = 25
)

func TestModel(t *testing.T) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		rdb := redistest.Start(t, "--appendonly", "no").Client()
		for seed := *modelSeed; seed < *modelSeed+*modelSeeds && !t.Failed(); seed++ {
			runModel(t, rdb, seed)
		}
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		rdb := redis.NewClient(&redis.Options{Addr: redistest.Mini(t).Addr()})
		t.Cleanup(func() { rdb.Close() })
		for seed := *modelSeed; seed < *modelSeed+max(1, *modelSeeds/10) && !t.Failed(); seed++ {
			runModel(t, rdb, seed)
		}
	})
}

func runModel(t *testing.T, rdb *redis.Client, seed uint64) {
	w := newWorld(t, rdb, fmt.Sprintf("s%d", seed), seed)
	w.what = fmt.Sprintf("seed %d", seed)
	for w.step = range modelSteps {
		w.mayStart()
		w.moveOne()
		if w.step%checkEvery == 0 {
			w.check()
		}
		if t.Failed() {
			break
		}
	}
	for len(w.actors) > 0 {
		a := w.actors[w.rng.IntN(len(w.actors))]
		if w.rng.IntN(4) == 0 {
			w.kill(a)
		} else {
			w.move(a)
		}
	}
	w.finish()
}

// TestModelConcurrently lets the same actors loose at once. The race
// detector and Redis decide on the order, so only the end is checked.
func TestModelConcurrently(t *testing.T) {
	t.Parallel()
	rdb := redistest.Start(t, "--appendonly", "no").Client()
	for seed := *modelSeed; seed < *modelSeed+max(1, *modelSeeds/10) && !t.Failed(); seed++ {
		w := newWorld(t, rdb, fmt.Sprintf("c%d", seed), seed)
		w.what = fmt.Sprintf("concurrently, seed %d", seed)
		var all sync.WaitGroup
		loop := func(n int, next func(*rand.Rand) *actor) {
			rng := rand.New(rand.NewPCG(seed, w.rng.Uint64()))
			all.Go(func() {
				for range n {
					a := next(rng)
					if a == nil {
						runtime.Gosched()
						continue
					}
					a.rng = rng
					a.pause = func() bool {
						runtime.Gosched()
						a.dead = a.dead || a.rng.IntN(100) == 0
						return !a.dead
					}
					a.work()
					w.ended(a)
				}
			})
		}
		for range 6 {
			loop(150, func(rng *rand.Rand) *actor {
				if id, ok := w.queue.take(rng); ok {
					return w.handler(id)
				}
				return nil
			})
		}
		loop(6, func(*rand.Rand) *actor { return w.enqueuer(0) })
		loop(6, func(rng *rand.Rand) *actor { return w.enqueuer(rng.IntN(2)) })
		loop(25, func(rng *rand.Rand) *actor { return w.operator(rng) })
		loop(25, func(rng *rand.Rand) *actor { return w.operator(rng) })
		all.Wait()
		w.finish()
	}
}

// world is one run.
type world struct {
	t      *testing.T
	what   string
	prefix string
	db     *results.DB
	rdb    *redis.Client
	rng    *rand.Rand
	step   int
	queue  *queue
	files  [2][]results.Line
	actors []*actor
	// seen is what the last check saw of each name.
	seen map[string]seen
	// history is what the last check saw of each name's.
	history map[string]seen
	// forgotten are names that were forgotten since they were last checked.
	forgotten sync.Map
	// diedOpening: an enqueuer died while it opened the batch. If the batch
	// was deleted meanwhile it leaves a shard behind that nobody looks at.
	diedOpening atomic.Bool
	// cancelsCut counts the cancellations that were cut off, cancelsMended
	// those of them that a later, whole one has mended.
	cancelsCut, cancelsMended atomic.Int64
}

type seen struct {
	birth int64
	results.Record
}

func newWorld(t *testing.T, rdb *redis.Client, namespace string, seed uint64) *world {
	hooked := redis.NewClient(&redis.Options{Network: rdb.Options().Network, Addr: rdb.Options().Addr})
	t.Cleanup(func() { hooked.Close() })
	hooked.AddHook(interruptions{})
	w := &world{
		t: t, db: results.New(hooked, namespace), rdb: rdb, prefix: "harvest:" + namespace + ":",
		rng: rand.New(rand.NewPCG(seed, 7)), queue: &queue{tasks: make(map[string]*task)}, seen: make(map[string]seen), history: make(map[string]seen),
	}
	var names []string
	for i := range 2 {
		for _, c := range slices.Sorted(maps.Keys(characters)) {
			names = append(names, fmt.Sprintf("%s %d", c, i))
		}
		for _, c := range slices.Sorted(maps.Keys(fickleLater)) {
			names = append(names, fmt.Sprintf("%s %d", c, i))
		}
	}
	// Both files have names of their own, and lines that say different names.
	for i, n := range names[:2*len(names)/3] {
		w.files[0] = append(w.files[0], results.Line{Number: int64(i + 1), Name: n})
	}
	for i, n := range names[len(names)/3:] {
		w.files[1] = append(w.files[1], results.Line{Number: int64(i/2 + 1), Name: n})
	}
	return w
}

func (w *world) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("%s, step %d: %s", w.what, w.step, fmt.Sprintf(format, args...))
}

// actor is one process, or one handler in a process.
type actor struct {
	what string
	do   func(context.Context, *actor)
	// pause stops the actor until it is moved; false: it died there.
	pause func() bool
	next  func() (struct{}, bool)
	stop  func()
	rng   *rand.Rand
	ctx   context.Context
	dead  bool
	// noScript: its last call found no script.
	noScript bool
	// frozen is the number of moves that it misses.
	frozen int
	// task that it handles, or "".
	task string
}

func (a *actor) work() { a.do(context.WithValue(a.ctx, actorKey{}, a), a) }

type actorKey struct{}

// errDied is what an actor's calls return after its death.
var errDied = errors.New("died")

// interruptions stops an actor before each command and loses replies.
type interruptions struct{}

func (interruptions) DialHook(next redis.DialHook) redis.DialHook { return next }

func (interruptions) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		a, ok := ctx.Value(actorKey{}).(*actor)
		if !ok {
			return next(ctx, cmd)
		}
		// EVAL after NOSCRIPT is part of the same call, so that a seed does
		// not depend on the seeds before it.
		if !a.noScript && !a.pause() {
			return errDied
		}
		err := next(ctx, cmd)
		if a.noScript = redis.HasErrorPrefix(err, "NOSCRIPT"); a.noScript {
			return err
		}
		if a.rng.IntN(25) == 0 {
			if !a.pause() {
				return errDied
			}
			cmd.SetErr(nil)
			err = next(ctx, cmd)
		}
		return err
	}
}

func (interruptions) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// start lets an actor begin in the single-goroutine run.
func (w *world) start(a *actor) {
	a.rng = w.rng
	a.next, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.pause = func() bool {
			a.dead = a.dead || !yield(struct{}{})
			return !a.dead
		}
		if a.pause() {
			a.work()
		}
	})
	w.actors = append(w.actors, a)
}

func (w *world) move(a *actor) {
	if _, more := a.next(); !more {
		w.remove(a)
	}
}

func (w *world) kill(a *actor) {
	a.dead = true
	a.stop()
	w.remove(a)
}

func (w *world) remove(a *actor) {
	w.actors = slices.DeleteFunc(w.actors, func(o *actor) bool { return o == a })
	w.ended(a)
}

// ended gives the task of a dead handler back, as asynq's recoverer does.
func (w *world) ended(a *actor) {
	if a.task != "" && a.dead {
		w.queue.again(a.task)
	}
}

func (w *world) moveOne() {
	if len(w.actors) == 0 {
		return
	}
	a := w.actors[w.rng.IntN(len(w.actors))]
	switch {
	case a.frozen > 0:
		a.frozen--
		return
	case w.rng.IntN(60) == 0:
		w.kill(a)
		return
	case w.rng.IntN(60) == 0:
		a.frozen = 30
		// Its lease runs out meanwhile.
		if a.task != "" {
			w.queue.again(a.task)
		}
		return
	}
	w.move(a)
}

func (w *world) mayStart() {
	for len(w.actors) < maxActors {
		switch w.rng.IntN(24) {
		case 0:
			w.start(w.enqueuer(w.rng.IntN(2)))
		case 1:
			w.start(w.operator(w.rng))
		case 2:
			if w.rng.IntN(10) == 0 {
				w.expireLeases()
			}
		default:
			id, ok := w.queue.take(w.rng)
			if !ok {
				if w.step == 0 {
					continue
				}
				if len(w.actors) == 0 {
					w.start(w.enqueuer(w.rng.IntN(2)))
				}
				return
			}
			w.start(w.handler(id))
		}
	}
}

// queue does what asynq does with IDs: a task made twice is one, whatever
// state it is in, and every task is delivered at least once.
type queue struct {
	mu    sync.Mutex
	tasks map[string]*task
}

type task struct {
	ref      tasks.Ref
	rank     int
	state    string // pending, active, archived
	retried  int
	delivery int
	// before is how many tries had failed when it was made.
	before int
}

func (q *queue) push(r tasks.Ref, rank int) { q.pushTried(r, rank, 0) }

func (q *queue) pushTried(r tasks.Ref, rank, before int) {
	kind := tasks.Lookups
	if rank > 0 {
		kind = tasks.Pictures
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if id := tasks.ID(r, kind, rank); q.tasks[id] == nil {
		q.tasks[id] = &task{ref: r, rank: rank, state: "pending", before: before}
	}
}

func (q *queue) take(rng *rand.Rand) (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ids []string
	for id, t := range q.tasks {
		if t.state == "pending" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return "", false
	}
	slices.Sort(ids)
	id := ids[rng.IntN(len(ids))]
	q.tasks[id].state = "active"
	q.tasks[id].delivery++
	return id, true
}

func (q *queue) get(id string) task {
	q.mu.Lock()
	defer q.mu.Unlock()
	return *q.tasks[id]
}

// again makes an active task pending with one more retry.
func (q *queue) again(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.tasks[id]; t != nil && t.state == "active" {
		t.state = "pending"
		t.retried++
	}
}

// done takes an active task away; asynq does not mind whose delivery it was.
func (q *queue) done(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.tasks[id]; t != nil && t.state == "active" {
		delete(q.tasks, id)
	}
}

func (q *queue) archive(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.tasks[id]; t != nil && t.state == "active" {
		t.state = "archived"
	}
}

// character is how a name's lookup and pictures behave. The first word of a
// name is its character.
type character struct {
	// answer to the lookup in a generation, for the nth delivery.
	answer func(generation int64, delivery int) answer
	// picture's fate by rank in a generation; nil: always stored.
	picture func(generation int64, rank int) answer
	ends    []results.State
}

type answer struct {
	pictures int
	state    results.State
	fail     *failure.Error
	crash    bool
}

func found(n int) func(int64, int) answer {
	return func(int64, int) answer { return answer{state: results.Found, pictures: n} }
}

var (
	errGone = failure.New(failure.ReasonMissing, failure.Final, errors.New("404"))
	errSlow = failure.New(failure.ReasonTimeout, failure.Temporary, errors.New("slow"))
	errWait = failure.New(failure.ReasonRateLimited, failure.Hold, errors.New("wait"))
	errSize = failure.New(failure.ReasonTooLarge, failure.Final, errors.New("big"))
)

// characters that fail do so in odd generations, or always.
var characters = map[string]character{
	"one":    {answer: found(1), ends: []results.State{results.Done}},
	"three":  {answer: found(3), ends: []results.State{results.Done}},
	"absent": {answer: func(int64, int) answer { return answer{state: results.NotFound} }, ends: []results.State{results.NotFound}},
	"bare":   {answer: func(int64, int) answer { return answer{state: results.NoPicture} }, ends: []results.State{results.NoPicture}},
	"fickle": {
		answer: func(_ int64, delivery int) answer { return answer{state: results.Found, pictures: 1 + delivery%3} },
		ends:   []results.State{results.Done},
	},
	"slow": {
		answer: func(_ int64, delivery int) answer {
			if delivery < 2 {
				return answer{fail: errSlow}
			}
			return answer{state: results.Found, pictures: 2}
		},
		ends: []results.State{results.Done, results.Failed},
	},
	"dead": {
		answer: func(g int64, _ int) answer {
			if g%2 == 1 {
				return answer{fail: errSize}
			}
			return answer{state: results.Found, pictures: 2}
		},
		ends: []results.State{results.Done, results.Failed},
	},
	"tired": {answer: func(int64, int) answer { return answer{fail: errSlow} }, ends: []results.State{results.Failed}},
	"killer": {
		answer: func(int64, int) answer { return answer{crash: true} },
		ends:   []results.State{results.Failed},
	},
	"halfway": {
		answer: found(3),
		picture: func(g int64, rank int) answer {
			switch {
			case g%2 == 1 && rank == 2:
				return answer{fail: errGone}
			case rank == 3:
				return answer{fail: errSlow}
			}
			return answer{}
		},
		ends: []results.State{results.Partial},
	},
	"hopeless": {
		answer: found(2),
		picture: func(_ int64, rank int) answer {
			return answer{fail: []*failure.Error{errSize, errGone}[rank-1]}
		},
		ends: []results.State{results.Failed},
	},
	"bomb": {
		answer:  found(2),
		picture: func(g int64, rank int) answer { return answer{crash: rank == 2 && g%2 == 1} },
		ends:    []results.State{results.Done, results.Partial},
	},
}

// Characters that change their answer when they are asked again: what they
// lose is theirs until an answer has said twice that it is gone.
var fickleLater = map[string]character{
	"leaver": {
		answer: func(g int64, _ int) answer {
			switch g % 5 {
			case 2:
				return answer{fail: errSize}
			case 3, 4:
				return answer{state: results.NotFound}
			}
			return answer{state: results.Found, pictures: 2}
		},
		ends: []results.State{results.Done, results.Failed, results.NotFound},
	},
	"shy": {
		answer: func(g int64, _ int) answer {
			switch g % 4 {
			case 2, 3:
				return answer{state: results.NoPicture}
			}
			return answer{state: results.Found, pictures: 1}
		},
		ends: []results.State{results.Done, results.NoPicture},
	},
	"fader": {
		answer: found(2),
		picture: func(g int64, rank int) answer {
			switch {
			case rank == 1 && g%4 == 2:
				return answer{fail: errSlow}
			case rank == 1 && g%4 != 1:
				return answer{fail: errGone}
			}
			return answer{}
		},
		ends: []results.State{results.Done, results.Partial},
	},
	"shrinks": {
		answer: func(g int64, _ int) answer { return answer{state: results.Found, pictures: 3 - int(g%3)} },
		ends:   []results.State{results.Done},
	},
}

// absent reports whether that generation's answer says that something is not
// there: the name, all its pictures, or one of them.
func absent(name string, r results.Record) bool {
	c := characterOf(name)
	a := c.answer(r.Generation, 1)
	if a.state == results.NotFound || a.state == results.NoPicture || slices.Contains([]string{"shrinks", "fickle"}, strings.Fields(name)[0]) {
		return true
	}
	for rank := 1; c.picture != nil && rank <= 3; rank++ {
		if c.picture(r.Generation, rank).fail == errGone {
			return true
		}
	}
	return false
}

func characterOf(name string) character {
	first, _, _ := strings.Cut(name, " ")
	if c, ok := fickleLater[first]; ok {
		return c
	}
	return characters[first]
}

func host(rank int) string { return fmt.Sprintf("h%d.test", rank) }

// handler does a task as a worker does.
func (w *world) handler(id string) *actor {
	t := w.queue.get(id)
	what := fmt.Sprintf("%s rank %d generation %d delivery %d", t.ref.Name, t.rank, t.ref.Generation, t.delivery)
	return &actor{what: what, ctx: w.t.Context(), task: id, do: func(ctx context.Context, a *actor) {
		if t.rank == results.LookupRank {
			w.lookUp(ctx, a, t)
		} else {
			w.fetch(ctx, a, t)
		}
	}}
}

// failed ends an actor's work on err.
func (w *world) failed(a *actor, err error, but ...error) bool {
	if err == nil {
		return false
	}
	for _, b := range append(but, errDied) {
		if errors.Is(err, b) {
			return true
		}
	}
	w.errorf("%s: %v", a.what, err)
	return true
}

// suspect: a run of it never came back.
func (t task) suspect(b results.Begun) bool { return b.Suspect || t.retried+t.before > b.Counted }

// alone marks a step that may have crashed before; false: leave it.
func (w *world) alone(ctx context.Context, a *actor, t task, b results.Begun, giveUp func(*failure.Error) (bool, error)) bool {
	if b.Crashes >= maxCrashes {
		_, err := giveUp(failure.New(failure.ReasonCrashed, failure.Final, errors.New("three times")))
		if !w.failed(a, err) {
			w.queue.archive(a.task)
		}
		return false
	}
	if t.suspect(b) {
		return !w.failed(a, w.db.Mark(ctx, t.ref, t.rank, fmt.Sprint("d", t.delivery), true)) &&
			!w.failed(a, w.db.NoteDeath(ctx, t.ref, t.rank, strconv.Itoa(t.retried+t.before-b.Counted)))
	}
	return true
}

// tryFailed counts a try, or gives the step up.
func (w *world) tryFailed(ctx context.Context, a *actor, t task, b results.Begun, e *failure.Error, giveUp func(*failure.Error) (bool, error)) {
	if e.Kind == failure.Final || b.Tries+1 >= maxTries {
		if _, err := giveUp(e); !w.failed(a, err) {
			w.queue.archive(a.task)
		}
		return
	}
	token := fmt.Sprint("d", t.delivery)
	if _, _, _, err := w.db.CountTry(ctx, t.ref, t.rank, token, errSlow); w.failed(a, err) {
		return
	}
	if w.failed(a, w.db.Mark(ctx, t.ref, t.rank, token, false)) {
		return
	}
	w.queue.again(a.task)
}

// begin reads the record as a worker does: that of a name which was forgotten
// is missing, and nothing is to be set aside for it.
func (w *world) begin(ctx context.Context, t task, rank int) (results.Begun, error) {
	b, err := w.db.Begin(ctx, t.ref, rank)
	if !results.IsRecordError(err) {
		return b, err
	}
	moved, aerr := w.db.SetAside(ctx, t.ref.Batch, t.ref.Shard, b.Birth, err)
	if aerr != nil {
		return b, aerr
	}
	if moved {
		return b, err // nothing in the model makes a record unreadable
	}
	return results.Begun{Void: true}, nil
}

func (w *world) lookUp(ctx context.Context, a *actor, t task) {
	b, err := w.begin(ctx, t, results.LookupRank)
	if w.failed(a, err) {
		return
	}
	if b.Void || (b.Record.State != results.Queued && b.Record.State != results.Found) {
		w.queue.done(a.task)
		return
	}
	if b.Record.State == results.Found {
		w.pushPictures(ctx, a, t, b, b.Record.Missing())
		return
	}
	giveUp := func(e *failure.Error) (bool, error) {
		return w.db.FailLookup(ctx, t.ref, e, host(0), e.Kind == failure.Temporary)
	}
	if !w.alone(ctx, a, t, b, giveUp) {
		return
	}
	got := characterOf(t.ref.Name).answer(t.ref.Generation, t.delivery)
	switch {
	case got.crash:
		a.dead = true
		return
	case got.fail != nil:
		w.tryFailed(ctx, a, t, b, got.fail, giveUp)
		return
	}
	l := results.Lookup{Licence: "CC0-1.0"}
	var ranks []int
	for i := range got.pictures {
		l.Pictures = append(l.Pictures, []string{fmt.Sprintf("http://%s/%s", host(i+1), t.ref.Name)})
		ranks = append(ranks, i+1)
	}
	if len(ranks) > 0 && !t.suspect(b) && a.rng.IntN(3) > 0 {
		w.goOn(ctx, a, t, l)
		return
	}
	ok, err := w.db.CommitLookup(ctx, t.ref, got.state, l)
	if w.failed(a, err) {
		return
	}
	if !ok {
		if b, err = w.begin(ctx, t, results.LookupRank); w.failed(a, err) {
			return
		}
		ranks = nil
		if !b.Void && b.Record.State == results.Found {
			ranks = b.Record.Missing()
		}
	}
	w.pushPictures(ctx, a, t, b, ranks)
}

// goOn fetches the pictures in the lookup's own run. Now and then it takes so
// long that the answer is recorded before, and now and then it leaves a
// picture to a task of its own.
func (w *world) goOn(ctx context.Context, a *actor, t task, l results.Lookup) {
	slow := a.rng.IntN(4) == 0
	if slow {
		if ok, err := w.db.CommitLookup(ctx, t.ref, results.Found, l); w.failed(a, err) {
			return
		} else if !ok {
			w.queue.again(a.task)
			return
		}
	}
	var have []results.Stored
	fates := make(map[int]answer)
	for i := range l.Pictures {
		rank := i + 1
		var got answer
		if f := characterOf(t.ref.Name).picture; f != nil {
			got = f(t.ref.Generation, rank)
		}
		switch {
		case got.crash:
			a.dead = true
			return
		case got.fail != nil || a.rng.IntN(5) == 0:
			fates[rank] = got
		default:
			key := fmt.Sprintf("%s-%d-%d", t.ref.Name, rank, t.ref.Generation)
			have = append(have, results.Stored{Rank: rank, Picture: picture(key)})
		}
	}
	if slow {
		for _, p := range have {
			if _, err := w.db.CommitPicture(ctx, t.ref, p.Rank, p.Picture); w.failed(a, err) {
				return
			}
		}
	} else if ok, err := w.db.CommitLookup(ctx, t.ref, results.Found, l, have...); w.failed(a, err) {
		return
	} else if !ok {
		w.queue.again(a.task)
		return
	}
	for _, rank := range slices.Sorted(maps.Keys(fates)) {
		before := 0
		switch e := fates[rank].fail; {
		case e == nil:
		case e.Kind == failure.Final:
			if _, err := w.db.FailPicture(ctx, t.ref, rank, e, host(rank), false); w.failed(a, err) {
				return
			}
			continue
		default:
			if _, _, _, err := w.db.CountTry(ctx, t.ref, rank, "early", errSlow); w.failed(a, err) {
				return
			}
			before = 1
		}
		if !a.pause() {
			return
		}
		w.queue.pushTried(t.ref, rank, before)
	}
	if a.pause() {
		w.queue.done(a.task)
	}
}

func (w *world) pushPictures(ctx context.Context, a *actor, t task, b results.Begun, ranks []int) {
	for _, rank := range ranks {
		if t.suspect(b) && w.failed(a, w.db.Suspect(ctx, t.ref, rank)) {
			return
		}
		if !a.pause() {
			return
		}
		w.queue.push(t.ref, rank)
	}
	if a.pause() {
		w.queue.done(a.task)
	}
}

func (w *world) fetch(ctx context.Context, a *actor, t task) {
	b, err := w.begin(ctx, t, t.rank)
	if w.failed(a, err) {
		return
	}
	if _, settled := b.Record.Outcomes[t.rank]; b.Void || b.Record.State != results.Found || settled {
		w.queue.done(a.task)
		return
	}
	if t.rank > len(b.Record.Lookup.Pictures) {
		if now, err := w.db.Batch(w.t.Context(), modelBatch); err == nil && now.Status == results.Deleting {
			w.queue.done(a.task)
			return
		}
		w.errorf("%s: the record has %d pictures", a.what, len(b.Record.Lookup.Pictures))
		return
	}
	giveUp := func(e *failure.Error) (bool, error) {
		return w.db.FailPicture(ctx, t.ref, t.rank, e, host(t.rank), e.Kind == failure.Temporary)
	}
	if !w.alone(ctx, a, t, b, giveUp) {
		return
	}
	var got answer
	if f := characterOf(t.ref.Name).picture; f != nil {
		got = f(t.ref.Generation, t.rank)
	}
	switch {
	case got.crash:
		a.dead = true
	case got.fail != nil:
		w.tryFailed(ctx, a, t, b, got.fail, giveUp)
	default:
		key := fmt.Sprintf("%s-%d-%d", t.ref.Name, t.rank, t.ref.Generation)
		if _, err := w.db.CommitPicture(ctx, t.ref, t.rank, picture(key)); w.failed(a, err) {
			return
		}
		if a.pause() {
			w.queue.done(a.task)
		}
	}
}

func (w *world) enqueuer(file int) *actor { return w.enqueuerAgain(file, nil) }

// enqueuerAgain asks settled names again: by r, or, without, as it happens.
func (w *world) enqueuerAgain(file int, r *results.Refresh) *actor {
	return &actor{what: fmt.Sprintf("enqueuer of file %d", file), ctx: w.t.Context(), do: func(ctx context.Context, a *actor) {
		meanwhile := []error{results.ErrNoBatch, results.ErrDeleting, results.ErrCancelled}
		e, err := w.db.Open(ctx, modelBatch, "people", fmt.Sprintf("my file %d", file), []int{1, 4}[a.rng.IntN(2)])
		if w.failed(a, err, meanwhile...) {
			if a.dead {
				w.diedOpening.Store(true)
			}
			return
		}
		again := results.Again{Refresh: r}
		switch n := a.rng.IntN(4); {
		case r != nil:
		case n == 0:
			again.Failed = true
		case n < 3:
			r, err := w.db.NewRefresh(ctx, 0, results.DefaultGoneAfter)
			if w.failed(a, err) {
				return
			}
			again.Refresh = &r
		}
		byShard := make(map[int][]results.Line)
		for _, l := range w.files[file] {
			s := tasks.Shard(l.Name, e.Shards())
			byShard[s] = append(byShard[s], l)
		}
		for _, s := range slices.Sorted(maps.Keys(byShard)) {
			for lines := range slices.Chunk(byShard[s], 5) {
				added, err := e.AddAgain(ctx, s, lines, again)
				if w.failed(a, err, meanwhile...) {
					if !a.dead {
						w.failed(a, e.Close(ctx, false), meanwhile...)
					}
					return
				}
				for _, n := range added {
					if n.State.Open() {
						if !a.pause() {
							return
						}
						w.queue.push(n.Ref, results.LookupRank)
					}
				}
				if _, err := e.Renew(ctx); w.failed(a, err, meanwhile...) {
					return
				}
			}
		}
		w.failed(a, e.Close(ctx, true), meanwhile...)
	}}
}

// operator gives one command.
func (w *world) operator(rng *rand.Rand) *actor {
	commands := map[string]func(context.Context, *actor, results.Batch) error{
		"pause":  func(ctx context.Context, _ *actor, _ results.Batch) error { return w.db.Pause(ctx, modelBatch) },
		"resume": w.resume,
		"cancel": func(ctx context.Context, _ *actor, b results.Batch) error {
			_, err := w.db.Cancel(ctx, b)
			return err
		},
		"delete": func(ctx context.Context, _ *actor, _ results.Batch) error { return w.db.Delete(ctx, modelBatch) },
		"limit":  func(ctx context.Context, _ *actor, _ results.Batch) error { return w.db.Limit(ctx, modelBatch) },
		"delete with pictures": func(ctx context.Context, _ *actor, _ results.Batch) error {
			if _, err := w.db.Condemn(ctx, modelBatch); err != nil {
				return err
			}
			return w.db.Delete(ctx, modelBatch)
		},
	}
	for what, q := range map[string]results.Query{
		"retry":                      {},
		"retry by state":             {State: results.Partial},
		"retry stale":                {State: results.Stale},
		"retry without picture":      {State: results.NoPicture},
		"retry cancelled":            {State: results.Cancelled},
		"retry not found":            {State: results.NotFound},
		"retry by reason":            {Reason: failure.ReasonMissing},
		"retry by host":              {Host: host(3)},
		"retry by host and reason":   {Host: host(1), Reason: failure.ReasonTooLarge},
		"retry by name":              {Name: "halfway 0"},
		"retry by name, not to find": {Name: "halfway 0", Reason: failure.ReasonTLS},
	} {
		commands[what] = func(ctx context.Context, a *actor, b results.Batch) error {
			_, err := w.db.Retry(ctx, b, q, w.pushOpen(a))
			return err
		}
	}
	commands["forget"] = func(ctx context.Context, _ *actor, b results.Batch) error {
		names := w.names()
		return w.forget(ctx, b, names[rng.IntN(len(names))])
	}
	names := slices.Sorted(maps.Keys(commands))
	// Who resumes half of the time keeps the batch from being paused mostly.
	name := "resume"
	if rng.IntN(3) > 0 {
		name = names[rng.IntN(len(names))]
	}
	return &actor{what: name, ctx: w.t.Context(), do: func(ctx context.Context, a *actor) {
		meanwhile := []error{results.ErrNoBatch, results.ErrDeleting, results.ErrCancelled}
		b, err := w.db.Batch(ctx, modelBatch)
		if w.failed(a, err, meanwhile...) {
			return
		}
		cut := w.cancelsCut.Load()
		err = commands[name](ctx, a, b)
		w.failed(a, err, meanwhile...)
		switch {
		case name == "cancel" && err != nil:
			w.cancelsCut.Add(1)
		case name == "cancel":
			w.cancelsMended.Store(cut)
		}
	}}
}

// forget removes one name; there are no files in the model.
func (w *world) forget(ctx context.Context, b results.Batch, name string) error {
	defer w.forgotten.Store(name, true)
	s := tasks.Shard(name, b.Shards)
	if _, err := w.db.Retire(ctx, b, s, []string{name}); err != nil {
		return err
	}
	return w.db.Forget(ctx, b, s, []string{name})
}

// endForgetting gives the commands again that were cut off.
func (w *world) endForgetting() {
	b, err := w.db.Batch(w.t.Context(), modelBatch)
	if err != nil {
		return
	}
	for r, err := range w.db.Each(w.t.Context(), b, results.Query{State: results.Cancelled}) {
		if err == nil && r.Forgotten {
			w.run(&actor{what: "forget again", ctx: w.t.Context(), do: func(ctx context.Context, a *actor) {
				w.failed(a, w.forget(ctx, b, r.Name))
			}})
		}
	}
}

func (w *world) resume(ctx context.Context, a *actor, b results.Batch) error {
	if err := w.db.Resume(ctx, b.Name); err != nil {
		return err
	}
	return w.db.OpenNames(ctx, b, w.pushOpen(a))
}

func (w *world) pushOpen(a *actor) func(context.Context, []results.OpenName) error {
	return func(_ context.Context, open []results.OpenName) error {
		for _, n := range open {
			ranks := n.Missing
			if n.State == results.Queued {
				ranks = []int{results.LookupRank}
			}
			for _, rank := range ranks {
				if !a.pause() {
					return errDied
				}
				w.queue.push(n.Ref, rank)
			}
		}
		return nil
	}
}

// expireLeases lets the time of every enqueuer's lease run out.
func (w *world) expireLeases() {
	key := w.prefix + "{" + modelBatch + ".0}:leases"
	for _, l := range w.rdb.ZRange(w.t.Context(), key, 0, -1).Val() {
		w.rdb.ZAddXX(w.t.Context(), key, redis.Z{Score: 1, Member: l})
	}
}

// run lets one actor do all of its work undisturbed.
func (w *world) run(a *actor) {
	a.rng = rand.New(rand.NewPCG(1, 1))
	a.pause = func() bool { return !a.dead }
	a.work()
	w.ended(a)
}

func (w *world) drain() {
	for range 10_000 {
		id, ok := w.queue.take(w.rng)
		if !ok {
			return
		}
		w.run(w.handler(id))
	}
	w.errorf("the queue does not come to its end")
}

// finish brings the batch to its end by the means that users have, and
// checks what must hold then.
func (w *world) finish() {
	if w.t.Failed() {
		return
	}
	ctx := w.t.Context()
	w.check()
	w.expireLeases()
	b, err := w.db.Batch(ctx, modelBatch)
	switch {
	case errors.Is(err, results.ErrNoBatch):
	case err != nil:
		w.errorf("%v", err)
	case b.Status == results.Deleting:
		if err := w.db.Delete(ctx, modelBatch); err != nil {
			w.errorf("delete again: %v", err)
		}
	case b.Status == results.Paused || w.rng.IntN(2) == 0:
		// Resuming alone ends what was ever added.
		a := &actor{what: "resume", ctx: ctx, do: func(ctx context.Context, a *actor) { w.failed(a, w.resume(ctx, a, b)) }}
		w.run(a)
		w.drain()
		if c := w.counts(); c.Open() > 0 {
			w.errorf("open after resume: %v", c)
		}
	}
	w.endForgetting()
	// Enqueueing again alone ends it too.
	w.run(w.enqueuer(0))
	w.run(w.enqueuer(1))
	w.drain()
	w.check()
	b = w.finished()
	// Whatever fails, or was given up, can be tried again.
	for _, q := range []results.Query{{State: results.Cancelled}, {}} {
		a := &actor{what: "retry", ctx: ctx, do: func(ctx context.Context, a *actor) {
			_, err := w.db.Retry(ctx, b, q, w.pushOpen(a))
			w.failed(a, err)
		}}
		w.run(a)
		w.check()
		w.drain()
		w.check()
		w.finished()
	}
	w.refreshed(b)
	w.settledAsExpected(b)
	w.deleted()
}

// refreshed asks all names again: each ends in one figure, once.
func (w *world) refreshed(b results.Batch) {
	ctx := w.t.Context()
	r, err := w.db.NewRefresh(ctx, 0, results.DefaultGoneAfter)
	if err != nil {
		w.errorf("%v", err)
	}
	for file := range w.files {
		w.run(w.enqueuerAgain(file, &r))
	}
	w.check()
	w.drain()
	w.check()
	w.finished()
	got, err := w.db.Refreshed(ctx, b)
	if n := got.Unchanged + got.Changed + got.Gone + got.Failed; err != nil || n != int64(len(w.names())) {
		w.errorf("%d names were refreshed, want %d: %+v %v", n, len(w.names()), got, err)
	}
}

func (w *world) counts() results.Counts {
	b, err := w.db.Batch(w.t.Context(), modelBatch)
	if err != nil {
		w.errorf("%v", err)
	}
	c, err := w.db.Counts(w.t.Context(), b)
	if err != nil {
		w.errorf("%v", err)
	}
	return c
}

func (w *world) finished() results.Batch {
	b, err := w.db.Batch(w.t.Context(), modelBatch)
	if err != nil {
		w.errorf("%v", err)
	}
	if c := w.counts(); !b.Finished(c) || c.Total() != int64(len(w.names())) {
		w.errorf("not finished or not whole (%d names): %+v, %v%s", len(w.names()), b, c, w.stuck(b))
	}
	return b
}

// stuck describes the open names and their tasks.
func (w *world) stuck(b results.Batch) string {
	var s strings.Builder
	for shard := range b.Shards {
		meta := w.prefix + "{" + modelBatch + "." + strconv.Itoa(shard) + "}:meta"
		fmt.Fprintf(&s, "\nshard %d: %v", shard, w.rdb.HGetAll(w.t.Context(), meta).Val())
	}
	for _, st := range []results.State{results.Queued, results.Found} {
		for r, err := range w.db.Each(w.t.Context(), b, results.Query{State: st}) {
			fmt.Fprintf(&s, "\n%+v %v", r, err)
			for _, t := range w.queue.tasks {
				if t.ref.Name == r.Name {
					fmt.Fprintf(&s, "\n\t%+v", *t)
				}
			}
		}
	}
	return s.String()
}

func (w *world) names() []string {
	var names []string
	for _, f := range w.files {
		for _, l := range f {
			names = append(names, l.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (w *world) settledAsExpected(b results.Batch) {
	for _, n := range w.names() {
		r, err := w.db.Get(w.t.Context(), b, n)
		if err != nil {
			w.errorf("%v", err)
			continue
		}
		crashed := r.Reason == failure.ReasonCrashed && (r.State == results.Failed || r.State == results.Partial)
		if !crashed && !slices.Contains(characterOf(n).ends, r.State) {
			w.errorf("%s ended as %s %s", n, r.State, r.Reason)
		}
	}
}

// deleted deletes the batch: nothing may be left, nor come back by tasks that are left.
func (w *world) deleted() {
	ctx := w.t.Context()
	for id, t := range w.queue.tasks {
		t.state = "pending"
		if t.ref.Name < "h" {
			delete(w.queue.tasks, id)
		}
	}
	if err := w.db.Delete(ctx, modelBatch); err != nil {
		w.errorf("%v", err)
	}
	w.drain()
	var left []string
	for it := w.rdb.Scan(ctx, 0, w.prefix+"*", 1000).Iterator(); it.Next(ctx); {
		left = append(left, it.Val())
	}
	if len(left) > 0 && !w.diedOpening.Load() {
		w.errorf("left after deletion: %q", left)
	}
}

// check holds the shards against their records. Between two commands all of
// it must agree exactly.
func (w *world) check() {
	w.t.Helper()
	ctx := w.t.Context()
	batch := w.prefix + "{" + modelBatch + ".0}:"
	b, err := w.db.Batch(ctx, modelBatch)
	if errors.Is(err, results.ErrNoBatch) {
		b = results.Batch{Name: modelBatch}
	} else if err != nil {
		w.errorf("%v", err)
		return
	}
	cancelling := slices.ContainsFunc(w.actors, func(a *actor) bool { return a.what == "cancel" })
	if b.Status == results.Stopped && !cancelling && w.cancelsCut.Load() == w.cancelsMended.Load() && w.step > 0 {
		if c := w.counts(); c.Open() > 0 {
			w.errorf("cancelled and open: %v", c)
		}
	}
	for s := range 4 {
		prefix := w.prefix + "{" + modelBatch + "." + strconv.Itoa(s) + "}:"
		meta := w.rdb.HGetAll(ctx, prefix+"meta").Val()
		switch birth := meta["birth"]; {
		case birth == strconv.FormatInt(b.Birth, 10):
			w.checkShard(b, s, prefix)
		case birth == "":
			for it := w.rdb.Scan(ctx, 0, prefix+"*", 1000).Iterator(); it.Next(ctx); {
				if k := it.Val(); k != batch+"batch" && k != batch+"leases" {
					w.errorf("key of no batch: %s", k)
				}
			}
		}
	}
}

func (w *world) checkShard(b results.Batch, s int, prefix string) {
	w.t.Helper()
	ctx := w.t.Context()
	wantStates := make(map[string]string)
	wantReasons, wantHosts := []string{}, []string{}
	records := make(map[string]results.Record)
	for _, name := range w.rdb.HKeys(ctx, prefix+"records").Val() {
		r, err := w.db.Get(ctx, b, name)
		if err != nil {
			w.errorf("%v", err)
			continue
		}
		records[name] = r
		wantStates[name] = fmt.Sprint(r.State, " ", r.Line)
		if r.State == results.Failed || r.State == results.Partial {
			wantReasons = append(wantReasons, fmt.Sprintf("%s %012d %s", r.Reason, r.Line, name))
			wantHosts = append(wantHosts, fmt.Sprintf("%s %012d %s", r.Host, r.Line, name))
		}
		// Who was frozen while it made a batch may make its shards anew when
		// they are deleted already; they go with the batch.
		if b.Status != results.Deleting {
			w.checkKept(b.Birth, r)
			w.checkHistory(b.Birth, r)
			under := r.Refresh
			r.Refresh = nil
			w.checkRecord(b.Birth, name, r)
			if under != nil {
				w.checkRecord(b.Birth, askedAgain(name), *under)
			}
		}
	}
	gotStates := make(map[string]string)
	for _, st := range results.States() {
		for _, z := range w.rdb.ZRangeWithScores(ctx, prefix+"state:"+string(st), 0, -1).Val() {
			name := z.Member.(string)
			if gotStates[name] != "" {
				w.errorf("%s is %s and %s", name, gotStates[name], st)
			}
			gotStates[name] = fmt.Sprint(st, " ", z.Score)
		}
	}
	for mark, has := range map[results.State]func(results.Record) bool{
		// A retired record keeps what was under way for who removes it.
		results.Refreshing: func(r results.Record) bool { return r.Refresh != nil && !r.Forgotten },
		results.Stale:      func(r results.Record) bool { return r.Stale != nil },
	} {
		want := []string{}
		for name, r := range records {
			if has(r) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		got := w.rdb.ZRange(ctx, prefix+"state:"+string(mark), 0, -1).Val()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			w.errorf("%s names differ from records (-want +got):\n%s", mark, diff)
		}
	}
	if diff := cmp.Diff(wantStates, gotStates); diff != "" {
		w.errorf("states differ from records (-want +got):\n%s", diff)
	}
	slices.Sort(wantReasons)
	slices.Sort(wantHosts)
	if diff := cmp.Diff(wantReasons, w.rdb.ZRange(ctx, prefix+"reasons", 0, -1).Val()); diff != "" {
		w.errorf("reasons differ from records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantHosts, w.rdb.ZRange(ctx, prefix+"hosts", 0, -1).Val()); diff != "" {
		w.errorf("hosts differ from records (-want +got):\n%s", diff)
	}
	for _, key := range []string{"tries", "crashes"} {
		for _, f := range w.rdb.HKeys(ctx, prefix+key).Val() {
			rank, name, _ := strings.Cut(f, ":")
			n, _ := strconv.Atoi(rank)
			r := records[name]
			if r.Refresh != nil {
				r = *r.Refresh
			}
			pending := n == 0 && r.State == results.Queued || r.State == results.Found && slices.Contains(r.Missing(), n)
			if !pending {
				w.errorf("%s of %q are kept for a step that is over: %+v", key, f, r)
			}
		}
	}
}

// late reports whether r has a picture that was was not to get any more.
func (w *world) late(was, r results.Record) bool {
	for rank, o := range r.Outcomes {
		_, had := was.Outcomes[rank]
		if !had && o.Picture != nil && !strings.HasSuffix(o.Picture.Key, fmt.Sprint("-", r.Generation)) {
			return true
		}
	}
	return false
}

// checkKept makes sure that what a name once had is taken away by nothing but
// an answer that it is gone, given twice, or somebody who has it forgotten.
func (w *world) checkKept(birth int64, r results.Record) {
	w.t.Helper()
	if _, forgotten := w.forgotten.LoadAndDelete(r.Name); forgotten {
		delete(w.seen, r.Name)
		delete(w.seen, askedAgain(r.Name))
		delete(w.history, r.Name)
		return
	}
	was, ok := w.seen[r.Name]
	if !ok || was.birth != birth || was.Forgotten || was.Lookup == nil || was.State == results.NotFound {
		return
	}
	pictures := func(r results.Record) (n int) {
		for _, o := range r.Outcomes {
			if o.Picture != nil {
				n++
			}
		}
		return n
	}
	if r.Lookup != nil && r.State != results.NotFound && pictures(r) >= pictures(was.Record) {
		return
	}
	twice := r.Generation > was.Generation+1 || was.Stale != nil && was.Stale.Absent > 0
	if !twice || !absent(r.Name, r) {
		w.errorf("the last good answer is lost:\nwas %+v\nis %+v", was.Record, r)
	}
}

// checkHistory makes sure that a history only grows, from one generation to the
// next, tells of every try that is counted, and of none twice. Runs of one step
// side by side each count their own, so that there may be more than a step has.
func (w *world) checkHistory(birth int64, r results.Record) {
	w.t.Helper()
	if r.Refresh != nil {
		r = *r.Refresh
	}
	if r.FailedTries > r.EarlierEvents+len(r.History) || len(r.History) > results.MaxHistory {
		w.errorf("%d tries failed, and the history is %d and %+v", r.FailedTries, r.EarlierEvents, r.History)
	}
	tries := make(map[string]int)
	for i, e := range r.History {
		step := fmt.Sprint(e.Generation, " ", e.Rank, " ", e.What)
		tries[step]++
		late := e.Generation > r.Generation || i > 0 && e.Generation < r.History[i-1].Generation
		if late || e.What == results.TryFailed && tries[step] > maxTries+maxActors || e.What == results.TrySucceeded && tries[step] > 1 {
			w.errorf("the history contradicts itself: %+v", r)
		}
	}
	was, ok := w.history[r.Name]
	w.history[r.Name] = seen{birth, r}
	if !ok || was.birth != birth {
		return
	}
	// What is in both stands at the same place, counted from the first event.
	shift := r.EarlierEvents - was.EarlierEvents
	if shift < 0 || len(r.History)+shift < len(was.History) {
		w.errorf("the history went back:\nwas %+v\nis %+v", was.Record, r)
		return
	}
	if both := len(was.History) - shift; both > 0 {
		if diff := cmp.Diff(was.History[shift:], r.History[:both]); diff != "" {
			w.errorf("the history changed (-was +is):\n%s", diff)
		}
	}
}

// askedAgain is the key of what is under way for a name.
func askedAgain(name string) string { return name + ", asked again" }

// checkRecord holds a record against itself and against what it was before.
// key is the name, or stands for what is under way.
func (w *world) checkRecord(birth int64, key string, r results.Record) {
	w.t.Helper()
	var pictures, stored int
	if r.Lookup != nil {
		pictures = len(r.Lookup.Pictures)
	}
	for _, o := range r.Outcomes {
		if o.Picture != nil {
			stored++
		}
	}
	if r.Left != pictures-len(r.Outcomes) {
		w.errorf("%d pictures left, want %d: %+v", r.Left, pictures-len(r.Outcomes), r)
	}
	var bad bool
	switch r.State {
	case results.Queued:
		bad = r.Lookup != nil || r.Failure != nil
	case results.Found:
		bad = r.Left == 0
	case results.Done:
		bad = r.Left > 0 || stored != pictures || stored == 0
	case results.Partial:
		bad = r.Left > 0 || stored == pictures || stored == 0
	case results.Failed:
		bad = stored > 0 || (pictures > 0) == (r.Failure != nil)
	case results.NotFound, results.NoPicture:
		bad = r.Lookup == nil || pictures > 0
	}
	why := r.Explain()
	if r.State == results.Failed || r.State == results.Partial {
		bad = bad || why == nil || why.Reason != r.Reason || why.Host != r.Host
	} else {
		bad = bad || r.Reason != ""
	}
	if bad {
		w.errorf("the record contradicts itself: %+v", r)
	}
	was, ok := w.seen[key]
	w.seen[key] = seen{birth, r}
	if !ok || was.birth != birth {
		return
	}
	switch {
	case r.Generation < was.Generation:
		w.errorf("was %+v\nis %+v", was.Record, r)
	case r.Generation > was.Generation: // perhaps forgotten and back again
	case r.Line != was.Line || r.Lane != was.Lane:
		w.errorf("was %+v\nis %+v", was.Record, r)
	case w.late(was.Record, r):
		w.errorf("an outcome of another generation was taken:\n%+v", r)
	case !was.State.Open():
		if diff := cmp.Diff(was.Record, r); diff != "" {
			w.errorf("a settled name changed within its generation:\n%s", diff)
		}
	case was.State == results.Found:
		for rank, o := range was.Outcomes {
			if diff := cmp.Diff(o, r.Outcomes[rank]); diff != "" {
				w.errorf("an outcome changed within its generation:\n%s", diff)
			}
		}
		if r.State == results.Queued {
			w.errorf("went back: %+v", r)
		}
	}
}
