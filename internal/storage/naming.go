package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The words that name a [Naming] without a template.
const (
	// NamesReadable is short for the template {batch}/{name}{-rank}.{ext}.
	NamesReadable = "readable"
	// NamesContent stores pictures by their content: see [ContentKey].
	NamesContent = "content"
)

const (
	readableTemplate = "{batch}/{name}{-rank}.{ext}"
	// exampleTemplate is what messages show.
	exampleTemplate = "{batch}/{column.team}/{name}{-rank}.{ext}"
	// maxTemplate is the most bytes of a template.
	maxTemplate = 500
	// maxElements bounds the elements of a key, so that it fits behind the
	// longest prefix of a bucket.
	maxElements = 6
	// maxSeparator is the most bytes between what names a picture and its rank.
	maxSeparator = 20
	// missing stands for a value that there is none of.
	missing = "_"
)

// Naming is the rule by which the pictures of a batch get their keys:
// [NamesReadable], [NamesContent] or a template. It is made by [ParseNaming].
//
// A template is a path, such as {batch}/{column.team}/{name}{-rank}.{ext}, with
// holes for what is known of a picture:
//
//	{batch}     the batch; every template begins with {batch}/
//	{name}      the name
//	{rank}      the picture's number, from 1
//	{-rank}     nothing for the first, then -2, -3 and so on
//	{sha256}    of the bytes, in hex
//	{attr.X}    what the provider said, _ where it said nothing
//	{column.X}  another column of the names file, _ where it is empty
//	{ext}       every template ends with .{ext}
//
// {name}, {sha256}, attributes and columns take the filters of package filter
// but slashes: a slash in a value never makes a folder.
//
// Whatever the template and the values, two pictures of any names, ranks and
// batches never get equal keys, nor keys that become equal where a file system
// folds case, Unicode form or invisible characters; no element is longer than
// 100 bytes, and none is a name that some system does not take. It holds by
// rule, without looking at what is stored:
//
//   - Names are told apart by the first element whose only hole, beside
//     {batch}, is {name} without filters: its text is written as [Key] writes a
//     name. A template that has none gets 16 characters of the name's SHA-256
//     behind the text of its file: {batch}/{attr.year}.{ext} makes
//     "films/1984~ljnl4opc4yiwj573.jpg".
//   - All other text with holes is folded, to small letters among others, so
//     that Sales and sales are one folder on every system. What some system
//     does not take has "_" in its place, and a hash behind it.
//   - Ranks are told apart by {-rank} or {rank} at the end of the file's name,
//     or by a folder whose only hole is {rank}. Where neither is, {-rank} is
//     meant at the end of the file's name.
type Naming struct {
	text string
	// content: by content; then nothing else is set.
	content bool
	// folders stand between the batch's and the file, whose name begins with
	// stem.
	folders []element
	stem    element
	rank    rankForm
	// separator stands before the number of a rank in the file's name.
	separator string
	// own is which of the elements tells names apart, len(folders) for the
	// stem, -1 where a hash does.
	own int
}

type rankForm int

const (
	rankDashed rankForm = iota // {-rank}
	rankPlain                  // {rank}
	rankAbove                  // in a folder
)

// Named is what is known of a picture when it gets its key.
type Named struct {
	Batch, Name string
	Rank        int
	// Ext is a plain extension without a dot, such as that of a picture.Kind.
	Ext    string
	SHA256 [sha256.Size]byte
	// Attribute and Column return a value, "" where there is none. A nil one
	// knows of none.
	Attribute, Column func(name string) string
}

// ParseNaming reads NamesReadable, NamesContent or a template. Its error says
// what to write instead.
func ParseNaming(s string) (Naming, error) {
	template := s
	switch {
	case s == NamesContent:
		return Naming{text: s, content: true}, nil
	case s == NamesReadable:
		template = readableTemplate
	case !strings.Contains(s, "{"):
		return Naming{}, fmt.Errorf("%.40q: give %s, %s, or a template such as %s", s, NamesReadable, NamesContent, exampleTemplate)
	case len(s) > maxTemplate:
		return Naming{}, fmt.Errorf("the template has %d bytes, at most %d are taken", len(s), maxTemplate)
	}
	elements, err := parseElements(template)
	if err != nil {
		return Naming{}, fmt.Errorf("%q: %w", s, err)
	}
	n := Naming{text: s, own: -1}
	if err := n.arrange(elements); err != nil {
		return Naming{}, fmt.Errorf("%q: %w", s, err)
	}
	return n, nil
}

// String returns what [ParseNaming] was given.
func (n Naming) String() string { return n.text }

// ByContent reports whether n is that of [NamesContent].
func (n Naming) ByContent() bool { return n.content }

// Key returns the key of a picture. It is data at rest: the rule must never
// change.
func (n Naming) Key(p Named) string {
	if n.content {
		return ContentKey(p.SHA256, p.Ext)
	}
	var b strings.Builder
	b.WriteString(Folder(p.Batch))
	for i := range n.folders {
		b.WriteString("/" + n.folder(i, p))
	}
	b.WriteString("/" + n.file(p))
	hash := ""
	if n.own < 0 {
		hash = hashOf(p.Name)
	}
	if len(n.stem) > 0 {
		b.WriteString(hash)
	}
	switch {
	case n.rank == rankPlain:
		b.WriteString(n.separator + strconv.Itoa(p.Rank))
	case n.rank == rankDashed && p.Rank > 1:
		b.WriteString("-" + strconv.Itoa(p.Rank))
	}
	if len(n.stem) == 0 {
		b.WriteString(hash)
	}
	b.WriteString("." + p.Ext)
	return b.String()
}

// folder returns the i-th of the folders.
func (n Naming) folder(i int, p Named) string {
	text, plain := n.folders[i].fill(p)
	switch {
	case i == n.own:
		return distinct(text, maxBase, asFolder)
	case plain && isHarmless(text, maxBase, asFolder), text == missing:
		return text
	}
	return shared(text, maxBase, asFolder)
}

// file returns what the file's name begins with.
func (n Naming) file(p Named) string {
	if len(n.stem) == 0 {
		return ""
	}
	text, plain := n.stem.fill(p)
	separator := max(1, len(n.separator))
	room := maxBase + 1 - separator
	if n.own == len(n.folders) {
		return distinct(text, room, inFile)
	}
	whole := room
	if n.own < 0 {
		room -= len(mark) + hashLength
		// A hash in hex stays whole, with another behind it.
		whole = max(room, hex.EncodedLen(sha256.Size)+1-separator)
	}
	switch {
	case plain && isHarmless(text, whole, asFolder), text == missing:
		return text
	case n.own < 0:
		return readable(lowered(text), room)
	}
	return shared(text, room, inFile)
}

// shared returns text as one element of a key, or the beginning of one, of at
// most room bytes: the same for all texts that are equal when folded.
func shared(text string, room int, where standing) string {
	text = lowered(text)
	if !isHarmless(text, room, where) || isSHA256(text) {
		return hashed(text, room)
	}
	return text
}

// lowered returns the folded text as people write it.
func lowered(text string) string {
	var b strings.Builder
	eachWord(fold(text), func(run string, isWord bool) {
		if isWord {
			run = finalSigma(run)
		}
		b.WriteString(run)
	})
	return b.String()
}

// IsKeyOf reports whether key is the name's own in the batch: made by n for a
// picture of any rank, and perhaps by [RenewedKey] from that, so that no other
// record can have it. Where n is by content, keys by name are looked at as
// [IsKeyOf] does.
func (n Naming) IsKeyOf(key, batch, name string) bool {
	if n.content {
		return IsKeyOf(key, batch, name)
	}
	owner, ok := n.Owner(key, batch)
	return ok && owner == n.OwnerOf(batch, name)
}

// Owner returns what tells in a key of the batch whose it is, which is the
// [Naming.OwnerOf] of one name alone. It is not ok where n makes no such key.
func (n Naming) Owner(key, batch string) (owner string, ok bool) {
	parts := strings.Split(key, "/")
	if n.content || len(parts) != len(n.folders)+2 || parts[0] != Folder(batch) {
		return "", false
	}
	file := fileName.FindStringSubmatch(parts[len(parts)-1])
	if file == nil {
		return "", false
	}
	stem := file[1]
	if n.own >= 0 && n.own < len(n.folders) {
		return parts[n.own+1], true
	}
	if len(n.stem) > 0 {
		if stem, ok = n.withoutRank(stem); !ok {
			return "", false
		}
	}
	if n.own >= 0 {
		return stem, true
	}
	at := len(stem) - len(mark) - hashLength
	if at < 0 {
		return "", false
	}
	return stem[at:], true
}

// withoutRank takes the rank off a file's name without extension.
func (n Naming) withoutRank(stem string) (string, bool) {
	if n.rank == rankAbove {
		return stem, true
	}
	separator := "-"
	if n.rank == rankPlain {
		separator = n.separator
	}
	// Nothing that a rank follows ends with a hyphen and a number, see [Key].
	before := strings.TrimRight(stem, "0123456789")
	number := stem[len(before):]
	if short, ok := strings.CutSuffix(before, separator); ok && number != "" && number[0] != '0' {
		return short, true
	}
	return stem, n.rank == rankDashed
}

// OwnerOf returns what tells the keys of the name in the batch from those of
// other names.
func (n Naming) OwnerOf(batch, name string) string {
	named := Named{Batch: batch, Name: name}
	switch {
	case n.own < 0:
		return hashOf(name)
	case n.own < len(n.folders):
		return n.folder(n.own, named)
	}
	return n.file(named)
}

// fileName takes a file's name apart: what stands before the mark of a renewed
// one, and the extension.
var fileName = regexp.MustCompile(`^(.+?)(?:~g[0-9]+)?\.[a-z]+$`)

// IsKnownBefore reports whether [Naming.Key] needs neither attributes nor
// bytes, so that the key of a picture is known before it is there.
func (n Naming) IsKnownBefore() bool {
	return !n.content && !n.stem.comesLater() && !slices.ContainsFunc(n.folders, element.comesLater)
}

// Below returns the folder, with a slash at its end, in which all pictures of a
// name lie, as far as it is told by what p holds without rank, attributes and
// bytes. It is not for pictures by content.
func (n Naming) Below(p Named) string {
	below := Folder(p.Batch) + "/"
	for i, e := range n.folders {
		if e.comesLater() || e.has("rank") {
			break
		}
		below += n.folder(i, p) + "/"
	}
	return below
}
