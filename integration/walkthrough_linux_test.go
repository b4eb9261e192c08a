//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/redistest"
)

var updatePages = flag.Bool("update", false, "write what the commands of the pages print into them")

// Each page is typed as it stands, in a folder that has the examples, and its
// commands print what it says: times and ports aside, word for word.
func TestWalkthroughs(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/walkthrough-*.md")
	if err != nil || len(pages) < 3 {
		t.Fatalf("%d pages, %v; want one for each kind of user", len(pages), err)
	}
	for _, file := range append(pages, "../docs/providers.md") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// Behind this heading providers.md asks a service that is none of ours.
			typed, rest, cut := strings.Cut(string(text), "## A service in the house\n")
			if cut {
				rest = "## A service in the house\n" + rest
			}
			p := parsePage(typed)
			s := newShell(t)
			for i := range p.steps {
				st := &p.steps[i]
				if written := fileBefore.FindStringSubmatch(p.text[i]); written != nil {
					s.m.write(written[1], s.here.Replace(written[2]))
				}
				code := s.run(st)
				told := i+1 < len(p.steps) && p.steps[i+1].command == "echo $?"
				if code != 0 && !told {
					t.Errorf("%s:%d: %s: exit code %d, and the page does not say so", file, st.line, st.command, code)
				}
				if *updatePages {
					continue
				}
				if diff := cmp.Diff(mask(st.want), mask(st.got)); diff != "" {
					t.Errorf("%s:%d: %s (-page +printed):\n%s", file, st.line, st.command, diff)
				}
			}
			if *updatePages {
				if err := os.WriteFile(file, []byte(p.String()+rest), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if t.Failed() {
				t.Log("where the programs are right: go test -tags integration -run Walkthroughs ./integration -args -update")
			}
		})
	}
}

// page is a Markdown file. In its indented blocks a line that begins with "$ "
// is a command, and those after it, up to the next, are what it prints.
type page struct {
	steps []step
	// text is the lines between steps: text[i] stands before steps[i].
	text []string
}

type step struct {
	line      int
	command   string
	want, got []string
}

// fileBefore is a file that the reader is told to write.
var fileBefore = regexp.MustCompile("(?s)Write `([^`]+)`[^`]*```yaml\n(.*?)```")

const (
	indent = "    "
	prompt = indent + "$ "
)

func parsePage(text string) page {
	p := page{text: []string{""}}
	printed := false // the lines are what the last command prints
	n, blank := 0, 0 // the number of the line, and of blank ones before it
	for line := range strings.Lines(text) {
		n++
		inside := strings.HasPrefix(line, indent)
		switch {
		case strings.HasPrefix(line, prompt):
			p.steps = append(p.steps, step{line: n, command: strings.TrimSpace(line[len(prompt):])})
			p.text = append(p.text, "")
			printed = true
			blank = 0
		case printed && line == "\n":
			blank++
		case printed && inside:
			st := &p.steps[len(p.steps)-1]
			st.want = append(st.want, make([]string, blank)...)
			st.want = append(st.want, strings.TrimRight(line[len(indent):], "\n"))
			blank = 0
		default:
			p.text[len(p.text)-1] += strings.Repeat("\n", blank) + line
			printed, blank = false, 0
		}
	}
	return p
}

// String is the page with what was printed.
func (p page) String() string {
	var b strings.Builder
	b.WriteString(p.text[0])
	for i, st := range p.steps {
		fmt.Fprintln(&b, prompt+st.command)
		for _, line := range st.got {
			fmt.Fprintln(&b, strings.TrimRight(indent+line, " "))
		}
		b.WriteString(p.text[i+1])
	}
	return b.String()
}

var (
	// Names are told in the order in which they come to their end, and counts
	// every few seconds. A terminal has a bar in their place.
	progressLine = regexp.MustCompile(`^[^:]+: (done|partial|failed|not_found|no_picture)( \(.*\))?$|^\d+ of \d+: `)
	clock        = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?`)
	agent        = regexp.MustCompile(`harvest/\S+$`)
	finding      = regexp.MustCompile(`^[-+*!=] `)
	duration     = regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)\b`)
)

// mask returns lines without what differs from run to run: times, the version,
// and the order of what verify finds, since it looks at many files at once.
func mask(lines []string) []string {
	masked := make([]string, len(lines))
	first := 0 // of the findings that stand together
	for i, line := range lines {
		line = agent.ReplaceAllString(line, "harvest/VERSION")
		masked[i] = duration.ReplaceAllString(clock.ReplaceAllString(line, "TIME"), "TIME")
		if finding.MatchString(line) {
			slices.Sort(masked[first : i+1])
		} else {
			first = i + 1
		}
	}
	return masked
}

// shell is one bash for all commands of a page. Its ports are free ones of this
// machine in the place of the page's; they have as many digits.
type shell struct {
	t      *testing.T
	m      *machine
	stdin  io.Writer
	lines  chan string
	here   *strings.Replacer // the page's ports to ours
	asPage *strings.Replacer // and back
}

// endOfStep begins the line that the shell writes behind a command's output.
const endOfStep = "=== the command ended with "

func newShell(t *testing.T) *shell {
	t.Helper()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			redistest.Missing(t, program, err.Error())
		}
	}
	m := newMachine(t)
	s := &shell{t: t, m: m, lines: make(chan string)}
	var here, asPage []string
	for _, port := range []string{"18123", "18124"} {
		ours := freePort(t)
		here, asPage = append(here, port, ours), append(asPage, ours, port)
	}
	s.here, s.asPage = strings.NewReplacer(here...), strings.NewReplacer(asPage...)
	s.copyExamples()

	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = m.dir
	cmd.Env = append(m.env, "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), "GOCACHE="+strings.TrimSpace(string(cache)), "NO_COLOR=1", "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr, s.stdin = in, in, stdin
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	go func() {
		defer close(s.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		// What the page left running goes too.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		for range s.lines {
		}
		_ = cmd.Wait()
		out.Close()
	})
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	if len(port) < 5 {
		t.Skipf("this machine gives away the port %s, and the pages' have five digits", port)
	}
	return port
}

func (s *shell) copyExamples() {
	s.t.Helper()
	err := filepath.WalkDir("../examples", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.ContainsRune(b, 0) {
			b = []byte(s.here.Replace(string(b)))
		}
		s.m.write(strings.TrimPrefix(path, "../"), string(b))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// run types a command and returns its exit code. One that goes on in the
// background has begun when it has printed as many lines as the page shows.
func (s *shell) run(st *step) int {
	s.t.Helper()
	fmt.Fprintf(s.stdin, "{ %s\n} </dev/null; code=$?; printf '\\n%s%%d\\n' $code; (exit $code)\n", s.here.Replace(st.command), endOfStep)
	code, ended := -1, false
	for !ended || (strings.HasSuffix(st.command, "&") && len(st.got) < len(st.want)) {
		line, ok := <-s.lines
		if !ok {
			s.t.Fatalf("line %d: %s: the shell ended", st.line, st.command)
		}
		if number, is := strings.CutPrefix(line, endOfStep); is {
			code, _ = strconv.Atoi(number)
			ended = true
			if n := len(st.got); n > 0 && st.got[n-1] == "" {
				st.got = st.got[:n-1]
			}
			continue
		}
		if !progressLine.MatchString(line) {
			st.got = append(st.got, strings.TrimRight(s.asPage.Replace(line), " "))
		}
	}
	return code
}
