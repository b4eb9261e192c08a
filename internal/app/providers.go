package app

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/configs/providers"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/netguard"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/worker"
)

// maxRedirects is how many redirects lookups and pictures follow.
const maxRedirects = 5

// robotsTimeout bounds one look at a robots.txt: pictures wait for it.
const robotsTimeout = 10 * time.Second

// Catalogue reads every provider definition: the built-in ones, those of the
// user's folder, and those of the configuration file.
func Catalogue(s configs.Settings) (*lookup.Catalogue, error) {
	src := lookup.Sources{BuiltIn: providers.Files, Inline: s.Providers.Definitions}
	folder, explicit := s.Providers.Folder, s.Providers.Folder != ""
	if !explicit {
		base, err := os.UserConfigDir()
		if err == nil {
			folder = filepath.Join(base, "harvest", "providers")
		}
	}
	if folder != "" {
		switch _, err := os.Stat(folder); {
		case err == nil:
			src.Folder, src.FolderName = os.DirFS(folder), folder
		case explicit || !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("providers.folder: %w", err)
		}
	}
	c, err := lookup.NewCatalogue(src)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Providers.BaseURLs)) {
		if _, err := c.Get(name); err != nil {
			return nil, fmt.Errorf("providers.base_urls: %w", err)
		}
	}
	return c, nil
}

// Definition returns the definition of a provider, at the base URL that the
// settings name for it.
func Definition(s configs.Settings, c *lookup.Catalogue, name string) (*lookup.Definition, error) {
	entry, err := c.Get(name)
	if err != nil {
		return nil, err
	}
	base, ok := s.Providers.BaseURLs[name]
	if !ok {
		return entry.Definition, nil
	}
	def, err := entry.WithBaseURL(base)
	if err != nil {
		return nil, fmt.Errorf("providers.base_urls.%s: %w", name, err)
	}
	return def, nil
}

// UserAgent is what every request says of itself.
func UserAgent(contact string) string {
	if contact == "" {
		return "harvest/" + Version()
	}
	return fmt.Sprintf("harvest/%s (+%s)", Version(), contact)
}

// LookupClient returns a client for the service that def describes. Errors
// say which contact or secret is missing.
func LookupClient(s configs.Settings, def *lookup.Definition) (*lookup.Client, error) {
	ex, err := fetch.New(lookupConfig(s, def))
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", def.Name, err)
	}
	opts := lookup.Options{Contact: s.Contact}
	if def.FollowsAnywhere() {
		guard, err := pictureGuard(s, def)
		if err != nil {
			return nil, err
		}
		cfg := lookupConfig(s, def)
		// Where it redirects to is a stranger's choice, as a picture's URL is.
		cfg.SameOrigin, cfg.Guard, cfg.Proxy = false, guard, s.Picture.Proxy
		if opts.Anywhere, err = fetch.New(cfg); err != nil {
			return nil, fmt.Errorf("provider %s: %w", def.Name, err)
		}
	}
	return lookup.New(def, ex, opts)
}

// pictureGuard says which addresses the pictures of a provider may come from.
func pictureGuard(s configs.Settings, def *lookup.Definition) (*netguard.Guard, error) {
	guard, err := netguard.New(append(def.AllowedHosts(), s.Picture.Allow...), s.Picture.Ports...)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", def.Name, err)
	}
	return guard, nil
}

func lookupConfig(s configs.Settings, def *lookup.Definition) fetch.Config {
	return fetch.Config{
		UserAgent: UserAgent(s.Contact), Timeout: def.Timeout, MaxBytes: def.MaxBytes,
		MaxRedirects: maxRedirects, SameOrigin: true, MaxIdleConns: idleConns(s),
		// The lookup's URL is the operator's own, and so is the proxy on the
		// way there; what is local is asked directly all the same.
		Proxy:  fetch.ProxyEnvironment,
		CAFile: def.TLS.CAFile, CertFile: def.TLS.CertFile, KeyFile: def.TLS.KeyFile,
	}
}

// provider joins a definition's lookup and the guarded client for its
// pictures.
func provider(s configs.Settings, def *lookup.Definition) (*worker.Provider, error) {
	client, err := LookupClient(s, def)
	if err != nil {
		return nil, err
	}
	guard, err := pictureGuard(s, def)
	if err != nil {
		return nil, err
	}
	cfg := fetch.Config{
		UserAgent: UserAgent(s.Contact), Timeout: s.Picture.Timeout, MaxBytes: s.Picture.MaxBytes,
		MaxRedirects: maxRedirects, Guard: guard, MaxIdleConns: idleConns(s),
		Proxy: s.Picture.Proxy, InsecureHosts: s.Picture.InsecureHosts, CAFile: def.TLS.CAFile,
	}
	p := &worker.Provider{
		Host: host(def.Origin()), Service: client,
		LookupLimits: def.LookupLimits(lookup.SystemSecrets), PictureLimits: def.Limits.Picture,
	}
	if def.Together() > 1 {
		p.Together = client
	}
	p.Version = func() string { return serviceVersion(def) }
	p.Missing = def.Missing()
	if len(def.Params) > 0 {
		p.With = func(params results.Params) (*worker.Provider, error) {
			chosen, err := def.WithParams(params)
			if err != nil {
				return nil, err
			}
			with, err := provider(s, chosen)
			if err == nil {
				// The breaker is the provider's, whatever its params.
				with.Version = p.Version
			}
			return with, err
		}
	}
	if def.Pictures.SameOriginAuth {
		cfg.CertFile, cfg.KeyFile = def.TLS.CertFile, def.TLS.KeyFile
	}
	if p.Pictures, err = fetch.New(cfg); err != nil {
		return nil, fmt.Errorf("provider %s: %w", def.Name, err)
	}
	if m := s.Picture.Manners.Robots; m == robots.Always || m == robots.Public && !def.Pictures.IgnoreRobots {
		if p.Robots, err = robotsClient(cfg); err != nil {
			return nil, fmt.Errorf("provider %s: %w", def.Name, err)
		}
	}
	if s.Providers.Robots {
		p.LookupURL = func(q lookup.Query) (string, error) {
			r, err := client.Request(q)
			return r.URL, err
		}
		if p.LookupRobots, err = robotsClient(lookupConfig(s, def)); err != nil {
			return nil, fmt.Errorf("provider %s: %w", def.Name, err)
		}
	}
	return p, nil
}

// robotsClient returns a client for the robots.txt of the hosts that cfg is
// for. It shows no client certificate, and leaves the rest of a file that is
// too long where it is.
func robotsClient(cfg fetch.Config) (*fetch.Client, error) {
	cfg.Timeout = min(cfg.Timeout, robotsTimeout)
	cfg.MaxBytes, cfg.MaxIdleConns = 1<<40, 0
	cfg.CertFile, cfg.KeyFile, cfg.SameOrigin = "", "", false
	return fetch.New(cfg)
}

// honoursRobots says of which picture hosts the robots.txt counts.
func honoursRobots(s configs.Settings) func(host string) bool {
	if s.Picture.Manners.Robots == robots.Public {
		return gate.Public
	}
	return func(string) bool { return true }
}

// serviceVersion changes with the origin and the secrets of def. It stands in
// Redis, so it is too short to find a secret by.
func serviceVersion(def *lookup.Definition) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", def.Origin())
	for _, s := range def.Secrets {
		v, err := lookup.SystemSecrets(s)
		fmt.Fprintf(h, "%q %q %t", s.Name, v, err == nil) // never fails
	}
	return hex.EncodeToString(h.Sum(nil)[:2])
}

// providersFor returns every provider that this installation can use. A
// provider that lacks a contact or a secret is left out and reported, unless
// it is the one that was asked for.
func providersFor(s configs.Settings, c *lookup.Catalogue, wanted string, skipped func(name string, err error)) (map[string]*worker.Provider, error) {
	all := make(map[string]*worker.Provider)
	for _, name := range c.Names() {
		def, err := Definition(s, c, name)
		if err != nil {
			return nil, err
		}
		p, err := provider(s, def)
		if err != nil {
			if name == wanted {
				return nil, err
			}
			skipped(name, err)
			continue
		}
		all[name] = p
	}
	return all, nil
}

func idleConns(s configs.Settings) int {
	return max(s.Worker.Concurrency, s.Worker.Lookups, s.Worker.Pictures)
}

// host returns the host of an origin, with its port where that is given.
func host(origin string) string {
	_, h, _ := strings.Cut(origin, "://")
	return h
}
