package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/loglimit"
)

// Env is what every command works with.
type Env struct {
	In  io.Reader
	Out io.Writer
	// Err is shared by log lines and the progress bar.
	Err *screen

	configFile string
	// settings maps flags to the settings that they set.
	settings map[*pflag.Flag]string
}

func newEnv(std Streams) *Env {
	return &Env{In: std.In, Out: std.Out, Err: &screen{w: std.Err}, settings: make(map[*pflag.Flag]string)}
}

// setting adds a flag for a setting. Its default is the setting's own.
func (e *Env) setting(f *pflag.FlagSet, key, flag, short, help string) {
	f.StringP(flag, short, "", help)
	e.settings[f.Lookup(flag)] = key
}

// loaded reads the settings of all sources for command c.
func (e *Env) loaded(c *cobra.Command) (*configs.Loaded, error) {
	flags := make(map[string]*pflag.Flag)
	c.Flags().Visit(func(f *pflag.Flag) {
		if key, ok := e.settings[f]; ok {
			flags[key] = f
		}
	})
	return configs.Load(configs.Options{File: e.configFile, Flags: flags})
}

// open reads the settings and connects, for a command that speaks to its user.
func (e *Env) open(ctx context.Context, c *cobra.Command, mode app.Mode) (*app.App, error) {
	s, err := e.load(c)
	if err != nil {
		return nil, err
	}
	return app.Open(ctx, s, mode, e.logger(s, slog.LevelWarn))
}

// logger logs to stderr. A service (fallback info) logs text on a terminal
// and JSON otherwise; a command (fallback warn) speaks to its user. The
// settings can ask for either. fallback is the least level of auto. However bad
// things are, a message comes a few times and then every ten seconds.
func (e *Env) logger(s configs.Settings, fallback slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: fallback}
	if level := new(slog.Level); level.UnmarshalText([]byte(s.Log.Level)) == nil {
		opts.Level = level
	}
	var to slog.Handler = slog.NewTextHandler(e.Err, opts)
	switch {
	case s.Log.Format == "json", s.Log.Format == "auto" && fallback == slog.LevelInfo && !e.Err.terminal():
		to = slog.NewJSONHandler(e.Err, opts)
	case s.Log.Format == "auto" && fallback > slog.LevelInfo:
		to = &speaker{w: e.Err, level: opts.Level.Level()}
	}
	return slog.New(loglimit.New(to))
}

// screen is stderr, on which a progress bar may stand. What is written goes
// above the bar.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	above io.Writer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.above != nil {
		return s.above.Write(p)
	}
	return s.w.Write(p)
}

// through sends what is written through w, until it is called with nil.
func (s *screen) through(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.above = w
}

func (s *screen) terminal() bool { return isTerminal(s.w) }

// redraws reports whether what was written can be written over: on a terminal
// that says what it is, which one that knows no such orders (TERM=dumb) does not.
func (s *screen) redraws() bool { return s.terminal() && canRedraw() }

func canRedraw() bool {
	kind := os.Getenv("TERM")
	return runtime.GOOS == "windows" || kind != "" && kind != "dumb"
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// redisError reports whether err is Redis out of reach, full or unwilling.
func redisError(err error) bool {
	var network net.Error
	return errors.As(err, &network) || redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "READONLY") ||
		redis.HasErrorPrefix(err, "LOADING") || redis.HasErrorPrefix(err, "CLUSTERDOWN") || redis.HasErrorPrefix(err, "NOAUTH") ||
		redis.HasErrorPrefix(err, "NOPERM") || errors.Is(err, redis.ErrClosed) || errors.Is(err, io.EOF) ||
		redisFull(err) || redisDiskFull(err)
}

// redisFull reports whether Redis refuses writes because its memory is full.
// asynq hands on no more than the text.
func redisFull(err error) bool { return strings.Contains(err.Error(), "OOM command not allowed") }

// redisDiskFull reports whether Redis refuses writes because it cannot keep
// them. asynq hands on no more than the text.
func redisDiskFull(err error) bool { return strings.Contains(err.Error(), "MISCONF ") }
