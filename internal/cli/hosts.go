package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/gate"
)

// errNoHosts says that there is nothing to show.
var errNoHosts = errors.New("no host that has limits was asked within the last day, and none asked to wait")

// hostsView shows how hosts stand over all workers.
type hostsView struct {
	gate *gate.Gate
	// place says in words which Redis is looked at.
	place string
	out   io.Writer
	// limits are picture.hosts; those that match no host are told on notes,
	// once.
	limits gate.Config
	notes  io.Writer
	asJSON bool
	clear  bool
}

// hostJSON is one host in `status --hosts --json`; docs/json.md says what the
// keys mean.
type hostJSON struct {
	Host        string               `json:"host"`
	Waiting     int                  `json:"waiting"`
	InFlight    int                  `json:"in_flight"`
	MaxInFlight int                  `json:"max_in_flight,omitempty"`
	Limits      map[string]quotaJSON `json:"limits,omitempty"`
	NotBefore   time.Time            `json:"not_before,omitzero"`
	Last429     time.Time            `json:"last_429,omitzero"`
	Breakers    []breakerJSON        `json:"breakers,omitempty"`
}

type quotaJSON struct {
	Limit int `json:"limit"`
	Used  int `json:"used"`
	Left  int `json:"left"`
}

type breakerJSON struct {
	Provider string         `json:"provider"`
	State    string         `json:"state"`
	Reason   failure.Reason `json:"reason"`
	Until    time.Time      `json:"until,omitzero"`
}

// show writes the hosts once. There is always more to see.
func (v *hostsView) show(ctx context.Context, _ []string) (bool, error) {
	states, err := v.gate.State(ctx)
	if err != nil {
		return false, err
	}
	if len(states) == 0 {
		return false, fmt.Errorf("%w (%s)", errNoHosts, v.place)
	}
	v.tellUnmatched(states)
	if v.asJSON {
		enc := json.NewEncoder(v.out)
		for _, s := range states {
			if err := enc.Encode(hostOf(s)); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if v.clear {
		fmt.Fprint(v.out, "\x1b[H\x1b[2J")
	}
	rows := [][]string{{"HOST", "WAITING", "IN FLIGHT", "LIMITS", "NOT BEFORE", "LAST 429", "BREAKER"}}
	for _, s := range states {
		rows = append(rows, hostRow(s))
	}
	return true, table(v.out, rows)
}

// tellUnmatched tells which limits hold for no host that was asked: a slip of
// the keyboard, or a host that is still to come.
func (v *hostsView) tellUnmatched(states []gate.HostState) {
	known := make([]string, len(states))
	for i, s := range states {
		known[i] = s.Host
	}
	for _, pattern := range v.limits.Unmatched(known) {
		fmt.Fprintf(v.notes, "picture.hosts: %s matches no host that was asked within the last day%s\n",
			printable(pattern), hint(strings.TrimPrefix(pattern, "*."), known))
	}
	v.limits = gate.Config{}
}

func hostOf(s gate.HostState) hostJSON {
	j := hostJSON{
		Host: s.Host, Waiting: s.Waiting, InFlight: s.InFlight, MaxInFlight: s.MaxInFlight,
		NotBefore: s.NotBefore.UTC(), Last429: s.LastLimited.UTC(),
	}
	for _, q := range s.Quotas {
		if j.Limits == nil {
			j.Limits = make(map[string]quotaJSON)
		}
		j.Limits["per_"+q.Word()] = quotaJSON{Limit: q.Limit, Used: q.Used, Left: q.Left}
	}
	for _, b := range s.Breakers {
		bj := breakerJSON{Provider: b.Name, State: breakerWord(b), Reason: b.Reason}
		if b.Open {
			bj.Until = b.Until.UTC()
		}
		j.Breakers = append(j.Breakers, bj)
	}
	return j
}

func hostRow(s gate.HostState) []string {
	inFlight := count(int64(s.InFlight))
	if s.MaxInFlight > 0 {
		inFlight += "/" + count(int64(s.MaxInFlight))
	}
	var limits, breakers []string
	for _, q := range s.Quotas {
		text := fmt.Sprintf("%s/%s per %s", count(int64(q.Used)), count(int64(q.Limit)), q.Word())
		if q.Window >= time.Hour {
			text += fmt.Sprintf(" (%s left)", count(int64(q.Left)))
		}
		limits = append(limits, text)
	}
	for _, b := range s.Breakers {
		text := fmt.Sprintf("%s: %s, %s", b.Name, breakerWord(b), b.Reason)
		if b.Open {
			text += ", until " + moment(b.Until)
		}
		breakers = append(breakers, text)
	}
	return []string{
		s.Host, count(int64(s.Waiting)), inFlight, orDash(strings.Join(limits, ", ")),
		moment(s.NotBefore), moment(s.LastLimited), orDash(strings.Join(breakers, "; ")),
	}
}

// breakerWord says how a breaker that is not closed stands.
func breakerWord(b gate.BreakerState) string {
	if b.Open {
		return "open"
	}
	return "trying"
}

// moment writes a time for people.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}
