package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/results"
)

// people answers GET /people/?name=N and GET /people/N as the lookup server of
// the demo does (package demo), from the harvested records and with their own
// pictures, so that a harvest can be another one's lookup service. The newest
// batch that knows the name answers; batch=B asks one alone. A name that is
// still to come is answered 503, and asked again by who can wait.
func (s *Server) people(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, problem{Status: http.StatusMethodNotAllowed})
		return
	}
	query := r.URL.Query()
	name := r.PathValue("name")
	if name == "" {
		name = query.Get("name")
	}
	if name == "" {
		writeProblem(w, problem{Status: http.StatusBadRequest, Detail: "give the name: /people/?name=Brus%20Lee"})
		return
	}
	n, err := s.deps.Control.Find(r.Context(), query.Get("batch"), name)
	if err != nil && !errors.Is(err, results.ErrNoName) {
		s.fail(w, r, err)
		return
	}
	switch {
	case n.State.Open():
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "this name is still to come"})
		return
	case n.Error != "", n.State == results.Failed && len(n.Pictures) == 0:
		writeProblem(w, problem{Status: http.StatusBadGateway, Detail: "the lookup of this name failed: " + n.Message + n.Error})
		return
	}
	body, err := s.person(r, n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeTagged(w, r, "application/json; charset=utf-8", body)
}

// unknownPerson is the demo's answer for nobody.
const unknownPerson = `{"status":"fail","result":{}}`

// person returns the demo's answer: the name, what is known of it, and the
// first picture that is stored.
func (s *Server) person(r *http.Request, n recordjson.Name) ([]byte, error) {
	switch n.State {
	case results.Done, results.Partial, results.NoPicture, results.Failed:
	default:
		return []byte(unknownPerson), nil
	}
	facts := recordjson.Attributes{{Name: "name", Value: n.Name}}
	for _, a := range n.Attributes {
		if a.Name != "name" && a.Name != "picture" {
			facts = append(facts, a)
		}
	}
	picture := ""
	for _, p := range n.Pictures {
		if p.Stored() {
			picture = s.base(r) + picturePath(n.Batch, n.Name, p.Rank)
			break
		}
	}
	facts = append(facts, results.Attribute{Name: "picture", Value: picture})
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Status string                `json:"status"`
		Result recordjson.Attributes `json:"result"`
	}{"success", facts})
	return bytes.TrimSpace(b.Bytes()), err
}

// base returns the server's address as the asker knows it, without a slash.
func (s *Server) base(r *http.Request) string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	if s.tls != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
