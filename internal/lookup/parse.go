package lookup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/internal/nearest"
)

// maxDefinitionBytes bounds a definition's file.
const maxDefinitionBytes = 256 << 10

// Problem is one thing that is wrong with a definition.
type Problem struct {
	File string
	Line int
	// Text says what is wrong and what to write.
	Text string
}

// Error returns "file:line: text".
func (p *Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

var (
	providerName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	attributeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	secretName    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	envName       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerName    = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	yamlSyntax    = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
)

// Parse reads the YAML of one definition; file is its name in messages. A key
// it does not know is refused. The error joins every *Problem of the file.
func Parse(file string, data []byte) (*Definition, error) { return parse(file, data, nil) }

// parse is Parse with values of params that are not the defaults.
func parse(file string, data []byte, given map[string]string) (*Definition, error) {
	p := &parser{file: file, given: given, values: make(map[string]string)}
	root := p.document(data)
	if root == nil {
		return nil, errors.Join(p.problems...)
	}
	d := p.definition(root)
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b error) int {
			return a.(*Problem).Line - b.(*Problem).Line //nolint:errorlint // problems holds *Problem alone
		})
		return nil, errors.Join(p.problems...)
	}
	d.file, d.data, d.given, d.source256 = file, data, given, p.hash(data)
	return d, nil
}

type parser struct {
	file     string
	problems []error
	// given and values are those of params by name; given is nil until a user
	// chose.
	given, values map[string]string
}

func (p *parser) definition(root *yaml.Node) *Definition {
	d := &Definition{Timeout: DefaultTimeout, MaxBytes: DefaultMaxBytes}
	d.Pictures.Max = DefaultMaxPictures
	asks := p.asks(root)
	p.mapping(root, "",
		field{"name", true, func(n *yaml.Node) {
			d.Name = p.matching(n, "name", providerName, "a-z, 0-9, _ and -, at most 32, a letter or digit first")
		}},
		field{"description", true, func(n *yaml.Node) { d.Description = p.line(n, "description") }},
		field{"params", false, func(n *yaml.Node) { p.params(n, d) }},
		field{"lookup", false, func(n *yaml.Node) { p.choice(n, "lookup", "none") }},
		field{"homepage", false, func(n *yaml.Node) { d.Homepage = p.webPage(n, "homepage") }},
		field{"base_url", false, func(n *yaml.Node) {
			s := p.line(n, "base_url")
			if s == "" {
				return
			}
			base, err := parseBaseURL(p.fillBase(n, s))
			if err != nil {
				p.failf(n, "base_url %v", err)
				base = s // said once is enough: {base} has a value
			}
			d.BaseURL = base
		}},
		field{"contact", false, func(n *yaml.Node) {
			d.ContactRequired = p.choice(n, "contact", "optional", "required") == "required"
		}},
		field{"secrets", false, func(n *yaml.Node) { p.secrets(n, d) }},
		field{"request", asks, func(n *yaml.Node) { p.request(n, d) }},
		field{"answer", asks, func(n *yaml.Node) { d.answer = p.answer(n, "answer") }},
		field{"batch", false, func(n *yaml.Node) {
			if d.batch = p.batch(n); len(d.url.columns()) > 0 {
				p.failf(n, "batch asks about many names in one request, and {column.X} in request.url about one: leave one of them out")
			}
		}},
		field{"then", false, func(n *yaml.Node) {
			if d.then = p.then(n, d); d.batch != nil {
				p.failf(n, "then asks about one name and batch about many: leave one of them out")
			}
		}},
		field{"next", false, func(n *yaml.Node) {
			if d.next = p.next(n, d); d.batch != nil {
				p.failf(n, "next asks about one name and batch about many: leave one of them out")
			}
		}},
		field{"attributes", false, func(n *yaml.Node) { p.attributes(n, d) }},
		field{"pictures", true, func(n *yaml.Node) { p.pictures(n, d, asks) }},
		field{"licence", false, func(n *yaml.Node) { d.licence = p.text(n, "licence") }},
		field{"attribution", false, func(n *yaml.Node) { d.attribution = p.text(n, "attribution") }},
		field{"source", false, func(n *yaml.Node) { d.source = p.source(n, d) }},
		field{"limits", false, func(n *yaml.Node) {
			p.mapping(n, "limits",
				field{"lookup", false, func(n *yaml.Node) { d.Limits.Lookup = p.limits(n, "limits.lookup") }},
				field{"anonymous", false, func(n *yaml.Node) {
					if !slices.ContainsFunc(d.Secrets, func(s Secret) bool { return s.Optional }) {
						p.failf(n, "limits.anonymous never holds: it is for a service with an optional secret")
					}
					d.Limits.Anonymous = p.limits(n, "limits.anonymous")
				}},
				field{"picture", false, func(n *yaml.Node) { d.Limits.Picture = p.limits(n, "limits.picture") }},
			)
		}},
		field{"tls", false, func(n *yaml.Node) { d.TLS = p.tls(n) }},
		field{"timeout", false, func(n *yaml.Node) { d.Timeout = p.duration(n, "timeout") }},
		field{"max_bytes", false, func(n *yaml.Node) { d.MaxBytes = p.size(n, "max_bytes") }},
		field{"samples", false, func(n *yaml.Node) { p.samples(n, d) }},
	)
	return d
}

// asks reports whether the definition at root has a lookup, and refuses what
// belongs to one where it has none.
func (p *parser) asks(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		return true
	}
	keys := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(root.Content); i += 2 {
		keys[root.Content[i].Value] = root.Content[i+1]
	}
	if n := keys["lookup"]; n == nil || n.Value != "none" {
		return true
	}
	for _, key := range []string{"request", "answer", "then", "next", "batch", "secrets", "samples"} {
		if n := keys[key]; n != nil {
			p.failf(n, "%s belongs to a lookup, and lookup says none: leave one of them out", key)
		}
	}
	return false
}

func (p *parser) secrets(n *yaml.Node, d *Definition) {
	for _, pair := range p.pairs(n, "secrets") {
		s := Secret{Name: pair.key.Value}
		where := "secrets." + s.Name
		if !secretName.MatchString(s.Name) {
			p.failf(pair.key, "secrets: %q is no name for a secret: write a-z, 0-9 and _, a letter first", s.Name)
			continue
		}
		p.mapping(pair.value, where,
			field{"env", false, func(n *yaml.Node) {
				s.Env = p.matching(n, where+".env", envName, "the name of an environment variable")
			}},
			field{"file", false, func(n *yaml.Node) { s.File = p.line(n, where+".file") }},
			field{"optional", false, func(n *yaml.Node) { s.Optional = p.choice(n, where+".optional", "false", "true") == "true" }},
		)
		if s.Env == "" && s.File == "" && pair.value.Kind == yaml.MappingNode {
			p.failf(pair.key, "%s says not where it comes from: write env: VARIABLE or file: PATH", where)
		}
		d.Secrets = append(d.Secrets, s)
	}
}

func (p *parser) request(n *yaml.Node, d *Definition) {
	p.mapping(n, "request",
		field{"url", true, func(n *yaml.Node) {
			s := p.line(n, "request.url")
			if s == "" {
				return
			}
			t, err := parseRowTemplate(p.template(n, "request.url", s))
			switch {
			case err != nil:
				p.failf(n, "request.url: %v", err)
			case t.base && d.BaseURL == "":
				p.failf(n, "request.url uses {base}: say what it stands for in base_url, at the top of the file")
			case !t.hasHole():
				p.failf(n, "request.url does not ask about a name: put {name} into its path or query")
			}
			d.url = t
		}},
		field{"headers", false, func(n *yaml.Node) {
			for _, pair := range p.pairs(n, "request.headers") {
				p.header(pair, d)
			}
		}},
	)
}

// ownHeaders are set by us or by the connection.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authorization",
	"Referer", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
}

func (p *parser) header(pair pair, d *Definition) {
	name := http.CanonicalHeaderKey(pair.key.Value)
	value := p.line(pair.value, "request.headers."+name)
	switch {
	case !headerName.MatchString(pair.key.Value):
		p.failf(pair.key, "request.headers: %q is no name for a header", pair.key.Value)
		return
	case name == "User-Agent":
		p.failf(pair.key, "request.headers: User-Agent is ours: set --contact, which is made part of it")
		return
	case slices.Contains(ownHeaders, name):
		p.failf(pair.key, "request.headers: %s is set by the connection: leave it out", name)
		return
	}
	h := header{name: name, before: value}
	if before, rest, ok := strings.Cut(value, "${"); ok {
		inner, after, closed := strings.Cut(rest, "}")
		known := make([]string, len(d.Secrets))
		for i, s := range d.Secrets {
			known[i] = s.Name
		}
		switch {
		case !closed:
			p.failf(pair.value, `request.headers.%s: a "${" has no "}": write ${name}`, name)
		case strings.Contains(after, "${"):
			p.failf(pair.value, "request.headers.%s holds two secrets: write one", name)
		case !slices.Contains(known, inner):
			p.failf(pair.value, "request.headers.%s: no secret %q: declare it as secrets: {%s: {env: VARIABLE}}", name, inner, inner)
		}
		h.before, h.secret, h.after = before, inner, after
	} else if holdsSecret(name) {
		p.failf(pair.value, "request.headers.%s holds a secret in plain text: write ${name} and declare it as secrets: {name: {env: VARIABLE}}", name)
	}
	d.headers = append(d.headers, h)
}

// holdsSecret says whether a header of this name is there to hold a secret.
func holdsSecret(name string) bool {
	name = strings.ToLower(name)
	return name == "authorization" || name == "cookie" ||
		strings.Contains(name, "token") || strings.Contains(name, "secret") ||
		strings.HasSuffix(name, "api-key") || strings.HasSuffix(name, "apikey")
}

func (p *parser) answer(n *yaml.Node, where string) answerRules {
	a := answerRules{where: where}
	p.mapping(n, where,
		field{"not_found", false, func(n *yaml.Node) {
			where := where + ".not_found"
			p.mapping(n, where,
				field{"status", false, func(n *yaml.Node) {
					for _, item := range p.items(n, where+".status") {
						s := p.count(item, where+".status")
						if !mayMeanNotFound(s) {
							p.failf(item, "%s.status: %d cannot mean that a name is unknown: write 404, 410 or the like", where, s)
							continue
						}
						a.notFoundStatus = append(a.notFoundStatus, s)
					}
				}},
				field{"html", false, func(n *yaml.Node) {
					a.notFoundHTML = p.choice(n, where+".html", "blocked", "allow") == "allow"
				}},
				field{"when", false, func(n *yaml.Node) { a.notFound = p.conditions(n, where+".when") }},
			)
		}},
		field{"error", false, func(n *yaml.Node) {
			where := where + ".error"
			p.mapping(n, where,
				field{"when", false, func(n *yaml.Node) { a.failed = p.conditions(n, where+".when") }},
				field{"message", false, func(n *yaml.Node) { a.message = p.path(n, where+".message") }},
			)
		}},
		field{"expect", true, func(n *yaml.Node) { a.expect = p.conditions(n, where+".expect") }},
	)
	return a
}

// thenPrefix begins the paths that look into the second step's answer.
const thenPrefix = "then."

func (p *parser) then(n *yaml.Node, d *Definition) *secondStep {
	s := &secondStep{}
	p.mapping(n, "then",
		field{"path", true, func(n *yaml.Node) { s.path = p.path(n, "then.path") }},
		field{"url", true, func(n *yaml.Node) {
			if t := p.valueTemplate(n, "then.url", d); t != nil {
				s.url = *t
			}
		}},
		field{"redirects", false, func(n *yaml.Node) {
			s.crossOrigin = p.choice(n, "then.redirects", "same_origin", "anywhere") == "anywhere"
		}},
		field{"answer", true, func(n *yaml.Node) { s.answer = p.answer(n, "then.answer") }},
	)
	return s
}

// batch reads how many names are asked about in one request.
func (p *parser) batch(n *yaml.Node) *batch {
	b := &batch{separator: "|"}
	p.mapping(n, "batch",
		field{"max", true, func(n *yaml.Node) { b.max = p.countTo(n, "batch.max", maxTogether) }},
		field{"separator", false, func(n *yaml.Node) { b.separator = p.line(n, "batch.separator") }},
		field{"separator_in_name", false, func(n *yaml.Node) {
			b.barred = p.choice(n, "batch.separator_in_name", "alone", "not_found") == "not_found"
		}},
		field{"records", true, func(n *yaml.Node) { b.records = p.path(n, "batch.records") }},
		field{"name", true, func(n *yaml.Node) { b.name = p.path(n, "batch.name") }},
		field{"renamed", false, func(n *yaml.Node) {
			for _, item := range p.items(n, "batch.renamed") {
				r := renaming{from: "from", to: "to"}
				p.mapping(item, "batch.renamed",
					field{"list", true, func(n *yaml.Node) { r.list = p.path(n, "batch.renamed.list") }},
					field{"from", false, func(n *yaml.Node) { r.from = p.path(n, "batch.renamed.from") }},
					field{"to", false, func(n *yaml.Node) { r.to = p.path(n, "batch.renamed.to") }},
					field{"encoded", false, func(n *yaml.Node) { r.encoded = p.path(n, "batch.renamed.encoded") }},
				)
				b.renamed = append(b.renamed, r)
			}
		}},
		field{"missing", false, func(n *yaml.Node) {
			b.missing = p.choice(n, "batch.missing", "bad_answer", "not_found") == "not_found"
		}},
		field{"answer", true, func(n *yaml.Node) { b.answer = p.answer(n, "batch.answer") }},
	)
	return b
}

// next reads how further pages are asked for.
func (p *parser) next(n *yaml.Node, d *Definition) *nextRule {
	r := &nextRule{pages: defaultPages}
	p.mapping(n, "next",
		field{"path", false, func(n *yaml.Node) { r.path = p.path(n, "next.path") }},
		field{"count", false, func(n *yaml.Node) { r.count = p.path(n, "next.count") }},
		field{"url", false, func(n *yaml.Node) {
			s := p.line(n, "next.url")
			if s == "" {
				return
			}
			t, err := parseNextTemplate(p.template(n, "next.url", s))
			switch {
			case err != nil:
				p.failf(n, "next.url: %v", err)
				return
			case t.base && d.BaseURL == "":
				p.failf(n, "next.url uses {base}: say what it stands for in base_url, at the top of the file")
				return
			}
			r.url = &t
			at, err := t.origin(d.BaseURL)
			if here, herr := d.url.origin(d.BaseURL); len(d.url.parts) > 0 && err == nil && herr == nil && at.Scheme+at.Host != here.Scheme+here.Host {
				p.failf(n, "next.url goes to %s and request.url to %s: pages come from one host", at.Host, here.Host)
			}
		}},
		field{"until", false, func(n *yaml.Node) { r.until = p.conditions(n, "next.until") }},
		field{"pages", false, func(n *yaml.Node) { r.pages = p.countTo(n, "next.pages", maxPages) }},
	)
	switch {
	case n.Kind != yaml.MappingNode:
	case (r.path == "") == (r.count == ""):
		p.failf(n, "next: write path, which leads to the next page, or count, which says how many this page had")
	case r.count != "" && r.url == nil:
		p.failf(n, "next.count makes a value: write the url with {value} in it that asks from there on")
	}
	return r
}

// valueTemplate returns a URL template that is filled from an answer, or nil.
func (p *parser) valueTemplate(n *yaml.Node, where string, d *Definition) *urlTemplate {
	s := p.line(n, where)
	if s == "" {
		return nil
	}
	t, err := parseValueTemplate(p.template(n, where, s))
	switch {
	case err != nil:
		p.failf(n, "%s: %v", where, err)
		return nil
	case t.base && d.BaseURL == "":
		p.failf(n, "%s uses {base}: say what it stands for in base_url, at the top of the file", where)
		return nil
	}
	return &t
}

// mayMeanNotFound leaves out what says something about us or about the
// moment, so that no definition can burn names during an outage.
func mayMeanNotFound(status int) bool {
	switch status {
	case 204:
		return true
	case 401, 403, 407, 408, 425, 429:
		return false
	}
	return status >= 400 && status < 500
}

func (p *parser) conditions(n *yaml.Node, where string) []condition {
	var cs []condition
	for _, item := range p.items(n, where) {
		var c condition
		rules := 0
		p.mapping(item, where,
			field{"path", true, func(n *yaml.Node) { c.path = p.path(n, where+".path") }},
			field{"is", false, func(n *yaml.Node) {
				rules++
				c.is = p.choice(n, where+".is", "empty", "missing", "present")
			}},
			field{"equals", false, func(n *yaml.Node) {
				if rules++; p.scalar(n, where+".equals") {
					c.equals = &n.Value
				}
			}},
		)
		if item.Kind == yaml.MappingNode && rules != 1 {
			p.failf(item, "%s: write one of is: empty, is: missing, is: present or equals: VALUE", where)
		}
		cs = append(cs, c)
	}
	return cs
}

func (p *parser) attributes(n *yaml.Node, d *Definition) {
	for _, pair := range p.pairs(n, "attributes") {
		name := pair.key.Value
		if !attributeName.MatchString(name) {
			p.failf(pair.key, "attributes: %q is no name for an attribute: write letters, digits, _ . and -, at most 64", name)
			continue
		}
		d.attributes = append(d.attributes, attributeRule{name, p.path(pair.value, "attributes."+name)})
	}
}

func (p *parser) pictures(n *yaml.Node, d *Definition, asks bool) {
	p.mapping(n, "pictures",
		field{"url", !asks, func(n *yaml.Node) {
			if asks {
				p.failf(n, "pictures.url is for a definition with lookup: none; this one has pictures.from")
				return
			}
			p.readDirect(n, d)
			d.Pictures.from = append(d.Pictures.from, []pictureRule{{path: pictureAt}})
		}},
		field{"from", asks, func(n *yaml.Node) {
			for _, item := range p.items(n, "pictures.from") {
				if item.Kind != yaml.SequenceNode {
					d.Pictures.from = append(d.Pictures.from, []pictureRule{p.pictureRule(item, d)})
					continue
				}
				var candidates []pictureRule
				for _, c := range p.items(item, "pictures.from") {
					candidates = append(candidates, p.pictureRule(c, d))
				}
				d.Pictures.from = append(d.Pictures.from, candidates)
			}
		}},
		field{"max", false, func(n *yaml.Node) {
			d.Pictures.Max, d.Pictures.maxWritten = p.countTo(n, "pictures.max", MaxPictures), true
		}},
		field{"relative", false, func(n *yaml.Node) {
			d.Pictures.resolveRelative = p.choice(n, "pictures.relative", "refuse", "resolve") == "resolve"
		}},
		field{"auth", false, func(n *yaml.Node) {
			if d.Pictures.SameOriginAuth = p.choice(n, "pictures.auth", "none", "same_origin") == "same_origin"; d.Pictures.SameOriginAuth && !asks {
				p.failf(n, "pictures.auth: there is no lookup whose headers could go along")
			}
		}},
		field{"robots", false, func(n *yaml.Node) {
			d.Pictures.IgnoreRobots = p.choice(n, "pictures.robots", "honour", "ignore") == "ignore"
		}},
		field{"allow", false, func(n *yaml.Node) {
			for _, item := range p.items(n, "pictures.allow") {
				a := strings.ToLower(p.line(item, "pictures.allow"))
				if a == LookupOrigin && !asks {
					p.failf(item, "pictures.allow: there is no lookup, so there is no %s: write host:port", LookupOrigin)
				}
				if a != "" && !isException(a) {
					p.failf(item, "pictures.allow: %q is no exception: write host:port, a CIDR such as 10.1.0.0/16, or %s", a, LookupOrigin)
				}
				d.Pictures.Allow = append(d.Pictures.Allow, a)
			}
		}},
	)
}

// pictureRule reads a path, or a path and a template for what stands there.
func (p *parser) pictureRule(n *yaml.Node, d *Definition) pictureRule {
	var r pictureRule
	if n.Kind != yaml.MappingNode {
		r.path = p.path(n, "pictures.from")
		return r
	}
	p.mapping(n, "pictures.from",
		field{"path", true, func(n *yaml.Node) { r.path = p.path(n, "pictures.from.path") }},
		field{"url", true, func(n *yaml.Node) { r.template = p.valueTemplate(n, "pictures.from.url", d) }},
	)
	return r
}

func isException(s string) bool {
	if s == LookupOrigin {
		return true
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, "*/@?# ") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

func (p *parser) text(n *yaml.Node, where string, more ...field) text {
	var t text
	if n.Kind != yaml.MappingNode {
		t.literal = p.line(n, where)
		return t
	}
	p.mapping(n, where, append([]field{
		{"path", true, func(n *yaml.Node) { t.path = p.path(n, where+".path") }},
		{"otherwise", false, func(n *yaml.Node) { t.literal = p.line(n, where+".otherwise") }},
	}, more...)...)
	return t
}

// source is a text whose literal is a URL template for the name, and whose
// path may have one for what stands there.
func (p *parser) source(n *yaml.Node, d *Definition) text {
	var made *urlTemplate
	t := p.text(n, "source", field{"url", false, func(n *yaml.Node) { made = p.valueTemplate(n, "source.url", d) }})
	t.made = made
	if t.literal == "" {
		return t
	}
	u, err := parseTemplate(p.template(n, "source", t.literal))
	switch {
	case err != nil:
		p.failf(n, "source: %v", err)
	case u.base && d.BaseURL == "":
		p.failf(n, "source uses {base}: say what it stands for in base_url")
	}
	t.literal, t.template = "", &u
	return t
}

func (p *parser) limits(n *yaml.Node, where string) Limits {
	var l Limits
	p.mapping(n, where,
		field{"per_second", false, func(n *yaml.Node) { l.PerSecond = p.count(n, where+".per_second") }},
		field{"per_minute", false, func(n *yaml.Node) { l.PerMinute = p.count(n, where+".per_minute") }},
		field{"per_hour", false, func(n *yaml.Node) { l.PerHour = p.count(n, where+".per_hour") }},
		field{"per_day", false, func(n *yaml.Node) { l.PerDay = p.count(n, where+".per_day") }},
		field{"in_flight", false, func(n *yaml.Node) { l.InFlight = p.count(n, where+".in_flight") }},
	)
	return l
}

func (p *parser) tls(n *yaml.Node) TLS {
	var t TLS
	p.mapping(n, "tls",
		field{"ca_file", false, func(n *yaml.Node) { t.CAFile = p.line(n, "tls.ca_file") }},
		field{"cert_file", false, func(n *yaml.Node) { t.CertFile = p.line(n, "tls.cert_file") }},
		field{"key_file", false, func(n *yaml.Node) { t.KeyFile = p.line(n, "tls.key_file") }},
	)
	if (t.CertFile == "") != (t.KeyFile == "") {
		p.failf(n, "tls: a client certificate needs both cert_file and key_file")
	}
	return t
}

func (p *parser) samples(n *yaml.Node, d *Definition) {
	for _, item := range p.items(n, "samples") {
		s := Sample{Line: item.Line}
		p.mapping(item, "samples",
			field{"name", true, func(n *yaml.Node) { s.Name = p.line(n, "samples.name") }},
			field{"file", true, func(n *yaml.Node) { s.File = p.sampleFile(n, "samples.file") }},
			field{"then", false, func(n *yaml.Node) { s.Then = p.sampleFile(n, "samples.then") }},
			field{"verdict", true, func(n *yaml.Node) {
				switch p.choice(n, "samples.verdict", "found", "not_found", "no_picture") {
				case "found":
					s.Verdict = Found
				case "not_found":
					s.Verdict = NotFound
				case "no_picture":
					s.Verdict = NoPicture
				}
			}},
		)
		d.Samples = append(d.Samples, s)
	}
}

func (p *parser) sampleFile(n *yaml.Node, where string) string {
	s := p.line(n, where)
	if s != "" && (path.IsAbs(s) || path.Clean(s) != s || strings.HasPrefix(s, "..") || strings.Contains(s, `\`)) {
		p.failf(n, "%s: %q is no path below the definition's folder: write samples/NAME.http", where, s)
	}
	return s
}

// The rest reads YAML nodes of one shape each and records what is wrong.

func (p *parser) failf(n *yaml.Node, format string, args ...any) {
	p.problems = append(p.problems, &Problem{File: p.file, Line: n.Line, Text: fmt.Sprintf(format, args...)})
}

// document returns the one mapping that data holds, or nil.
func (p *parser) document(data []byte) *yaml.Node {
	here := &yaml.Node{Line: 1}
	if len(data) > maxDefinitionBytes {
		p.failf(here, "holds %d bytes, a definition at most %d", len(data), maxDefinitionBytes)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Value == "") {
		p.failf(here, "is empty: write at least name, description, request, answer and pictures")
		return nil
	}
	if err == nil {
		if e := dec.Decode(&more); e == nil {
			p.failf(&more, "holds a second document: write each definition to a file of its own")
			return nil
		} else if !errors.Is(e, io.EOF) {
			err = e
		}
	}
	if err != nil {
		m := yamlSyntax.FindStringSubmatch(err.Error())
		if m == nil {
			p.failf(here, "%v", err)
			return nil
		}
		if line, err := strconv.Atoi(m[1]); err == nil {
			here.Line = line
		}
		p.failf(here, "is no YAML: %s (text with { } : or # in it stands in quotes, and lines are indented by spaces)", m[2])
		return nil
	}
	return doc.Content[0]
}

type field struct {
	key      string
	required bool
	read     func(*yaml.Node)
}

// mapping reads the fields in their order here, whatever the file's, and
// refuses all other keys.
func (p *parser) mapping(n *yaml.Node, where string, fields ...field) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	values := map[string]*yaml.Node{}
	var meant []string
	for _, pair := range p.pairs(n, where) {
		if slices.Contains(known, pair.key.Value) {
			values[pair.key.Value] = pair.value
			continue
		}
		hint := "known here: " + strings.Join(known, ", ")
		if k := nearest.Word(pair.key.Value, known); k != "" {
			hint = fmt.Sprintf("did you mean %q?", k)
			meant = append(meant, k)
		}
		p.failf(pair.key, "unknown key %q: %s", join(where, pair.key.Value), hint)
	}
	for _, f := range fields {
		if v := values[f.key]; v != nil {
			f.read(v)
		} else if f.required && n.Kind == yaml.MappingNode && !slices.Contains(meant, f.key) {
			p.failf(n, "%s is missing", join(where, f.key))
		}
	}
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

type pair struct{ key, value *yaml.Node }

// pairs returns the keys and values of a mapping in the file's order.
func (p *parser) pairs(n *yaml.Node, where string) []pair {
	if n.Kind != yaml.MappingNode {
		if where == "" {
			where = "the file"
		}
		p.failf(n, "%s must be a mapping: write key: value", where)
		return nil
	}
	seen := map[string]int{}
	var pairs []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			p.failf(k, "%s: a key must be a word", join(where, "?"))
		case seen[k.Value] > 0:
			p.failf(k, "%s stands here and on line %d: keep one", join(where, k.Value), seen[k.Value])
		default:
			seen[k.Value] = k.Line
			pairs = append(pairs, pair{k, v})
		}
	}
	return pairs
}

func (p *parser) items(n *yaml.Node, where string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		p.failf(n, "%s must be a list with at least one item: write [item]", where)
		return nil
	}
	return n.Content
}

func (p *parser) scalar(n *yaml.Node, where string) bool {
	if n.Kind == yaml.AliasNode {
		p.failf(n, "%s is a YAML alias: write the value itself", where)
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.failf(n, "%s must be a single value", where)
		return false
	}
	return true
}

// line returns one line of text, "" where n is none.
func (p *parser) line(n *yaml.Node, where string) string {
	if !p.scalar(n, where) {
		return ""
	}
	s := strings.TrimSpace(n.Value)
	if s == "" || len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		p.failf(n, "%s must be one line of 1 to 1024 bytes", where)
		return ""
	}
	return s
}

func (p *parser) matching(n *yaml.Node, where string, re *regexp.Regexp, want string) string {
	s := p.line(n, where)
	if s != "" && !re.MatchString(s) {
		p.failf(n, "%s: %q will not do: write %s", where, s, want)
	}
	return s
}

func (p *parser) webPage(n *yaml.Node, where string) string {
	s := p.line(n, where)
	if s != "" && !isWebPage(s) {
		p.failf(n, "%s: %q is no http or https URL", where, s)
	}
	return s
}

func (p *parser) choice(n *yaml.Node, where string, words ...string) string {
	if !p.scalar(n, where) {
		return ""
	}
	if !slices.Contains(words, n.Value) {
		p.failf(n, "%s: %q will not do: write %s", where, n.Value, strings.Join(words, " or "))
		return ""
	}
	return n.Value
}

// path returns a gjson path.
func (p *parser) path(n *yaml.Node, where string) string {
	s := p.line(n, where)
	if strings.Contains(s, "@fromstr") {
		// It parses text inside the answer, whose depth nobody checked.
		p.failf(n, "%s: @fromstr is not allowed", where)
	}
	if flaw := flawOfPath(s); flaw != "" {
		p.failf(n, "%s: the path %q has %s", where, s, flaw)
	}
	return s
}

// flawOfPath says what makes s no gjson path, "" where nothing does: gjson
// itself takes any text, and finds nothing by a wrong one.
func flawOfPath(s string) string {
	closing := map[byte]byte{'(': ')', '[': ']', '{': '}'}
	var open []byte // the brackets that are to come, innermost last
	quoted, key := false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		inside := len(open) > 0
		switch {
		case c == '\\':
			i++
			key = true
		case quoted || inside && c == '"':
			quoted = quoted != (c == '"')
		case closing[c] != 0:
			open, key = append(open, closing[c]), true
		case inside && c == open[len(open)-1]:
			open = open[:len(open)-1]
		case c == ')' || c == ']' || c == '}':
			return fmt.Sprintf("a %c that closes nothing", c)
		case !inside && (c == '.' || c == '|'):
			if !key {
				return fmt.Sprintf("nothing before the %c at %d: write a.b", c, i+1)
			}
			key = false
		default:
			key = true
		}
	}
	switch {
	case quoted:
		return "a quote that is not closed"
	case len(open) > 0:
		return fmt.Sprintf("no %c to close it", open[len(open)-1])
	case !key && s != "":
		return "nothing behind its last dot"
	}
	return ""
}

func (p *parser) count(n *yaml.Node, where string) int {
	if !p.scalar(n, where) {
		return 0
	}
	c, err := strconv.Atoi(n.Value)
	if err != nil || c < 1 || c > 1_000_000_000 {
		p.failf(n, "%s: %q is no whole number from 1 up", where, n.Value)
		return 0
	}
	return c
}

func (p *parser) countTo(n *yaml.Node, where string, most int) int {
	c := p.count(n, where)
	if c > most {
		p.failf(n, "%s: %d is too many: write at most %d", where, c, most)
	}
	return c
}

func (p *parser) duration(n *yaml.Node, where string) time.Duration {
	if !p.scalar(n, where) {
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < time.Millisecond || d > 10*time.Minute {
		p.failf(n, "%s: %q is no time from 1ms to 10m: write 10s", where, n.Value)
	}
	return d
}

func (p *parser) size(n *yaml.Node, where string) int64 {
	if !p.scalar(n, where) {
		return 0
	}
	digits, unit := n.Value, int64(1)
	if s, ok := strings.CutSuffix(digits, "KiB"); ok {
		digits, unit = s, 1<<10
	} else if s, ok := strings.CutSuffix(digits, "MiB"); ok {
		digits, unit = s, 1<<20
	}
	c, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
	if err != nil || c < 1 || c*unit > 64<<20 {
		p.failf(n, "%s: %q is no size from 1 to 64MiB: write 1MiB", where, n.Value)
	}
	return c * unit
}
