package picture

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
)

// What Config.Verify may be.
const (
	// VerifyStructure walks the structure and decodes nothing.
	VerifyStructure = "structure"
	// VerifyDecode also decodes every pixel. The bytes of the picture, up to
	// MaxBytes, are then held in memory, and up to 8 bytes a pixel while it
	// is decoded.
	VerifyDecode = "decode"
)

// Config is the settings under picture. in the configuration.
type Config struct {
	// MinBytes and MaxBytes bound the file. Default 0 and 32 MiB.
	MinBytes int64 `mapstructure:"min_bytes"`
	MaxBytes int64 `mapstructure:"max_bytes"`
	// MinSide bounds the shorter side, MaxSide the longer, in pixels.
	// Default 0 and 0; a MaxSide of 0 leaves it to MaxPixels.
	MinSide int `mapstructure:"min_side"`
	MaxSide int `mapstructure:"max_side"`
	// MinPixels and MaxPixels bound width times height. Default 0 and
	// 50,000,000.
	MinPixels int64 `mapstructure:"min_pixels"`
	MaxPixels int64 `mapstructure:"max_pixels"`
	// MinAspect and MaxAspect bound width divided by height, as stored.
	// Default 0 and 0: no limit.
	MinAspect float64 `mapstructure:"min_aspect"`
	MaxAspect float64 `mapstructure:"max_aspect"`
	// Kinds are the words of those that are taken. Default: all of [Kinds].
	Kinds []string `mapstructure:"kinds"`
	// MaxFrames bounds an animation. One with more frames still passes where
	// all its frames together stay within MaxPixels. Default 100.
	MaxFrames int `mapstructure:"max_frames"`
	// MaxScans bounds the scans of a jpeg. Default 100.
	MaxScans int `mapstructure:"max_scans"`
	// Verify is "structure" or "decode". Default "structure".
	Verify string `mapstructure:"verify"`
	// DecodeTimeout bounds one decode. It is looked at whenever the decoder
	// asks for bytes, and at its end. Default 5s.
	DecodeTimeout time.Duration `mapstructure:"decode_timeout"`
}

// DefaultConfig returns the defaults above.
func DefaultConfig() Config {
	return Config{
		MaxBytes:      32 << 20,
		MaxPixels:     50_000_000,
		Kinds:         []string{string(JPEG), string(PNG), string(GIF), string(WebP)},
		MaxFrames:     100,
		MaxScans:      100,
		Verify:        VerifyStructure,
		DecodeTimeout: 5 * time.Second,
	}
}

// Validate reports every setting that cannot work, each by its key.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format, args...))
	}
	if c.MinBytes < 0 {
		bad("picture.min_bytes is %d; it must be 0 or more", c.MinBytes)
	}
	if c.MaxBytes < 1 {
		bad("picture.max_bytes is %d; it must be 1 or more", c.MaxBytes)
	} else if c.MinBytes > c.MaxBytes {
		bad("picture.min_bytes %d is above picture.max_bytes %d; no picture could pass", c.MinBytes, c.MaxBytes)
	}
	if c.MinSide < 0 {
		bad("picture.min_side is %d; it must be 0 or more", c.MinSide)
	}
	if c.MaxSide < 0 {
		bad("picture.max_side is %d; it must be 0 (no limit) or more", c.MaxSide)
	} else if c.MaxSide > 0 && c.MinSide > c.MaxSide {
		bad("picture.min_side %d is above picture.max_side %d; no picture could pass", c.MinSide, c.MaxSide)
	}
	if c.MinPixels < 0 {
		bad("picture.min_pixels is %d; it must be 0 or more", c.MinPixels)
	}
	if c.MaxPixels < 1 {
		bad("picture.max_pixels is %d; it must be 1 or more", c.MaxPixels)
	} else if c.MinPixels > c.MaxPixels {
		bad("picture.min_pixels %d is above picture.max_pixels %d; no picture could pass", c.MinPixels, c.MaxPixels)
	}
	errs = append(errs, c.validateAspect(), c.validateKinds())
	if c.MaxFrames < 1 {
		bad("picture.max_frames is %d; it must be 1 or more", c.MaxFrames)
	}
	if c.MaxScans < 1 {
		bad("picture.max_scans is %d; it must be 1 or more", c.MaxScans)
	}
	if c.Verify != VerifyStructure && c.Verify != VerifyDecode {
		bad("picture.verify is %q; it must be %q or %q", c.Verify, VerifyStructure, VerifyDecode)
	}
	if c.DecodeTimeout <= 0 {
		bad("picture.decode_timeout is %s; it must be above 0", c.DecodeTimeout)
	}
	return errors.Join(errs...)
}

func (c Config) validateAspect() error {
	var errs []error
	ratio := func(key string, r float64) {
		if math.IsNaN(r) || math.IsInf(r, 0) || r < 0 {
			errs = append(errs, fmt.Errorf("picture.%s is %v; it must be 0 (no limit) or width divided by height, such as 1.5", key, r))
		}
	}
	ratio("min_aspect", c.MinAspect)
	ratio("max_aspect", c.MaxAspect)
	if c.MaxAspect > 0 && c.MinAspect > c.MaxAspect {
		errs = append(errs, fmt.Errorf("picture.min_aspect %v is above picture.max_aspect %v; no picture could pass", c.MinAspect, c.MaxAspect))
	}
	return errors.Join(errs...)
}

func (c Config) validateKinds() error {
	if len(c.Kinds) == 0 {
		return errors.New("picture.kinds is empty; no picture could pass")
	}
	var errs []error
	for _, k := range c.Kinds {
		if !slices.Contains(Kinds(), Kind(k)) {
			errs = append(errs, fmt.Errorf("picture.kinds has %.40q; there are jpeg, png, gif and webp", k))
		}
	}
	return errors.Join(errs...)
}

// checkKind checks what the bytes say that they are.
func (c *Config) checkKind(k Kind) error {
	if slices.Contains(c.Kinds, string(k)) {
		return nil
	}
	return over(failure.ReasonRefusedKind, "%s is none of picture.kinds: %s", k, strings.Join(c.Kinds, ", "))
}

func (c *Config) tooFew(bytes int64) error {
	return over(failure.ReasonTooSmall, "%d bytes < picture.min_bytes %d", bytes, c.MinBytes)
}

// checkSides checks the size of the canvas.
func (c *Config) checkSides(width, height int) error {
	if width < 1 || height < 1 {
		return broken("a picture of %dx%d pixels", width, height)
	}
	if long := max(width, height); c.MaxSide > 0 && long > c.MaxSide {
		return over(failure.ReasonTooManyPixels, "%dx%d: side of %d > picture.max_side %d", width, height, long, c.MaxSide)
	}
	if n := int64(width) * int64(height); n > c.MaxPixels {
		got, limit := formatPixels(n, c.MaxPixels)
		return over(failure.ReasonTooManyPixels, "%dx%d: %s > picture.max_pixels %s", width, height, got, limit)
	}
	if short := min(width, height); short < c.MinSide {
		return over(failure.ReasonTooSmall, "%dx%d: side of %d < picture.min_side %d", width, height, short, c.MinSide)
	}
	if n := int64(width) * int64(height); n < c.MinPixels {
		limit, got := formatPixels(c.MinPixels, n)
		return over(failure.ReasonTooSmall, "%dx%d: %s < picture.min_pixels %s", width, height, got, limit)
	}
	switch aspect := float64(width) / float64(height); {
	case aspect < c.MinAspect:
		return over(failure.ReasonRefusedAspect, "%dx%d: aspect %.3g < picture.min_aspect %v", width, height, aspect, c.MinAspect)
	case c.MaxAspect > 0 && aspect > c.MaxAspect:
		return over(failure.ReasonRefusedAspect, "%dx%d: aspect %.3g > picture.max_aspect %v", width, height, aspect, c.MaxAspect)
	}
	return nil
}

// checkFrames checks an animation of n frames so far on info's canvas.
func (c *Config) checkFrames(n int64, info *Info) error {
	canvas := int64(info.Width) * int64(info.Height)
	if n <= int64(c.MaxFrames) || n <= c.MaxPixels/canvas {
		return nil
	}
	got, limit := formatPixels(n*canvas, c.MaxPixels)
	return over(failure.ReasonTooComplex, "%d frames > picture.max_frames %d, and %s in all > picture.max_pixels %s",
		n, c.MaxFrames, got, limit)
}

// formatPixels writes two numbers of pixels, the first above the second, so
// that they read well and differ.
func formatPixels(got, limit int64) (string, string) {
	g, l := megapixels(got), megapixels(limit)
	if g == l {
		return fmt.Sprintf("%d pixels", got), fmt.Sprintf("%d", limit)
	}
	return g, l
}

func megapixels(n int64) string {
	switch {
	case n >= 100e6 || n%1e6 == 0:
		return fmt.Sprintf("%d MP", n/1e6)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MP", float64(n)/1e6)
	}
	return fmt.Sprintf("%d pixels", n)
}

// formatBytes writes n in MiB where that is exact.
func formatBytes(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
