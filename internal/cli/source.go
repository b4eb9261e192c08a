package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/names"
)

// namesFile is what --file and --batch come to.
type namesFile struct {
	path  string
	batch string
	file  *names.File
}

// openNames opens the names file. All errors are usage.
func openNames(env *Env, path, batch string) (*namesFile, error) {
	if path == "" {
		return nil, usagef("no names: give --file names.txt, or --file - to read them from standard input")
	}
	var err error
	switch {
	case batch != "":
		err = names.CheckBatch(batch)
	case path == names.Stdin:
		err = errors.New("names from standard input need a batch: give --batch NAME")
	default:
		batch, err = names.BatchName(path)
	}
	if err != nil {
		return nil, usage(err)
	}
	f, err := names.Open(path, env.In)
	if err != nil {
		return nil, usage(err)
	}
	return &namesFile{path: path, batch: batch, file: f}, nil
}

// badLines shows the first few lines that are no names, and counts the rest.
type badLines struct {
	w     io.Writer
	shown int
}

const maxBadLines = 10

func (b *badLines) show(bad *names.BadLine) {
	if b.shown++; b.shown <= maxBadLines {
		fmt.Fprintln(b.w, bad.Error())
	}
	if b.shown == maxBadLines+1 {
		fmt.Fprintln(b.w, "further bad lines are only counted")
	}
}

// noProvider says what can be chosen and how.
func noProvider(why string, c *lookup.Catalogue, example string) error {
	return usagef("%s; choose a lookup service with --provider:\n  %s\nfor example: %s --provider wikipedia --contact you@example.org",
		why, strings.Join(c.Names(), ", "), example)
}
