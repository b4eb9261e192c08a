package hostiletest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/hostiletest"
)

const root = "../.."

// TestErrorsTable holds docs/errors.md to the reasons of the code, in their
// order, and to what the cases see of each.
func TestErrorsTable(t *testing.T) {
	t.Parallel()
	var got []string
	tries := map[string]string{}
	for _, row := range tableRows(t, "docs/errors.md") {
		if len(row) != 4 || slices.Contains(row, "") {
			t.Errorf("a row without four cells: %q", row)
			continue
		}
		word := strings.Trim(row[0], "`")
		got = append(got, word)
		tries[word] = row[2]
	}
	var want []string
	for _, r := range failure.Reasons() {
		want = append(want, string(r))
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/errors.md has the reasons\n%q, failure.Reasons() is\n%q", got, want)
	}
	words := map[string]string{"final": "final", "exhausted": "tried again"}
	for _, c := range hostiletest.Start(t, 0).Cases() {
		for _, o := range c.Wants {
			if o.State == "failed" && !strings.Contains(tries[o.Reason], words[o.Kind]) {
				t.Errorf("%.60q ends %s %s, docs/errors.md says %q", c.Name, o.Kind, o.Reason, tries[o.Reason])
			}
		}
	}
}

// TestSecurityTable wants every test that docs/security.md names to exist, and
// a row for each demand.
func TestSecurityTable(t *testing.T) {
	t.Parallel()
	tests := allTests(t)
	name := regexp.MustCompile("`([a-z0-9]+\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")
	var demands []string
	for _, row := range tableRows(t, "docs/security.md") {
		number, _, _ := strings.Cut(row[0], " ")
		demands = append(demands, number)
		if len(row) != 3 || !name.MatchString(row[2]) {
			t.Errorf("demand %s names no test", row[0])
		}
	}
	want := strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30")
	if !slices.Equal(demands, want) {
		t.Errorf("got rows for %q, want %q", demands, want)
	}
	for _, m := range name.FindAllStringSubmatch(read(t, "docs/security.md"), -1) {
		if !tests[m[1]] {
			t.Errorf("docs/security.md names %s, which does not exist", m[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tableRows returns the cells of the rows of a file's tables, without heads.
func tableRows(t *testing.T, path string) [][]string {
	t.Helper()
	var rows [][]string
	body := false
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			body = false
		case strings.HasPrefix(line, "|---"):
			body = true
		case body:
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table", path)
	}
	return rows
}

// allTests returns every test and fuzz target of the tree as folder.Name,
// whatever its build tags.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				tests[filepath.Base(filepath.Dir(path))+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
