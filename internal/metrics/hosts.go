package metrics

import (
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// maxHosts is how many hosts that nobody has named are told apart.
	maxHosts = 100
	// otherHosts is the label of all further ones. No host has that name: it
	// lacks a dot and is not allowed to be looked up.
	otherHosts = "other"
	// maxHostLen is that of a DNS name and a port.
	maxHostLen = 253 + len(":65535")
)

// hosts turns hosts into labels, of which there is a bounded number. A host
// keeps its label for as long as the process lives, so that counters never
// move from one to another.
type hosts struct {
	mu    sync.RWMutex
	known map[string]string
	free  int
}

func newHosts() *hosts { return &hosts{known: make(map[string]string), free: maxHosts} }

func (h *hosts) name(all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, host := range all {
		host = strings.ToLower(host)
		h.known[host] = host
	}
}

// label returns the host itself if it was named or among the first others.
func (h *hosts) label(host string) string {
	h.mu.RLock()
	label, ok := h.known[host]
	full := h.free == 0
	h.mu.RUnlock()
	switch {
	case ok:
		return label
	case full && strings.ToLower(host) == host,
		len(host) > maxHostLen, !utf8.ValidString(host):
		return otherHosts
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	host = strings.ToLower(host)
	if label, ok := h.known[host]; ok {
		return label
	}
	if h.free == 0 {
		return otherHosts
	}
	h.free--
	label = strings.Clone(host) // not the whole URL that it was cut from
	h.known[label] = label
	return label
}
