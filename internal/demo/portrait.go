package demo

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
)

// kind is a picture format: its file extension and its media type.
type kind struct{ ext, mime string }

var (
	kindJPEG = kind{".jpg", "image/jpeg"}
	kindPNG  = kind{".png", "image/png"}
	kindGIF  = kind{".gif", "image/gif"}
	kindWebP = kind{".webp", "image/webp"}
)

const (
	portraitSide = 192 // of the built-in pictures, in pixels
	madeUpSide   = 96
)

// The parts of a portrait, which are indexes into its colors.
const (
	partBackground = iota
	partHair
	partSkin
	partShirt
	partLine
	parts
)

type colors [parts]color.NRGBA

// The cuts of hair.
const (
	hairShort = iota
	hairLong
	hairBun
	hairCap
	hairKinds
)

// style is what a portrait looks like.
type style struct {
	hair    int
	glasses bool
	colors  colors
}

// encode draws s and returns it as a file of kind k: the same bytes each time.
func (s style) encode(k kind) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch k {
	case kindJPEG:
		err = jpeg.Encode(&b, s.smooth(portraitSide), &jpeg.Options{Quality: 85})
	case kindPNG:
		err = png.Encode(&b, s.smooth(portraitSide))
	case kindGIF:
		err = gif.Encode(&b, s.plain(portraitSide), nil)
	default:
		err = fmt.Errorf("no encoder for %s", k.mime)
	}
	return b.Bytes(), err
}

// plain draws s in its own colors, side pixels high and wide.
func (s style) plain(side int) *image.Paletted {
	palette := make(color.Palette, parts)
	for i, c := range s.colors {
		palette[i] = c
	}
	img := image.NewPaletted(image.Rect(0, 0, side, side), palette)
	for y := range side {
		for x := range side {
			img.Pix[y*img.Stride+x] = uint8(s.at((float64(x)+0.5)/float64(side), (float64(y)+0.5)/float64(side)))
		}
	}
	return img
}

// smooth draws s with soft edges: each pixel is the mean of four points.
func (s style) smooth(side int) *image.NRGBA {
	fine := s.plain(2 * side)
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			var r, g, b int
			for _, p := range [4]int{0, 1, fine.Stride, fine.Stride + 1} {
				c := s.colors[fine.Pix[2*y*fine.Stride+2*x+p]]
				r, g, b = r+int(c.R), g+int(c.G), b+int(c.B)
			}
			img.SetNRGBA(x, y, color.NRGBA{R: uint8(r / 4), G: uint8(g / 4), B: uint8(b / 4), A: 0xff})
		}
	}
	return img
}

// at returns the part seen at a point of the unit square, (0, 0) at the top
// left: what is in front comes first.
func (s style) at(x, y float64) int {
	in := func(cy, rx, ry float64) bool {
		dx, dy := (x-0.5)/rx, (y-cy)/ry
		return dx*dx+dy*dy < 1
	}
	side := math.Abs(x - 0.5) // faces are symmetric
	ring := func(cx, cy, r, width float64) bool {
		return math.Abs(math.Hypot(side-cx, y-cy)-r) < width
	}

	face := in(0.47, 0.19, 0.24)
	neck := side < 0.07 && y > 0.5 && y < 0.78
	smile := y > 0.56 && math.Abs(math.Hypot(side, y-0.5)-0.1) < 0.009
	eyes := (side-0.075)*(side-0.075)+(y-0.44)*(y-0.44) < 0.018*0.018
	glasses := s.glasses && (ring(0.078, 0.44, 0.055, 0.008) || side < 0.024 && math.Abs(y-0.435) < 0.007)
	if face && (smile || eyes) || glasses {
		return partLine
	}

	switch s.hair {
	case hairShort:
		if in(0.4, 0.21, 0.23) && y < 0.43 && !in(0.5, 0.17, 0.21) {
			return partHair
		}
	case hairLong:
		if in(0.37, 0.225, 0.19) && y < 0.33+0.5*side {
			return partHair
		}
		if !face && !neck && (in(0.5, 0.26, 0.3) || side < 0.26 && y > 0.5 && y < 0.78) {
			return partHair
		}
	case hairBun:
		if in(0.4, 0.21, 0.23) && !in(0.52, 0.18, 0.24) && y < 0.47 || in(0.13, 0.085, 0.075) {
			return partHair
		}
	case hairCap:
		if in(0.35, 0.215, 0.2) && y < 0.33 || math.Abs(y-0.335) < 0.022 && x > 0.28 && x < 0.8 {
			return partHair
		}
	}

	switch {
	case face, neck:
		return partSkin
	case in(1.03, 0.38, 0.3):
		return partShirt
	}
	return partBackground
}

func rgb(r, g, b uint8) color.NRGBA { return color.NRGBA{R: r, G: g, B: b, A: 0xff} }
