package export

import (
	"context"
	"os"
	"strings"

	"github.com/picharvest/picharvest/internal/recordjson"
	"github.com/picharvest/picharvest/internal/storage"
)

// Linkable is a store whose files may get a second name instead of a copy.
type Linkable interface {
	// Path returns where the file at key is.
	Path(key string) string
}

// tree writes pictures under the readable names that a store by name gives
// them, however the store that they come from does.
type tree struct {
	target Target
	links  Linkable
	table  *manifestTable
}

func newTree(ctx context.Context, target Target, pictures Pictures, opts TableOptions) (*tree, error) {
	t := &tree{target: target}
	t.links, _ = pictures.(Linkable)
	var err error
	t.table, err = newManifestTable(ctx, target, opts)
	return t, err
}

func (t *tree) add(ctx context.Context, it *item) error {
	it.row.File = ""
	if it.has() {
		it.row.File = readable(it.name.Batch, it.name.Name, *it.picture)
		if err := t.put(ctx, it); err != nil {
			return err
		}
	}
	return t.table.row(it.row)
}

// readable is the name of a picture's file.
func readable(batch, name string, p recordjson.Picture) string {
	return strings.TrimPrefix(storage.Key(batch, name, p.Rank, extension(p)), storage.Folder(batch)+"/")
}

func (t *tree) put(ctx context.Context, it *item) error {
	dir, ok := t.target.(*Dir)
	if !ok {
		return commitText(ctx, t.target, it.row.File, it.data)
	}
	var link string
	var same os.FileInfo
	if t.links != nil {
		link, same = t.links.Path(it.picture.Key), it.file
	}
	return dir.put(it.row.File, it.data, link, same)
}

func (t *tree) end(ctx context.Context, r *Report) error { return t.table.end(ctx, r) }

func (t *tree) abort() error { return t.table.abort() }
