package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/embedded"
	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/results"
)

// The exit codes of every program.
const (
	ExitOK          = 0   // all well; not_found and no_picture are answers, not failures
	ExitFailed      = 1   // at least one name ended failed or partial
	ExitUsage       = 2   // usage or configuration
	ExitUnavailable = 3   // Redis or the store is out of reach or full
	ExitNothing     = 4   // nothing to do, where asked for
	ExitLimit       = 5   // stopped by a limit
	ExitInternal    = 70  // a defect of ours
	ExitInterrupted = 130 // by a signal
)

// coded is an error with its exit code. An err of nil says nothing more.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string {
	if c.err == nil {
		return ""
	}
	return c.err.Error()
}

func (c *coded) Unwrap() error { return c.err }

// usage marks err as a mistake in the call.
func usage(err error) error { return &coded{ExitUsage, err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// exitCode returns the code for the error that ended a command.
func exitCode(ctx context.Context, err error) int {
	var (
		c        *coded
		open     *redisconn.OpenError
		full     *redisconn.FullError
		provider *results.ProviderError
		params   *results.ParamsError
		pictures *results.MaxPicturesError
		broken   *results.KeyError
		settings *configs.Error
		fail     *failure.Error
	)
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &c):
		return c.code
	case ctx.Err() != nil && isCancelled(err):
		return ExitInterrupted
	case errors.As(err, &settings), errors.As(err, &provider), errors.As(err, &params), errors.As(err, &pictures),
		errors.Is(err, results.ErrNoBatch), errors.Is(err, results.ErrNoName), errors.Is(err, results.ErrDeleting),
		errors.Is(err, embedded.ErrNoData), strings.HasPrefix(err.Error(), "unknown command"):
		return ExitUsage
	case errors.As(err, &open), errors.As(err, &full):
		return ExitUnavailable
	case errors.As(err, &fail) && fail.Reason == failure.ReasonStore:
		return ExitUnavailable
	case redisError(err), errors.As(err, &broken):
		return ExitUnavailable
	case errors.Is(err, enqueuer.ErrStopped):
		return ExitFailed
	}
	return ExitInternal
}

// message returns what is printed for err: one line or a few, without
// control characters that a stranger may have put there.
func message(err error) string {
	if err == nil {
		return ""
	}
	switch {
	case redisFull(err):
		err = fmt.Errorf("redis is full: raise its maxmemory, or delete batches that are no longer needed (harvest delete BATCH); what is in it can be read meanwhile, and the same command again goes on (%w)", err)
	case redisDiskFull(err):
		err = fmt.Errorf("redis cannot write to its disk: make room there; what is in it can be read meanwhile, and the same command again goes on (%w)", err)
	}
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, err.Error())
}
