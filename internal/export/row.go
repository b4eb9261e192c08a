package export

import (
	"strconv"
	"time"

	"github.com/picharvest/picharvest/internal/recordjson"
)

// Row is one picture of a name, or a name without pictures. Its fields are
// the columns of a table, under the names in their tags; a field of value
// zero is an empty cell. Columns may be added; none is renamed.
type Row struct {
	Batch      string    `parquet:"batch,dict"`
	Provider   string    `parquet:"provider,dict"`
	Name       string    `parquet:"name"`
	Line       int64     `parquet:"line"`
	State      string    `parquet:"state,dict"`
	Tries      int32     `parquet:"tries"`
	Updated    time.Time `parquet:"updated,optional,timestamp(microsecond)"`
	StaleSince time.Time `parquet:"stale_since,optional,timestamp(microsecond)"`
	Licence    string    `parquet:"licence,optional,dict"`
	// LicenceID is the SPDX identifier, where the words are known.
	LicenceID   string `parquet:"licence_id,optional,dict"`
	Attribution string `parquet:"attribution,optional"`
	Source      string `parquet:"source,optional"`
	// Attributes is a JSON object, in the provider's order.
	Attributes string `parquet:"attributes,optional"`
	// Columns is a JSON object of what else the names file says of the name.
	Columns string `parquet:"columns,optional"`
	// Rank is 0 where there is no picture.
	Rank   int32  `parquet:"rank,optional"`
	URL    string `parquet:"url,optional"`
	Format string `parquet:"format,optional,dict"`
	Bytes  int64  `parquet:"bytes,optional"`
	Width  int32  `parquet:"width,optional"`
	Height int32  `parquet:"height,optional"`
	SHA256 string `parquet:"sha256,optional"`
	Key    string `parquet:"key,optional"`
	// File is where the picture is: in the store, or in the export.
	File string `parquet:"file,optional"`
	// Reason, Kind, Host and Message say why the picture failed, or the name
	// that has none.
	Reason  string `parquet:"reason,optional,dict"`
	Kind    string `parquet:"kind,optional,dict"`
	Host    string `parquet:"host,optional"`
	Message string `parquet:"message,optional"`
	// Problem is what the export found of the picture in the store.
	Problem Problem `parquet:"problem,optional,dict"`
}

// Rows returns the rows of a name, by the rank of its pictures.
func Rows(n recordjson.Name) ([]Row, error) {
	row, err := rowOf(n)
	if err != nil {
		return nil, err
	}
	if len(n.Pictures) == 0 {
		row.Reason, row.Kind, row.Host = string(n.Reason), n.Kind, n.Host
		row.Message = n.Message + n.Error
		return []Row{row}, nil
	}
	rows := make([]Row, len(n.Pictures))
	for i, p := range n.Pictures {
		rows[i] = row
		rows[i].picture(p)
	}
	return rows, nil
}

// rowOf returns what the rows of a name have in common.
func rowOf(n recordjson.Name) (Row, error) {
	r := Row{
		Batch: n.Batch, Provider: n.Provider, Name: n.Name, Line: n.Line, State: string(n.State), Tries: int32(n.Tries),
		Updated: n.Updated, Licence: n.Licence, LicenceID: n.LicenceID, Attribution: n.Attribution, Source: n.Source,
	}
	if n.Stale != nil {
		r.StaleSince = n.Stale.Since
	}
	var err error
	if r.Attributes, err = object(n.Attributes); err != nil {
		return r, err
	}
	r.Columns, err = object(n.Columns)
	return r, err
}

// object is a JSON object, or nothing where it is empty.
func object(a recordjson.Attributes) (string, error) {
	if len(a) == 0 {
		return "", nil
	}
	text, err := a.MarshalJSON()
	return string(text), err
}

func (r *Row) picture(p recordjson.Picture) {
	r.Rank, r.URL, r.Format, r.Bytes, r.Width, r.Height = int32(p.Rank), p.URL, p.Kind, p.Bytes, int32(p.Width), int32(p.Height)
	r.SHA256, r.Key, r.File = p.SHA256, p.Key, p.File
	r.Reason, r.Kind, r.Host, r.Message = string(p.Reason), p.Failure, p.Host, p.Message
}

// columns are the names of the columns, in the order of [Row.cells].
func columns() []string {
	return []string{
		"batch", "provider", "name", "line", "state", "tries", "updated", "stale_since", "licence", "licence_id", "attribution", "source",
		"attributes", "columns", "rank", "url", "format", "bytes", "width", "height", "sha256", "key", "file", "reason", "kind", "host",
		"message", "problem",
	}
}

// cells are the row as text.
func (r Row) cells() []string {
	return []string{
		r.Batch, r.Provider, r.Name, number(r.Line), r.State, strconv.Itoa(int(r.Tries)), moment(r.Updated), moment(r.StaleSince),
		r.Licence, r.LicenceID, r.Attribution, r.Source, r.Attributes, r.Columns, number(int64(r.Rank)), r.URL, r.Format, number(r.Bytes),
		number(int64(r.Width)), number(int64(r.Height)), r.SHA256, r.Key, r.File, r.Reason, r.Kind, r.Host, r.Message,
		string(r.Problem),
	}
}

// number leaves a cell empty where there is no number.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
