package hostiletest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/results"
)

// answers adds what a lookup service may answer (demands 4, 9, 10, 11, 15 and
// 17).
func (b *builder) answers() {
	body := func(s string) func(*call) {
		return func(c *call) {
			c.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(c, s)
		}
	}
	record := func(picture string) string {
		return `{"status":"success","result":{"name":"x","age":"1","career":"c","picture":` + picture + `}}`
	}
	for what, text := range map[string]string{
		"nothing":               "",
		"blanks":                " \n\t ",
		"text":                  "success",
		"half of it":            `{"status":"success","result":{"pic`,
		"two documents":         record(`null`) + record(`null`),
		"NaN":                   `{"status":"success","result":NaN}`,
		"100,000 levels":        strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		"100,000 open objects":  strings.Repeat(`{"a":`, 100_000),
		"a list":                `[]`,
		"null":                  `null`,
		"a number":              `42`,
		"no status":             `{"result":{"picture":null}}`,
		"another status":        `{"status":"maybe","result":{"picture":null}}`,
		"a result that is text": `{"status":"success","result":""}`,
		"no result":             `{"status":"success"}`,
		"an empty result":       `{"status":"success","result":{}}`,
		"a number as picture":   record(`42`),
		"an object as picture":  record(`{"url":"http://127.0.0.1/"}`),
		"true as picture":       record(`true`),
		"a list of numbers":     record(`[1,2,3]`),
		"binary":                "\x00\x01\x02\xff",
	} {
		b.answer("answer of "+what, exhausted(failure.ReasonBadAnswer), 0, body(text))
	}
	for what, text := range map[string]string{
		"null as picture": record(`null`), "false as picture": record(`false`), "a blank picture": record(`"  "`),
		"an empty list of pictures": record(`[]`), "a list of nulls": record(`[null,null]`),
	} {
		b.answer("answer of "+what, Outcome{State: string(results.NoPicture)}, 0, body(text))
	}
	b.answer("answer that it is unknown", Outcome{State: string(results.NotFound)}, 0, body(`{"status":"fail","result":{}}`))
	b.answer("answer 404", Outcome{State: string(results.NotFound)}, 0, status(404))
	for what, text := range map[string]string{
		"HTML": "<!doctype html><title>Log in</title>", "HTML that says JSON": "  <html>{}</html>",
	} {
		b.answer("answer of "+what, exhausted(failure.ReasonBlocked), 0, body(text))
	}

	for what, talk := range map[string]func(net.Conn){
		"50 MB": func(c net.Conn) {
			io.WriteString(c, head+"\r\n"+`{"status":"success","result":{"name":"`)
			for range 50 << 4 {
				if _, err := io.WriteString(c, strings.Repeat("x", 64<<10)); err != nil {
					return
				}
			}
		},
		"50 MB by its own word": func(c net.Conn) { io.WriteString(c, head+"Content-Length: 52428800\r\n\r\n"); wait(c) },
		"a gzip bomb": func(c net.Conn) {
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			c.Write(gzipBomb(`{"status":"success","result":{"name":"`))
			wait(c)
		},
		"endless headers": func(c net.Conn) { io.WriteString(c, head); repeat(c, "X-More: 1\r\n") },
	} {
		b.answer("answer of "+what, final(failure.ReasonTooLarge), 0, talks(talk))
	}
	b.answer("answer in drips", exhausted(failure.ReasonTimeout), 0, talks(func(c net.Conn) {
		io.WriteString(c, head+"Content-Length: 100000\r\n\r\n{")
		drip(c, " ")
	}))
	b.answer("answer of silence", exhausted(failure.ReasonTimeout), 0, talks(wait))
	b.answer("answer cut", exhausted(failure.ReasonTruncated), 0, says("%s", head+"Content-Length: 1000\r\n\r\n{"))
	b.answer("answer reset", exhausted(failure.ReasonNetwork), 0, talks(reset))
	b.answer("answer that is no HTTP", exhausted(failure.ReasonNetwork), 0, says("hello\r\n\r\n"))

	for code, want := range map[int]Outcome{
		400: final(failure.ReasonRefused), 410: final(failure.ReasonRefused), 418: final(failure.ReasonRefused),
		408: exhausted(failure.ReasonTimeout), 425: exhausted(failure.ReasonTimeout), 429: exhausted(failure.ReasonRateLimited),
		500: exhausted(failure.ReasonUnavailable), 502: exhausted(failure.ReasonUnavailable), 503: exhausted(failure.ReasonUnavailable),
	} {
		b.answer(fmt.Sprintf("answer %d", code), want, 0, status(code))
	}
	b.answer("answer 503 and Retry-After 0", exhausted(failure.ReasonUnavailable), 0, status(503, "Retry-After", "0"))
	b.answer("answer 429 and Retry-After in the past", exhausted(failure.ReasonRateLimited), 0, status(429, "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"))
	b.againAnswer("answer 500, then good", status(500))
	b.againAnswer("answer of garbage, then good", body("garbage"))
	b.againAnswer("answer 429 and Retry-After in seconds, then good", status(429, "Retry-After", "1"))
	b.againAnswer("answer 503 and Retry-After as a date, then good", func(c *call) {
		status(503, "Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))(c)
	})

	for what, location := range map[string]string{
		"another port": b.s.Canary.At("127.0.0.1"), "another host": b.s.Canary.At("localhost"), "this host by another name": strings.Replace(b.s.Addr(), "127.0.0.1", "localhost", 1),
	} {
		b.answer("answer that leads to "+what, final(failure.ReasonRefusedRedirect), 0, status(302, "Location", "http://"+location+"/?name=x"))
	}
	b.answer("answer that leads to TLS", final(failure.ReasonRefusedRedirect), 0, status(302, "Location", "https://"+b.s.Addr()+"/"))
	b.answer("answer that leads to a file", final(failure.ReasonBadURL), 0, status(302, "Location", "file:///etc/passwd"))
	b.answer("answer that leads nowhere else", final(failure.ReasonTooManyRedirects), 0, func(c *call) {
		q := c.r.URL.Query()
		q.Set("hop", "1")
		status(302, "Location", "/?"+q.Encode())(c)
	})
	b.answer("answer behind a redirect", done(), 1, func(c *call) {
		q := c.r.URL.Query()
		if q.Has("hop") {
			writeRecord(c, q.Get("name"), c.s.pictureURL(c.id))
			return
		}
		q.Set("hop", "1")
		status(302, "Location", "/?"+q.Encode())(c)
	})

	b.oddRecords()
}

// againAnswer adds a lookup that is answered well the second time.
func (b *builder) againAnswer(name string, bad func(*call)) {
	b.answer(name, done(), 1, first(bad, func(c *call) { writeRecord(c, name, c.s.pictureURL(c.id)) }))
	b.cases[len(b.cases)-1].Lookups = 2
}

// oddRecords adds answers that are odd and good enough.
func (b *builder) oddRecords() {
	for what, text := range map[string]string{
		"about another name":  `{"status":"success","result":{"name":"../../etc/passwd","picture":PICTURE}}`,
		"with doubled keys":   `{"status":"success","result":{"picture":PICTURE,"picture":"file:///etc/passwd"},"status":"fail","result":{}}`,
		"with bad UTF-8":      "{\"status\":\"success\",\"result\":{\"career\":\"\xff\xfe\",\"picture\":PICTURE}}",
		"with half a pair":    `{"status":"success","result":{"career":"\ud800","picture":PICTURE}}`,
		"with a mark before":  "\ufeff" + `{"status":"success","result":{"age":"1","picture":PICTURE}}`,
		"with ESC and BEL":    `{"status":"success","result":{"age":"\u001b[2J\u0007","career":"\u0000\u202e","picture":PICTURE}}`,
		"with long numbers":   `{"status":"success","result":{"age":` + strings.Repeat("9", 1000) + `,"picture":PICTURE}}`,
		"with 500 kB of text": `{"status":"success","result":{"career":"` + strings.Repeat("x", 500_000) + `","picture":PICTURE}}`,
		"with 90 levels":      `{"status":"success","x":` + strings.Repeat("[", 90) + strings.Repeat("]", 90) + `,"result":{"age":"1","picture":PICTURE}}`,
		"with a script":       `{"status":"success","result":{"career":"<script>alert(1)</script>","picture":PICTURE}}`,
		"with a formula":      `{"status":"success","result":{"age":"=cmd|'/C calc'!A0","picture":PICTURE}}`,
		"with a list of ages": `{"status":"success","result":{"age":[1,[2],{"a":3},null],"picture":PICTURE}}`,
		"that says it is CSV": `{"status":"success","result":{"age":"1","picture":PICTURE}}`,
	} {
		b.answer("record "+what, done(), 1, func(c *call) {
			if strings.HasSuffix(what, "CSV") {
				c.Header().Set("Content-Type", "text/csv")
			}
			picture, _ := json.Marshal(c.s.pictureURL(c.id))
			_, _ = io.WriteString(c, strings.Replace(text, "PICTURE", string(picture), 1))
		})
	}
	b.answer("record with 5,000 pictures", done(), 10, func(c *call) {
		urls := make([]string, 5000)
		for i := range urls {
			urls[i] = fmt.Sprintf("%s/%d", c.s.pictureURL(c.id), i)
		}
		writeRecord(c, "x", urls)
	})
}
