package app

import (
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/sweep"
)

// Sweeper returns what puts right what got lost between records and queues,
// and in the store, which may be nil. ill, if set, is told what cannot be put
// right.
func (a *App) Sweeper(store storage.Store, ill func(error)) *sweep.Sweeper {
	d := sweep.Deps{
		Redis: a.Conn.Plain, Namespace: a.Conn.Namespace, DB: a.DB, Restore: a.Enqueuer().Restore,
		Ill: ill, Logger: a.Logger, ID: owner(),
	}
	if t, ok := store.(sweep.Temps); ok {
		d.Temps = t
	}
	return sweep.New(d)
}
