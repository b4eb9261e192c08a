package web

import (
	"errors"
	"net/http"
	"time"

	"github.com/picharvest/picharvest/internal/control"
	"github.com/picharvest/picharvest/internal/recordjson"
)

// batchesJSON is a page of batches.
type batchesJSON struct {
	Batches []control.Batch `json:"batches"`
	Next    string          `json:"next,omitempty"`
}

func (s *Server) listBatches(w http.ResponseWriter, r *http.Request) error {
	n, err := limit(r)
	if err != nil {
		return err
	}
	batches, next, err := s.deps.Control.BatchPage(r.Context(), r.URL.Query().Get("cursor"), n)
	if err != nil {
		return err
	}
	linkNext(w, r, next)
	return writeJSON(w, r, batchesJSON{batches, next})
}

func (s *Server) getBatch(w http.ResponseWriter, r *http.Request) error {
	b, err := s.deps.Control.Batch(r.Context(), r.PathValue("batch"))
	if err != nil {
		return err
	}
	j := batchJSON{Batch: b}
	if b.Failed() > 0 {
		if j.Hosts, err = s.deps.Control.Hosts(r.Context(), b.Name, maxHosts); err != nil {
			return err
		}
	}
	return writeJSON(w, r, j)
}

// batchJSON is a batch with where its names failed, which takes longer to know.
type batchJSON struct {
	control.Batch
	Hosts control.Hosts `json:"hosts,omitempty"`
}

// maxHosts bounds the hosts that an answer tells apart, for each shard.
const maxHosts = 100

// changeJSON says what a change did, or would do.
type changeJSON struct {
	Action control.Action `json:"action"`
	Batch  string         `json:"batch"`
	control.Done
	DryRun bool `json:"dry_run"`
}

// changeWithin bounds a change: a million names are touched some hundreds at a
// time.
const changeWithin = 15 * time.Minute

// change returns the operation for an action. One whose client leaves stops,
// and is made again from where it stopped.
func (s *Server) change(action control.Action) answer {
	return s.whileAlive(func(w http.ResponseWriter, r *http.Request) error {
		dry, err := dryRun(r)
		if err != nil {
			return err
		}
		ch := control.Change{Action: action, Batch: r.PathValue("batch")}
		switch action {
		case control.Retry:
			ch.Query, err = control.Selection(r.URL.Query())
		case control.Forget:
			ch.Query.Name = r.PathValue("name")
		case control.Delete:
			ch.Pictures, err = yes(r, "pictures")
		}
		if err != nil {
			return err
		}
		if err := errors.Join(keepReading(w), extendWrite(w, changeWithin)); err != nil {
			return err
		}
		j := changeJSON{Action: action, Batch: ch.Batch, DryRun: dry}
		if dry {
			j.Names, err = s.deps.Control.Affected(r.Context(), ch)
		} else {
			j.Done, err = s.deps.Control.Do(r.Context(), ch)
		}
		if err != nil {
			return err
		}
		return writeJSON(w, r, j)
	})
}

// namesJSON is a page of names.
type namesJSON struct {
	Names []nameJSON `json:"names"`
	Next  string     `json:"next,omitempty"`
	// Warning as in control.Page.
	Warning string `json:"warning,omitempty"`
}

// nameJSON is a name with where its pictures are served.
type nameJSON struct {
	recordjson.Name
	Pictures []pictureJSON `json:"pictures,omitempty"`
}

// pictureJSON is a picture with where it is served, "" where it is not stored.
type pictureJSON struct {
	recordjson.Picture
	Href string `json:"href,omitempty"`
}

func describeName(n recordjson.Name) nameJSON {
	j := nameJSON{Name: n}
	for _, p := range n.Pictures {
		j.Pictures = append(j.Pictures, describePicture(n, p))
	}
	return j
}

func describePicture(n recordjson.Name, p recordjson.Picture) pictureJSON {
	j := pictureJSON{Picture: p}
	if p.Stored() {
		j.Href = picturePath(n.Batch, n.Name, p.Rank)
	}
	return j
}

func (s *Server) listNames(w http.ResponseWriter, r *http.Request) error {
	p, err := s.namesPage(r)
	if err != nil {
		return err
	}
	linkNext(w, r, p.Next)
	j := namesJSON{Names: make([]nameJSON, len(p.Names)), Next: p.Next, Warning: p.Warning}
	for i, n := range p.Names {
		j.Names[i] = describeName(n)
	}
	return writeJSON(w, r, j)
}

func (s *Server) namesPage(r *http.Request) (control.Page, error) {
	n, err := limit(r)
	if err != nil {
		return control.Page{}, err
	}
	q, err := control.Selection(r.URL.Query())
	if err != nil {
		return control.Page{}, err
	}
	return s.deps.Control.Names(r.Context(), r.PathValue("batch"), q, r.URL.Query().Get("cursor"), n)
}

func (s *Server) getName(w http.ResponseWriter, r *http.Request) error {
	n, err := s.deps.Control.Name(r.Context(), r.PathValue("batch"), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, r, describeName(n))
}

// picturesJSON is the pictures of a page of names.
type picturesJSON struct {
	Pictures []storedJSON `json:"pictures"`
	Next     string       `json:"next,omitempty"`
	Warning  string       `json:"warning,omitempty"`
}

// storedJSON is a stored picture and what must stay with it.
type storedJSON struct {
	Batch string `json:"batch"`
	Name  string `json:"name"`
	pictureJSON
	Licence     string `json:"licence,omitempty"`
	Attribution string `json:"attribution,omitempty"`
	Source      string `json:"source,omitempty"`
}

// listPictures answers with the stored pictures of a page of names: limit and
// cursor count names, so a page may have more pictures, or none.
func (s *Server) listPictures(w http.ResponseWriter, r *http.Request) error {
	p, err := s.namesPage(r)
	if err != nil {
		return err
	}
	linkNext(w, r, p.Next)
	j := picturesJSON{Pictures: []storedJSON{}, Next: p.Next, Warning: p.Warning}
	for _, n := range p.Names {
		for _, pic := range n.Pictures {
			if pic.Stored() {
				j.Pictures = append(j.Pictures, storedJSON{
					n.Batch, n.Name, describePicture(n, pic), n.Licence, n.Attribution, n.Source,
				})
			}
		}
	}
	return writeJSON(w, r, j)
}
