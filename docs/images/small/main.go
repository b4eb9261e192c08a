// Command small writes a screenshot anew with 256 colours, which is all that
// its flat areas need, in about a third of the bytes: small FILE.png...
package main

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"slices"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := shrink(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func shrink(file string) error {
	data, err := os.ReadFile(file) //nolint:gosec // whoever calls it names the file
	if err != nil {
		return err
	}
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, reduce(m)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, b.Bytes(), 0o644) //nolint:gosec // a picture for everybody
}

// reduce draws m with the colours that most of its points have: one for each
// cell of 8x8x8 similar ones, as far as there is room.
func reduce(m image.Image) *image.Paletted {
	points := make(map[color.RGBA]int)
	bounds := m.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(m.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			points[at(x, y)]++
		}
	}
	often := slices.SortedFunc(maps.Keys(points), func(a, b color.RGBA) int {
		return cmp.Or(points[b]-points[a], cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	taken := make(map[[3]byte]bool)
	for _, c := range often {
		if cell := [3]byte{c.R / 8, c.G / 8, c.B / 8}; !taken[cell] && len(palette) < 256 {
			taken[cell] = true
			palette = append(palette, c)
		}
	}
	small := image.NewPaletted(bounds, palette)
	index := make(map[color.RGBA]uint8)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, ok := index[c]
			if !ok {
				i = uint8(palette.Index(c))
				index[c] = i
			}
			small.SetColorIndex(x, y, i)
		}
	}
	return small
}
