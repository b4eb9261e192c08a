package lookup

import (
	"strings"
	"testing"
)

func TestCheckSamples(t *testing.T) {
	t.Parallel()
	const answer = "HTTP/1.1 200 OK\n\n"
	for _, tt := range []struct{ title, sample, verdict, want string }{
		{"well", answer + `{"ok":1,"picture":"http://p/1"}`, "found", ""},
		{"wrong path", answer + `{"ok":1,"photo":"http://p/1"}`, "found", "own/mini.yaml:8: the recorded answer about \"a\" is to mean found, and the paths in pictures.from lead to nothing in it: picture"},
		{"another verdict", answer + `{"ok":1,"picture":"http://p/1"}`, "not_found", "is to mean not_found and comes out as found"},
		{"unexpected", answer + `{"picture":"http://p/1"}`, "found", "is not what its definition expects: ok is not present but missing"},
		{"no sample", "{}", "found", "record it with curl -si URL"},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			yaml := minimal + "samples: [{name: a, file: samples/a.http, verdict: " + tt.verdict + "}]\n"
			e, err := NewEntry("own/mini.yaml", []byte(yaml), folder(map[string][]byte{"samples/a.http": []byte(tt.sample)}))
			if err != nil {
				t.Fatal(err)
			}
			err = e.CheckSamples()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
