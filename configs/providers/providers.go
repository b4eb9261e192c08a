// Package providers holds the definitions of lookup services that come with
// the program, and for each some answers in the shape that the service
// documents. It only embeds the files; package lookup reads them.
package providers

import "embed"

// Files holds NAME.yaml for each service and, in samples, its answers.
//
//go:embed *.yaml samples/*.http
var Files embed.FS
