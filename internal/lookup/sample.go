package lookup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// Sample is one recorded answer of a service.
type Sample struct {
	// Name was asked.
	Name string
	// File holds the answer, as ParseSample reads it; its path is relative to
	// the definition's folder.
	File string
	// Then holds the answer to the definition's second step, likewise; empty
	// where there is none.
	Then string
	// Verdict is what the answer means.
	Verdict Verdict
	// Line is where the sample stands in its definition.
	Line int
}

// ParseSample reads a recorded answer in the form that `curl -si URL` writes:
// a status line, header lines, an empty line, the body. Lines may end in LF
// alone. Transfer-Encoding is not undone, since curl has done so.
func ParseSample(data []byte) (Reply, error) {
	r := bufio.NewReader(bytes.NewReader(data))
	tp := textproto.NewReader(r)
	line, err := tp.ReadLine()
	if err != nil {
		return Reply{}, errors.New("is empty: record it with curl -si URL")
	}
	proto, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !strings.HasPrefix(proto, "HTTP/") || err != nil || status < 100 || status > 599 {
		return Reply{}, fmt.Errorf("line 1 is %q, not a status such as HTTP/1.1 200 OK: record it with curl -si URL", printable(line, 60))
	}
	header, err := tp.ReadMIMEHeader()
	if err != nil {
		return Reply{}, fmt.Errorf("its headers cannot be read: %w", err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Status: status, Header: http.Header(header), Body: body}, nil
}
