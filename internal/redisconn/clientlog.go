package redisconn

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// clientLogEvery is the shortest time between two lines of go-redis itself,
// which reports every lost connection.
const clientLogEvery = time.Second

// clientLog is where go-redis logs, which would be stderr otherwise.
type clientLog struct {
	logger *slog.Logger
	last   atomic.Int64 // unix nanoseconds of the last line
}

func newClientLog(logger *slog.Logger) *clientLog { return &clientLog{logger: logger} }

// Printf is the interface that go-redis wants.
func (l *clientLog) Printf(ctx context.Context, format string, args ...any) {
	if !l.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	now := time.Now().UnixNano()
	last := l.last.Load()
	if now-last < int64(clientLogEvery) || !l.last.CompareAndSwap(last, now) {
		return
	}
	l.logger.DebugContext(ctx, "redis client", "message", flat(fmt.Sprintf(format, args...)))
}

// troubleEvery is the shortest time between two lines about a server in
// trouble.
const troubleEvery = 10 * time.Second

// troubleLog tells the operator why nothing goes on while commands are tried
// again, which may be for long.
type troubleLog struct {
	logger *slog.Logger
	last   atomic.Int64 // unix nanoseconds of the last line
}

func newTroubleLog(logger *slog.Logger) *troubleLog { return &troubleLog{logger: logger} }

func (l *troubleLog) warn(err error) {
	now := time.Now().UnixNano()
	if last := l.last.Load(); now-last >= int64(troubleEvery) && l.last.CompareAndSwap(last, now) {
		l.logger.Warn("redis is away or takes no commands, trying again", "error", oneLine(err))
	}
}

// oneLine is an error's text for a log or a terminal.
func oneLine(err error) string { return flat(err.Error()) }

func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
