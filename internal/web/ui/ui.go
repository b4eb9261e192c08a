// Package ui is the pages: batches, gallery, names, and the forms behind which
// actions stand. It gets everything it shows from package control, and stands
// behind the checks of package web, which sets the headers of every response:
// a Content-Security-Policy that lets a page load scripts, styles and pictures
// from its own origin only and nothing inline. A handler that needs another
// policy sets that header itself before it writes.
//
// Every page can be read, and every action taken, without JavaScript; app.js
// adds what moves. Templates and static files are embedded as they are: there
// is no build step, and nothing is loaded from elsewhere.
package ui

import (
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/thumbnail"
)

// Pictures opens stored pictures by their key; a key without a file is an
// error that is fs.ErrNotExist.
type Pictures interface {
	Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error)
}

// Deps are the parts that the pages are made of.
type Deps struct {
	// Control is where batches, names, counts, changes and progress come
	// from. Its errors are told apart as package control says: a
	// *control.UnknownError is a page with status 404 and the nearest names, a
	// *control.InvalidError one with 400; anything else is Redis away, 503.
	Control *control.Control
	// Pictures is the store of the pictures.
	Pictures Pictures
	// Cache is a folder of this installation for thumbnails. It need not
	// exist.
	Cache string
	// Thumbnails bounds that folder.
	Thumbnails thumbnail.Config
	Logger     *slog.Logger
}

// Pages is the handler of every page, of /static/ and of /thumbnails/.
type Pages struct {
	http.Handler
	pages *pages
}

// Fail answers with the page for an error of package control.
func (p *Pages) Fail(w http.ResponseWriter, r *http.Request, err error) { p.pages.fail(w, r, err) }

// Close waits until the folder of thumbnails is at rest. No request may be
// under way.
func (p *Pages) Close() error { return p.pages.thumbnails.Close() }

// pages is what the handlers share.
type pages struct {
	Deps
	thumbnails *thumbnail.Maker
	assets     map[string]asset
	templates  templates
}

// New returns the pages. The server in front of them
//
//   - has checked Host, token and, for whatever is no GET or HEAD, the origin;
//   - bounds the body (1 MiB) and the time of reading and writing;
//   - ends the context of a GET after 10 s, so that a page is told when Redis
//     is away;
//   - serves /api/v1/ (with the progress as server-sent events under
//     /api/v1/events and /api/v1/batches/BATCH/events), /pictures/BATCH?name=N&rank=R
//     (an original, by its record alone), /people/ and /queues/ (asynqmon)
//     itself.
//
// A name goes into a query and not into a path: browsers take "." and ".."
// out of paths however they are escaped.
func New(d Deps) (*Pages, error) {
	maker, err := thumbnail.New(d.Thumbnails, d.Cache, d.Pictures, d.Logger)
	if err != nil {
		return nil, err
	}
	p := &pages{Deps: d, thumbnails: maker}
	if p.assets, err = readAssets(); err != nil {
		return nil, err
	}
	if p.templates, err = p.parseTemplates(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /batches/{batch}", p.batch)
	mux.HandleFunc("GET /batches/{batch}/gallery", p.gallery)
	mux.HandleFunc("GET /batches/{batch}/failures", p.failures)
	mux.HandleFunc("GET /batches/{batch}/name", p.name)
	mux.HandleFunc("GET /batches/{batch}/change/{action}", p.ask)
	mux.HandleFunc("POST /batches/{batch}/change/{action}", p.change)
	mux.HandleFunc("GET /thumbnails/{batch}", p.thumbnail)
	mux.HandleFunc("GET /static/{file}", p.static)
	mux.HandleFunc("/", p.nowhere)
	return &Pages{mux, p}, nil
}
