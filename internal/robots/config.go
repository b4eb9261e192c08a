package robots

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values of Config.Robots.
const (
	// Public honours the robots.txt of public hosts.
	Public = "public"
	// Always honours that of hosts of one's own too.
	Always = "always"
	// Never asks for no robots.txt.
	Never = "never"
)

// Config is the share of the settings that says what picture hosts may
// refuse, picture.*.
type Config struct {
	// Robots says where robots.txt is honoured: Public, Always or Never.
	// Default public.
	Robots string `mapstructure:"robots"`
	// RobotsTag lists the words of an X-Robots-Tag that refuse a picture.
	// Default noai, noimageai, noindex, noimageindex.
	RobotsTag []string `mapstructure:"robots_tag"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Robots: Public, RobotsTag: []string{"noai", "noimageai", "noindex", "noimageindex"}}
}

// Validate reports every problem by its key.
func (c Config) Validate() error {
	var errs []error
	if !slices.Contains([]string{Public, Always, Never}, c.Robots) {
		errs = append(errs, fmt.Errorf("picture.robots is %.40q: give %s, %s or %s", c.Robots, Public, Always, Never))
	}
	for _, w := range c.RobotsTag {
		if w == "" || strings.ContainsAny(w, " ,:\t") {
			errs = append(errs, fmt.Errorf("picture.robots_tag: %.40q is no word of an X-Robots-Tag: write noai, noindex and the like", w))
		}
	}
	return errors.Join(errs...)
}
