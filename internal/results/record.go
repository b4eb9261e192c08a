package results

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/storage"
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
	// Forgotten: somebody began to forget the name and has not ended it; see
	// [DB.Retire]. Its state is [Cancelled].
	Forgotten bool
	// Reason and Host say why a name failed: those of the lookup, or of the
	// lowest-ranked picture that failed. Empty for other names.
	Reason failure.Reason
	Host   string
	// Columns are what the names file said beside the name, in its order.
	Columns []Attribute
	// ColumnsTruncated marks columns of which some were left out, see [Line].
	ColumnsTruncated bool
	// Lookup is the provider's answer, nil until there is one.
	Lookup *Lookup
	// Failure is the lookup's failure, nil where it did not fail.
	Failure *Failure
	// Outcomes of the pictures that have one, by rank from 1, and the rank of
	// the one that was written last, 0 where there is none.
	Outcomes map[int]Outcome
	Last     int
	// History is what happened to a name that had trouble, the oldest first, at
	// most [MaxHistory]; EarlierEvents is how many more there were. It lasts
	// from one generation to the next; while the name is asked again that of
	// Refresh goes on and this one stands still, see [Record.Past].
	History       []Event
	EarlierEvents int
	// Stale says why the last refresh failed, nil where none did. All else
	// is the last good answer, of the time Updated.
	Stale *Staleness
	// Refresh is the generation under way of a settled name that is asked
	// again, nil for other names. It takes the record's place when it has
	// ended well.
	Refresh *Record
}

// Staleness is what is known of a name that was asked again in vain.
type Staleness struct {
	// Since is when a refresh failed for the first time after the last good
	// answer.
	Since time.Time
	// Absent is how many refreshes in a row said that the name, or a picture
	// of it, is not there any more.
	Absent int
	// Failure of the last refresh. Its reason is not_found or no_picture
	// where the provider gave that answer.
	Failure Failure
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
	// Validator lets the provider say later that nothing has changed; empty
	// where it gave none.
	Validator string
}

// LicenceID returns the SPDX identifier of the licence, or "" where its words
// name none for certain. It is told from the words and not kept: what is
// learned about spellings later holds for records that are there.
func (l Lookup) LicenceID() string { return licence.ID(l.Licence) }

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
	Validator   string      `json:"v,omitempty"`
}

func stored(l Lookup) storedLookup {
	s := storedLookup{
		Truncated: l.Truncated, Pictures: l.Pictures, Licence: l.Licence, Attribution: l.Attribution, Source: l.Source,
		Validator: l.Validator,
	}
	for _, a := range l.Attributes {
		s.Attributes = append(s.Attributes, [2]string{a.Name, a.Value})
	}
	return s
}

func (s storedLookup) lookup() *Lookup {
	l := &Lookup{
		Truncated: s.Truncated, Pictures: s.Pictures, Licence: s.Licence, Attribution: s.Attribution, Source: s.Source,
		Validator: s.Validator,
	}
	for _, a := range s.Attributes {
		l.Attributes = append(l.Attributes, Attribute{a[0], a[1]})
	}
	return l
}

// storedColumns are a record's columns as they are kept.
type storedColumns struct {
	Columns   [][2]string `json:"c"`
	Truncated bool        `json:"t,omitempty"`
}

// columnsLine is a record's line of columns, "" where there are none.
func columnsLine(columns []Attribute, truncated bool) (string, error) {
	if len(columns) == 0 && !truncated {
		return "", nil
	}
	s := storedColumns{Truncated: truncated, Columns: make([][2]string, len(columns))}
	for i, c := range columns {
		s.Columns[i] = [2]string{c.Name, c.Value}
	}
	doc, err := encode(s)
	return "C " + doc, err
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
	// Validator is the ETag or else the Last-Modified that came with it, by
	// which its host can say later that it has not changed.
	Validator string `json:"v,omitempty"`
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

// Attribute returns the value of an attribute and whether there is one.
func (r Record) Attribute(name string) (string, bool) {
	if r.Lookup == nil {
		return "", false
	}
	for _, a := range r.Lookup.Attributes {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// Column returns the value of a column and whether there is one.
func (r Record) Column(name string) (string, bool) {
	for _, c := range r.Columns {
		if c.Name == name {
			return c.Value, true
		}
	}
	return "", false
}

// Named is what is known of one of the name's pictures when it gets its key.
func (r Record) Named(batch string, rank int, ext string, sum [sha256.Size]byte) storage.Named {
	return storage.Named{
		Batch: batch, Name: r.Name, Rank: rank, Ext: ext, SHA256: sum,
		Attribute: func(name string) string { v, _ := r.Attribute(name); return v },
		Column:    func(name string) string { v, _ := r.Column(name); return v },
	}
}

// Stored returns the pictures that the record refers to, by rank; behind them
// those of the generation under way that it does not have.
func (r Record) Stored() []*Picture {
	var stored []*Picture
	for _, rank := range slices.Sorted(maps.Keys(r.Outcomes)) {
		if p := r.Outcomes[rank].Picture; p != nil {
			stored = append(stored, p)
		}
	}
	if r.Refresh == nil {
		return stored
	}
	for _, p := range r.Refresh.Stored() {
		if !slices.ContainsFunc(stored, func(s *Picture) bool { return s.Key == p.Key }) {
			stored = append(stored, p)
		}
	}
	return stored
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
// each, as they come: `C {json}` the columns, `H …` the history (see history.go), `L {json}` the lookup, `E {json}` its failure,
// `P3 {json}` picture 3, `F3 {json}` the failure of picture 3. JSON has no
// raw line breaks, so a line is never mistaken.
//
// `R REFRESH …` says which refresh has asked last, and `S SINCE ABSENT RANK
// {json}` that it failed, at which step and why. While a name is asked again
// there stands, behind its settled record and a line of `=`, the one under
// way, of the same form.
const recordVersion = "1"

// ErrNewer is what a [*RecordError] is where the record is of a later version.
var ErrNewer = errors.New("record of a newer version")

func parse(name, s string) (Record, error) {
	s, under, again := strings.Cut(s, "\n=\n")
	r, err := parseOne(name, s)
	if again && err == nil {
		r.Refresh = new(Record)
		*r.Refresh, err = parseOne(name, under)
	}
	return r, err
}

// parseOne reads one generation of a record.
func parseOne(name, s string) (Record, error) {
	head, body, _ := strings.Cut(s, "\n")
	f := strings.Split(head, " ")
	if version, err := strconv.Atoi(f[0]); err == nil && version > 1 {
		return Record{}, fmt.Errorf("%w: %d", ErrNewer, version)
	}
	if s == "" {
		return Record{}, errors.New("there is none")
	}
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
	r.Forgotten = f[10] == forgotten
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
	case tag == "C":
		var s storedColumns
		err := json.Unmarshal([]byte(doc), &s)
		r.ColumnsTruncated, r.Columns = s.Truncated, nil
		for _, c := range s.Columns {
			r.Columns = append(r.Columns, Attribute{c[0], c[1]})
		}
		return err
	case tag == "L":
		var l storedLookup
		err := json.Unmarshal([]byte(doc), &l)
		r.Lookup = l.lookup()
		return err
	case tag == "E":
		r.Failure = new(Failure)
		return json.Unmarshal([]byte(doc), r.Failure)
	case tag == "H":
		var err error
		r.History, r.EarlierEvents, err = parseHistory(doc)
		return err
	case tag == "R":
		return nil // for the scripts
	case tag == "S":
		return r.parseStale(doc)
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

// parseStale reads "SINCE ABSENT RANK {json}".
func (r *Record) parseStale(s string) error {
	f := strings.SplitN(s, " ", 4)
	if len(f) != 4 {
		return fmt.Errorf("unknown line S %.20q", s)
	}
	since, err1 := strconv.ParseInt(f[0], 10, 64)
	absent, err2 := strconv.Atoi(f[1])
	rank, err3 := strconv.Atoi(f[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	r.Stale, r.Last = &Staleness{Since: time.Unix(since, 0).UTC(), Absent: absent}, rank
	return json.Unmarshal([]byte(f[3]), &r.Stale.Failure)
}

// forgotten stands in the place of the reason while a name is being forgotten.
const forgotten = "forgotten"

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
