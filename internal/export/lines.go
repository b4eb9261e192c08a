package export

import (
	"encoding/json"
	"io"

	"github.com/picharvest/picharvest/internal/recordjson"
)

// Lines writes names as JSON lines: the form of `results --json`, which
// `import` reads.
type Lines struct{ enc *json.Encoder }

// NewLines returns Lines that write to w, a line a Write.
func NewLines(w io.Writer) *Lines {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &Lines{enc}
}

// Write writes one name.
func (l *Lines) Write(n recordjson.Name) error { return l.enc.Encode(n) }

// Close does nothing: lines have no end.
func (l *Lines) Close() error { return nil }
