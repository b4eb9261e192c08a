package app

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/thumbnail"
	"github.com/picharvest/picharvest/internal/web"
)

// Web returns the web server. It must have stopped before a is closed.
func (a *App) Web(c *lookup.Catalogue) (*web.Server, error) {
	s := a.Settings
	pictures, err := PicturesOf(s)
	if err != nil {
		return nil, err
	}
	return web.New(s.Web, web.Deps{
		Control: control.New(control.Deps{
			// The plain client gives up with the context of a request.
			DB:       results.New(a.Conn.Plain, a.Conn.Namespace),
			Enqueuer: a.Enqueuer(), Remover: a, Place: a.Place, Logger: a.Logger, Provider: s.Provider,
			Ping: func(ctx context.Context) error { return a.Conn.Plain.Ping(ctx).Err() },
			CheckProvider: func(name string) error {
				def, err := Definition(s, c, name)
				if err != nil {
					return err
				}
				return errors.Join(def.Missing(), def.Check(s.Contact, lookup.SystemSecrets))
			},
		}),
		Pictures: pictures,
		Redis:    a.Conn.Plain,
		Cache:    string(a.thumbnails()),
		Version:  Version(),
		Logger:   a.Logger,
	})
}

// thumbnails is the folder of thumbnails, which goes with the data folder
// whatever Redis is used.
func (a *App) thumbnails() thumbnail.Folder {
	return thumbnail.Folder(filepath.Join(a.Settings.Data, "thumbnails"))
}
