package loglimit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/picharvest/picharvest/internal/loglimit"
)

// lines returns what was logged, each line decoded.
func lines(t *testing.T, b *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(b.String()) {
		m := make(map[string]any)
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("a line does not parse: %v: %q", err, line)
		}
		all = append(all, m)
	}
	return all
}

func TestFloodOfOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(loglimit.New(slog.NewJSONHandler(&b, nil)))
		for range 60 {
			for i := range 1000 {
				log.With("batch", "b").Warn("tasks wait", "i", i)
			}
			time.Sleep(time.Second)
		}
		got := lines(t, &b)
		if len(got) < 12 || len(got) > 16 {
			t.Errorf("60,000 lines in a minute: got %d, want 10 at once and one every 10 s", len(got))
		}
		told := 0
		for _, m := range got {
			n, _ := m["left_out"].(float64)
			told += int(n)
		}
		if told+len(got) < 49_000 {
			t.Errorf("the lines that passed tell of %d left out, want most of 60,000", told)
		}
	})
}

func TestFloodsSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(loglimit.New(slog.NewJSONHandler(&b, nil)))
		for s := range 60 {
			for i := range 5000 {
				log.Error(fmt.Sprintf("message %d of second %d", i, s))
			}
			time.Sleep(time.Second)
		}
		if got := len(lines(t, &b)); got > 50+60*5 {
			t.Errorf("messages that vary, for a minute: got %d lines, want at most 50 at once and 5 a second", got)
		}
	})
}

func TestWhatIsRarePasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(loglimit.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})))
		for range 100 {
			log.Warn("flood")
			log.Debug("detail")
		}
		log.WithGroup("g").Info("rare", "key", "value")
		count := make(map[any]int)
		for _, m := range lines(t, &b) {
			count[m["msg"]]++
		}
		if count["flood"] != 10 || count["detail"] != 100 || count["rare"] != 1 {
			t.Errorf("got %v, want 10 of the flood, every line of level debug, and the rare one", count)
		}
	})
}
