package app

import (
	"context"
	"errors"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/sweep"
	"github.com/picharvest/picharvest/worker"
)

// Told is what a worker calls while it works, from any goroutine. Nil fields
// are not called.
type Told struct {
	// Settled is called after a name has come to its end here.
	Settled func(batch string, r results.Record)
	// Stored is called after a picture was stored and recorded here.
	Stored func(batch string, bytes int64)
}

// Worker returns a worker and a function that closes its store and its gate.
// wanted names a provider without which there is nothing to do, or is empty.
func (a *App) Worker(ctx context.Context, c *lookup.Catalogue, wanted string, told Told) (*worker.Worker, func() error, error) {
	s := a.Settings
	leftOut := make(map[string]error)
	providers, err := providersFor(s, c, wanted, func(name string, err error) {
		a.Logger.Info("provider left out", "provider", name, "cause", err)
		leftOut[name] = err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, host := range s.Picture.InsecureHosts {
		a.Logger.Warn("the certificate of a host is not verified: whoever is on the way can read and change its pictures",
			"host", host, "setting", "picture.insecure_hosts")
	}
	checker, err := picture.New(s.Picture.Config)
	if err != nil {
		return nil, nil, err
	}
	store, err := newStore(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if err := a.clean(ctx, store); err != nil {
		a.Logger.Warn("temporary files of dead processes stay", "error", err)
	}
	naming, err := storage.ParseNaming(s.Storage.Names)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	hosts := a.Gate()
	w := worker.New(s.Worker, worker.Deps{
		Gate: hosts, HostLimits: s.Picture.Limits.For, HonoursRobots: honoursRobots(s), Tags: s.Picture.Manners,
		Redis: a.Conn.ForServers(s.Worker.PollInterval / 2), Queue: a.client, Namespace: a.Conn.Namespace, DB: a.DB,
		Providers: providers, LeftOut: leftOut, Store: store, Naming: naming, Sidecars: s.Storage.Sidecar, Checker: checker, Licences: s.Picture.Licences, Remover: a.remover(store),
		Logger: a.Logger, ID: owner(), Settled: told.Settled, Stored: told.Stored, Observer: a.Watch.observer(),
		Sweep: a.Sweeper(store, a.Watch.ill("queues")).Run,
	})
	a.Watch.worker(a, w, store, providers, hosts)
	closeAll := func() error {
		a.Watch.unwatch()
		hosts.Close()
		return store.Close()
	}
	return w, closeAll, nil
}

// Gate returns the gate that all processes of the installation share. It must
// be closed before a.
func (a *App) Gate() *gate.Gate {
	return gate.New(a.Conn.Pipelined, a.Conn.Namespace, gate.Options{Subscriber: a.Conn.Plain, Logger: a.Logger})
}

// clean removes what dead processes of this machine left unfinished.
func (a *App) clean(ctx context.Context, store storage.Store) error {
	t, ok := store.(sweep.Temps)
	if !ok || a.Embedded == nil || !a.Embedded.Owner() || !a.Embedded.Alone() {
		return nil
	}
	// Nobody else has the data folder open, so nobody else is writing.
	_, err := t.RemoveTemps(ctx, 0, func(string) bool { return true })
	return err
}
