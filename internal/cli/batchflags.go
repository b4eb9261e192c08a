package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/lookup"
)

// batchFlags are the flags of the commands that put names into a batch.
type batchFlags struct {
	file, batch      string
	progress, failOn string
	quiet            bool
	lines            lineFlags
	form             formFlags
	params           paramFlag

	maxPictures          maxPictures
	retryFailed, refresh bool
	maxAge               string
	limits               limits
	// sync removes the names that the file has no more, if need be without
	// asking.
	sync, yes bool
}

// add adds the flags. when is said before what only holds in some cases, and
// quiet is the help of --quiet.
func (b *batchFlags) add(c *cobra.Command, when, quiet string) {
	f := c.Flags()
	f.StringVarP(&b.file, "file", "f", "", "names `file`, one name a line, .csv or .jsonl; - is standard input; .gz is read too")
	f.StringVarP(&b.batch, "batch", "b", "", "`name` of the batch (default: the file's name)")
	f.StringVar(&b.progress, "progress", progressAuto, when+"`form` of progress: auto, bar, plain, json or none")
	f.StringVar(&b.failOn, "fail-on", "failed", when+"exit 1 on `what`: failed, not_found, no_picture, stale, none or N%")
	f.BoolVarP(&b.quiet, "quiet", "q", false, quiet)
	f.BoolVar(&b.retryFailed, "retry-failed", false, "try names again that failed before, in whole or in part")
	f.BoolVar(&b.refresh, "refresh", false, "ask all names again; what they have stays until that ends well. Without --file: all names of --batch")
	f.StringVar(&b.maxAge, "max-age", "", "ask names again whose last good answer is older than this `time`, such as 30d or 12h")
	f.BoolVar(&b.sync, "sync", false, "forget names of the batch that the file has no more; asks")
	f.BoolVarP(&b.yes, "yes", "y", false, "with --sync: do not ask")
	b.form.add(c)
	f.StringArrayVar((*[]string)(&b.params), "param", nil, "`name=value` for the provider, such as lang=de; of the batch for its whole life; may be given again")
	f.Var(&b.maxPictures, "max-pictures", "at most `number` pictures a name, for the batch's whole life (default: what the provider says)")
	b.lines.add(c)
	b.limits.add(c, when)
	complete(c, "progress", progressWords)
}

// again returns what the flags say about names that were asked before, for a
// job.
func (b *batchFlags) again(s configs.Settings) (retryFailed bool, refresh *enqueuer.Refresh) {
	if b.maxAge == "" && !b.refresh {
		return b.retryFailed, nil
	}
	age, _ := parseAge(b.maxAge) // looked at by open
	return b.retryFailed, &enqueuer.Refresh{MaxAge: age, GoneAfter: s.Refresh.GoneAfter}
}

// parseAge reads a time such as 30d, 1d12h or 90m; "" is 0.
func parseAge(s string) (time.Duration, error) {
	bad := usagef("--max-age %q: give a time such as 30d, 12h or 1d12h", s)
	if s == "" {
		return 0, nil
	}
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, bad
	}
	var d time.Duration
	if rest != "" {
		if d, err = time.ParseDuration(rest); err != nil || d < 0 {
			return 0, bad
		}
	}
	if d += time.Duration(n) * 24 * time.Hour; d < time.Second {
		return 0, bad
	}
	return d, nil
}

// maxPictures is the value of --max-pictures, 0 where it is not given.
type maxPictures int

func (m *maxPictures) String() string { return strconv.Itoa(int(*m)) }

func (*maxPictures) Type() string { return "number" }

// Set implements pflag's Value.
func (m *maxPictures) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > lookup.MaxPictures {
		return fmt.Errorf("give 1 to %d", lookup.MaxPictures)
	}
	*m = maxPictures(n)
	return nil
}

// open checks the flags and opens the names file, which the caller closes.
func (b *batchFlags) open(ctx context.Context, env *Env) (*namesFile, failOn, error) {
	fails, err := parseFailOn(b.failOn)
	if err != nil {
		return nil, fails, err
	}
	if err := b.limits.check(); err != nil {
		return nil, fails, err
	}
	if b.quiet {
		b.progress = progressNone
	}
	if err := checkProgress(b.progress); err != nil {
		return nil, fails, err
	}
	if _, err := parseAge(b.maxAge); err != nil {
		return nil, fails, err
	}
	if b.sync && b.file == "" {
		return nil, fails, usagef("--sync makes a batch equal to its file: give --file")
	}
	if b.file == "" && b.batch != "" && (b.refresh || b.retryFailed || b.maxAge != "") {
		if b.form.given() {
			return nil, fails, usagef("--format, --column and --encoding are about a file: give --file")
		}
		in, err := knownNames(b.batch)
		return in, fails, err
	}
	in, err := openNames(ctx, env, b.file, b.batch, b.form.form())
	if err == nil && !b.quiet {
		tellForm(env.Err, in)
	}
	return in, fails, err
}
