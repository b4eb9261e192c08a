package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

const (
	// clockEvery is how coarse the life of keys is; miniredis has no clock.
	clockEvery = 250 * time.Millisecond
	// A snapshot stops the server while it is taken, so between two of them
	// pass snapshotShare times as long as one took, and at least
	// snapshotEvery.
	snapshotShare = 20
	snapshotEvery = 5 * time.Second
)

// mini is miniredis with a clock and snapshots. What was written since the
// last one is lost if the process is killed.
type mini struct {
	srv    *miniredis.Miniredis
	client *redis.Client
	url    string
	file   string
	logger *slog.Logger

	cancel context.CancelFunc
	over   sync.WaitGroup
}

// startMini runs miniredis on the snapshot in dir, at the address of previous
// if it has one.
func startMini(ctx context.Context, dir string, previous ownerFile, logger *slog.Logger) (_ *mini, err error) {
	m := &mini{srv: miniredis.NewMiniRedis(), file: filepath.Join(dir, "snapshot"), logger: logger}
	if err := m.listen("127.0.0.1:0", rand.Text()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.srv.Close()
		}
	}()
	if err := m.load(ctx); err != nil {
		return nil, err
	}
	if u, err := url.Parse(previous.URL); err == nil && u.Scheme == "redis" {
		// Clients know this address already, and must not see it half loaded.
		// A server that starts again keeps its data.
		m.srv.Close()
		password, _ := u.User.Password()
		if err := m.listen(u.Host, password); err != nil {
			return nil, err
		}
	}
	if m.client, err = client(m.url); err != nil {
		return nil, err
	}
	background, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.over.Go(func() { m.tick(background) })
	m.over.Go(func() { m.snapshots(background) })
	return m, nil
}

func (m *mini) listen(addr, password string) error {
	m.srv.RequireAuth(password)
	if err := m.srv.StartAddr(addr); err != nil {
		return fmt.Errorf("start miniredis: %w", err)
	}
	m.url = (&url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: m.srv.Addr()}).String()
	return nil
}

func (m *mini) load(ctx context.Context) error {
	c, err := client(m.url)
	if err != nil {
		return err
	}
	return errors.Join(loadSnapshot(ctx, c, m.file), c.Close())
}

func (m *mini) info() ownerFile {
	return ownerFile{URL: m.url, Engine: EngineMini, PID: os.Getpid()}
}

func (m *mini) close(ctx context.Context) error {
	m.cancel()
	m.over.Wait()
	// The data would be gone, so a ctx that is over does not stop this.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := errors.Join(saveSnapshot(ctx, m.client, m.file), m.client.Close())
	m.srv.Close()
	return err
}

// tick lets the keys' time pass.
func (m *mini) tick(ctx context.Context) {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			m.srv.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (m *mini) snapshots(ctx context.Context) {
	wait := snapshotEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		start := time.Now()
		// Half a snapshot would have cost as much as a whole one.
		if err := saveSnapshot(context.WithoutCancel(ctx), m.client, m.file); err != nil {
			m.logger.Error("save the data of the built-in miniredis", "file", m.file, "error", oneLine(err))
		}
		wait = max(snapshotEvery, snapshotShare*time.Since(start))
	}
}
