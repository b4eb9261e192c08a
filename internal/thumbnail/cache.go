package thumbnail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// version names the way in which thumbnails are made: another way keeps
	// its own in another folder.
	version = "v1"
	// tempPrefix begins the name of a file that is being written, and
	// tempLasts is after what time one was left behind by a dead process.
	tempPrefix = ".tmp-"
	tempLasts  = time.Hour
	// touchAfter is how exactly it is known when a thumbnail was looked at.
	touchAfter = time.Hour
	// complainEvery bounds what is said of a folder that is full.
	complainEvery = 10 * time.Minute
)

// How a whole thumbnail begins and ends.
const (
	jpegBegin, jpegEnd = "\xff\xd8\xff", "\xff\xd9"
	pngBegin, pngEnd   = "\x89PNG\r\n\x1a\n", "IEND\xaeB\x60\x82"
)

// fileName returns the name of a thumbnail in the folder of its version.
func fileName(sha256 string, size Size) string {
	return path.Join(version, sha256[:2], fmt.Sprintf("%s-%d", sha256, size))
}

// Folder is a folder of thumbnails for who removes some. It need not exist.
type Folder string

// Remove removes all thumbnails of the picture with that SHA-256, in hex. It
// may be called by any process while others use the folder; no thumbnail and
// no folder are no error. A process that is making one at this moment may
// still keep it: remove the picture first.
func (f Folder) Remove(_ context.Context, sha256 string) error {
	if !isHash(sha256) {
		return fmt.Errorf("%q is no SHA-256", sha256)
	}
	root, err := os.OpenRoot(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("thumbnails: %w", err)
	}
	defer root.Close()
	for _, size := range []Size{Grid, Page} {
		if err := root.Remove(fileName(sha256, size)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("thumbnails in %s: %w", string(f), err)
		}
	}
	return nil
}

// cache is a folder of thumbnails. Files appear by a rename and are not
// synced: one that a power cut spoiled has not its proper end, and is made
// again.
type cache struct {
	dir      string
	root     *os.Root // nil where the folder cannot be used
	maxBytes int64
	log      *slog.Logger

	// grown is how many bytes were added since the folder was last measured.
	grown    atomic.Int64
	measured atomic.Bool
	sweeping sync.Mutex
	running  sync.WaitGroup

	mu         sync.Mutex
	complained time.Time
}

func openCache(dir string, maxBytes int64, log *slog.Logger) *cache {
	c := &cache{dir: dir, maxBytes: maxBytes, log: log}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		c.root, err = os.OpenRoot(dir)
	}
	if err != nil {
		c.complain(err)
	}
	return c
}

// close waits for a sweep that goes on.
func (c *cache) close() error {
	c.running.Wait()
	if c.root == nil {
		return nil
	}
	return c.root.Close()
}

// get returns the thumbnail in file, if it is there and whole.
func (c *cache) get(file string) ([]byte, bool) {
	if c.root == nil {
		return nil, false
	}
	data, err := c.root.ReadFile(file)
	if err != nil || !whole(data) {
		return nil, false
	}
	if now := time.Now(); c.older(file, now.Add(-touchAfter)) {
		_ = c.root.Chtimes(file, now, now) // it goes earlier than it should; no harm
	}
	return data, true
}

func (c *cache) older(file string, than time.Time) bool {
	info, err := c.root.Stat(file)
	return err == nil && info.ModTime().Before(than)
}

// whole reports whether data begins and ends as a thumbnail does.
func whole(data []byte) bool {
	is := func(begin, end string) bool {
		return bytes.HasPrefix(data, []byte(begin)) && bytes.HasSuffix(data, []byte(end))
	}
	return is(jpegBegin, jpegEnd) || is(pngBegin, pngEnd)
}

// put keeps data in file. A folder that takes nothing is no failure: the
// thumbnail is there all the same.
func (c *cache) put(file string, data []byte) {
	if c.root == nil {
		return
	}
	if err := c.write(file, data); err != nil {
		c.complain(err)
		return
	}
	grown := c.grown.Add(int64(len(data)))
	if !c.measured.Swap(true) || grown > c.maxBytes/10 {
		c.running.Go(c.sweep)
	}
}

func (c *cache) write(file string, data []byte) error {
	folder := path.Dir(file)
	if err := c.root.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	temp := path.Join(folder, tempPrefix+uuid.NewString())
	err := c.root.WriteFile(temp, data, 0o644)
	if err == nil {
		err = c.root.Rename(temp, file)
	}
	if err != nil {
		_ = c.root.Remove(temp)
	}
	return err
}

// sweep measures the folder and removes what was looked at longest ago until
// nine tenths of its size are left, and what dead processes left behind. One
// sweep of a process runs at a time; that of another process is no harm.
func (c *cache) sweep() {
	if !c.sweeping.TryLock() {
		return
	}
	defer c.sweeping.Unlock()
	c.grown.Store(0)
	type kept struct {
		path string
		size int64
		used time.Time
	}
	var files []kept
	var total int64
	err := fs.WalkDir(c.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return skipGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return skipGone(err)
		}
		if strings.HasPrefix(d.Name(), tempPrefix) {
			if time.Since(info.ModTime()) > tempLasts {
				return skipGone(c.root.Remove(p))
			}
			return nil
		}
		files = append(files, kept{p, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err == nil && total > c.maxBytes {
		slices.SortFunc(files, func(a, b kept) int { return a.used.Compare(b.used) })
		for _, f := range files {
			if total <= c.maxBytes/10*9 {
				break
			}
			if err = skipGone(c.root.Remove(f.path)); err != nil {
				break
			}
			total -= f.size
		}
	}
	if err != nil {
		c.complain(err)
	}
}

// skipGone passes over what another process removed meanwhile.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// complain says what is wrong with the folder, and not again for a while.
func (c *cache) complain(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.complained) < complainEvery {
		return
	}
	c.complained = time.Now()
	c.log.Warn("thumbnails are not kept: make room or let this user write there", "folder", c.dir, "error", err)
}
