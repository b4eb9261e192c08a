package results

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/tasks"
)

// Record is all that is kept of one name.
type Record struct {
	Name       string
	State      State
	Generation int64
	// Line in the names file, counted from 1; the order of listings.
	Line int64
	Lane tasks.Lane
	// Left counts the pictures without an outcome.
	Left int
	// FailedTries counts the tries that failed, over lookup and pictures.
	FailedTries int
	// Updated is when the state last changed, by Redis's clock, to the second.
	Updated time.Time
	// Reason and Host say why a name failed: those of the lookup, or of the
	// lowest-ranked picture that failed. Empty for other names.
	Reason failure.Reason
	Host   string
	// Lookup is the provider's answer, nil until there is one.
	Lookup *Lookup
	// Failure is the lookup's failure, nil where it did not fail.
	Failure *Failure
	// Outcomes of the pictures that have one, by rank from 1, and the rank of
	// the one that was written last, 0 where there is none.
	Outcomes map[int]Outcome
	Last     int
}

// Lookup is what the provider said about a name.
type Lookup struct {
	Attributes []Attribute
	// Truncated marks attributes that were cut to their limit.
	Truncated bool
	// Pictures by rank, each with its candidate URLs in order.
	Pictures    [][]string
	Licence     string
	Attribution string
	Source      string
}

// Attribute is one named fact.
type Attribute struct{ Name, Value string }

// storedLookup is a Lookup as it is kept, its attributes as pairs to save
// room. It is data at rest; the keys are short because there is one for every
// name.
type storedLookup struct {
	Attributes  [][2]string `json:"a,omitempty"`
	Truncated   bool        `json:"t,omitempty"`
	Pictures    [][]string  `json:"p,omitempty"`
	Licence     string      `json:"l,omitempty"`
	Attribution string      `json:"b,omitempty"`
	Source      string      `json:"s,omitempty"`
}

func stored(l Lookup) storedLookup {
	s := storedLookup{
		Truncated: l.Truncated, Pictures: l.Pictures, Licence: l.Licence, Attribution: l.Attribution, Source: l.Source,
	}
	for _, a := range l.Attributes {
		s.Attributes = append(s.Attributes, [2]string{a.Name, a.Value})
	}
	return s
}

func (s storedLookup) lookup() *Lookup {
	l := &Lookup{
		Truncated: s.Truncated, Pictures: s.Pictures, Licence: s.Licence, Attribution: s.Attribution, Source: s.Source,
	}
	for _, a := range s.Attributes {
		l.Attributes = append(l.Attributes, Attribute{a[0], a[1]})
	}
	return l
}

// Failure says why a step was given up.
type Failure struct {
	Reason failure.Reason `json:"r"`
	// Exhausted: given up after all tries. Otherwise the failure is final:
	// asking again would change nothing.
	Exhausted bool   `json:"x,omitempty"`
	Host      string `json:"h,omitempty"`
	// Message is for users, cut at 300 bytes.
	Message string `json:"m,omitempty"`
}

// Kind returns the failure's kind in words: "final" or "exhausted".
func (f Failure) Kind() string {
	if f.Exhausted {
		return "exhausted"
	}
	return "final"
}

// Picture is a stored picture.
type Picture struct {
	Kind   string `json:"k"`
	Bytes  int64  `json:"b"`
	Width  int    `json:"w"`
	Height int    `json:"h"`
	// SHA256 of the bytes as they were sent, in unpadded base64url.
	SHA256 string `json:"s"`
	// Candidate is the index of the URL that was taken, 0 for the first.
	Candidate int `json:"c,omitempty"`
	// Key in the store.
	Key string `json:"f"`
}

// Hex returns the hash as most tools write it, or "" where it is unreadable.
func (p Picture) Hex() string {
	sum, err := base64.RawURLEncoding.DecodeString(p.SHA256)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(sum)
}

// Outcome is what became of one picture: exactly one field is set.
type Outcome struct {
	Picture *Picture
	Failure *Failure
}

// Missing returns the ranks without an outcome.
func (r Record) Missing() []int {
	if r.Lookup == nil {
		return nil
	}
	var ranks []int
	for rank := 1; rank <= len(r.Lookup.Pictures); rank++ {
		if _, ok := r.Outcomes[rank]; !ok {
			ranks = append(ranks, rank)
		}
	}
	return ranks
}

// Explain returns the failure behind Reason, or nil.
func (r Record) Explain() *Failure {
	if r.Failure != nil {
		return r.Failure
	}
	if r.Lookup == nil {
		return nil
	}
	for rank := 1; rank <= len(r.Lookup.Pictures); rank++ {
		if o, ok := r.Outcomes[rank]; ok && o.Failure != nil {
			return o.Failure
		}
	}
	return nil
}

// A record is stored as one string. The first line is for the scripts, which
// take it apart with a pattern and never parse JSON:
//
//	1 GENERATION STATE LINE LANE LEFT STORED FAILEDTRIES UPDATED RANK REASON HOST
//
// RANK is the lowest failed rank (0: the lookup, - : none). Then one line
// each, as they come: `L {json}` the lookup, `E {json}` its failure,
// `P3 {json}` picture 3, `F3 {json}` the failure of picture 3. JSON has no
// raw line breaks, so a line is never mistaken.
const recordVersion = "1"

// parseRecord reads a record. Its errors are of type [*RecordError].
func parseRecord(name, s string) (Record, error) {
	r, err := parse(name, s)
	if err != nil {
		return Record{}, &RecordError{name, fmt.Errorf("record of %q is not readable: %w", name, err)}
	}
	return r, nil
}

func parse(name, s string) (Record, error) {
	head, body, _ := strings.Cut(s, "\n")
	f := strings.Split(head, " ")
	if len(f) != 12 || f[0] != recordVersion {
		return Record{}, fmt.Errorf("it begins %.40q", head)
	}
	r := Record{Name: name, State: State(f[2]), Lane: tasks.Lane(f[4])}
	var updated int64
	var left, tries int64
	for _, n := range []struct {
		to *int64
		s  string
	}{{&r.Generation, f[1]}, {&r.Line, f[3]}, {&left, f[5]}, {&tries, f[7]}, {&updated, f[8]}} {
		v, err := strconv.ParseInt(n.s, 10, 64)
		if err != nil {
			return Record{}, err
		}
		*n.to = v
	}
	r.Left, r.FailedTries, r.Updated = int(left), int(tries), time.Unix(updated, 0).UTC()
	// A name that is found may have failed pictures, and did not fail yet.
	if r.State == Failed || r.State == Partial {
		if f[10] != none {
			r.Reason = failure.Reason(f[10])
		}
		if f[11] != none {
			r.Host = f[11]
		}
	}
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" {
			continue
		}
		if err := r.parseLine(line); err != nil {
			return Record{}, err
		}
	}
	return r, nil
}

func (r *Record) parseLine(line string) error {
	tag, doc, _ := strings.Cut(line, " ")
	switch {
	case tag == "L":
		var l storedLookup
		err := json.Unmarshal([]byte(doc), &l)
		r.Lookup = l.lookup()
		return err
	case tag == "E":
		r.Failure = new(Failure)
		return json.Unmarshal([]byte(doc), r.Failure)
	case len(tag) > 1 && (tag[0] == 'P' || tag[0] == 'F'):
		rank, err := strconv.Atoi(tag[1:])
		if err != nil {
			return fmt.Errorf("line %.20q: %w", line, err)
		}
		if r.Outcomes == nil {
			r.Outcomes = make(map[int]Outcome)
		}
		var o Outcome
		if tag[0] == 'P' {
			o.Picture = new(Picture)
			err = json.Unmarshal([]byte(doc), o.Picture)
		} else {
			o.Failure = new(Failure)
			err = json.Unmarshal([]byte(doc), o.Failure)
		}
		r.Outcomes[rank], r.Last = o, rank
		return err
	}
	return fmt.Errorf("unknown line %.20q", line)
}

// none stands in a record's first line where there is nothing.
const none = "-"

// maxMessage bounds the words kept of a failure.
const maxMessage = 300

func newFailure(e *failure.Error, host string, exhausted bool) Failure {
	msg := e.Error()
	if len(msg) > maxMessage {
		msg = strings.ToValidUTF8(msg[:maxMessage-3], "") + "…"
	}
	return Failure{Reason: reason(e), Exhausted: exhausted, Host: host, Message: msg}
}

// encode writes v as JSON without HTML escapes and without a line break.
func encode(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
