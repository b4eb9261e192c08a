package cli

import (
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/results"
)

// failOn says which outcomes of a batch make a command exit with 1.
type failOn struct {
	failed, notFound, noPicture, stale bool
	// percent of all names that may fail, -1 where no share is set.
	percent float64
}

func parseFailOn(s string) (failOn, error) {
	f := failOn{percent: -1}
	for word := range strings.SplitSeq(s, ",") {
		switch word = strings.TrimSpace(word); word {
		case "failed":
			f.failed = true
		case "not_found":
			f.notFound = true
		case "no_picture":
			f.noPicture = true
		case "stale":
			f.stale = true
		case "none":
		default:
			n, err := strconv.ParseFloat(strings.TrimSuffix(word, "%"), 64)
			if err != nil || !strings.HasSuffix(word, "%") || n < 0 || n > 100 {
				return f, usagef("unknown --fail-on %q: give failed, not_found, no_picture, stale, none, or a share such as 5%%", word)
			}
			f.percent = n
		}
	}
	return f, nil
}

// check returns an error without words where the counts are to fail.
func (f failOn) check(c results.Counts) error {
	bad := c[results.Failed] + c[results.Partial] + c[results.Unreadable]
	switch {
	case f.failed && bad > 0,
		f.notFound && c[results.NotFound] > 0,
		f.noPicture && c[results.NoPicture] > 0,
		f.stale && c[results.Stale] > 0,
		f.percent >= 0 && float64(bad)*100 > f.percent*float64(c.Total()):
		return &coded{code: ExitFailed}
	}
	return nil
}
