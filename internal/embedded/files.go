package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ownerFile is owner.json: where the folder's Redis is and who runs it.
type ownerFile struct {
	URL    string `json:"url"`
	Engine string `json:"engine"`
	PID    int    `json:"pid"`              // the owner's process
	Server int    `json:"server,omitempty"` // the child's process
}

func readOwnerFile(dir string) (ownerFile, error) {
	var o ownerFile
	b, err := os.ReadFile(filepath.Join(dir, "owner.json"))
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("read owner.json in %s: %w", dir, err)
	}
	return o, nil
}

func writeOwnerFile(dir string, o ownerFile) error {
	return writeFile(filepath.Join(dir, "owner.json"), func(w io.Writer) error {
		return json.NewEncoder(w).Encode(o)
	})
}

func removeOwnerFile(dir string) error {
	err := os.Remove(filepath.Join(dir, "owner.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readEngine returns EngineRedis, EngineMini, or "" for a folder without data.
func readEngine(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "engine"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	engine := strings.TrimSpace(string(b))
	if engine != EngineRedis && engine != EngineMini {
		return "", fmt.Errorf("%s names the unknown engine %q; it was written by a newer version", filepath.Join(dir, "engine"), engine)
	}
	return engine, nil
}

func writeEngine(dir, engine string) error {
	return writeFile(filepath.Join(dir, "engine"), func(w io.Writer) error {
		_, err := fmt.Fprintln(w, engine)
		return err
	})
}

// writeFile replaces a file of mode 0600 so that after a crash it is the old
// one or the new one, whole.
func writeFile(path string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir outlive a power cut.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openLock opens a file for tryLock, making it if need be. Its content means
// nothing, and it is never removed.
func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("data folder: %w; it belongs to the user who made it: be that user, let this one write there, or choose another with --data", err)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	return f, nil
}

// oneLine is an error's text for a log.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
