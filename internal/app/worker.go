package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/file"
	"github.com/picharvest/picharvest/worker"
)

// CheckStore makes sure that pictures can be stored where the settings say,
// by making the folder and a file in it, and returns the store's ID. It is
// asked before anything else is made.
func CheckStore(ctx context.Context, s configs.Settings) (string, error) {
	store, err := file.New(s.PicturesFolder(), owner())
	if err != nil {
		return "", err
	}
	id, err := store.ID(ctx)
	return id, errors.Join(err, store.Close())
}

// Worker returns a worker and a function that closes its store and its gate.
// wanted names a provider without which there is nothing to do, or is empty.
// settled may be nil.
func (a *App) Worker(ctx context.Context, c *lookup.Catalogue, wanted string, settled func(string, results.Record)) (*worker.Worker, func() error, error) {
	s := a.Settings
	providers, err := providersFor(s, c, wanted, func(name string, err error) {
		a.Logger.Info("provider left out", "provider", name, "cause", err)
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
	store, err := file.New(s.PicturesFolder(), owner())
	if err != nil {
		return nil, nil, err
	}
	if err := a.clean(ctx, store); err != nil {
		a.Logger.Warn("temporary files of dead processes stay", "error", err)
	}
	naming := byName
	if s.Storage.Names == configs.NamesContent {
		naming = byContent
	}
	hosts := a.Gate()
	closeAll := func() error {
		hosts.Close()
		return store.Close()
	}
	return worker.New(s.Worker, worker.Deps{
		Gate: hosts, HostLimits: s.Picture.Limits.For,
		Redis: a.Conn.ForServers(), Queue: a.client, Namespace: a.Conn.Namespace, DB: a.DB,
		Providers: providers, Store: store, Naming: naming, Checker: checker,
		Logger: a.Logger, ID: owner(), Settled: settled,
	}), closeAll, nil
}

// Gate returns the gate that all processes of the installation share. It must
// be closed before a.
func (a *App) Gate() *gate.Gate {
	return gate.New(a.Conn.Pipelined, a.Conn.Namespace, gate.Options{Subscriber: a.Conn.Plain, Logger: a.Logger})
}

// clean removes what dead processes of this machine left unfinished.
func (a *App) clean(ctx context.Context, store *file.Store) error {
	if a.Embedded == nil || !a.Embedded.Owner() || !a.Embedded.Alone() {
		return nil
	}
	// Nobody else has the data folder open, so nobody else is writing.
	_, err := store.RemoveTemps(ctx, func(string) bool { return true })
	return err
}

func byName(batch, name string, rank int, info picture.Info) string {
	return storage.Key(batch, name, rank, info.Kind.Ext())
}

func byContent(_, _ string, _ int, info picture.Info) string {
	return storage.ContentKey(info.SHA256, info.Kind.Ext())
}

// PicturePath returns where a stored picture lies, relative to the working
// folder where that is shorter.
func PicturePath(store, key string) string {
	path := filepath.Join(store, filepath.FromSlash(key))
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}
