package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/results"
)

// limits end a command's work before the batch is finished. Zero fields limit
// nothing.
type limits struct {
	duration time.Duration
	names    int64
	bytes    byteSize
}

// add adds the flags; when is said before what only holds in some cases.
func (l *limits) add(c *cobra.Command, when string) {
	f := c.Flags()
	f.DurationVar(&l.duration, "max-duration", 0, when+"take up no more work after this `time`, e.g. 4h")
	f.Int64Var(&l.names, "max-names", 0, when+"take up no more work once this `number` of names is settled")
	f.Var(&l.bytes, "max-bytes", when+"take up no more work once pictures of this `size` are stored, e.g. 500MB")
}

// check refuses what is no limit.
func (l *limits) check() error {
	if l.duration < 0 || l.names < 0 {
		return usagef("a limit is more than 0: give --max-duration 4h, --max-names 1000 or --max-bytes 500MB")
	}
	return nil
}

func (l *limits) any() bool { return l.duration > 0 || l.names > 0 || l.bytes > 0 }

// limitError says which limit was reached.
type limitError struct{ flag string }

func (e *limitError) Error() string { return e.flag + " is reached" }

// reached returns the limit that is reached, or nil.
func (l *limits) reached(took time.Duration, names, bytes int64) error {
	switch {
	case l.duration > 0 && took >= l.duration:
		return l.durationError()
	case l.names > 0 && names >= l.names:
		return &limitError{fmt.Sprintf("--max-names %d", l.names)}
	case l.bytes > 0 && bytes >= int64(l.bytes):
		return &limitError{"--max-bytes " + l.bytes.String()}
	}
	return nil
}

func (l *limits) durationError() error { return &limitError{"--max-duration " + l.duration.String()} }

// within returns a context that ends with the time that is allowed.
func (l *limits) within(ctx context.Context, began time.Time) (context.Context, context.CancelFunc) {
	if l.duration == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, began.Add(l.duration), l.durationError())
}

// stopped says that a limit ended the work, what is left, and how it goes on.
func stopped(w io.Writer, limit error, c results.Counts, how string) error {
	fmt.Fprintf(w, "%s: %s left; %s\n", limit, nameCount(c.Open()), how)
	return &coded{ExitLimit, nil}
}

// goOn lets a batch go on that a limit had paused: who gives the command
// again means it to. What was paused by command stays so.
func goOn(ctx context.Context, w io.Writer, a *app.App, batch string) error {
	b, err := a.DB.Batch(ctx, batch)
	if err != nil {
		return ignoreNoBatch(err)
	}
	if b.Status != results.Paused || !b.Limited {
		return nil
	}
	fmt.Fprintf(w, "batch %s was paused by a limit and goes on\n", batch)
	_, err = a.Enqueuer().Resume(ctx, batch)
	return err
}

// byteSize is a flag for a number of bytes, as the settings write them.
type byteSize int64

// Set implements pflag.Value.
func (b *byteSize) Set(text string) error {
	n, err := configs.ParseBytes(text)
	*b = byteSize(n)
	return err
}

// String implements pflag.Value.
func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return configs.FormatBytes(int64(*b))
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }
