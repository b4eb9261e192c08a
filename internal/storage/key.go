package storage

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	// maxBase leaves room for a rank and an extension in the 100 bytes that a
	// key's last element has at most.
	maxBase = 80
	// maxKey is the most bytes of a key.
	maxKey = 1024
	// hashLength is the length of a hash in a key: 80 bits.
	hashLength = 16
	// mark stands between a readable part and what makes it unique. No plain
	// name contains it, folded or not.
	mark = "~"
)

// Key returns the key of the picture of that rank of a name in a batch:
//
//	{batch}/{name}{-rank}.{ext}
//
// Rank 1 has no suffix, later ones have -2, -3 and so on. ext is a plain
// extension without a dot, such as that of a picture.Kind.
//
// Keys are data at rest: the rule below must never change.
//
// Two names never get equal keys, nor keys that become equal where a file
// system folds case, Unicode form or invisible characters. This holds by
// rule, without looking at what is stored:
//
//   - A harmless name whose words all begin with a capital and go on in small
//     letters stays as it is: "Han Meimei.png". All names that fold to one
//     text have one such spelling at most.
//   - A harmless name of another usual shape gets one letter for the shape of
//     each word, or one for all words if they agree: "brus lee~l.png",
//     "ludwig van Beethoven~llt.png". The letters are t (Title), l (lower), u
//     (UPPER) and m (McCartney); with them the folded name gives the name back.
//   - Any other name gets the first 80 bits of the SHA-256 of its bytes, after
//     as much of it as can be shown: "AC_DC~ljnl4opc4yiwj573.png".
//
// A name is harmless if it is 1 to 80 bytes of letters, digits, marks, single
// spaces and ' ’ - . , ( ) & _ in Unicode form NFC, begins with a letter or a
// digit, does not end with a space or with a hyphen and digits, is no device
// name of Windows and no SHA-256 in hex. Names are written in the script that
// they have; only characters that are invisible or that turn the direction of
// writing make a name one of the third sort.
//
// A batch in [a-z0-9._-] that begins with a letter or a digit, does not end
// with a dot and is no device name stays as it is, any other is treated as
// the third sort.
func Key(batch, name string, rank int, ext string) string {
	var b strings.Builder
	b.WriteString(Folder(batch))
	b.WriteByte('/')
	b.WriteString(base(name))
	if rank > 1 {
		b.WriteByte('-')
		b.WriteString(strconv.Itoa(rank))
	}
	b.WriteByte('.')
	b.WriteString(ext)
	return b.String()
}

// ContentKey returns the key of a picture that is stored by its content:
// ab/<sha256 in hex>.<ext>, where ab are the first two digits. It never
// equals a Key. It is data at rest as well.
func ContentKey(sha256 [sha256.Size]byte, ext string) string {
	sum := hex.EncodeToString(sha256[:])
	return sum[:2] + "/" + sum + "." + ext
}

// RenewedKey returns the key of a picture that is to stand beside the one at
// key until it takes its place:
//
//	{batch}/{name}{-rank}~g{generation}.{ext}
//
// It never equals a Key or a ContentKey, nor the RenewedKey of another key or
// generation: what follows a mark in those are letters of shapes or a hash.
func RenewedKey(key string, generation int64) string {
	dot := strings.LastIndexByte(key, '.')
	return key[:dot] + mark + "g" + strconv.FormatInt(generation, 10) + key[dot:]
}

// IsKeyOf reports whether key is the name's own in the batch: that of a
// picture of any rank, so that no other record can have it.
func IsKeyOf(key, batch, name string) bool {
	rest, ok := strings.CutPrefix(key, Folder(batch)+"/"+base(name))
	return ok && restOfKey.MatchString(rest)
}

// restOfKey is what follows the name: a rank, the mark of a picture that
// stands beside another, and the extension.
var restOfKey = regexp.MustCompile(`^(-[1-9][0-9]*)?(~g[0-9]+)?\.[a-z]+$`)

// SidecarKey returns the key of the JSON file that stands beside the picture at
// key.
func SidecarKey(key string) string { return key + sidecarExt }

// PictureOf returns the key of the picture that the file at key stands beside,
// where key was made by [SidecarKey].
func PictureOf(key string) (picture string, ok bool) { return strings.CutSuffix(key, sidecarExt) }

const sidecarExt = ".json"

// CheckKey reports why no store takes key. A key is a slash-separated path
// without empty elements, "." and "..", of at most 1,024 bytes of UTF-8, has
// no control character or backslash, and no element that begins with a dot:
// those are the store's own.
func CheckKey(key string) error {
	switch {
	case key == "." || !fs.ValidPath(key):
		return fmt.Errorf("key %q is no slash-separated path", key)
	case len(key) > maxKey:
		return fmt.Errorf("key %.40q... has %d bytes; at most %d are allowed", key, len(key), maxKey)
	case strings.ContainsFunc(key, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return fmt.Errorf("key %q has a backslash or a control character", key)
	case key[0] == '.' || strings.Contains(key, "/."):
		return fmt.Errorf("key %q has an element that begins with a dot; those are the store's own", key)
	}
	return nil
}

// CheckPrefix reports why nothing can be listed below prefix: it is "" or a
// key with a slash behind it.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	folder, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("prefix %q does not end with a slash", prefix)
	}
	return CheckKey(folder)
}

// Folder returns the folder of a batch: the first element of its [Key]s.
func Folder(batch string) string {
	plain := batch != "" && len(batch) <= maxBase && isLowerOrDigit(batch[0]) &&
		!strings.HasSuffix(batch, ".") && !isDevice(batch)
	for i := 0; plain && i < len(batch); i++ {
		plain = isLowerOrDigit(batch[i]) || strings.IndexByte("._-", batch[i]) >= 0
	}
	if plain {
		return batch
	}
	return hashed(batch, maxBase)
}

func isLowerOrDigit(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }

// base returns the part of a file name that stands for a name.
func base(name string) string { return distinct(name, maxBase, inFile) }

// standing says where in a key a text stands.
type standing int

const (
	// inFile: a rank and an extension follow.
	inFile standing = iota
	// asFolder: nothing does, and some file systems leave out a dot at the end.
	asFolder
)

// distinct returns text as one element of a key, or the beginning of one, of
// at most room bytes: another than for any other text, folded or not.
func distinct(text string, room int, where standing) string {
	if !isHarmless(text, room, where) || isSHA256(text) {
		return hashed(text, room)
	}
	folded := fold(text)
	if titled(folded) == text {
		return text
	}
	if shapes, ok := shapesOf(text, folded); ok && len(text)+len(mark)+len(shapes) <= room {
		return text + mark + shapes
	}
	return hashed(text, room)
}

// isHarmless reports whether a name of at most room bytes may stand in a key as
// it is. That names which pass stay distinct is not decided here.
func isHarmless(name string, room int, where standing) bool {
	if name == "" || len(name) > room || !utf8.ValidString(name) || !norm.NFC.IsNormalString(name) {
		return false
	}
	if first, _ := utf8.DecodeRuneInString(name); !unicode.IsLetter(first) && !unicode.IsDigit(first) {
		return false
	}
	for _, r := range name {
		if !isHarmlessRune(r) {
			return false
		}
	}
	if strings.Contains(name, "  ") || strings.HasSuffix(name, " ") || isDevice(name) {
		return false
	}
	if where == asFolder {
		return !strings.HasSuffix(name, ".")
	}
	return !endsInRank(name)
}

func isHarmlessRune(r rune) bool {
	if isIgnorable(r) {
		return false
	}
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune(" '’-.,()&_", r)
}

// isIgnorable reports whether some file system or screen leaves r out.
func isIgnorable(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

func endsInRank(name string) bool {
	short := strings.TrimRight(name, "0123456789")
	return len(short) < len(name) && strings.HasSuffix(short, "-")
}

func isSHA256(name string) bool {
	_, err := hex.DecodeString(name)
	return err == nil && len(name) == 2*sha256.Size
}

// isDevice reports whether Windows takes a file of that name, whatever
// follows the first dot, for a device.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToLower(strings.TrimRight(stem, " "))
	switch stem {
	case "con", "prn", "aux", "nul", "conin$", "conout$", "clock$":
		return true
	}
	for _, port := range []string{"com", "lpt"} {
		if n, ok := strings.CutPrefix(stem, port); ok && strings.Contains("0123456789¹²³", n) && utf8.RuneCountInString(n) == 1 {
			return true
		}
	}
	return false
}

// fold returns what is left of s when everything is gone by which some file
// system takes two names for one: case (by lower, upper and full folding),
// canonical and compatible forms, and characters that are left out. It is
// coarser than each of them, so that texts which differ after fold differ
// everywhere.
func fold(s string) string {
	if isPlainASCII(s) {
		return strings.ToLower(s) // which is what the rest comes to
	}
	for {
		t := strings.Map(func(r rune) rune {
			if isIgnorable(r) {
				return -1
			}
			return unicode.ToLower(unicode.ToUpper(r))
		}, norm.NFKD.String(s))
		t = norm.NFKC.String(cases.Fold().String(t))
		if t == s {
			return s
		}
		s = t
	}
}

func isPlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// titled returns folded with a capital at the beginning of each word, and the
// final form of sigma at the end of one.
func titled(folded string) string {
	var b strings.Builder
	eachWord(folded, func(word string, isWord bool) {
		if isWord {
			word = title(word)
		}
		b.WriteString(word)
	})
	return b.String()
}

// shapesOf returns the letters for the shapes of name's words, from which
// and folded the name can be made again. It is not ok where a word has none
// of the shapes.
func shapesOf(name, folded string) (shapes string, ok bool) {
	rest := name
	ok = true
	eachWord(folded, func(word string, isWord bool) {
		if !ok {
			return
		}
		if !isWord {
			rest, ok = strings.CutPrefix(rest, word)
			return
		}
		for _, s := range wordShapes {
			if after, found := strings.CutPrefix(rest, s.apply(word)); found && !continues(after) {
				rest = after
				shapes += s.letter
				return
			}
		}
		ok = false
	})
	if !ok || rest != "" || shapes == "" {
		return "", false
	}
	if strings.Count(shapes, shapes[:1]) == len(shapes) {
		shapes = shapes[:1]
	}
	// One letter fewer than a hash has, so that none is taken for one.
	return shapes, len(shapes) < hashLength
}

// wordShapes are the ways to write a folded word. Where two agree, for a word
// of one letter, the first is meant.
var wordShapes = []struct {
	letter string
	apply  func(word string) string
}{
	{"t", title},
	{"l", finalSigma},
	{"u", strings.ToUpper},
	{"m", func(word string) string {
		if r := []rune(word); len(r) > 3 {
			return title(string(r[:2])) + title(string(r[2:]))
		}
		return title(word)
	}},
}

func title(word string) string {
	r, n := utf8.DecodeRuneInString(word)
	return string(unicode.ToTitle(r)) + finalSigma(word[n:])
}

func finalSigma(word string) string {
	if short, ok := strings.CutSuffix(word, "σ"); ok {
		return short + "ς"
	}
	return word
}

// eachWord calls f for each longest run of s that is a word, letters with
// their marks, and for each that is none.
func eachWord(s string, f func(run string, isWord bool)) {
	for s != "" {
		in := continues(s)
		end := strings.IndexFunc(s, func(r rune) bool { return isWordRune(r) != in })
		if end < 0 {
			end = len(s)
		}
		f(s[:end], in)
		s = s[end:]
	}
}

// continues reports whether s goes on with a part of a word.
func continues(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isWordRune(r)
}

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsMark(r) }

// hashed returns the key of a name of the third sort, in at most room bytes.
func hashed(name string, room int) string {
	return readable(name, room-len(mark)-hashLength) + hashOf(name)
}

// hashOf returns the mark and the hash that tell a name from any other.
func hashOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return mark + hash32.EncodeToString(sum[:10])
}

var hash32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// readable returns as much of name as may stand in room bytes of a file name.
func readable(name string, room int) string {
	room -= len("_")
	var b strings.Builder
	for _, r := range norm.NFC.String(strings.ToValidUTF8(name, "_")) {
		if !isHarmlessRune(r) {
			r = '_'
		}
		if b.Len()+utf8.RuneLen(r) > room {
			break
		}
		b.WriteRune(r)
	}
	s := strings.Trim(b.String(), " ")
	if first, _ := utf8.DecodeRuneInString(s); !unicode.IsLetter(first) && !unicode.IsDigit(first) || isDevice(s) {
		s = "_" + strings.TrimLeft(s, "_.- ")
	}
	return s
}

// ContentOf returns the hash in a key that was made by [ContentKey].
func ContentOf(key string) (sum [sha256.Size]byte, ok bool) {
	if !IsContentKey(key) {
		return sum, false
	}
	_, file, _ := strings.Cut(key, "/")
	_, err := hex.Decode(sum[:], []byte(file[:2*sha256.Size]))
	return sum, err == nil
}

// IsContentKey reports whether key was made by [ContentKey]: the file belongs
// to all that have these bytes, and not to one name.
func IsContentKey(key string) bool {
	folder, file, ok := strings.Cut(key, "/")
	sum, _, dot := strings.Cut(file, ".")
	return ok && dot && isSHA256(sum) && folder == sum[:2] && !strings.Contains(file, "/")
}
