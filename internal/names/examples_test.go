package names_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/names"
)

// Every example has names alone, and a command whose provider there is.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d examples, %v; want the demo's and five more", len(files), err)
	}
	command := regexp.MustCompile(`--file examples/(\S+) --provider (\S+)`)
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			f, err := names.Open(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			n := 0
			for ; ; n++ {
				line, err := f.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || strings.HasPrefix(line.Name, "#") {
					t.Fatalf("line %d, %q: %v", line.Number, line.Name, err)
				}
			}
			if n < 3 {
				t.Errorf("it has %d names", n)
			}
			if filepath.Base(path) == "names.txt" {
				return // the demo's, which README shows
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			said := command.FindStringSubmatch(string(text))
			if said == nil || said[1] != filepath.Base(path) {
				t.Fatalf("its command is %q", said)
			}
			if _, err := os.Stat("../../configs/providers/" + said[2] + ".yaml"); err != nil {
				t.Error(err)
			}
		})
	}
}
