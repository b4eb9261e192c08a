package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	tempDir = ".tmp"
	// tempMark ends the owner in the name of a temporary file; no owner has it.
	tempMark = "~"
)

var ownerPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func isOwner(s string) bool { return ownerPattern.MatchString(s) }

// temp is a temporary file of this process.
type temp struct {
	output
	name   string
	folder *folder
}

// path is where it is in the store.
func (t *temp) path() string { return filepath.Join(tempDir, t.name) }

// createTemp makes a new temporary file. Its folder stays open until release.
func (s *Store) createTemp(m *mount) (*temp, error) {
	t := &temp{name: s.temps + strconv.FormatUint(s.made.Add(1), 10)}
	// Twice, since the folder may be removed after it was looked at.
	var err error
	for range 2 {
		if t.folder, err = m.take(tempDir); err == nil {
			if t.output, err = m.create(t.folder, t.name); err == nil {
				return t, nil
			}
			m.release(t.folder)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, s.fail("make", tempDir+"/"+t.name, err)
}

// RemoveTemps removes the temporary files that dead processes left behind and
// returns how many. It asks dead once for each owner that has any, and leaves
// the files of this process alone, and those that were written to within age:
// another installation may share the folder, of whose processes nobody here
// knows. What it cannot remove it reports, having removed the rest.
func (s *Store) RemoveTemps(ctx context.Context, age time.Duration, dead func(owner string) bool) (int, error) {
	m, left, err := s.leftTemps(age, dead)
	if err != nil {
		return 0, err
	}
	removed := 0
	var errs []error
	for _, name := range left {
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		switch err := m.root.Remove(name); {
		case err == nil:
			removed++
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, s.fail("remove", name, err))
		}
	}
	if len(errs) > 0 {
		return removed, fmt.Errorf("%d temporary files stay: %w", len(errs), errs[0])
	}
	return removed, nil
}

// CountTemps returns how many files RemoveTemps would remove.
func (s *Store) CountTemps(_ context.Context, age time.Duration, dead func(owner string) bool) (int, error) {
	_, left, err := s.leftTemps(age, dead)
	return len(left), err
}

// leftTemps returns the temporary files that dead processes left behind, as
// paths in the store.
func (s *Store) leftTemps(age time.Duration, dead func(owner string) bool) (*mount, []string, error) {
	m, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	entries, err := fs.ReadDir(m.root.FS(), tempDir)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil, nil
	}
	if err != nil {
		return nil, nil, s.fail("list", tempDir, err)
	}
	var left []string
	verdict := map[string]bool{s.owner: false}
	for _, e := range entries {
		owner, _, ok := strings.Cut(e.Name(), tempMark)
		if !ok || !isOwner(owner) || !e.Type().IsRegular() {
			continue
		}
		gone, asked := verdict[owner]
		if !asked {
			gone = dead(owner)
			verdict[owner] = gone
		}
		if gone && !young(e, age) {
			left = append(left, filepath.Join(tempDir, e.Name()))
		}
	}
	return m, left, nil
}

// young reports whether a file was written to within age.
func young(e fs.DirEntry, age time.Duration) bool {
	if age <= 0 {
		return false
	}
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) < age
}
