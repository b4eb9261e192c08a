package licence

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/nearest"
)

// Config is the settings under picture. that are about licences.
type Config struct {
	// Licences are the SPDX identifiers of those whose pictures are taken.
	// Default: none, which takes every picture, whatever its licence.
	Licences []string `mapstructure:"licences"`
}

// Validate reports every identifier that is not known, with what it may mean.
func (c Config) Validate() error {
	var errs []error
	for _, id := range c.Licences {
		if slices.Contains(known, id) {
			continue
		}
		meant := ID(id)
		if meant == "" {
			meant = nearest.Word(id, known)
		}
		if meant == "" {
			meant = "CC-BY-4.0"
		}
		errs = append(errs, fmt.Errorf("picture.licences: %.40q is no SPDX identifier that is known here: give such as %s", id, meant))
	}
	return errors.Join(errs...)
}

// Check refuses, for good, a picture with that licence in its service's words
// ("" where it tells none). Where there is a list, what is not known for
// certain is not on it.
func (c Config) Check(text string) *failure.Error {
	if len(c.Licences) == 0 {
		return nil
	}
	id, wanted := ID(text), strings.Join(c.Licences, ", ")
	refused := func(format string, args ...any) *failure.Error {
		return failure.Newf(failure.ReasonRefusedLicence, failure.Final, format, args...)
	}
	switch {
	case slices.Contains(c.Licences, id):
		return nil
	case text == "":
		return refused("the answer tells no licence; picture.licences: %s", wanted)
	case id == "":
		return refused("licence %.60q has no SPDX identifier that is known here; picture.licences: %s", text, wanted)
	}
	return refused("licence %s is none of picture.licences: %s", id, wanted)
}
