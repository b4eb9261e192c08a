package thumbnail

import (
	"image"
	"io"

	"github.com/bep/imagemeta"

	"github.com/picharvest/picharvest/internal/picture"
)

// upright is the orientation of a picture that is shown as it is stored.
const upright = 1

// orientation returns which of the eight orientations of EXIF (tag 0x0112) a
// picture asks for: 1 is upright, and stands for no or garbled metadata too.
// The others say where the first row and the first column of the pixels
// belong.
func orientation(kind picture.Kind, r io.ReadSeeker) int {
	formats := map[picture.Kind]imagemeta.ImageFormat{picture.JPEG: imagemeta.JPEG, picture.PNG: imagemeta.PNG, picture.WebP: imagemeta.WebP}
	format, ok := formats[kind]
	if !ok {
		return upright
	}
	found := upright
	_, err := imagemeta.Decode(imagemeta.Options{
		R:           r,
		ImageFormat: format,
		Sources:     imagemeta.EXIF,
		ShouldHandleTag: func(t imagemeta.TagInfo) bool {
			return t.Namespace == "IFD0" && t.Tag == "Orientation"
		},
		HandleTag: func(t imagemeta.TagInfo) error {
			if n, ok := t.Value.(uint16); ok && n >= 1 && n <= 8 {
				found = int(n)
			}
			return imagemeta.ErrStopWalking
		},
	})
	if err != nil {
		return upright
	}
	return found
}

// turned reports whether an orientation exchanges width and height.
func turned(orientation int) bool { return orientation >= 5 }

// turn returns img as its orientation asks for.
func turn(img *image.RGBA, orientation int) *image.RGBA {
	if orientation == upright {
		return img
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if turned(orientation) {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			right, bottom := w-1-x, h-1-y
			var to image.Point
			switch orientation {
			case 2:
				to = image.Pt(right, y)
			case 3:
				to = image.Pt(right, bottom)
			case 4:
				to = image.Pt(x, bottom)
			case 5:
				to = image.Pt(y, x)
			case 6:
				to = image.Pt(bottom, x)
			case 7:
				to = image.Pt(bottom, right)
			case 8:
				to = image.Pt(y, right)
			}
			out.SetRGBA(to.X, to.Y, img.RGBAAt(x, y))
		}
	}
	return out
}
