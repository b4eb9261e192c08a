//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faultLasts is how long each fault of TestLogsStayReadable lasts at least.
const faultLasts = 8 * time.Second

// However bad things are, a worker writes a handful of lines, and each of
// them can be read by a program.
func TestLogsStayReadable(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		demo  []string
		fault func(t *testing.T, m *machine) (cause string, strike func())
	}{
		"Redis is killed": {
			demo: []string{"--latency", "20ms"},
			fault: func(_ *testing.T, m *machine) (string, func()) {
				return "redis is away", m.onRedis().Kill
			},
		},
		"every answer is an error": {
			demo: []string{"--error-rate", "1"},
			fault: func(_ *testing.T, m *machine) (string, func()) {
				m.onRedis()
				return "lookups are held back", func() {}
			},
		},
		"every picture is refused": {
			demo: []string{"--public-url", "http://10.255.255.1"},
			fault: func(_ *testing.T, m *machine) (string, func()) {
				m.onRedis()
				return "", func() {}
			},
		},
		"the disk is full": {
			fault: func(t *testing.T, m *machine) (string, func()) {
				m.onRedis()
				dir := smallDisk(t, "256k")
				m.set("HARVEST_STORAGE_URL=" + dir)
				return "no pictures are fetched until the store takes them again", func() { fillDisk(t, dir) }
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			cause, strike := test.fault(t, m)
			d := startDemo(m, append([]string{"--people", "2000"}, test.demo...)...)
			m.asking(d)
			m.writeNames("names.txt", 2000)
			w := m.start("worker", "--concurrency", "50")
			w.says("worker started")
			m.ok("enqueue", "--file", "names.txt", "--quiet")
			strike()
			began := time.Now()
			if cause != "" {
				w.says(cause)
			}
			<-time.After(time.Until(began.Add(faultLasts)))
			lines := strings.Split(strings.TrimSpace(w.stderr.String()), "\n")
			seconds := time.Since(w.began).Seconds()
			for _, line := range lines {
				var parsed struct{ Level, Msg string }
				if err := json.Unmarshal([]byte(line), &parsed); err != nil || parsed.Level == "" || parsed.Msg == "" {
					t.Errorf("this line does not parse (%v): %q", err, line)
				}
				if strings.Contains(line, "tasks wait") && (!strings.Contains(line, `"batch":"names"`) || !strings.Contains(line, `"task_id":"`)) {
					t.Errorf("this line about a task lacks its batch or task id: %s", line)
				}
			}
			if most := 20 + 2*seconds; float64(len(lines)) > most {
				t.Errorf("%d lines in %.0f s, want at most %.0f:\n%s", len(lines), seconds, most, strings.Join(lines, "\n"))
			}
		})
	}
}

// Where the data folder's own disk is full, what is there can be read, and
// the run says so in a few lines and goes on when there is room.
func TestDataFolderOnAFullDisk(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	dir := smallDisk(t, "3m")
	m.set("HARVEST_DATA="+filepath.Join(dir, "data"), "HARVEST_STORAGE_URL="+t.TempDir())
	m.write("names.txt", "Brus Lee\nJack Chen\n")
	// More than what the last page of Redis's file has room for.
	header, row := "name", "Han Meimei"
	for i := range 40 {
		header += fmt.Sprint(",note", i)
		row += "," + strings.Repeat("n", 100)
	}
	m.write("more.csv", header+"\n"+row+"\n")
	m.ok("harvest", "run", "--file", "names.txt", "--quiet")
	room := fillDisk(t, dir)
	if e := m.ok("harvest", "status"); !strings.Contains(e.stdout, "2 done") || !strings.Contains(e.stderr, "disk of the data folder is full") {
		t.Error(e)
	}
	e := m.run("harvest", "run", "--file", "more.csv")
	if e.code != 3 || !strings.Contains(e.stderr, "redis cannot write to its disk: make room") {
		t.Errorf("want exit code 3 and what to do: %v", e)
	}
	if n := strings.Count(e.stderr, "\n"); n > 15 {
		t.Errorf("%d lines, want at most 15: %v", n, e)
	}
	room()
	m.ok("harvest", "run", "--file", "more.csv", "--quiet")
	if s := m.status("more"); s.States["done"] != 1 {
		t.Errorf("with room again: got %v, want 1 done", s.States)
	}
}

// smallDisk is a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fillDisk leaves no room until the returned function is called.
func fillDisk(t *testing.T, dir string) (room func()) {
	t.Helper()
	file := filepath.Join(dir, "fill")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	return func() {
		if err := os.Remove(file); err != nil {
			t.Error(fmt.Errorf("make room: %w", err))
		}
	}
}
