// Command loadserver is the service that the benchmark asks: the demo server
// with made-up people, their pictures of one size, and a count of all it was
// asked. It prints its address and serves until a signal.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/picharvest/picharvest/internal/demo"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadserver:", err)
		os.Exit(1)
	}
}

func run() error {
	cfg := demo.Config{Listen: "127.0.0.1:0", Count: true, BusyStatus: http.StatusServiceUnavailable}
	flag.IntVar(&cfg.People, "people", 1000, "made-up people")
	flag.IntVar(&cfg.PictureBytes, "picture-bytes", 30_000, "least size of a picture")
	flag.Float64Var(&cfg.BusyRate, "busy-rate", 0, "share of answers that are 503 with Retry-After: 1")
	flag.DurationVar(&cfg.Latency, "latency", 0, "wait before each answer")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := demo.New(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	ln, err := s.Listen(ctx)
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return s.Serve(ctx, ln)
}
