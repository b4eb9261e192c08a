// Package configs adds up the settings of all parts: it reads them from
// flags, environment, a file and the defaults, says where each came from, and
// reports all that is wrong with them at once. What a setting means and which
// values can work is the business of the package that owns it.
//
// config.yaml, which is part of the program, is both the defaults and the
// reference. Nothing below the command layer imports this package.
package configs

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/fetch"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/licence"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/netguard"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/web"
	"github.com/picharvest/picharvest/worker"
)

//go:embed config.yaml
var defaults []byte

// Default returns the commented config.yaml with every key and its default.
func Default() []byte { return slices.Clone(defaults) }

// Settings are all settings. Each field's key in files is its tag.
type Settings struct {
	// Data is the folder for what is kept on this machine. Default
	// ./harvest-data.
	Data string `mapstructure:"data"`
	// Contact is an address or page that the User-Agent names. Default: none.
	Contact string `mapstructure:"contact"`
	// Provider is the provider of batches that name none. Default: none.
	Provider string `mapstructure:"provider"`

	Redis     redisconn.Config       `mapstructure:"redis"`
	Storage   StorageSettings        `mapstructure:"storage"`
	Queue     enqueuer.Config        `mapstructure:"queue"`
	Refresh   enqueuer.RefreshConfig `mapstructure:"refresh"`
	Worker    worker.Config          `mapstructure:"worker"`
	Picture   PictureSettings        `mapstructure:"picture"`
	Providers ProvidersSettings      `mapstructure:"providers"`
	Web       web.Config             `mapstructure:"web"`
	Log       LogSettings            `mapstructure:"log"`
}

// StorageSettings say where pictures are kept.
type StorageSettings struct {
	// URL is a place as storage.ParseLocation reads it. Default: the folder
	// pictures in Settings.Data. Settings.PicturesLocation resolves it.
	URL string `mapstructure:"url"`
	// Names is how pictures are named, as storage.ParseNaming reads it. Default
	// readable.
	Names string `mapstructure:"names"`
	// Sidecar puts a JSON file beside each picture. Default false.
	Sidecar bool `mapstructure:"sidecar"`
}

// PictureSettings say how pictures are fetched and which are taken.
type PictureSettings struct {
	picture.Config `mapstructure:",squash"`

	// Timeout bounds one download, from DNS to the last byte. Default 30s.
	Timeout time.Duration `mapstructure:"timeout"`
	// Ports may be asked beside 80 and 443. Default: none.
	Ports []int `mapstructure:"ports"`
	// Allow lists exceptions for netguard.New. Default: none.
	Allow []string `mapstructure:"allow"`
	// Proxy is "", fetch.ProxyEnvironment or a URL. Default "": none.
	Proxy string `mapstructure:"proxy"`
	// InsecureHosts are the host:port whose certificate is not verified.
	// Default: none.
	InsecureHosts []string `mapstructure:"insecure_hosts"`

	// Licences are those that are taken.
	Licences licence.Config `mapstructure:",squash"`
	// Limits are what picture hosts allow all workers together.
	Limits gate.Config `mapstructure:",squash"`
	// Manners are what picture hosts may refuse.
	Manners robots.Config `mapstructure:",squash"`
}

// ProvidersSettings say where the definitions of providers are.
type ProvidersSettings struct {
	// Folder holds definitions of the user's own. Default "": the folder
	// harvest/providers of the user's configuration, if it exists;
	// Settings.ProvidersFolder resolves it.
	Folder string `mapstructure:"folder"`
	// Robots honours the robots.txt of lookup hosts. Default false.
	Robots bool `mapstructure:"robots"`
	// BaseURLs replaces the base_url of the providers it names.
	BaseURLs map[string]string `mapstructure:"base_urls"`
	// Definitions are those that stand in the file itself. Their messages
	// have the file's own line numbers where its form allows that.
	Definitions []lookup.Inline `mapstructure:"-"`
}

// LogSettings say what is logged and how.
type LogSettings struct {
	// Level is debug, info, warn, error, or auto: info for workers, warn for
	// commands. Default auto.
	Level string `mapstructure:"level"`
	// Format is text, json, or auto: text on a terminal, json elsewhere.
	// Default auto.
	Format string `mapstructure:"format"`
}

// PicturesLocation returns where the picture store is.
func (s Settings) PicturesLocation() (storage.Location, error) {
	if s.Storage.URL == "" {
		return storage.Location{Scheme: storage.SchemeFile, Folder: filepath.Join(s.Data, "pictures")}, nil
	}
	l, err := storage.ParseLocation(s.Storage.URL)
	if err != nil {
		return storage.Location{}, fmt.Errorf("storage.url: %w", err)
	}
	return l, nil
}

// PicturesFolder returns where the picture store is for people: its folder, or
// a URL without options.
func (s Settings) PicturesFolder() string {
	l, err := s.PicturesLocation()
	if err != nil {
		return "a place that cannot be read"
	}
	return l.String()
}

// ProvidersFolder returns the folder of the user's own definitions, "" where
// none is named and the default one does not exist.
func (s Settings) ProvidersFolder() string {
	if s.Providers.Folder != "" {
		return s.Providers.Folder
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	folder := filepath.Join(dir, "harvest", "providers")
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return ""
	}
	return folder
}

// Validate reports every problem of s by its key. It opens no file.
func (s Settings) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if s.Data == "" {
		bad("data is empty: give a folder")
	}
	if strings.ContainsFunc(s.Contact, unicode.IsControl) {
		bad("contact is more than one line of text: give a mail address or a web page")
	}
	if _, err := s.PicturesLocation(); err != nil {
		errs = append(errs, err)
	}
	naming, err := storage.ParseNaming(s.Storage.Names)
	switch {
	case err != nil:
		bad("storage.names is %w", err)
	case naming.ByContent() && s.Storage.Sidecar:
		bad("storage.sidecar: with storage.names: %s equal pictures of several names are one file, which no sidecar can tell of: give another storage.names, or leave storage.sidecar out", storage.NamesContent)
	}
	errs = append(errs, s.Redis.Validate(), s.Queue.Validate(), s.Refresh.Validate(), s.Worker.Validate(), s.Picture.Validate(), s.Providers.validate(), s.Web.Validate())
	if !slices.Contains([]string{"auto", "debug", "info", "warn", "error"}, s.Log.Level) {
		bad("log.level is %.40q: give auto, debug, info, warn or error", s.Log.Level)
	}
	if !slices.Contains([]string{"auto", "text", "json"}, s.Log.Format) {
		bad("log.format is %.40q: give auto, text or json", s.Log.Format)
	}
	return errors.Join(errs...)
}

// Validate reports every problem of p by its key.
func (p PictureSettings) Validate() error {
	errs := []error{p.Config.Validate(), p.Licences.Validate(), p.Limits.Validate(), p.Manners.Validate()}
	_, guard := netguard.New(p.Allow, p.Ports...)
	// The client's own checks; what it needs beside ours is filled in.
	client := fetch.Config{
		UserAgent: "harvest", MaxBytes: 1,
		Timeout: p.Timeout, Proxy: p.Proxy, InsecureHosts: p.InsecureHosts,
	}.Validate()
	for _, err := range append(flatten(guard), flatten(client)...) {
		errs = append(errs, fmt.Errorf("picture.%w", err))
	}
	return errors.Join(errs...)
}

func (p ProvidersSettings) validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.BaseURLs)) {
		u, err := url.Parse(p.BaseURLs[name])
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
			errs = append(errs, fmt.Errorf("providers.base_urls: %.40s: give http://host:port or https://host, without user, password and query", name))
		}
	}
	for _, d := range p.Definitions {
		if _, err := lookup.Parse(d.File, d.YAML); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// flatten returns the errors that were joined into err, in their order.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
