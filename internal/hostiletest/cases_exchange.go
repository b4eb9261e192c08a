package hostiletest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

const head = "HTTP/1.1 200 OK\r\n"

// exchanges adds what can be wrong between two ends of a connection (demands
// 9, 10 and 11).
func (b *builder) exchanges() {
	start := string(jpegHead(4000, 3000))
	zeros := strings.Repeat("\x00", 64<<10)
	png := string(pngHead(100, 100)) + "\x7f\xff\xff\xffIDAT"
	good := whole["jpeg"]

	for name, talk := range map[string]func(net.Conn){
		"endless body":     func(c net.Conn) { io.WriteString(c, head+"\r\n"+start); repeat(c, zeros) },
		"endless chunk":    func(c net.Conn) { io.WriteString(c, head+"\r\n"+png); repeat(c, zeros) },
		"endless pretence": func(c net.Conn) { io.WriteString(c, head+"\r\n"+string(good)); repeat(c, zeros) },
		"endless chunks": func(c net.Conn) {
			fmt.Fprintf(c, head+"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(start), start)
			repeat(c, "1000\r\n"+zeros[:0x1000]+"\r\n")
		},
		"too large by its own word": func(c net.Conn) { io.WriteString(c, head+"Content-Length: 1000000000000\r\n\r\n"); wait(c) },
		"gzip bomb": func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			c.Write(gzipBomb(start))
			wait(c)
		},
		"gzip that yields nothing": func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
			repeat(c, strings.Repeat("\x00\x00\x00\xff\xff", 10_000))
		},
		"endless header line": func(c net.Conn) { io.WriteString(c, head+"X-Long: "); repeat(c, zeros[:1000]+"x") },
		"endless headers":     func(c net.Conn) { io.WriteString(c, head); repeat(c, "X-More: planted-header\r\n") },
		"endless status line": func(c net.Conn) { repeat(c, "HTTP/1.1 200 OK") },
		"endless 1xx":         func(c net.Conn) { repeat(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n") },
	} {
		b.picture(name, final(failure.ReasonTooLarge), talks(talk))
	}
	// A header of NULs is malformed before it is too large.
	b.want("endless header line", final(failure.ReasonTooLarge), exhausted(failure.ReasonNetwork))

	for name, talk := range map[string]func(net.Conn){
		"drip":                func(c net.Conn) { io.WriteString(c, head+"Content-Length: 100000\r\n\r\n"+start); drip(c, "x") },
		"silence":             wait,
		"silence in the body": func(c net.Conn) { io.WriteString(c, head+"Content-Length: 100000\r\n\r\n"+start); wait(c) },
		"slow headers":        func(c net.Conn) { io.WriteString(c, head); drip(c, "X-Slow: 1\r\n") },
		"slow 1xx":            func(c net.Conn) { drip(c, "HTTP/1.1 100 Continue\r\n\r\n") },
	} {
		b.picture(name, exhausted(failure.ReasonTimeout), talks(talk))
	}

	for name, text := range map[string]string{
		"body shorter than its length": head + "Content-Length: 100000\r\n\r\n" + start,
		"chunks cut":                   head + "Transfer-Encoding: chunked\r\n\r\n1000\r\n" + start,
		"chunks garbled":               head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
		"gzip cut":                     head + "Content-Encoding: gzip\r\n\r\n" + string(gzipOf(good)[:200]),
		"gzip that is none":            head + "Content-Encoding: gzip\r\n\r\n" + string(good),
	} {
		b.picture(name, exhausted(failure.ReasonTruncated), says("%s", text))
	}
	b.picture("unknown encoding", final(failure.ReasonTruncated), says("%s", head+"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx"))
	b.picture("encoded twice", final(failure.ReasonTruncated), says("%s", head+"Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n\r\nx"))

	for name, talk := range map[string]func(net.Conn){
		"reset at once":              reset,
		"closed at once":             func(net.Conn) {},
		"reset in the body":          func(c net.Conn) { io.WriteString(c, head+"Content-Length: 9999\r\n\r\n"+start); reset(c) },
		"closed in the header":       func(c net.Conn) { io.WriteString(c, head+"X-A: 1\r\n") },
		"no HTTP":                    func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.9\x1b[31m\r\n") },
		"header without a colon":     func(c net.Conn) { io.WriteString(c, head+"no colon here\r\n\r\n") },
		"two lengths":                func(c net.Conn) { io.WriteString(c, head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab") },
		"length below 0":             func(c net.Conn) { io.WriteString(c, head+"Content-Length: -1\r\n\r\nab") },
		"TLS where none was due":     func(c net.Conn) { io.WriteString(c, "\x15\x03\x01\x00\x02\x02\x50") },
		"length beyond any counting": func(c net.Conn) { io.WriteString(c, head+"Content-Length: 99999999999999999999\r\n\r\nab") },
	} {
		b.picture(name, exhausted(failure.ReasonNetwork), talks(talk))
	}

	b.stored("gzip, as agreed by nobody", good, 1, func(c *call) {
		c.Header().Set("Content-Encoding", "gzip")
		_, _ = c.Write(gzipOf(good))
	})
	b.stored("reset, then good", good, 2, first(talks(func(c net.Conn) {
		io.WriteString(c, head+"Content-Length: 9999\r\n\r\n"+start)
		reset(c)
	}), sends(good)))
	b.stored("cut, then good", good, 2, first(sends(good[:len(good)/2]), sends(good)))
	b.stored("silence, then good", good, 2, first(talks(wait), sends(good)))
}

// want replaces the outcomes of the case that is named.
func (b *builder) want(name string, wants ...Outcome) {
	for i := range b.cases {
		if b.cases[i].Name == name {
			b.cases[i].Wants = wants
		}
	}
}

// statuses adds every kind of status, and both forms of Retry-After (demands
// 15 and 16).
func (b *builder) statuses() {
	for code, want := range map[int]Outcome{
		400: final(failure.ReasonRefused), 402: final(failure.ReasonRefused), 405: final(failure.ReasonRefused),
		418: final(failure.ReasonRefused), 451: final(failure.ReasonRefused), 304: final(failure.ReasonRefused),
		401: final(failure.ReasonForbidden), 403: final(failure.ReasonForbidden),
		404: final(failure.ReasonMissing), 410: final(failure.ReasonMissing),
		408: exhausted(failure.ReasonTimeout), 425: exhausted(failure.ReasonTimeout),
		429: exhausted(failure.ReasonRateLimited),
		500: exhausted(failure.ReasonUnavailable), 502: exhausted(failure.ReasonUnavailable),
		503: exhausted(failure.ReasonUnavailable), 504: exhausted(failure.ReasonUnavailable),
		202: exhausted(failure.ReasonUnavailable), 204: exhausted(failure.ReasonUnavailable), 206: exhausted(failure.ReasonUnavailable),
	} {
		b.picture(fmt.Sprintf("status %d", code), want, status(code))
	}
	for _, garbage := range []string{"soon", "-5", "1e9", "0", "Thu, 01 Jan 1970 00:00:00 GMT"} {
		b.picture("503 and Retry-After "+fmt.Sprintf("%q", garbage), exhausted(failure.ReasonUnavailable), status(503, "Retry-After", garbage))
	}
	b.picture("503 and Retry-After that is no header", exhausted(failure.ReasonNetwork), status(503, "Retry-After", "\x01"))
	good := whole["gif"]
	b.stored("500, then good", good, 2, first(status(500), sends(good)))
	for _, code := range []int{429, 503} {
		b.stored(fmt.Sprintf("%d and Retry-After in seconds, then good", code), good, 2, first(status(code, "Retry-After", "1"), sends(good)))
		b.stored(fmt.Sprintf("%d and Retry-After as a date, then good", code), good, 2, first(func(c *call) {
			status(code, "Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))(c)
		}, sends(good)))
	}
}

// gzipBomb inflates to start and 64 MiB more.
func gzipBomb(start string) []byte { return gzipOf(append([]byte(start), make([]byte, 64<<20)...)) }

func gzipOf(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(p) // a buffer takes all
	_ = z.Close()
	return b.Bytes()
}
