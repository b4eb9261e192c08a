// Command bench puts harvest through the same work as a floor program (the
// requests and the files, no queue) and a naive asynq system, in turn, several
// times, each in processes of its own, and prints what each took of time, CPU
// and memory. Before a figure counts, every file is compared with what was
// served, and nothing may have been asked twice. README.md says how to read
// what it prints. It needs Linux, Go and a redis-server.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// memoryFolder is a file system in memory, on every Linux.
const memoryFolder = "/dev/shm"

// errMissed says that a figure was not reached.
var errMissed = errors.New("a target was missed")

// bench is what all runs share.
type bench struct {
	to   io.Writer
	out  string // folder under which each run has its own
	bin  string // folder of the programs
	base string // folder of an earlier build's, or empty

	// The pictures of one kind of work are made once.
	known map[work][]want
}

func run(ctx context.Context, args []string, to io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	b := &bench{to: to, known: make(map[work][]want)}
	short := work{}
	f.IntVar(&short.names, "names", 5000, "names of the short form")
	f.IntVar(&short.concurrency, "concurrency", 100, "requests in flight in the short form")
	f.IntVar(&short.pictureBytes, "picture-bytes", 30_000, "least size of a picture")
	rounds := f.Int("rounds", 3, "rounds of the short form")
	many := f.Int("many", 100_000, "names of the batch to which a thousand are compared in the full form")
	full := f.Bool("full", false, "run all rows, the first as the short form says; exit 1 when a target is missed")
	only := f.String("row", "", "run the rows whose title has these words")
	f.StringVar(&b.out, "out", memoryFolder, "folder for pictures and Redis, removed after each run")
	f.StringVar(&b.base, "base", "", "folder with enqueue and worker of an earlier build, to compare with")
	if err := f.Parse(args); err != nil {
		return err
	}
	if short.names < 1 || short.concurrency < 2 || *rounds < 1 || *many < 1000 || f.NArg() > 0 {
		return errors.New("want -names of 1 or more, -concurrency of 2 or more, -rounds of 1 or more, -many of 1000 or more, and no arguments")
	}
	rows := []row{throughput(short, *rounds, b.base != "")}
	if *full {
		rows = fullRows(rows[0], b.base != "")
	}

	if err := b.build(ctx); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.bin) }() // in the system's temporary folder
	where := "in memory"
	if b.out != memoryFolder {
		where = "as you chose"
	}
	b.printf("Pictures and Redis under %s (%s), Redis with an AOF synced every second.\n", b.out, where)

	began, missed := time.Now(), false
	for _, r := range rows {
		if !strings.Contains(r.title, *only) {
			continue
		}
		m, err := b.runRow(ctx, r)
		if err != nil {
			return err
		}
		missed = missed || m
	}
	if *full {
		for _, p := range probes(short, *many) {
			if !strings.Contains(p.title, *only) {
				continue
			}
			m, err := b.runProbe(ctx, p)
			if err != nil {
				return err
			}
			missed = missed || m
		}
	}
	b.printTook(began)
	if missed && *full {
		return errMissed
	}
	return nil
}

// build builds every program that is measured, once.
func (b *bench) build(ctx context.Context) error {
	var err error
	if b.bin, err = os.MkdirTemp("", "harvest-bench-"); err != nil {
		return err
	}
	const module = "github.com/picharvest/picharvest/"
	c := exec.CommandContext(ctx, "go", "build", "-o", b.bin+string(filepath.Separator),
		module+"cmd/enqueue", module+"cmd/worker", module+"cmd/harvest", module+"bench/floor", module+"bench/naive", module+"bench/loadserver")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		return errors.Join(fmt.Errorf("build the programs: %w", err), os.RemoveAll(b.bin))
	}
	return nil
}

func (b *bench) program(name string) string { return filepath.Join(b.bin, name) }

func (b *bench) harvestProgram(s system, name string) string {
	if s == base {
		return filepath.Join(b.base, name)
	}
	return b.program(name)
}

// wanted returns the names of a work and their pictures.
func (b *bench) wanted(w work) ([]want, error) {
	key := work{names: w.names, pictureBytes: w.pictureBytes}
	if all, ok := b.known[key]; ok {
		return all, nil
	}
	all, err := wanted(w.names, w.pictureBytes)
	b.known[key] = all
	return all, err
}

func writeNames(file string, all []want) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, one := range all {
		fmt.Fprintln(w, one.name)
	}
	return errors.Join(w.Flush(), f.Close())
}
