//go:build unix

package names

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOpenNamedPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "names.pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(path, []byte("Ada\nGrace\n"), 0o600) }()
	f, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := story(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 Ada", "2 Grace"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
