//go:build integration && !amd64

package integration

import (
	"errors"
	"os/exec"
	"time"
)

// clockFaults needs code for the processor, which there is for amd64 only.
func clockFaults() []fault { return nil }

func startSkewed(*exec.Cmd, time.Duration) error { return errors.ErrUnsupported }
