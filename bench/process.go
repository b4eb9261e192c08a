package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// endWithin is how long a process has to end after a signal.
	endWithin = 30 * time.Second
	// peakEvery is how often a process's peak of memory is read. The kernel
	// keeps the peak, so only what is reached in the last moment is missed.
	peakEvery = 20 * time.Millisecond
)

// process is a program that runs apart from the others, so that its CPU and
// memory are its own.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Reader // its stdout
	said  bytes.Buffer  // its stderr, when it has ended
	ended chan struct{}
	err   error // good when ended is closed
	peak  atomic.Int64
	began time.Time
	took  time.Duration
}

// start starts a program. When ctx ends it gets a SIGTERM.
func start(ctx context.Context, env []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.said
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = endWithin
	stdout, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.lines = in, bufio.NewReader(stdout)
	p.began = time.Now()
	err = p.cmd.Start()
	_ = in.Close() // the child has its own
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go p.watch()
	go func() {
		defer close(p.ended)
		if err := p.cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%s: %w\n%s", program, err, last(p.said.Bytes(), 2000))
		}
		p.took = time.Since(p.began)
	}()
	return p, nil
}

// line returns the next line that the process prints.
func (p *process) line() (string, error) {
	s, err := p.lines.ReadString('\n')
	if err == io.EOF {
		<-p.ended
		return "", fmt.Errorf("it ended before it said anything: %w", p.err)
	}
	return strings.TrimSpace(s), err
}

// finish reads what the process still prints, and waits for its end.
func (p *process) finish() error {
	if _, err := io.Copy(io.Discard, p.lines); err != nil {
		return err
	}
	return p.wait()
}

// wait returns when the process has ended, with an error unless it ended well.
func (p *process) wait() error {
	<-p.ended
	return p.err
}

// stop ends the process by a SIGTERM and waits for it.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return p.err
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return p.err
	case <-time.After(endWithin):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %s of a SIGTERM", p.cmd.Path, endWithin)
	}
}

// cpu is the time that the ended process spent on all its threads.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// watch keeps the peak of the process's resident memory. (What rusage says
// of a child begins with the memory of who started it.)
func (p *process) watch() {
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
			if n := statusBytes(p.cmd.Process.Pid, "VmHWM:"); n > 0 {
				p.peak.Store(n)
			}
		}
	}
}

// statusBytes reads a size in kB from Linux's /proc/PID/status; 0 where there
// is none.
func statusBytes(pid int, key string) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(b), key)
	if !ok {
		return 0
	}
	fields := strings.Fields(rest)
	kB, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kB << 10
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
