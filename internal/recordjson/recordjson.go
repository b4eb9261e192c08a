// Package recordjson is the one JSON form of what became of a name: `results
// --json`, exports, the HTTP API and `import` write and read it. Its keys are
// documented in docs/json.md and held there by a test.
package recordjson

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// Name is one name and all that is kept of it: what [Name.Record] makes of it
// is the record that [Of] was given.
type Name struct {
	Batch       string         `json:"batch"`
	Provider    string         `json:"provider"`
	Name        string         `json:"name"`
	Line        int64          `json:"line"`
	Lane        tasks.Lane     `json:"lane,omitempty"`
	State       results.State  `json:"state"`
	Generation  int64          `json:"generation"`
	Tries       int            `json:"tries"`
	FailedTries int            `json:"failed_tries"`
	Updated     time.Time      `json:"updated,omitzero"`
	Params      results.Params `json:"params,omitempty"`
	Names       string         `json:"names,omitempty"`
	Columns     Attributes     `json:"columns,omitempty"`
	ColumnsCut  bool           `json:"columns_truncated,omitempty"`
	Attributes  Attributes     `json:"attributes,omitempty"`
	Truncated   bool           `json:"truncated,omitempty"`
	Licence     string         `json:"licence,omitempty"`
	LicenceID   string         `json:"licence_id,omitempty"`
	Attribution string         `json:"attribution,omitempty"`
	Source      string         `json:"source,omitempty"`
	Pictures    []Picture      `json:"pictures,omitempty"`
	Reason      failure.Reason `json:"reason,omitempty"`
	Kind        string         `json:"kind,omitempty"`
	Host        string         `json:"host,omitempty"`
	Message     string         `json:"message,omitempty"`
	Validator   string         `json:"validator,omitempty"`
	Refreshing  bool           `json:"refreshing,omitempty"`
	Stale       *Stale         `json:"stale,omitempty"`
	History     []Event        `json:"history,omitempty"`
	Earlier     int            `json:"history_earlier,omitempty"`
	Error       string         `json:"error,omitempty"`
}

// Stale is what is known of a name whose last refresh failed: all else is then
// the last good answer.
type Stale struct {
	Since   time.Time      `json:"since"`
	Absent  int            `json:"absent"`
	Reason  failure.Reason `json:"reason"`
	Kind    string         `json:"kind"`
	Host    string         `json:"host,omitempty"`
	Message string         `json:"message,omitempty"`
}

// Event is one thing that happened to a name that had trouble, see
// [results.Event]. Its rank is 0 for the lookup.
type Event struct {
	At         time.Time      `json:"at"`
	Generation int64          `json:"generation"`
	Rank       int            `json:"rank"`
	What       results.What   `json:"what"`
	Reason     failure.Reason `json:"reason,omitempty"`
	Status     int            `json:"status,omitempty"`
}

// Picture is one picture of a name, stored or not.
type Picture struct {
	Rank       int            `json:"rank"`
	URL        string         `json:"url"`
	Candidates []string       `json:"candidates,omitempty"`
	Candidate  int            `json:"candidate,omitempty"`
	File       string         `json:"file,omitempty"`
	Key        string         `json:"key,omitempty"`
	Kind       string         `json:"kind,omitempty"`
	Bytes      int64          `json:"bytes,omitempty"`
	Width      int            `json:"width,omitempty"`
	Height     int            `json:"height,omitempty"`
	SHA256     string         `json:"sha256,omitempty"`
	Validator  string         `json:"validator,omitempty"`
	Reason     failure.Reason `json:"reason,omitempty"`
	Failure    string         `json:"failure,omitempty"`
	Host       string         `json:"host,omitempty"`
	Message    string         `json:"message,omitempty"`
}

// Stored reports whether the picture is in the store.
func (p Picture) Stored() bool { return p.Key != "" }

// Attributes are what a provider said of a name, or its columns: an object in
// JSON, its keys in their order.
type Attributes []results.Attribute

// MarshalJSON implements json.Marshaler.
func (a Attributes) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, attr := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := plainJSON(attr.Name)
		if err != nil {
			return nil, err
		}
		value, err := plainJSON(attr.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Attributes) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	t, err := d.Token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('{') {
		return errors.New("attributes or columns are no object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value string
		if err := d.Decode(&value); err != nil {
			return err
		}
		*a = append(*a, results.Attribute{Name: fmt.Sprint(name), Value: value})
	}
	return nil
}

// plainJSON is s in JSON, without escapes for HTML.
func plainJSON(s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Unreadable describes a name whose record err says cannot be read: where r
// stands, and no more.
func Unreadable(b results.Batch, r results.Record, err error) Name {
	return Name{Batch: b.Name, Provider: b.Provider, Name: r.Name, Line: r.Line, State: results.Unreadable, Error: err.Error()}
}

// Of describes a record of a batch. The files of its pictures are left to the
// caller, who knows where the store lies.
func Of(b results.Batch, r results.Record) Name {
	j := Name{
		Batch: b.Name, Provider: b.Provider, Name: r.Name, Line: r.Line, Lane: r.Lane, State: r.State, Generation: r.Generation,
		Tries: Tries(r), FailedTries: r.FailedTries, Updated: r.Updated, Reason: r.Reason, Host: r.Host,
		Params: b.Params, Columns: r.Columns, ColumnsCut: r.ColumnsTruncated,
	}
	if b.Names != storage.NamesReadable {
		j.Names = b.Names
	}
	if f := r.Explain(); f != nil && r.Reason != "" {
		j.Kind, j.Message = f.Kind(), f.Message
	}
	j.Refreshing = r.Refresh != nil
	history, earlier := r.Past()
	for _, e := range history {
		j.History = append(j.History, Event(e))
	}
	j.Earlier = earlier
	if s := r.Stale; s != nil {
		j.Stale = &Stale{s.Since, s.Absent, s.Failure.Reason, s.Failure.Kind(), s.Failure.Host, s.Failure.Message}
	}
	if r.Lookup == nil {
		return j
	}
	j.Validator = r.Lookup.Validator
	j.Truncated, j.Licence, j.Attribution, j.Source = r.Lookup.Truncated, r.Lookup.Licence, r.Lookup.Attribution, r.Lookup.Source
	j.LicenceID = r.Lookup.LicenceID()
	j.Attributes = r.Lookup.Attributes
	for i, candidates := range r.Lookup.Pictures {
		p := Picture{Rank: i + 1}
		if len(candidates) > 0 {
			p.URL = candidates[0]
		}
		if len(candidates) > 1 {
			p.Candidates = candidates
		}
		switch o := r.Outcomes[i+1]; {
		case o.Picture != nil:
			s := o.Picture
			if s.Candidate < len(candidates) {
				p.URL = candidates[s.Candidate]
			}
			p.Candidate, p.Key = s.Candidate, s.Key
			p.Kind, p.Bytes, p.Width, p.Height, p.SHA256 = s.Kind, s.Bytes, s.Width, s.Height, s.Hex()
			p.Validator = s.Validator
		case o.Failure != nil:
			p.Reason, p.Failure, p.Host, p.Message = o.Failure.Reason, o.Failure.Kind(), o.Failure.Host, o.Failure.Message
		}
		j.Pictures = append(j.Pictures, p)
	}
	return j
}

// Record is the record that [Of] has described. An error says what no record
// could hold.
func (j Name) Record() (results.Record, error) {
	r := results.Record{
		Name: j.Name, State: j.State, Generation: j.Generation, Line: j.Line, Lane: j.Lane,
		FailedTries: j.FailedTries, Updated: j.Updated.UTC(), Outcomes: make(map[int]results.Outcome),
		Columns: j.Columns, ColumnsTruncated: j.ColumnsCut, EarlierEvents: j.Earlier,
	}
	for _, e := range j.History {
		if e.Reason != "" && !slices.Contains(failure.Reasons(), e.Reason) {
			return r, fmt.Errorf("its history has the unknown reason %q", e.Reason)
		}
		e.At = e.At.UTC()
		r.History = append(r.History, results.Event(e))
	}
	if r.Lane == "" {
		r.Lane = tasks.Bulk
	}
	if j.Error != "" {
		return r, fmt.Errorf("it could not be read when it was exported: %s", j.Error)
	}
	answered := len(j.Pictures) > 0
	switch r.State {
	case results.Found, results.Done, results.Partial, results.NotFound, results.NoPicture:
		answered = true
	case results.Failed:
		if !answered {
			f, err := failureOf(j.Reason, j.Kind, j.Host, j.Message)
			if err != nil {
				return r, err
			}
			r.Failure = f
		}
	}
	if answered {
		r.Lookup = &results.Lookup{
			Attributes: j.Attributes, Truncated: j.Truncated, Licence: j.Licence, Attribution: j.Attribution, Source: j.Source,
			Validator: j.Validator,
		}
	}
	if s := j.Stale; s != nil {
		f, err := failureOf(s.Reason, s.Kind, s.Host, s.Message, failure.Reason(results.NotFound), failure.Reason(results.NoPicture))
		if err != nil {
			return r, fmt.Errorf("stale: %w", err)
		}
		r.Stale = &results.Staleness{Since: s.Since.UTC(), Absent: s.Absent, Failure: *f}
	}
	for i, p := range j.Pictures {
		if p.Rank != i+1 {
			return r, fmt.Errorf("its pictures are not in the order of their rank")
		}
		if err := p.into(&r); err != nil {
			return r, fmt.Errorf("picture %d: %w", p.Rank, err)
		}
	}
	naming, err := storage.ParseNaming(cmp.Or(j.Names, storage.NamesReadable))
	if err != nil {
		return r, fmt.Errorf("names: %w", err)
	}
	return r, r.Check(naming)
}

// into adds the picture to r, with its outcome where it has one.
func (p Picture) into(r *results.Record) error {
	candidates := p.Candidates
	if len(candidates) == 0 {
		candidates = []string{p.URL}
	}
	r.Lookup.Pictures = append(r.Lookup.Pictures, candidates)
	switch {
	case p.Reason != "":
		f, err := failureOf(p.Reason, p.Failure, p.Host, p.Message)
		r.Outcomes[p.Rank] = results.Outcome{Failure: f}
		return err
	case p.Key == "":
		return nil
	}
	sum, err := hex.DecodeString(p.SHA256)
	if err != nil {
		return fmt.Errorf("sha256: %w", err)
	}
	if p.Candidate >= len(candidates) {
		return fmt.Errorf("candidate %d of %d", p.Candidate, len(candidates))
	}
	r.Outcomes[p.Rank] = results.Outcome{Picture: &results.Picture{
		Kind: p.Kind, Bytes: p.Bytes, Width: p.Width, Height: p.Height, Candidate: p.Candidate, Key: p.Key,
		SHA256: base64.RawURLEncoding.EncodeToString(sum), Validator: p.Validator,
	}}
	return nil
}

// failureOf is a failure for one of the known reasons, or of further ones.
func failureOf(reason failure.Reason, kind, host, message string, further ...failure.Reason) (*results.Failure, error) {
	if !slices.Contains(failure.Reasons(), reason) && !slices.Contains(further, reason) {
		return nil, fmt.Errorf("unknown reason %q", reason)
	}
	exhausted := results.Failure{Exhausted: true}
	final := results.Failure{}
	if kind != exhausted.Kind() && kind != final.Kind() {
		return nil, fmt.Errorf("unknown kind of failure %q", kind)
	}
	return &results.Failure{Reason: reason, Exhausted: kind == exhausted.Kind(), Host: host, Message: message}, nil
}

// Tries is how often the name was tried, the good try included.
func Tries(r results.Record) int {
	switch r.State {
	case results.Queued, results.Failed, results.Cancelled:
		return r.FailedTries
	}
	return r.FailedTries + 1
}
