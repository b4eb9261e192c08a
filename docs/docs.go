// Package docs holds those pages of this folder that the program shows parts
// of, so that their words stand in one place.
package docs

import _ "embed"

// Errors is errors.md: each reason for a failure with what it means and what
// to do.
//
//go:embed errors.md
var Errors string
