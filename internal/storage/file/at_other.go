//go:build !linux

package file

import (
	"os"
	"path/filepath"
)

// maxOpen is how many folders stay open: none but those in use, since Windows
// neither moves nor removes a folder that somebody has open.
const maxOpen = 0

// output is a file that is written once.
type output = *os.File

// create makes the new file called name in f.
func (m *mount) create(f *folder, name string) (output, error) {
	return m.root.OpenFile(f.at(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// rename moves a temporary file to name in the folder to.
func (m *mount) rename(t *temp, to *folder, name string) error {
	return m.root.Rename(t.path(), to.at(name))
}

// stands reports whether f is what stands at its path.
func (m *mount) stands(f *folder) bool {
	info, err := m.root.Stat(filepath.FromSlash(f.dir))
	return err == nil && os.SameFile(info, f.info)
}

func (f *folder) at(name string) string { return filepath.Join(filepath.FromSlash(f.dir), name) }
