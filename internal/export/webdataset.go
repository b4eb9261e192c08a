package export

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/storage"
)

const (
	// Manifest is the file of an export of many files that says what it
	// holds. It is the last that is written. For a WebDataset it is also the
	// index that the library wids reads.
	Manifest = "export.json"
	// TableFile is the table of an export of many files: all its names, with
	// those that have no picture.
	TableFile = "names.csv"
)

// ShardSize bounds a shard. One field is set.
type ShardSize struct {
	Bytes    int64
	Pictures int64
}

// DefaultShard is the size that most loaders are fed with.
var DefaultShard = ShardSize{Bytes: 1e9}

// Shard is one tar file of a WebDataset.
type Shard struct {
	// URL is its name, beside the manifest.
	URL string `json:"url"`
	// Pictures in it, each a sample.
	Pictures int64 `json:"nsamples"`
	Bytes    int64 `json:"filesize"`
}

// shards writes tar files of samples: KEY.jpg (png, gif, webp), KEY.json and
// KEY.txt, which stand together. KEY is the number of the picture in the
// export. Owner, mode and time are the same for all, so that the same
// pictures make the same bytes.
type shards struct {
	target Target
	batch  string
	size   ShardSize
	// sole: everything goes into one stream, without table and manifest.
	sole  bool
	dry   bool
	table *manifestTable

	to      storage.Writer
	tar     *tar.Writer
	current Shard
	all     []Shard
	next    int64
}

func newShards(ctx context.Context, target Target, batch string, opts Options) (*shards, error) {
	s := &shards{target: target, batch: batch, size: opts.Shard, dry: opts.DryRun}
	if _, s.sole = target.(*Stream); s.sole {
		s.size = ShardSize{}
		return s, nil
	}
	var err error
	s.table, err = newManifestTable(ctx, target, opts.Table)
	return s, err
}

func (s *shards) add(ctx context.Context, it *item) error {
	it.row.File = ""
	if it.has() {
		if err := s.sample(ctx, it); err != nil {
			return err
		}
	}
	if s.sole {
		return nil
	}
	return s.table.row(it.row)
}

// sample writes the three files of a picture, into a new shard where the
// present one is full.
func (s *shards) sample(ctx context.Context, it *item) error {
	about, err := sampleJSON(*it.name, *it.picture)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%09d", s.next)
	parts := []struct {
		name string
		size int64
		data []byte
	}{
		{key + "." + extension(*it.picture), it.picture.Bytes, it.data},
		{key + ".json", int64(len(about)), about},
		{key + ".txt", int64(len(it.name.Name)), []byte(it.name.Name)},
	}
	var size int64
	for _, p := range parts {
		size += tarBlock + (p.size+tarBlock-1)/tarBlock*tarBlock
	}
	if err := s.room(ctx, size); err != nil {
		return err
	}
	for _, p := range parts {
		if s.dry {
			break
		}
		h := &tar.Header{Name: p.name, Mode: 0o644, Size: p.size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR, Typeflag: tar.TypeReg}
		if err := s.tar.WriteHeader(h); err != nil {
			return err
		}
		if _, err := s.tar.Write(p.data); err != nil {
			return err
		}
	}
	s.next++
	s.current.Pictures++
	s.current.Bytes += size
	if !s.sole {
		it.row.File = s.current.URL + "/" + parts[0].name
	}
	return nil
}

const (
	// tarBlock is what headers and files in a tar file are multiples of.
	tarBlock = 512
	// tarEnd is the end of a tar file.
	tarEnd = 2 * tarBlock
)

// room ends the shard if size bytes more are too many, and begins one where
// there is none. A shard has one sample at least.
func (s *shards) room(ctx context.Context, size int64) error {
	full := s.size.Bytes > 0 && s.current.Bytes+size > s.size.Bytes || s.size.Pictures > 0 && s.current.Pictures >= s.size.Pictures
	if s.tar != nil && full {
		if err := s.close(ctx); err != nil {
			return err
		}
	}
	if s.tar != nil {
		return nil
	}
	to, err := s.target.Create(ctx)
	if err != nil {
		return err
	}
	s.to, s.tar = to, tar.NewWriter(to)
	s.current = Shard{URL: fmt.Sprintf("%s-%06d.tar", s.batch, len(s.all)), Bytes: tarEnd}
	return nil
}

// close ends the present shard.
func (s *shards) close(ctx context.Context) error {
	if err := s.tar.Close(); err != nil {
		return err
	}
	s.tar = nil
	if err := s.to.Commit(ctx, s.current.URL); err != nil {
		return fmt.Errorf("%s: %w", s.current.URL, err)
	}
	s.all = append(s.all, s.current)
	return nil
}

func (s *shards) end(ctx context.Context, r *Report) error {
	if s.sole && s.tar == nil {
		// A stream without a picture is an empty archive.
		if err := s.room(ctx, 0); err != nil {
			return err
		}
	}
	if s.tar != nil {
		if err := s.close(ctx); err != nil {
			return err
		}
	}
	if s.sole {
		return nil
	}
	r.Shards = s.all
	return s.table.end(ctx, r)
}

func (s *shards) abort() error {
	var err error
	if s.to != nil {
		err = s.to.Abort()
	}
	if s.table != nil {
		err = errors.Join(err, s.table.abort())
	}
	return err
}

// sampleJSON is the name with this picture alone, in its form of JSON.
func sampleJSON(n recordjson.Name, p recordjson.Picture) ([]byte, error) {
	p.File = "" // it would tell where the export was made
	n.Pictures = []recordjson.Picture{p}
	var b bytes.Buffer
	err := NewLines(&b).Write(n)
	return b.Bytes(), err
}

// extension is what ends the name of a picture's file.
func extension(p recordjson.Picture) string {
	if ext := picture.Kind(p.Kind).Ext(); ext != "" {
		return ext
	}
	return "bin"
}

// manifestTable writes [TableFile] and [Manifest].
type manifestTable struct {
	*Table
	target Target
	to     storage.Writer
}

func newManifestTable(ctx context.Context, target Target, opts TableOptions) (*manifestTable, error) {
	to, err := target.Create(ctx)
	if err != nil {
		return nil, err
	}
	return &manifestTable{NewTable(to, opts), target, to}, nil
}

func (m *manifestTable) end(ctx context.Context, r *Report) error {
	if err := m.Close(); err != nil {
		return err
	}
	if err := m.to.Commit(ctx, TableFile); err != nil {
		return err
	}
	index := struct {
		Kind    string `json:"__kind__,omitempty"`
		Version int    `json:"wids_version,omitempty"`
		Name    string `json:"name"`
		*Report
	}{Name: r.Batch, Report: r}
	if r.Format == WebDataset {
		index.Kind, index.Version = "wids-shard-index-v1", 1
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return commitText(ctx, m.target, Manifest, append(data, '\n'))
}

func (m *manifestTable) abort() error { return m.to.Abort() }
