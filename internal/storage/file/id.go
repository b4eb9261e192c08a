package file

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
)

const (
	// idFile holds the store's ID and a newline. It is data at rest.
	idFile = ".harvest-store"
	idLock = idFile + ".lock"
)

var idPattern = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// takeID returns the ID of the store, giving it one where it has none. Of
// several processes that do so at once one wins, and all return its ID.
func (s *Store) takeID(m *mount) (string, error) {
	id, err := readID(m.root)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return "", s.fail("read", idFile, err)
		}
		return id, nil
	}
	if err := s.placeID(m); err != nil {
		return "", err
	}
	id, err = readID(m.root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", failure.Newf(failure.ReasonStore, failure.Hold,
			"picture store %s gets its ID from another process; if there is none, remove %s", s.dir, s.path(idLock))
	}
	if err != nil {
		return "", s.fail("read", idFile, err)
	}
	return id, nil
}

// placeID makes the ID file unless another process did.
func (s *Store) placeID(m *mount) error {
	t, err := s.createTemp(m)
	if err != nil {
		return err
	}
	defer m.release(t.folder)
	defer func() { _ = m.root.Remove(t.path()) }() // what stays is found with the other temporary files
	_, err = t.Write([]byte(rand.Text() + "\n"))
	if err = cmp.Or(err, t.Sync(), t.Close()); err != nil {
		return s.fail("write to", t.path(), err)
	}
	// A link, since a rename would replace the ID of a process that was
	// faster.
	err = m.root.Link(t.path(), idFile)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = s.placeIDWithoutLinks(m.root, t.path())
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return s.fail("make", idFile, err)
	}
	if err := syncDir(m.top); err != nil {
		return s.fail("sync", ".", err)
	}
	return nil
}

// placeIDWithoutLinks is for file systems without hard links. Who makes the
// lock folder may rename; it is left behind, empty, so that nobody may again.
func (s *Store) placeIDWithoutLinks(root *os.Root, temp string) error {
	if err := root.Mkdir(idLock, 0o755); err != nil {
		return err
	}
	return root.Rename(temp, idFile)
}

// readID returns the ID that stands in the folder.
func readID(root *os.Root) (string, error) {
	data, err := root.ReadFile(idFile)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(data))
	if !idPattern.MatchString(id) {
		return "", failure.Newf(failure.ReasonStore, failure.Hold, "%s holds no store ID; restore it, or remove it to give the store a new one", filepath.Join(root.Name(), idFile))
	}
	return id, nil
}
