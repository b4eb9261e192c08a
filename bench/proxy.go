package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// delayProxy passes TCP on, every byte late by the same time each way, and
// holds nothing up besides: it is distance, not a bottleneck.
type delayProxy struct {
	ln    net.Listener
	to    string
	delay time.Duration
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed
}

func startDelayProxy(ctx context.Context, to string, delay time.Duration) (*delayProxy, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &delayProxy{ln: ln, to: to, delay: delay, conns: make(map[net.Conn]struct{})}
	p.wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return // closed
			}
			p.wg.Go(func() { p.serve(ctx, near) })
		}
	})
	return p, nil
}

func (p *delayProxy) addr() string { return p.ln.Addr().String() }

func (p *delayProxy) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	open := p.conns
	p.conns = nil
	p.mu.Unlock()
	for c := range open {
		_ = c.Close() // its reader sees it
	}
	p.wg.Wait()
}

func (p *delayProxy) serve(ctx context.Context, near net.Conn) {
	defer near.Close()
	far, err := new(net.Dialer).DialContext(ctx, "tcp", p.to)
	if err != nil {
		return // the other side sees a closed connection, as it would without us
	}
	defer far.Close()
	if !p.keep(near, far) {
		return
	}
	defer p.drop(near, far)
	var wg sync.WaitGroup
	wg.Go(func() { p.pass(far, near) })
	p.pass(near, far)
	wg.Wait()
}

func (p *delayProxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *delayProxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// late is bytes on their way.
type late struct {
	bytes []byte
	due   time.Time
}

// pass copies from one side to the other until either is closed, then closes
// both.
func (p *delayProxy) pass(to, from net.Conn) {
	way := make(chan late, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for l := range way {
			time.Sleep(time.Until(l.due))
			if _, err := to.Write(l.bytes); err != nil {
				_ = from.Close() // ends the reader, which closes way
			}
		}
	}()
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			way <- late{b[:n], time.Now().Add(p.delay)}
		}
		if err != nil {
			close(way)
			<-done
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				_ = to.Close()
			}
			return
		}
	}
}
