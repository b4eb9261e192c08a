package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	for file, words := range map[string]string{
		"man/harvest.1":            ".TH \"HARVEST\" \"1\" \"Sep 2026\"",
		"man/harvest-run.1":        "Enqueue the names of a file and harvest them",
		"completions/harvest.bash": "__start_harvest",
		"completions/_harvest":     "#compdef harvest",
		"completions/harvest.fish": "complete -c harvest",
		"completions/harvest.ps1":  "Register-ArgumentCompleter",
		"completions/worker.bash":  "__start_worker",
		"man/worker.1":             "WORKER",
		"man/harvest-doctor.1":     "--repair",
		"man/harvest-results.1":    "--licence",
	} {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(strings.ReplaceAll(string(text), `\-`, "-"), words) {
			t.Errorf("%s has not %q", file, words)
		}
	}
}
