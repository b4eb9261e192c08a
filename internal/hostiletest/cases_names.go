package hostiletest

import (
	"fmt"
	"strings"
)

// oddNames are names as strangers write them. Each is a name like any other.
var oddNames = []string{
	// Paths.
	"../../../../tmp/planted", `..\..\planted`, "/etc/planted", "C:planted", "a/b", `a\b`, ".", "..", "...", ".hidden",
	"%2e%2e%2fplanted", "~root", "planted.jpg/../..", "CON", "nul.txt", "LPT1", "com¹", "name.", "name:stream",
	// Names that are equal to some file systems.
	"Ada Lovelace", "ada lovelace", "ADA LOVELACE", "Ada  Lovelace", "Ada_Lovelace", "straße", "strasse", "ſtrasse", "STRASSE",
	"Zo\u00e9", "Zoe\u0301", "zo\u00e9", "ﬁnn", "finn", "Ⅷ", "VIII", "K", "\u212a", "ß", "ẞ", "I", "ı", "İ", "i", "\u0430", "a",
	"Ada\u200bLovelace", "Ada\u00adLovelace", "name-2", "name-1", "name",
	// Scripts and directions.
	"محمد علي", "שלום", "李雷", "Лев Толстой", "नमस्ते", "👩‍👩‍👧‍👦", "\u200fright", "e\u0301\u0302\u0303\u0304",
	// What others take for something else.
	"=cmd|'/C calc'!A0", "+1", "-rf", "--config=/etc/passwd", "@SUM(1)", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
	"'; DROP TABLE names; --", "$(touch planted)", "`touch planted`", "${PATH}", "{name}", "{base}", "{{.}}", "%s%n%d", "*", "?", "a*b?[c]",
	"a&name=other", "a?b", "a b+c", "name#fragment", "100%", "a;b", "a|b", "null", "undefined", "true", "0", "NaN",
	"harvest:batches", "asynq:{x}:pending", "names.0", "{names.0}",
	"redis://u:p@h", "http://127.0.0.1/",
}

// names adds odd names whose lookups and pictures are good (demands 20, 21,
// 22 and 25).
func (b *builder) names() {
	long := []string{
		strings.Repeat("x", 256), strings.Repeat("é", 128), strings.Repeat("x", 255) + "y", strings.Repeat("𝕏", 64), strings.Repeat("a/", 128),
	}
	for i, name := range append(oddNames, long...) {
		p := numbered(1_000_000 + i)
		b.stored(name, p, 1, sends(p))
	}
}

// BadLines returns lines of a names file that are no names; none has a line
// break in it.
func BadLines() [][]byte {
	lines := []string{
		"nul\x00byte", "esc\x1b[2Jape", "bell\x07", "c1\u0085control", "separa\u2028tor", "bad \xff utf-8", "cut \xe2\x82",
		"tab\tseparated", "over\u202eride", "isolate\u2066d", "lost \ufffd", "\u200b\u200d", "mark\ufeffwithin",
		strings.Repeat("x", 257), strings.Repeat("é", 129), strings.Repeat("x", 10<<20),
	}
	out := make([][]byte, len(lines))
	for i, l := range lines {
		out[i] = []byte(l)
	}
	return out
}

// NamesFile returns a names file with every case, the good names between
// them, every bad line, and what a names file may have beside names.
func (s *Server) NamesFile(withCases bool) []byte {
	var b strings.Builder
	b.WriteString("\ufeff# a comment\r\n\r\n")
	cases := s.cases
	if !withCases {
		cases = nil
	} else {
		for _, l := range BadLines() {
			b.Write(l)
			b.WriteString("\r\n")
		}
	}
	for i := range max(len(cases), len(s.pictures)) {
		if i < len(cases) {
			b.WriteString(cases[i].Name + "\n")
		}
		if i < len(s.pictures) {
			fmt.Fprintf(&b, "  Good %d \r\n", i)
		}
	}
	return []byte(b.String())
}
