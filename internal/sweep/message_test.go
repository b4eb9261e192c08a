package sweep

import (
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"github.com/picharvest/picharvest/internal/redistest"
)

// message returns the message of a task as asynq writes it.
func message(tb testing.TB) string {
	tb.Helper()
	server := redistest.Mini(tb)
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: server.Addr()})
	defer client.Close()
	task := asynq.NewTask("harvest:lookup", []byte(`{"v":1}`), asynq.Queue("picture-bulk"), asynq.TaskID("an-id"))
	if _, err := client.Enqueue(task); err != nil {
		tb.Fatal(err)
	}
	return server.HGet("asynq:{picture-bulk}:t:an-id", "msg")
}

func TestDecode(t *testing.T) {
	t.Parallel()
	good := message(t)
	for name, tc := range map[string]struct{ queue, id, message, want string }{
		"as asynq writes it": {"picture-bulk", "an-id", good, ""},
		"none":               {"picture-bulk", "an-id", "", "there is none"},
		"garbage":            {"picture-bulk", "an-id", "\xff\xff", "cannot parse"},
		"cut off":            {"picture-bulk", "an-id", good[:len(good)-1], "cannot parse"},
		"bad UTF-8":          {"picture-bulk", "an-id", strings.Replace(good, "harvest", "harv\xffst", 1), "UTF-8"},
		"another task's":     {"picture-bulk", "another", good, `it is that of task "an-id"`},
		"another queue's":    {"picture-express", "an-id", good, `it is for queue "picture-bulk"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := decode(tc.queue, tc.id, tc.message)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// Whatever stands in a task's hash, it is told from a message.
func FuzzDecode(f *testing.F) {
	f.Add(message(f))
	f.Add("\xff\xff")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if err := decode("picture-bulk", "an-id", s); err == nil && !strings.Contains(s, "an-id") {
			t.Errorf("%q is taken for the message of task an-id", s)
		}
	})
}
