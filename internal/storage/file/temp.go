package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	tempDir = ".tmp"
	// tempMark ends the owner in the name of a temporary file; no owner has it.
	tempMark = "~"
)

var ownerPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func isOwner(s string) bool { return ownerPattern.MatchString(s) }

// createTemp makes a new temporary file of this process.
func (s *Store) createTemp(root *os.Root) (string, *os.File, error) {
	name := filepath.Join(tempDir, s.owner+tempMark+rand.Text())
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := root.Mkdir(tempDir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, s.fail("make", tempDir, err)
		}
		f, err = root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return "", nil, s.fail("make", name, err)
	}
	return name, f, nil
}

// RemoveTemps removes the temporary files that dead processes left behind and
// returns how many. It asks dead once for each owner that has any, and leaves
// the files of this process alone. What it cannot remove it reports, having
// removed the rest.
func (s *Store) RemoveTemps(ctx context.Context, dead func(owner string) bool) (int, error) {
	root, err := s.current()
	if err != nil {
		return 0, err
	}
	entries, err := fs.ReadDir(root.FS(), tempDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, s.fail("list", tempDir, err)
	}
	var (
		removed int
		errs    []error
		verdict = map[string]bool{s.owner: false}
	)
	for _, e := range entries {
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		owner, _, ok := strings.Cut(e.Name(), tempMark)
		if !ok || !isOwner(owner) || !e.Type().IsRegular() {
			continue
		}
		gone, asked := verdict[owner]
		if !asked {
			gone = dead(owner)
			verdict[owner] = gone
		}
		if !gone {
			continue
		}
		name := filepath.Join(tempDir, e.Name())
		switch err := root.Remove(name); {
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
