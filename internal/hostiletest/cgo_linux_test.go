//go:build linux && cgo

package hostiletest_test

// hasCgo says whether the system's resolver can be asked.
const hasCgo = true
