package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/results"
)

// topBatches returns the batches with open names, the most first. What is
// beyond maxBatchLabels is one entry without a name, so that the sum is right.
// It is there where nothing is open as well: an autoscaler must see the 0.
func topBatches(counts []results.OpenCount) []results.OpenCount {
	open := slices.DeleteFunc(slices.Clone(counts), func(c results.OpenCount) bool { return c.Names == 0 })
	slices.SortStableFunc(open, func(a, b results.OpenCount) int { return cmp.Compare(b.Names, a.Names) })
	rest := results.OpenCount{Batch: otherBatches}
	for _, c := range open[min(len(open), maxBatchLabels):] {
		rest.Names += c.Names
	}
	return append(open[:min(len(open), maxBatchLabels)], rest)
}

// standing is how the hosts of one label stand.
type standing struct {
	label              string
	waiting, inFlight  int
	most               int
	notBefore, last429 float64
	left               map[string]int
}

// byLabel adds up the hosts that share a label.
func byLabel(hosts *hosts, states []gate.HostState) []*standing {
	var all []*standing
	for _, s := range states {
		label := hosts.label(s.Host)
		i := slices.IndexFunc(all, func(st *standing) bool { return st.label == label })
		if i < 0 {
			all, i = append(all, &standing{label: label, left: make(map[string]int)}), len(all)
		}
		st := all[i]
		st.waiting += s.Waiting
		st.inFlight += s.InFlight
		if !s.NotBefore.IsZero() {
			st.notBefore = max(st.notBefore, float64(s.NotBefore.UnixMilli())/1000)
		}
		if !s.LastLimited.IsZero() {
			st.last429 = max(st.last429, float64(s.LastLimited.UnixMilli())/1000)
		}
		if label == otherHosts {
			continue // limits of different hosts do not add up
		}
		st.most = s.MaxInFlight
		for _, q := range s.Quotas {
			st.left[q.Word()] = q.Left
		}
	}
	return all
}

func (s *standing) collect(gauge func(*prometheus.Desc, float64, ...string)) {
	gauge(hostWaiting, float64(s.waiting), s.label)
	gauge(hostInFlight, float64(s.inFlight), s.label)
	if s.most > 0 {
		gauge(hostMost, float64(s.most), s.label)
	}
	if s.notBefore > 0 {
		gauge(hostNotBefore, s.notBefore, s.label)
	}
	if s.last429 > 0 {
		gauge(hostLast429, s.last429, s.label)
	}
	for window, n := range s.left {
		gauge(hostLeft, float64(n), s.label, window)
	}
}

// breaker is the labels of one that is not closed.
type breaker struct{ provider, host, reason string }

// breakersOf returns the breakers that are not closed, and whether they are
// open. Those that share their labels count as open if one is.
func breakersOf(hosts *hosts, states []gate.HostState) map[breaker]bool {
	all := make(map[breaker]bool)
	for _, s := range states {
		for _, b := range s.Breakers {
			key := breaker{b.Name, hosts.label(s.Host), string(b.Reason)}
			all[key] = all[key] || b.Open
		}
	}
	return all
}
