package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// batchFlags are the flags of the commands that put names into a batch.
type batchFlags struct {
	file, batch      string
	progress, failOn string
	quiet            bool
	lines            lineFlags
}

// add adds the flags. when is said before what only holds in some cases, and
// quiet is the help of --quiet.
func (b *batchFlags) add(c *cobra.Command, when, quiet string) {
	f := c.Flags()
	f.StringVarP(&b.file, "file", "f", "", "names `file`, one name a line; - is standard input; .gz is read too")
	f.StringVarP(&b.batch, "batch", "b", "", "`name` of the batch (default: the file's name)")
	f.StringVar(&b.progress, "progress", progressAuto, when+"`form` of progress: auto, bar, plain, json or none")
	f.StringVar(&b.failOn, "fail-on", "failed", when+"exit 1 on `what`: failed, not_found, no_picture, none or N%")
	f.BoolVarP(&b.quiet, "quiet", "q", false, quiet)
	b.lines.add(c)
	complete(c, "progress", progressWords)
}

// open checks the flags and opens the names file, which the caller closes.
func (b *batchFlags) open(ctx context.Context, env *Env) (*namesFile, failOn, error) {
	fails, err := parseFailOn(b.failOn)
	if err != nil {
		return nil, fails, err
	}
	if b.quiet {
		b.progress = progressNone
	}
	if err := checkProgress(b.progress); err != nil {
		return nil, fails, err
	}
	in, err := openNames(ctx, env, b.file, b.batch)
	return in, fails, err
}
