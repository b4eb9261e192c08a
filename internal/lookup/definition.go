package lookup

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The sizes that hold where a definition does not say otherwise.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxBytes    = 1 << 20
	DefaultMaxPictures = 10
)

// Definition describes one JSON HTTP API: how to ask it about a name, and
// where in its answer the record and the pictures are. It comes from Parse
// and is never changed afterwards, so goroutines may share it.
type Definition struct {
	// Name is the word a user chooses the provider by: [a-z0-9][a-z0-9_-]{0,31}.
	Name string
	// Description is one line for people.
	Description string
	// Homepage is where the service documents itself. May be empty.
	Homepage string
	// BaseURL is what {base} in the request's URL stands for, without a
	// slash at its end. Empty where the definition names no base.
	BaseURL string
	// ContactRequired says that the service's rules ask for a contact in the
	// User-Agent. Check holds the user to it.
	ContactRequired bool
	// Params are what a user may choose, in the file's order; see WithParams.
	Params []Param
	// Secrets are the secrets that the headers may use, in the file's order.
	Secrets []Secret
	// Pictures says where pictures are and who may be asked for them.
	Pictures Pictures
	// Limits are what the service allows.
	Limits ServiceLimits
	// TLS names the certificates for an in-house service.
	TLS TLS
	// Timeout bounds one lookup, from dial to the last byte.
	Timeout time.Duration
	// MaxBytes bounds the inflated answer.
	MaxBytes int64
	// Samples are the recorded answers, for tests without a network.
	Samples []Sample

	url         urlTemplate
	headers     []header
	answer      answerRules
	batch       *batch
	then        *secondStep
	next        *nextRule
	attributes  []attributeRule
	licence     text
	attribution text
	source      text

	// direct is set where there is no lookup.
	direct *direct

	// file and data are what the definition was read from, given the values of
	// params that are not the defaults, and otherBase says that BaseURL is
	// another than data has.
	file      string
	data      []byte
	given     map[string]string
	otherBase bool

	// source256 is the hash of what the definition was read from.
	source256 [32]byte
}

// Pictures says where in an answer the pictures are and how they may be
// fetched.
type Pictures struct {
	// Max bounds the pictures of one name; further ones are left out. A Query
	// may have a bound of its own.
	Max int
	// SameOriginAuth sends the lookup's headers and secrets along with a
	// picture's request, to the lookup's exact origin and nowhere else.
	SameOriginAuth bool
	// IgnoreRobots says that the service hands its pictures out to clients of
	// its API, whatever robots.txt asks of crawlers.
	IgnoreRobots bool
	// Allow lists the exceptions to the guard against private addresses and
	// odd ports: "host:port", a CIDR, or "lookup-origin". AllowedHosts
	// resolves the last.
	Allow []string

	from            [][]pictureRule
	resolveRelative bool
	maxWritten      bool // the definition itself says max
}

// TLS names files for a service whose certificate no public authority signed
// or that asks for one of ours. They serve the lookup's host and, by
// Pictures.SameOriginAuth, pictures from its origin. Empty fields mean the
// system's own.
type TLS struct {
	CAFile, CertFile, KeyFile string
}

// LookupOrigin is the word in Pictures.Allow that stands for the host and
// port the lookup itself goes to.
const LookupOrigin = "lookup-origin"

// pictureRule says where one candidate is: its URL stands at path, or is made
// by template from what stands there.
type pictureRule struct {
	path     string
	template *urlTemplate
}

// secondStep is a further request, with a value of the first answer.
type secondStep struct {
	path string
	url  urlTemplate
	// crossOrigin follows redirects to other origins, under the pictures' guard.
	crossOrigin bool
	answer      answerRules
}

type answerRules struct {
	where          string // the key that they stand under
	notFoundStatus []int
	notFoundHTML   bool        // such a status may come with a web page
	notFound       []condition // any
	failed         []condition // any
	expect         []condition // all
	message        string      // path of the service's own words for an error
}

type attributeRule struct{ name, path string }

// text is a value of the record: literal words, a URL template for the name,
// or a path with a literal to fall back on. made turns what stands at path
// into a URL.
type text struct {
	path     string
	literal  string
	template *urlTemplate
	made     *urlTemplate
}

// WithBaseURL returns a copy of d that asks base instead of its own base_url.
// It fails where base is no plain http or https URL, and where d's URL does
// not use {base}.
func (d *Definition) WithBaseURL(base string) (*Definition, error) {
	if !d.url.usesBase() && (d.Asks() || !d.direct.url.usesBase()) {
		return nil, fmt.Errorf("provider %s: its request.url does not use {base}, so its base URL cannot be set", d.Name)
	}
	base, err := parseBaseURL(base)
	if err != nil {
		return nil, fmt.Errorf("base URL of provider %s: %w", d.Name, err)
	}
	c := *d
	c.BaseURL, c.otherBase = base, true
	return &c, nil
}

// Origin returns scheme://host[:port] of every request that d makes, "" where
// it makes none. No name can change it.
func (d *Definition) Origin() string {
	if !d.Asks() {
		return ""
	}
	u, err := d.url.origin(d.BaseURL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// FollowsAnywhere says that d has a second step whose service redirects to
// other hosts, for which there is Options.Anywhere.
func (d *Definition) FollowsAnywhere() bool { return d.then != nil && d.then.crossOrigin }

// AllowedHosts returns Pictures.Allow with lookup-origin replaced by the
// host:port of the lookup.
func (d *Definition) AllowedHosts() []string {
	allowed := slices.Clone(d.Pictures.Allow)
	for i, a := range allowed {
		if a == LookupOrigin {
			allowed[i] = hostPort(d.Origin())
		}
	}
	return allowed
}

// LookupLimits returns the limits of the lookup host: Limits.Anonymous where
// the service has such and an optional secret is not set, else Limits.Lookup.
func (d *Definition) LookupLimits(secrets SecretFunc) Limits {
	if d.Limits.Anonymous == (Limits{}) {
		return d.Limits.Lookup
	}
	for _, s := range d.Secrets {
		if v, err := secrets(s); s.Optional && (err != nil || v == "") {
			return d.Limits.Anonymous
		}
	}
	return d.Limits.Lookup
}

// Check reports everything that must be set before d may be used and is not:
// the contact its service asks for and the secrets it cannot do without. Each
// problem says how to set it.
func (d *Definition) Check(contact string, secrets SecretFunc) error {
	var problems []error
	if err := d.CheckContact(contact); err != nil {
		problems = append(problems, err)
	}
	for _, s := range d.Secrets {
		if err := d.checkSecret(s, secrets); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (d *Definition) checkSecret(s Secret, secrets SecretFunc) error {
	v, err := secrets(s)
	switch {
	case err != nil:
		return fmt.Errorf("provider %s: secret %s: %w", d.Name, s.Name, err)
	case v == "" && !s.Optional:
		return fmt.Errorf("provider %s: secret %s is not set: %s", d.Name, s.Name, s.cure())
	}
	return nil
}

// CheckContact reports a contact that the service asks for and that is not set.
func (d *Definition) CheckContact(contact string) error {
	if d.ContactRequired && strings.TrimSpace(contact) == "" {
		return fmt.Errorf("provider %s: its service asks every client for a contact: set --contact you@example.org or HARVEST_CONTACT", d.Name)
	}
	return nil
}

// parseBaseURL returns s without a slash at its end, or what is wrong with it.
func parseBaseURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		// url.Parse's own words repeat the URL, and with it a password.
		return "", errors.New("is not a URL: write http://host:port or https://host")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Hostname() == "":
		return "", errors.New("is not an http or https URL: write http://host:port or https://host")
	case u.User != nil:
		return "", errors.New("holds a user or password: put the secret under secrets and use it in a header")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "", errors.New("holds a query or fragment: put the query into request.url")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// hostPort returns the host:port of an origin, with the scheme's own port
// where none is written.
func hostPort(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if h := u.Hostname(); strings.Contains(h, ":") {
		return "[" + h + "]:" + port
	}
	return u.Hostname() + ":" + port
}
