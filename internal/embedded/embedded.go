// Package embedded gives one data folder a Redis of its own, so that a
// harvest needs no server: a private redis-server or valkey-server child with
// an append-only file, or miniredis with snapshots where neither is installed.
// The first process to open a folder owns its Redis, the others join it, and
// one of them takes over when the owner ends. The package knows asynq's keys
// in ReclaimActive only, and nothing of ours.
//
// In the folder's subfolder redis, of mode 0700, are: lock, held by the owner;
// users, held by everyone; owner.json, the address; engine, which of the two
// kinds the data is of; and the data.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// The kinds of Redis that Engine names.
const (
	EngineRedis  = "redis-server"
	EngineValkey = "valkey-server"
	EngineMini   = "miniredis"
)

// ErrNoData is what Open returns for a folder without data that it may not
// create.
var ErrNoData = errors.New("no harvest data")

const (
	// joinWithin is how long a command waits for an owner that is starting.
	joinWithin = 20 * time.Second
	// standByEvery is how often a joined process looks whether the owner is
	// gone. Clients try again for 10 s, so they do not notice.
	standByEvery = 50 * time.Millisecond
)

// Options says how Open behaves.
type Options struct {
	// Logger gets warnings, and errors of what goes on in the background.
	Logger *slog.Logger
	// Create makes the folder where it is missing. Commands that only read
	// leave it false and get ErrNoData.
	Create bool
	// Engine asks for one kind: EngineMini, or EngineRedis for either server.
	// Default: a server if one is installed, else miniredis.
	Engine string
}

// Redis is an open data folder. It is safe for concurrent use.
type Redis struct {
	dir    string // the subfolder redis
	opts   Options
	lock   *os.File
	users  *os.File
	alone  bool
	joined ownerFile // what a process that joined was told

	stop chan struct{} // ends standBy
	done sync.WaitGroup

	mu     sync.Mutex
	server server // nil while another process owns it
	closed bool
}

// server is a running Redis that this process started.
type server interface {
	info() ownerFile
	// close ends it with everything saved; when ctx ends it is cut short.
	close(ctx context.Context) error
}

// Open starts the Redis of the data folder dir, or joins the one that another
// process runs, and returns when it answers. Errors say what to do; ErrNoData
// names the folder. ctx bounds the start alone.
func Open(ctx context.Context, dir string, opts Options) (*Redis, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", dir, err)
	}
	r := &Redis{dir: filepath.Join(abs, "redis"), opts: opts, stop: make(chan struct{})}
	if opts.Create {
		err = os.MkdirAll(abs, 0o755)
		if err == nil {
			err = os.MkdirAll(r.dir, 0o700)
		}
	} else if _, err = os.Stat(r.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s; check --data, or start with harvest run", ErrNoData, abs)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if r.lock, err = openLock(filepath.Join(r.dir, "lock")); err != nil {
		return nil, err
	}
	if r.users, err = openLock(filepath.Join(r.dir, "users")); err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, r.users.Close(), r.lock.Close())
	}
	return r, nil
}

// URL returns the address in the form that redis.url takes. It holds a
// password where there is one, and stays the same until Close.
func (r *Redis) URL() string { return r.current().URL }

// Engine returns which kind runs: EngineRedis, EngineValkey or EngineMini.
func (r *Redis) Engine() string { return r.current().Engine }

// Owner reports whether the Redis runs by this process. It becomes true when
// the owner that was joined has ended.
func (r *Redis) Owner() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.server != nil
}

// Alone reports whether no other process had the folder open when this one
// opened it: the condition for ReclaimActive.
func (r *Redis) Alone() bool { return r.alone }

// Close gives the folder up. The owner saves everything and ends the server;
// a process that had joined goes on with a server of its own at the same
// address. When ctx ends, a server that is slow to stop is killed, which may
// lose up to 2 s of what it answered. Calling it again does nothing.
func (r *Redis) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.stop)
	r.mu.Unlock()
	r.done.Wait()

	var err error
	if r.server != nil {
		err = errors.Join(r.forgetAddress(), r.server.close(ctx))
	}
	// Closing a file releases its lock.
	return errors.Join(err, r.users.Close(), r.lock.Close())
}

// forgetAddress removes owner.json unless another process goes on with it.
func (r *Redis) forgetAddress() error {
	if err := unlock(r.users); err != nil {
		return err
	}
	last, err := tryLock(r.users, exclusive)
	if err != nil || !last {
		return err
	}
	return removeOwnerFile(r.dir)
}

func (r *Redis) current() ownerFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		return r.server.info()
	}
	return r.joined
}

// open becomes the owner or joins it, whichever is possible first.
func (r *Redis) open(ctx context.Context) error {
	joinCtx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	for {
		owner, err := tryLock(r.lock, exclusive)
		if err != nil {
			return fmt.Errorf("lock data folder %s: %w", r.dir, err)
		}
		if owner {
			return r.own(ctx)
		}
		if err := r.join(joinCtx); err == nil {
			r.done.Go(r.standBy)
			return nil
		} else if joinCtx.Err() != nil {
			return fmt.Errorf("data folder %s is in use by another process whose redis does not answer (%w); end that process, or wait until it has loaded its data", r.dir, err)
		}
		select {
		case <-joinCtx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// own starts the server, with the lock held.
func (r *Redis) own(ctx context.Context) error {
	alone, err := tryLock(r.users, exclusive)
	if err != nil {
		return fmt.Errorf("lock data folder %s: %w", r.dir, err)
	}
	r.alone = alone
	var previous ownerFile
	if !alone {
		// Those who joined the last owner know its address.
		if previous, err = readOwnerFile(r.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s, err := r.start(ctx, previous)
	if err != nil {
		return err
	}
	// Others wait for this before they join, so that alone stays true. An
	// exclusive lock is given up first; only this process, with lock in its
	// hand, ever takes one.
	if err := errors.Join(unlock(r.users), r.use(ctx)); err != nil {
		return errors.Join(err, s.close(ctx))
	}
	r.server = s
	return nil
}

// use takes the shared lock that says that this process uses the Redis.
func (r *Redis) use(ctx context.Context) error {
	for {
		ok, err := tryLock(r.users, shared)
		if err != nil {
			return fmt.Errorf("lock data folder %s: %w", r.dir, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock data folder %s: %w", r.dir, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// start ends what an earlier owner left and runs a server at the address of
// previous, or anywhere if there is none.
func (r *Redis) start(ctx context.Context, previous ownerFile) (server, error) {
	if err := endOrphan(ctx, r.dir); err != nil {
		return nil, err
	}
	s, err := r.startEngine(ctx, previous)
	if err != nil {
		return nil, err
	}
	err = writeOwnerFile(r.dir, s.info())
	if errors.Is(err, syscall.ENOSPC) {
		// What is there can be read all the same, by this process alone.
		r.opts.Logger.Warn("the disk of the data folder is full: nothing can be added to it, and no other command can join this one; make room",
			"folder", r.dir)
		err = nil
	}
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

// startEngine chooses by what the data is and by what is installed.
func (r *Redis) startEngine(ctx context.Context, previous ownerFile) (server, error) {
	data, err := readEngine(r.dir)
	if err != nil {
		return nil, err
	}
	wantMini := r.opts.Engine == EngineMini || previous.Engine == EngineMini
	var prog program
	if !wantMini {
		prog, err = findProgram(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case data == EngineRedis && wantMini:
		return nil, fmt.Errorf("the data in %s is redis-server's, which miniredis cannot read; open it without asking for miniredis", r.dir)
	case data == EngineRedis && err != nil:
		return nil, fmt.Errorf("the data in %s needs redis-server or valkey-server (%w); install redis-server 6.2 or later, or use another --data folder", r.dir, err)
	case wantMini:
		return r.startMini(ctx, previous, nil)
	case err != nil && r.opts.Engine == EngineRedis:
		return nil, fmt.Errorf("%w; install redis-server 6.2 or later", err)
	case err != nil:
		return r.startMini(ctx, previous, err)
	}
	c, err := startChild(ctx, prog, r.dir, previous, r.opts.Logger)
	if err != nil {
		return nil, err
	}
	if data != EngineRedis {
		if err := adopt(ctx, c, r.dir, data == EngineMini); err != nil {
			return nil, errors.Join(err, c.close(ctx))
		}
	}
	return c, nil
}

func (r *Redis) startMini(ctx context.Context, previous ownerFile, why error) (server, error) {
	if why != nil {
		r.opts.Logger.Warn("using the built-in miniredis: slower, and a crash loses the last seconds; install redis-server 6.2 or later",
			"reason", oneLine(why))
	}
	if err := writeEngine(r.dir, EngineMini); err != nil {
		return nil, err
	}
	return startMini(ctx, r.dir, previous, r.opts.Logger)
}

// join reads the owner's address and asks whether it answers.
func (r *Redis) join(ctx context.Context) error {
	// The shared lock comes first: a process that becomes owner from here on
	// knows that it is not alone.
	ok, err := tryLock(r.users, shared)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("it is starting")
	}
	o, err := readOwnerFile(r.dir)
	if err == nil {
		err = ping(ctx, o.URL)
	}
	if err != nil {
		return errors.Join(err, unlock(r.users))
	}
	r.joined = o
	return nil
}

// standBy waits for the owner's end and then runs the server itself.
func (r *Redis) standBy() {
	tick := time.NewTicker(standByEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		if owner, err := tryLock(r.lock, exclusive); err != nil || !owner {
			continue
		}
		if err := r.takeOver(); err != nil {
			r.opts.Logger.Error("the owner of the data folder ended, and its redis cannot be started here",
				"folder", r.dir, "error", oneLine(err))
			if err := unlock(r.lock); err != nil {
				r.opts.Logger.Error("unlock data folder", "folder", r.dir, "error", err)
			}
			select {
			case <-r.stop:
			case <-time.After(time.Second):
			}
			continue
		}
		return
	}
}

func (r *Redis) takeOver() error {
	// Loading takes as long as it takes; only Close ends it.
	ctx, cancel := contextUntil(r.stop)
	defer cancel()
	s, err := r.start(ctx, r.joined)
	if err != nil {
		return err
	}
	r.opts.Logger.Info("took over the redis of the data folder from a process that ended", "folder", r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.server = s
	return nil
}

// contextUntil returns a context that ends with stop.
func contextUntil(stop <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// client returns a client for the package's own few commands; the harvest's
// clients are redisconn's.
func client(url string) (*redis.Client, error) {
	opt, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("the address in owner.json cannot be read")
	}
	opt.MaxRetries = -1
	opt.DialerRetries = 1
	opt.PoolSize = 1
	opt.DisableIdentity = true
	opt.ContextTimeoutEnabled = true
	opt.ReadTimeout = time.Minute // reading or loading everything takes seconds
	return redis.NewClient(opt), nil
}

func ping(ctx context.Context, url string) error {
	c, err := client(url)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := knock(ctx, c.Options()); err != nil {
		return err
	}
	return c.Ping(ctx).Err()
}

// knock asks whether anybody listens. It is for where often nobody does: the
// client would log each time and pause before it gave up.
func knock(ctx context.Context, opt *redis.Options) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, opt.Network, opt.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
