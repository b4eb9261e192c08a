package thumbnail

import "fmt"

// Config is the settings under web.thumbnails. in the configuration.
type Config struct {
	// MaxBytes bounds the folder of thumbnails; those that were looked at
	// longest ago go first. Default 1 GiB.
	MaxBytes int64 `mapstructure:"max_bytes"`
}

// minBytes holds a few pages of thumbnails.
const minBytes = 1 << 20

// DefaultConfig returns the defaults above.
func DefaultConfig() Config { return Config{MaxBytes: 1 << 30} }

// Validate reports a setting that cannot work by its key.
func (c Config) Validate() error {
	if c.MaxBytes < minBytes {
		return fmt.Errorf("web.thumbnails.max_bytes is %d; it must be %d (1 MiB) or more", c.MaxBytes, minBytes)
	}
	return nil
}
