package gate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/picharvest/picharvest/internal/netguard"
)

// Limits are what one host allows all processes together. 0 is no limit. They
// have the fields of lookup.Limits and can be converted.
type Limits struct {
	// PerSecond and PerMinute are spread: a second's requests evenly, a
	// minute's in tenths. PerHour and PerDay are quotas, to be used at once.
	PerSecond int `mapstructure:"per_second"`
	PerMinute int `mapstructure:"per_minute"`
	PerHour   int `mapstructure:"per_hour"`
	PerDay    int `mapstructure:"per_day"`
	// InFlight is how many requests may be under way at once.
	InFlight int `mapstructure:"in_flight"`
}

// window is one of the times over which requests are counted.
type window struct {
	name   string
	length time.Duration
	// parts is into how many bursts its requests are cut; 0: one request each.
	parts int
}

var windows = [4]window{
	{"second", time.Second, 0}, {"minute", time.Minute, 10}, {"hour", time.Hour, 1}, {"day", 24 * time.Hour, 1},
}

// rates returns the limits in the order of windows.
func (l Limits) rates() [4]int {
	return [4]int{l.PerSecond, l.PerMinute, l.PerHour, l.PerDay}
}

// burst returns how many of n requests in w may come at once, and the time
// that so many take.
func (w window) burst(n int) (int, time.Duration) {
	b := 1
	if w.parts > 0 {
		b = max(1, n/w.parts)
	}
	// Rounded up: the rest of a division would let one more in.
	return b, time.Duration((int64(w.length)*int64(b)+int64(n)-1)/int64(n)).Truncate(time.Microsecond) + time.Microsecond
}

// step returns the mean time between two requests at the highest rate that
// can be kept up.
func (l Limits) step() time.Duration {
	var step time.Duration
	for i, n := range l.rates() {
		if n > 0 {
			step = max(step, windows[i].length/time.Duration(n))
		}
	}
	return step
}

// Stricter returns the limits that keep to both l and m.
func (l Limits) Stricter(m Limits) Limits {
	least := func(a, b int) int {
		if a == 0 || b == 0 {
			return max(a, b)
		}
		return min(a, b)
	}
	return Limits{
		PerSecond: least(l.PerSecond, m.PerSecond), PerMinute: least(l.PerMinute, m.PerMinute),
		PerHour: least(l.PerHour, m.PerHour), PerDay: least(l.PerDay, m.PerDay),
		InFlight: least(l.InFlight, m.InFlight),
	}
}

// The largest limits that make sense: a day's grants are kept one by one.
const (
	maxRate     = 1_000_000
	maxInFlight = 10_000
)

// validate reports every bad limit under key.
func (l Limits) validate(key string) error {
	var errs []error
	for _, f := range []struct {
		name     string
		n, limit int
	}{
		{"per_second", l.PerSecond, maxRate}, {"per_minute", l.PerMinute, maxRate},
		{"per_hour", l.PerHour, maxRate}, {"per_day", l.PerDay, maxRate}, {"in_flight", l.InFlight, maxInFlight},
	} {
		if f.n < 0 || f.n > f.limit {
			errs = append(errs, fmt.Errorf("%s.%s is %d: give 1 to %d, or 0 for no limit", key, f.name, f.n, f.limit))
		}
	}
	return errors.Join(errs...)
}

// Config is the share of the settings that limits picture hosts, picture.*.
// What a provider says of its own hosts is not in it.
type Config struct {
	// Hosts gives the limits of hosts by name, name:port, or a pattern
	// *.domain, which means everything below domain. The longest that
	// matches holds, and a port counts more than none.
	Hosts map[string]Limits `mapstructure:"hosts"`
	// PublicHosts are the limits of every public host that Hosts does not
	// name. Default: 16 in flight.
	PublicHosts Limits `mapstructure:"public_hosts"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{PublicHosts: Limits{InFlight: 16}}
}

// Validate reports every problem by its key.
func (c Config) Validate() error {
	errs := []error{c.PublicHosts.validate("picture.public_hosts")}
	patterns := make([]string, 0, len(c.Hosts))
	for p := range c.Hosts {
		patterns = append(patterns, p)
	}
	slices.Sort(patterns)
	seen := make(map[string]string)
	for _, p := range patterns {
		key := "picture.hosts." + p
		if other, ok := seen[strings.ToLower(p)]; ok {
			errs = append(errs, fmt.Errorf("%s: is the same host as %s: keep one", key, other))
		}
		seen[strings.ToLower(p)] = p
		if err := checkPattern(p); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		errs = append(errs, c.Hosts[p].validate(key))
	}
	return errors.Join(errs...)
}

func checkPattern(p string) error {
	host, port := splitPort(strings.ToLower(p))
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%q is no port: write host:1 to host:65535", port)
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	name := strings.TrimPrefix(host, "*.")
	bad := name == "" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") ||
		strings.Contains(name, "..") || strings.ContainsAny(name, "*/@?#{}[]: \t")
	if bad {
		return errors.New("is no host: write images.example.org, images.example.org:8080 or *.example.org")
	}
	return nil
}

// For returns the limits of host, which may have a port. Hosts that are not
// public (this machine, private addresses, names without a domain) have none
// but those that Hosts gives them.
func (c Config) For(host string) Limits {
	host = strings.ToLower(host)
	name, port := splitPort(host)
	best, length := Limits{}, -1
	for p, l := range c.Hosts {
		pname, pport := splitPort(strings.ToLower(p))
		if pport != "" && pport != port {
			continue
		}
		suffix, wild := strings.CutPrefix(pname, "*")
		if pname != name && (!wild || !strings.HasSuffix(name, suffix)) {
			continue
		}
		n := 2 * len(pname)
		if !wild {
			n += 1 << 20
		}
		if pport != "" {
			n++
		}
		if n > length {
			best, length = l, n
		}
	}
	if length >= 0 || !Public(host) {
		return best
	}
	return c.PublicHosts
}

// Unmatched returns the hosts and patterns of c, in order, that match none of
// known.
func (c Config) Unmatched(known []string) []string {
	var unmatched []string
	for p := range c.Hosts {
		one := Config{Hosts: map[string]Limits{p: {InFlight: -1}}} // no limit that there is
		if !slices.ContainsFunc(known, func(host string) bool { return one.For(host).InFlight < 0 }) {
			unmatched = append(unmatched, p)
		}
	}
	slices.Sort(unmatched)
	return unmatched
}

// Public reports whether a host, which may have a port, is of the Internet at
// large: neither a private address nor a name without a public domain.
func Public(host string) bool {
	name, _ := splitPort(strings.ToLower(host))
	if a, err := netip.ParseAddr(name); err == nil {
		return netguard.Check(a) == nil
	}
	name = strings.TrimSuffix(name, ".")
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return false
	}
	switch name[dot+1:] {
	case "local", "internal", "localhost", "test", "lan", "home", "corp", "intranet", "private":
		return false
	}
	return !strings.HasSuffix(name, ".home.arpa")
}

// splitPort cuts the port off a host, and the brackets off an IPv6 address.
func splitPort(host string) (name, port string) {
	if h, p, err := net.SplitHostPort(host); err == nil {
		return h, p
	}
	return strings.Trim(host, "[]"), ""
}
