package configs_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/enqueuer"
	"github.com/picharvest/picharvest/internal/gate"
	"github.com/picharvest/picharvest/internal/lookup"
	"github.com/picharvest/picharvest/internal/picture"
	"github.com/picharvest/picharvest/internal/redisconn"
	"github.com/picharvest/picharvest/internal/results"
	"github.com/picharvest/picharvest/internal/robots"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/web"
	"github.com/picharvest/picharvest/worker"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// source is where a test's settings come from.
type source struct {
	file  string // YAML; "" for no file
	env   []string
	flags map[string]string // key: value
}

// load loads s and nothing else.
func load(t *testing.T, s source) (*configs.Loaded, error) {
	t.Helper()
	o := configs.Options{Environ: []string{}, SearchPath: []string{}}
	if s.env != nil {
		o.Environ = s.env
	}
	if s.file != "" {
		o.File = write(t, "harvest.yaml", s.file)
	}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.Flags = map[string]*pflag.Flag{}
	for key, value := range s.flags {
		name := strings.NewReplacer(".", "-", "_", "-").Replace(key)
		set.String(name, "", "")
		if err := set.Set(name, value); err != nil {
			t.Fatal(err)
		}
		o.Flags[key] = set.Lookup(name)
	}
	return configs.Load(o)
}

// write returns the path of a new file.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, s source) *configs.Loaded {
	t.Helper()
	l, err := load(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var folders = regexp.MustCompile(`\S*harvest\.yaml`)

// problems returns the lines of the error of s, with the file's base name.
func problems(t *testing.T, s source) []string {
	t.Helper()
	_, err := load(t, s)
	var all *configs.Error
	if !errors.As(err, &all) {
		t.Fatalf("got error %v, want a *configs.Error", err)
	}
	var lines []string
	for _, p := range all.Problems {
		lines = append(lines, folders.ReplaceAllString(p.String(), "harvest.yaml"))
	}
	return lines
}

func TestDefaultsAreThePackages(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, source{}).Settings
	want := configs.Settings{
		Data:    "./harvest-data",
		Redis:   redisconn.DefaultConfig(),
		Storage: configs.StorageSettings{Names: storage.NamesReadable},
		Queue:   enqueuer.Config{Shards: 1},
		Refresh: enqueuer.RefreshConfig{GoneAfter: results.DefaultGoneAfter},
		Worker:  worker.DefaultConfig(),
		Picture: configs.PictureSettings{
			Config:  picture.DefaultConfig(),
			Timeout: 30 * time.Second,
			Limits:  gate.Config{Hosts: map[string]gate.Limits{}, PublicHosts: gate.DefaultConfig().PublicHosts},
			Manners: robots.DefaultConfig(),
		},
		Providers: configs.ProvidersSettings{BaseURLs: map[string]string{}},
		Web:       web.DefaultConfig(),
		Log:       configs.LogSettings{Level: "auto", Format: "auto"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config.yaml against the packages' defaults (-want +got):\n%s", diff)
	}
}

func TestReferenceCommentsEveryKey(t *testing.T) {
	t.Parallel()
	var doc yaml.Node
	if err := yaml.Unmarshal(configs.Default(), &doc); err != nil {
		t.Fatal(err)
	}
	var check func(n *yaml.Node, prefix string)
	check = func(n *yaml.Node, prefix string) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i]
			if name.HeadComment == "" {
				t.Errorf("config.yaml:%d: %s%s has no comment above it", name.Line, prefix, name.Value)
			}
			if v := n.Content[i+1]; v.Kind == yaml.MappingNode {
				check(v, prefix+name.Value+".")
			}
		}
	}
	check(doc.Content[0], "")
}

func TestReferenceHasEveryKey(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	if err := mustLoad(t, source{}).Show(&shown, false); err != nil {
		t.Fatal(err)
	}
	var reference, effective any
	if err := yaml.Unmarshal(configs.Default(), &reference); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(shown.Bytes(), &effective); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reference, effective); diff != "" {
		t.Errorf("config.yaml against the settings there are (-want +got):\n%s", diff)
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const file = "worker:\n  concurrency: 2\n"
	env := []string{"HARVEST_WORKER_CONCURRENCY=3"}
	flags := map[string]string{"worker.concurrency": "4"}
	for _, tt := range []struct {
		name string
		source
		want int
	}{
		{"default", source{}, 20},
		{"file", source{file: file}, 2},
		{"environment over default", source{env: env}, 3},
		{"environment over file", source{file: file, env: env}, 3},
		{"empty variable is not set", source{file: file, env: []string{"HARVEST_WORKER_CONCURRENCY="}}, 2},
		{"key without value is not set", source{file: "worker:\n  concurrency:\n"}, 20},
		{"flag over file", source{file: file, flags: flags}, 4},
		{"flag over all", source{file: file, env: env, flags: flags}, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := mustLoad(t, tt.source).Settings.Worker.Concurrency; got != tt.want {
				t.Errorf("worker.concurrency: got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestFlagNotGivenSetsNothing(t *testing.T) {
	t.Parallel()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	set.Int("concurrency", 7, "")
	l, err := configs.Load(configs.Options{
		Environ: []string{}, SearchPath: []string{},
		Flags: map[string]*pflag.Flag{"worker.concurrency": set.Lookup("concurrency"), "redis.url": nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Settings.Worker.Concurrency; got != 20 {
		t.Errorf("got %d, want the default 20", got)
	}
}

func TestListFlag(t *testing.T) {
	t.Parallel()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	set.StringSlice("allow", nil, "")
	if err := set.Parse([]string{"--allow", "a.example:81,b.example:82", "--allow", "10.0.0.0/8"}); err != nil {
		t.Fatal(err)
	}
	l, err := configs.Load(configs.Options{
		Environ: []string{}, SearchPath: []string{},
		Flags: map[string]*pflag.Flag{"picture.allow": set.Lookup("allow")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a.example:81", "b.example:82", "10.0.0.0/8"}
	if got := l.Settings.Picture.Allow; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	first, second := write(t, "first.yaml", "contact: first\n"), write(t, "second.yaml", "contact: second\n")
	for _, tt := range []struct {
		name     string
		o        configs.Options
		contact  string
		wantFile string
	}{
		{"none found", configs.Options{SearchPath: []string{missing}}, "", ""},
		{"first found wins", configs.Options{SearchPath: []string{missing, first, second}}, "first", first},
		{"named file wins", configs.Options{SearchPath: []string{first}, File: second}, "second", second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.o.Environ = []string{}
			l, err := configs.Load(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if l.Settings.Contact != tt.contact || l.File != tt.wantFile {
				t.Errorf("got %q from %q, want %q from %q", l.Settings.Contact, l.File, tt.contact, tt.wantFile)
			}
		})
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		source
		got  func(configs.Settings) any
		want any
	}{
		{"empty file", source{file: "\n"}, func(s configs.Settings) any { return s.Queue.Shards }, 1},
		{"comments alone", source{file: "# none\n"}, func(s configs.Settings) any { return s.Queue.Shards }, 1},
		{"empty document", source{file: "---\n"}, func(s configs.Settings) any { return s.Queue.Shards }, 1},
		{"empty section", source{file: "queue:\n  # shards: 4\n"}, func(s configs.Settings) any { return s.Queue.Shards }, 1},
		{"list by env", source{env: []string{"HARVEST_REDIS_CLUSTER_ADDRS=a:1, b:2"}},
			func(s configs.Settings) any { return s.Redis.Cluster.Addrs }, []string{"a:1", "b:2"}},
		{"list in file", source{file: "redis: {cluster: {addrs: [\"a:1\", \"b:2\"]}}"},
			func(s configs.Settings) any { return s.Redis.Cluster.Addrs }, []string{"a:1", "b:2"}},
		{"one item for a list in file", source{file: "picture: {allow: 10.0.0.0/8}"},
			func(s configs.Settings) any { return s.Picture.Allow }, []string{"10.0.0.0/8"}},
		{"numbers by env", source{env: []string{"HARVEST_PICTURE_PORTS=8080,8443"}},
			func(s configs.Settings) any { return s.Picture.Ports }, []int{8080, 8443}},
		{"numbers in file", source{file: "picture:\n  ports:\n    - 8080\n"},
			func(s configs.Settings) any { return s.Picture.Ports }, []int{8080}},
		{"map by env", source{env: []string{"HARVEST_PROVIDERS_BASE_URLS=people=http://demo:8000,corp=https://corp/api"}},
			func(s configs.Settings) any { return s.Providers.BaseURLs },
			map[string]string{"people": "http://demo:8000", "corp": "https://corp/api"}},
		{"map in file", source{file: "providers:\n  base_urls:\n    people: http://demo:8000\n"},
			func(s configs.Settings) any { return s.Providers.BaseURLs }, map[string]string{"people": "http://demo:8000"}},
		{"hosts by env", source{env: []string{"HARVEST_PICTURE_HOSTS=*.Wiki_media.org=in_flight:2, photos.corp:8443 = per_second:5; in_flight:3,free.example="}},
			func(s configs.Settings) any { return s.Picture.Limits.Hosts },
			map[string]gate.Limits{"*.Wiki_media.org": {InFlight: 2}, "photos.corp:8443": {PerSecond: 5, InFlight: 3}, "free.example": {}}},
		{"hosts by flag", source{flags: map[string]string{"picture.hosts": "[::1]:80=per_day:10_000"}},
			func(s configs.Settings) any { return s.Picture.Limits.Hosts }, map[string]gate.Limits{"[::1]:80": {PerDay: 10_000}}},
		{"hosts in file", source{file: "picture:\n  hosts:\n    \"*.Example.org\": {per_minute: 60}\n    photos.corp:8443:\n      per_second: 5\n      per_hour: 1_000\n    free.example: {}\n    a.example: in_flight:2\n"},
			func(s configs.Settings) any { return s.Picture.Limits.Hosts },
			map[string]gate.Limits{
				"*.Example.org": {PerMinute: 60}, "photos.corp:8443": {PerSecond: 5, PerHour: 1000}, "free.example": {}, "a.example": {InFlight: 2},
			}},
		{"hosts by env in the place of the file's", source{file: "picture: {hosts: {a.example: {in_flight: 1}}}", env: []string{"HARVEST_PICTURE_HOSTS=b.example=in_flight:2"}},
			func(s configs.Settings) any { return s.Picture.Limits.Hosts }, map[string]gate.Limits{"b.example": {InFlight: 2}}},
		{"public hosts", source{file: "picture: {public_hosts: {per_second: 4}}", env: []string{"HARVEST_PICTURE_PUBLIC_HOSTS_IN_FLIGHT=8"}},
			func(s configs.Settings) any { return s.Picture.Limits.PublicHosts }, gate.Limits{PerSecond: 4, InFlight: 8}},
		{"duration by env", source{env: []string{"HARVEST_PICTURE_TIMEOUT=1m30s"}},
			func(s configs.Settings) any { return s.Picture.Timeout }, 90 * time.Second},
		{"duration in file", source{file: "worker: {poll_interval: 20ms}"},
			func(s configs.Settings) any { return s.Worker.PollInterval }, 20 * time.Millisecond},
		{"plain bytes", source{file: "picture: {max_bytes: 1000}"},
			func(s configs.Settings) any { return s.Picture.MaxBytes }, int64(1000)},
		{"bytes with a unit", source{env: []string{"HARVEST_PICTURE_MAX_BYTES=2 MiB"}},
			func(s configs.Settings) any { return s.Picture.MaxBytes }, int64(2 << 20)},
		{"decimal bytes", source{file: "picture: {max_bytes: 500kB}"},
			func(s configs.Settings) any { return s.Picture.MaxBytes }, int64(500_000)},
		{"pixels", source{file: "picture: {max_pixels: 12_000_000}"},
			func(s configs.Settings) any { return s.Picture.MaxPixels }, int64(12_000_000)},
		{"megapixels", source{file: "picture: {max_pixels: 12 MP}"},
			func(s configs.Settings) any { return s.Picture.MaxPixels }, int64(12_000_000)},
		{"least megapixels", source{file: "picture: {min_pixels: 1MP}"},
			func(s configs.Settings) any { return s.Picture.MinPixels }, int64(1_000_000)},
		{"ratio", source{file: "picture: {max_aspect: 1.5}"},
			func(s configs.Settings) any { return s.Picture.MaxAspect }, 1.5},
		{"ratio of two", source{file: "picture: {min_aspect: 1:2}", env: []string{"HARVEST_PICTURE_MAX_ASPECT=16:9"}},
			func(s configs.Settings) any { return []float64{s.Picture.MinAspect, s.Picture.MaxAspect} }, []float64{0.5, 16.0 / 9}},
		{"kinds", source{file: "picture: {kinds: [jpeg, png]}"},
			func(s configs.Settings) any { return s.Picture.Kinds }, []string{"jpeg", "png"}},
		{"licences", source{env: []string{"HARVEST_PICTURE_LICENCES=CC0-1.0, CC-BY-4.0"}},
			func(s configs.Settings) any { return s.Picture.Licences.Licences }, []string{"CC0-1.0", "CC-BY-4.0"}},
		{"bool by env", source{env: []string{"HARVEST_REDIS_AUTOPIPELINE=false"}},
			func(s configs.Settings) any { return s.Redis.Autopipeline }, false},
		{"password of digits stays as written", source{file: "redis: {password: 0123}"},
			func(s configs.Settings) any { return s.Redis.Password }, "0123"},
		{"anchor", source{file: "redis: {sentinel: {master: &m main, addrs: [a:1], username: *m}}"},
			func(s configs.Settings) any { return s.Redis.Sentinel.Username }, "main"},
		{"pictures by default", source{file: "data: /srv/h"},
			func(s configs.Settings) any { return s.PicturesFolder() }, filepath.Join("/srv/h", "pictures")},
		{"pictures by path", source{file: "storage: {url: ./p}"},
			func(s configs.Settings) any { return s.PicturesFolder() }, "./p"},
		{"pictures in a bucket", source{file: "storage: {url: 's3://shelf/a/b?endpoint=http://127.0.0.1:9000&region=eu'}"},
			func(s configs.Settings) any { return s.PicturesFolder() }, "s3://shelf/a/b"},
		{"pictures by URL", source{file: "storage: {url: 'file:///srv/my%20pictures'}"},
			func(s configs.Settings) any { return s.PicturesFolder() }, filepath.FromSlash("/srv/my pictures")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, tt.got(mustLoad(t, tt.source).Settings)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		source
		want []string
	}{
		{"unknown key", source{file: "data: x\nworker:\n  concurency: 5\n"},
			[]string{"harvest.yaml:3: unknown key worker.concurency: did you mean worker.concurrency?"}},
		{"key in the wrong section", source{file: "max_pixels: 5\n"},
			[]string{"harvest.yaml:1: unknown key max_pixels: did you mean picture.max_pixels?"}},
		{"unknown section", source{file: "workers:\n  concurrency: 5\n  x: 1\n"},
			[]string{"harvest.yaml:1: unknown key workers: did you mean worker?"}},
		{"nothing near", source{file: "zzzzzzzzzzzz: 5\n"},
			[]string{"harvest.yaml:1: unknown key zzzzzzzzzzzz: harvest config show lists all"}},
		{"dotted key", source{file: "redis.url: redis://r\n"},
			[]string{"harvest.yaml:1: redis.url: write url: below redis:"}},
		{"doubled key", source{file: "data: a\nlog:\n  level: info\ndata: b\n"},
			[]string{"harvest.yaml:4: data stands on line 1 already"}},
		{"section is a text", source{file: "redis: hunter2\n"},
			[]string{"harvest.yaml:1: redis: give keys and values, as in harvest config show"}},
		{"file is a list", source{file: "- a\n"},
			[]string{"harvest.yaml:1: the file: give keys and values, as in harvest config show"}},
		{"syntax", source{file: "data: x\nlog:\n\tlevel: info\n"},
			[]string{"harvest.yaml:3: not YAML: found character that cannot start any token"}},
		{"second document", source{file: "data: x\n---\ndata: y\n"},
			[]string{"harvest.yaml:2: a second document begins here: keep one"}},
		{"wrong types", source{file: "worker:\n  concurrency: many\n  retry_delay: 30\nredis:\n  autopipeline: maybe\npicture:\n  max_bytes: 32 Mib\n  ports: [http]\n  max_pixels: 50MiB\n  allow: {a: b}\n  timeout: [1s]\n"},
			[]string{
				`harvest.yaml:2: worker.concurrency is "many": give a whole number`,
				`harvest.yaml:3: worker.retry_delay is "30": give a duration with its unit, such as 500ms, 30s or 1h30m`,
				`harvest.yaml:5: redis.autopipeline is "maybe": give true or false`,
				`harvest.yaml:7: picture.max_bytes is "32 Mib": give a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB`,
				`harvest.yaml:8: picture.ports: "http" is none: give whole numbers`,
				`harvest.yaml:9: picture.max_pixels is "50MiB": give a number, or one of megapixels such as 50MP`,
				`harvest.yaml:10: picture.allow: give a list, not a section`,
				`harvest.yaml:11: picture.timeout: give one value, not a list or section`,
			}},
		{"rules for pictures", source{file: "picture:\n  min_pixels: 60MP\n  min_aspect: 3:2\n  max_aspect: 1:1\n  kinds: [jpeg, svg]\n  licences: [CC0-1.0, cc by]\n"},
			[]string{
				`harvest.yaml:2: picture.min_pixels 60000000 is above picture.max_pixels 50000000; no picture could pass`,
				`harvest.yaml:3, harvest.yaml:4: picture.min_aspect 1.5 is above picture.max_aspect 1; no picture could pass`,
				`harvest.yaml:5: picture.kinds has "svg"; there are jpeg, png, gif and webp`,
				`harvest.yaml:6: picture.licences: "cc by" is no SPDX identifier that is known here: give such as CC-BY-4.0`,
			}},
		{"no ratio", source{file: "picture: {max_aspect: wide, min_aspect: 1:0}\n"},
			[]string{
				`harvest.yaml:1: picture.max_aspect is "wide": give a number such as 1.5, or two such as 3:2`,
				`harvest.yaml:1: picture.min_aspect is "1:0": give a number such as 1.5, or two such as 3:2`,
			}},
		{"all sources and packages at once", source{
			file:  "worker:\n  max_attempts: 0\npicture:\n  min_bytes: 50\n  allow: [nonsense]\nlog: {level: loud}\n",
			env:   []string{"HARVEST_PICTURE_MAX_BYTES=10", "HARVEST_QUEUE_SHARDS=x", "HARVEST_PICTURE_TIMEOUT=0s"},
			flags: map[string]string{"redis.url": "http://redis"},
		}, []string{
			`HARVEST_QUEUE_SHARDS: queue.shards is "x": give a whole number`,
			`flag --redis-url: redis.url: must begin with redis://, rediss:// or unix://`,
			`harvest.yaml:2: worker.max_attempts is 0: give 1 to 1000`,
			`harvest.yaml:4, HARVEST_PICTURE_MAX_BYTES: picture.min_bytes 50 is above picture.max_bytes 10; no picture could pass`,
			`harvest.yaml:5: picture.allow: "nonsense": want host:port or a network such as 10.20.0.0/16`,
			`HARVEST_PICTURE_TIMEOUT: picture.timeout: 0s: want more than 0`,
			`harvest.yaml:6: log.level is "loud": give auto, debug, info, warn or error`,
		}},
		{"several servers", source{file: "redis:\n  url: redis://r\n  cluster:\n    addrs: [\"a:1\"]\n"},
			[]string{"harvest.yaml:2, harvest.yaml:4: redis.url, redis.sentinel and redis.cluster exclude each other; set one"}},
		{"other stores", source{file: "storage: {url: 's3://key:hunter2@bucket'}\n"},
			[]string{"harvest.yaml:1: storage.url: keys do not belong into the URL: give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by ~/.aws/credentials"}},
		{"base URL", source{file: "providers:\n  base_urls: {people: 'demo:8000'}\n"},
			[]string{"harvest.yaml:2: providers.base_urls: people: give http://host:port or https://host, without user, password and query"}},
		{"hosts", source{file: "picture:\n  timeout: 1s\n  hosts:\n    \"*.a.example\": {in_fligth: 2, per_second: many, zzzzzzzzzz: 1}\n    b.example: 5\n"},
			[]string{
				"harvest.yaml:3: picture.hosts: *.a.example: unknown limit in_fligth: did you mean in_flight?",
				`harvest.yaml:3: picture.hosts: *.a.example: per_second is "many": give a whole number`,
				"harvest.yaml:3: picture.hosts: *.a.example: unknown limit zzzzzzzzzz: the limits are per_second, per_minute, per_hour, per_day, in_flight",
				`harvest.yaml:3: picture.hosts: b.example: "5" is no limit: write in_flight:3, or per_second:5;in_flight:3`,
			}},
		{"hosts by env", source{env: []string{"HARVEST_PICTURE_HOSTS=a.example=per_secnd:5;in_flight:1;in_flight:2"}},
			[]string{"HARVEST_PICTURE_HOSTS: picture.hosts: a.example: in_flight stands there twice"}},
		{"host twice", source{env: []string{"HARVEST_PICTURE_HOSTS=a.example=in_flight:1,a.example=in_flight:2"}},
			[]string{"HARVEST_PICTURE_HOSTS: picture.hosts: a.example stands there twice"}},
		{"no hosts by env", source{env: []string{"HARVEST_PICTURE_HOSTS=a.example"}},
			[]string{"HARVEST_PICTURE_HOSTS: picture.hosts: give name: value in a file, name=value,… elsewhere"}},
		{"hosts within hosts", source{file: "picture: {hosts: &h {a: {b: *h}}}\n"},
			[]string{"harvest.yaml:1: picture.hosts: each entry must be name: value"}},
		{"hosts that are a list", source{file: "picture: {hosts: {a.example: [1]}}\n"},
			[]string{"harvest.yaml:1: picture.hosts: each entry must be name: value"}},
		{"bare asterisk", source{file: "picture:\n  hosts:\n    *.a.example: {in_flight: 2}\n"},
			[]string{"harvest.yaml:3: not YAML: what begins with *, & or ! must stand in quotes"}},
		{"hosts' own rules", source{
			file: "picture:\n  hosts:\n    a*.example: {}\n    b.example: {per_day: 2_000_000}\n    B.example: {}\n  public_hosts: {in_flght: 1, in_flight: -1}\n"},
			[]string{
				"harvest.yaml:6: unknown key picture.public_hosts.in_flght: did you mean picture.public_hosts.in_flight?",
				"harvest.yaml:6: picture.public_hosts.in_flight is -1: give 1 to 10000, or 0 for no limit",
				"harvest.yaml:2: picture.hosts.a*.example: is no host: write images.example.org, images.example.org:8080 or *.example.org",
				"harvest.yaml:2: picture.hosts.b.example: is the same host as B.example: keep one",
				"harvest.yaml:2: picture.hosts.b.example.per_day is 2000000: give 1 to 1000000, or 0 for no limit",
			}},
		{"secret and its file", source{file: "redis:\n  url: redis://r\n  url_file: /run/secrets/url\n"},
			[]string{"harvest.yaml:3: redis.url and redis.url_file exclude each other: set one"}},
		{"definitions are no list", source{file: "providers:\n  definitions: {name: x}\n"},
			[]string{"harvest.yaml:2: providers.definitions: give a list of definitions, each beginning with - name:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, problems(t, tt.source)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNamedFileMustBeReadable(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	folder := t.TempDir()
	for _, tt := range []struct{ name, file, want string }{
		{"missing", missing, missing + ": no such file or directory"},
		{"folder", folder, folder + ": is a folder: name the file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := configs.Load(configs.Options{File: tt.file, Environ: []string{}})
			var all *configs.Error
			if !errors.As(err, &all) || err.Error() != tt.want {
				t.Errorf("got %v, want a *configs.Error %q", err, tt.want)
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	l := mustLoad(t, source{env: []string{
		"HARVEST_REDIS_ULR=redis://u:hunter2@r", "HARVEST_TEST_REDIS=x", "HARVESTER=x", "HARVEST_ZZZZZZZZZZZ=1",
		"HARVEST_PROVIDERS_DEFINITIONS=[]",
	}})
	want := []string{
		"HARVEST_PROVIDERS_DEFINITIONS is no setting: definitions can stand in a file only",
		"HARVEST_REDIS_ULR is no setting: did you mean HARVEST_REDIS_URL?",
		"HARVEST_ZZZZZZZZZZZ is no setting",
	}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	url := write(t, "url", "redis://u:hunter2@r:6379\n")
	sentinel := write(t, "sentinel", "hunter2\r\n")
	file := "redis:\n  url: redis://lower\n  password_file: /run/lower\n"

	l := mustLoad(t, source{file: file, env: []string{"HARVEST_REDIS_URL_FILE=" + url, "HARVEST_REDIS_PASSWORD_FILE=", "HARVEST_REDIS_USERNAME="},
		flags: map[string]string{"redis.password_file": ""}})
	if got, want := l.Settings.Redis.URL, "redis://u:hunter2@r:6379"; got != want {
		t.Errorf("redis.url: got %q, want %q", got, want)
	}

	l = mustLoad(t, source{file: file, env: []string{"HARVEST_REDIS_PASSWORD=hunter2"}})
	if got := l.Settings.Redis; got.Password != "hunter2" || got.PasswordFile != "" {
		t.Errorf("got password %q and file %q, want the variable's alone", got.Password, got.PasswordFile)
	}

	l = mustLoad(t, source{file: "redis: {sentinel: {master: m, addrs: [a:1], password_file: " + sentinel + "}}"})
	if got := l.Settings.Redis.Sentinel.Password; got != "hunter2" {
		t.Errorf("redis.sentinel.password: got %q, want hunter2", got)
	}

	empty := write(t, "empty", "\n")
	want := []string{"HARVEST_REDIS_URL_FILE: redis.url_file: " + empty + " is empty"}
	if diff := cmp.Diff(want, problems(t, source{env: []string{"HARVEST_REDIS_URL_FILE=" + empty}})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	missing := filepath.Join(t.TempDir(), "none")
	want = []string{"HARVEST_REDIS_URL_FILE: redis.url_file: " + missing + ": no such file or directory"}
	if diff := cmp.Diff(want, problems(t, source{env: []string{"HARVEST_REDIS_URL_FILE=" + missing}})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSecretsAreNowhere plants a secret in every place, right and wrong, and
// looks for it in all that is shown.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, s := range map[string]source{
		"password":               {file: "redis: {password: hunter2}"},
		"password by env":        {env: []string{"HARVEST_REDIS_PASSWORD=hunter2"}},
		"password by flag":       {flags: map[string]string{"redis.password": "hunter2"}},
		"sentinel":               {file: "redis: {sentinel: {master: m, addrs: [a:1], password: hunter2}}"},
		"url":                    {file: "redis: {url: 'redis://user:hunter2@r:6379/1'}"},
		"url without user":       {file: "redis: {url: 'redis://:hunter2@r'}"},
		"url by file":            {env: []string{"HARVEST_REDIS_URL_FILE=" + write(t, "url", "redis://:hunter2@r")}},
		"slash in the password":  {file: "redis: {url: 'redis://:1/hunter2@r'}"},
		"hash in the password":   {file: "redis: {url: 'redis://:1#hunter2@r'}"},
		"query in the password":  {file: "redis: {url: 'redis://:1?hunter2@r'}"},
		"password as user":       {file: "redis: {url: 'redis://hunter2@r'}"},
		"no URL":                 {file: "redis: {url: 'user:hunter2@r'}"},
		"space in the URL":       {file: "redis: {url: 'redis://user:hunter 2 hunter2@r'}"},
		"twice":                  {file: "redis: {url: 'redis://u:hunter2@r', password: hunter2}"},
		"proxy":                  {file: "picture: {proxy: 'http://u:hunter2@p:3128'}"},
		"bad proxy":              {file: "picture: {proxy: 'ftp://u:hunter2@p:3128'}"},
		"base URL":               {file: "providers: {base_urls: {people: 'http://u:hunter2@p'}}"},
		"base URL's query":       {file: "providers: {base_urls: {people: 'http://p/?key=hunter2'}}"},
		"base URL by env":        {env: []string{"HARVEST_PROVIDERS_BASE_URLS=http://u:hunter2@p"}},
		"store":                  {file: "storage: {url: 's3://key:hunter2@bucket'}"},
		"anchor":                 {file: "redis:\n  password: *hunter2\n"},
		"tag":                    {file: "redis:\n  password: !hunter2\n"},
		"tag with a handle":      {file: "redis:\n  password: !x!hunter2\n"},
		"verbatim tag":           {file: "redis:\n  password: !<hunter2\n"},
		"directive":              {file: "%hunter2 x\n---\ndata: x\n"},
		"forgotten space":        {file: "redis: {password:hunter2}"},
		"forgotten colon":        {file: "redis:\n  password hunter2\n"},
		"forgotten quote":        {file: "redis:\n  password: 'hunter2\n"},
		"escape":                 {file: "redis:\n  password: \"\\hunter2\"\n"},
		"password is a list":     {file: "redis: {password: [hunter2]}"},
		"password is a section":  {file: "redis: {password: {hunter2: hunter2}}"},
		"sentinel's address":     {file: "redis: {sentinel: {master: m, addrs: ['u:hunter2@a:1']}}"},
		"unknown variable":       {env: []string{"HARVEST_REDIS_PASSWORT=hunter2"}},
		"block":                  {file: "redis:\n  password: |\n    hunter2\n"},
		"password next to a bad": {file: "redis: {password: hunter2}\nlog: {level: loud}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := load(t, s)
			var shown strings.Builder
			if err != nil {
				fmt.Fprintf(&shown, "%v\n%+v\n", err, err)
			} else {
				if err := l.Show(&shown, true); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&shown, l.Warnings)
			}
			if strings.Contains(shown.String(), secret) {
				t.Errorf("the secret is shown:\n%s", shown.String())
			}
		})
	}
}

func TestWarnsOfReadableSecrets(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such mode")
	}
	for _, tt := range []struct {
		name, file string
		mode       fs.FileMode
		want       string
	}{
		{"password, readable", "redis:\n  password: hunter2\n", 0o644, ":2: redis.password holds a secret and everybody may read the file: chmod 600 "},
		{"url, readable", "redis:\n  url: redis://:hunter2@r\n", 0o644, ":2: redis.url holds a secret and everybody may read the file: chmod 600 "},
		{"password, private", "redis:\n  password: hunter2\n", 0o600, ""},
		{"no secret, readable", "redis:\n  url: redis://r?dial_timeout=3s\n", 0o644, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "c.yaml", tt.file)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			l, err := configs.Load(configs.Options{File: path, Environ: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if tt.want != "" {
				want = []string{path + tt.want + path}
			}
			if diff := cmp.Diff(want, l.Warnings); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	const definition = `name: Corp
      description: x
      request:
        url: http://photos.corp/{name}
      attributes:
        FullName: name
`
	file := "providers:\n  folder: here\n  definitions:\n    # The first one.\n    - " + definition + "    - {name: b, Oops: 1}\nlog:\n  level: debug\n"
	got := problems(t, source{file: file})
	for _, want := range []string{
		`harvest.yaml providers.definitions[0]:5: name: "Corp" will not do`,
		`harvest.yaml providers.definitions[1]:11: unknown key "Oops"`,
	} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no problem begins with %q:\n%s", want, strings.Join(got, "\n"))
		}
	}

	people, err := os.ReadFile("providers/people.yaml")
	if err != nil {
		t.Fatal(err)
	}
	indented := "    " + strings.ReplaceAll(string(people), "\n", "\n    ")
	l := mustLoad(t, source{file: "providers:\n  definitions:\n  -\n" + indented + "\n"})
	defs := l.Settings.Providers.Definitions
	if len(defs) != 1 {
		t.Fatalf("got %d definitions, want 1", len(defs))
	}
	d, err := lookup.Parse(defs[0].File, defs[0].YAML)
	if err != nil || d.Name != "people" {
		t.Errorf("got %v, %v, want the definition of people", d, err)
	}
	var shown strings.Builder
	if err := l.Show(&shown, false); err != nil || !strings.Contains(shown.String(), "definitions:\n    - name: people\n") {
		t.Errorf("got %v and\n%s\nwant the definition's name", err, shown.String())
	}
}

func TestShowOrigin(t *testing.T) {
	t.Parallel()
	l := mustLoad(t, source{
		file: "redis:\n  sentinel: {username: \"a: b\", password: hunter2}\npicture:\n  max_bytes: 1000000\n  allow: [\"10.0.0.0/8\", \"photos.corp:8443\"]\n" +
			"  hosts: {\"*.Wikimedia.org\": {in_flight: 2}, \"photos.corp:8443\": {in_flight: 3, per_second: 5}, free.example: {}}\n" +
			"providers:\n  base_urls: {people: http://demo:8000}\nworker:\n  retry_delay: 90m\n",
		env:   []string{"HARVEST_REDIS_URL=redis://user:hunter2@redis:6379/2?dial_timeout=3s", "HARVEST_CONTACT=# me, @home", "HARVEST_REDIS_USERNAME="},
		flags: map[string]string{"worker.concurrency": "100", "worker.max_retry_delay": "2h"},
	})
	var shown bytes.Buffer
	if err := l.Show(&shown, true); err != nil {
		t.Fatal(err)
	}
	golden(t, "show-origin.yaml", strings.ReplaceAll(shown.String(), filepath.Dir(l.File), "DIR"))

	// What is shown can be read again, with the secrets put back.
	file := strings.ReplaceAll(shown.String(), "[redacted]", "x")
	if diff := cmp.Diff(l.Settings.Picture, mustLoad(t, source{file: file}).Settings.Picture); diff != "" {
		t.Errorf("read again, picture (-want +got):\n%s", diff)
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "harvest", "config.yaml")
	if err := configs.Init(path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, configs.Default()) {
		t.Errorf("got %d bytes and %v, want the reference", len(got), err)
	}
	l, err := configs.Load(configs.Options{File: path, Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mustLoad(t, source{}).Settings, l.Settings); diff != "" {
		t.Errorf("settings of the written file (-want +got):\n%s", diff)
	}

	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := configs.Init(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: got %v, want fs.ErrExist", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("the file was replaced by %q", got)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), rewrite it with -update:\n%s", path, diff)
	}
}
