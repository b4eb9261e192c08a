package results

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/picharvest/picharvest/internal/names"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/tasks"
)

// Imported is what became of a record that was imported.
type Imported int

// What becomes of a record.
const (
	ImportNew   Imported = iota // it was not there
	ImportSame                  // it was there, and is equal
	ImportOther                 // another record is there, and stays
)

// Import writes records as they are where the batch does not have the name.
// They must belong to one shard and pass [Record.Check]; some hundreds a call
// are best. It returns what became of each, in order. Errors: [ErrNoBatch],
// [ErrCancelled].
func (e *Enqueuing) Import(ctx context.Context, shard int, records []Record) ([]Imported, error) {
	if len(records) == 0 {
		return nil, nil
	}
	db := e.db
	args := make([]any, 0, 1+2*len(records))
	args = append(args, e.birth)
	written := make([]string, len(records))
	for i, r := range records {
		var err error
		if written[i], err = r.encode(); err != nil {
			return nil, err
		}
		args = append(args, r.Name, written[i])
	}
	keys := append([]string{
		db.keys.meta(e.batch, shard), db.keys.records(e.batch, shard), db.keys.reasons(e.batch, shard), db.keys.hosts(e.batch, shard),
	}, db.keys.states(e.batch, shard)...)
	there, err := importScript.Run(ctx, db.rdb, keys, args...).StringSlice()
	if err != nil {
		return nil, noBatch(e.batch, err)
	}
	if there[0] == string(Stopped) {
		return nil, fmt.Errorf("batch %q: %w", e.batch, ErrCancelled)
	}
	became := make([]Imported, len(records))
	for i, v := range there {
		switch {
		case v == "":
			became[i] = ImportNew
		case v == written[i] || equal(records[i].Name, v, written[i]):
			became[i] = ImportSame
		default:
			became[i] = ImportOther
		}
	}
	return became, nil
}

// equal reports whether two stored records say the same, in whatever order
// their pictures were settled.
func equal(name, a, b string) bool {
	ra, aerr := parse(name, a)
	rb, berr := parse(name, b)
	ra.Last, rb.Last = 0, 0
	ra.Refresh, rb.Refresh = nil, nil // no export has it
	return aerr == nil && berr == nil && reflect.DeepEqual(ra, rb)
}

// Check reports why the record cannot be one, of a batch whose pictures are
// named so: whoever made it did not take it from here, or changed it.
func (r Record) Check(naming storage.Naming) error {
	var total, stored, failed int
	if r.Lookup != nil {
		total = len(r.Lookup.Pictures)
	}
	for rank, o := range r.Outcomes {
		if rank < 1 || rank > total || (o.Picture == nil) == (o.Failure == nil) {
			return fmt.Errorf("picture %d of %d has no outcome that can be", rank, total)
		}
		if o.Failure != nil {
			failed++
			continue
		}
		stored++
		if err := checkPicture(r.Name, o.Picture, naming); err != nil {
			return fmt.Errorf("picture %d: %w", rank, err)
		}
	}
	for _, e := range r.History {
		if err := e.check(); err != nil {
			return err
		}
	}
	left := total - stored - failed
	var fits bool
	switch r.State {
	case Queued:
		fits = r.Lookup == nil && r.Failure == nil
	case Found:
		fits = left > 0
	case Done:
		fits = left == 0 && failed == 0 && stored > 0
	case Partial:
		fits = left == 0 && failed > 0 && stored > 0
	case Failed:
		fits = left == 0 && stored == 0 && (failed > 0) != (r.Failure != nil)
	case NotFound, NoPicture:
		fits = r.Lookup != nil && total == 0 && r.Failure == nil
	case Cancelled:
		fits = r.Failure == nil
	default:
		return fmt.Errorf("unknown state %q", r.State)
	}
	switch {
	case !fits:
		return fmt.Errorf("it is %s, with %d pictures, %d of them stored and %d failed", r.State, total, stored, failed)
	case names.Check(r.Name) != "":
		return fmt.Errorf("%q is no name: %s", r.Name, names.Check(r.Name).Explain())
	case r.Line < 0 || r.Generation < 1 || r.FailedTries < 0 || r.Updated.Unix() < 0:
		return errors.New("line, generation, tries or time is no such number")
	case ColumnBytes(r.Columns) > MaxColumnBytes:
		return fmt.Errorf("its columns have %d bytes, at most %d are kept", ColumnBytes(r.Columns), MaxColumnBytes)
	case r.Stale != nil && (r.State == Queued || r.Stale.Since.Unix() < 0 || r.Stale.Absent < 0):
		return errors.New("it cannot be stale")
	case len(r.History) > MaxHistory || r.EarlierEvents < 0:
		return fmt.Errorf("its history has %d events, at most %d are kept", len(r.History), MaxHistory)
	case r.Lane != tasks.Express && r.Lane != tasks.Bulk:
		return fmt.Errorf("unknown lane %q", r.Lane)
	}
	return nil
}

// checkPicture refuses a key that is neither the name's own, in whatever
// batch, nor that of the content: it would be somebody else's file.
func checkPicture(name string, p *Picture, naming storage.Naming) error {
	folder, _, _ := strings.Cut(p.Key, "/")
	sum, err := hex.DecodeString(p.Hex())
	switch {
	case err != nil || len(sum) != 32:
		return errors.New("its sha256 is none")
	case p.Bytes < 0 || p.Width < 0 || p.Height < 0 || p.Candidate < 0:
		return errors.New("a size is below 0")
	case storage.IsContentKey(p.Key) && strings.Contains(p.Key, p.Hex()), naming.IsKeyOf(p.Key, folder, name):
		return storage.CheckKey(p.Key)
	}
	return fmt.Errorf("key %q is not that of this picture", p.Key)
}

// encode writes a record as the scripts do.
func (r Record) encode() (string, error) {
	var b strings.Builder
	var kept int
	left, worst, reason, host := 0, none, none, none
	if r.Lookup != nil {
		left = len(r.Lookup.Pictures) - len(r.Outcomes)
	}
	for rank, o := range r.Outcomes {
		if o.Picture != nil {
			kept++
		} else if n, err := strconv.Atoi(worst); err != nil || rank < n {
			worst, reason, host = strconv.Itoa(rank), string(o.Failure.Reason), word(o.Failure.Host)
		}
	}
	if r.Failure != nil {
		worst, reason, host = "0", string(r.Failure.Reason), word(r.Failure.Host)
	}
	if r.State == Cancelled {
		worst, reason, host = none, none, none
	}
	fmt.Fprintf(&b, "%s %d %s %d %s %d %d %d %d %s %s %s", recordVersion, r.Generation, r.State, r.Line, r.Lane,
		left, kept, r.FailedTries, r.Updated.Unix(), worst, word(reason), host)
	line := func(tag string, v any) error {
		doc, err := encode(v)
		fmt.Fprintf(&b, "\n%s %s", tag, doc)
		return err
	}
	columns, err := columnsLine(r.Columns, r.ColumnsTruncated)
	if err != nil {
		return "", err
	}
	if columns != "" {
		b.WriteString("\n" + columns)
	}
	if past := historyLine(r.History, r.EarlierEvents); past != "" {
		b.WriteString("\n" + past)
	}
	if r.Lookup != nil {
		if err := line("L", stored(*r.Lookup)); err != nil {
			return "", err
		}
	}
	if r.Failure != nil {
		if err := line("E", r.Failure); err != nil {
			return "", err
		}
	}
	if s := r.Stale; s != nil {
		if err := line(fmt.Sprintf("S %d %d %d", s.Since.Unix(), s.Absent, LookupRank), s.Failure); err != nil {
			return "", err
		}
	}
	for _, rank := range slices.Sorted(maps.Keys(r.Outcomes)) {
		o := r.Outcomes[rank]
		var err error
		if o.Picture != nil {
			err = line("P"+strconv.Itoa(rank), o.Picture)
		} else {
			err = line("F"+strconv.Itoa(rank), o.Failure)
		}
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}
