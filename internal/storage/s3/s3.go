// Package s3 is a storage.Store in a bucket of any service that speaks
// Amazon's S3.
//
// A picture is one object, put by one request that says how long it is and
// which MD5 and SHA-256 it has: the service takes it whole or not at all, so
// that there is nothing unfinished to find or to tidy, whoever dies. The store's
// ID is an object that is put only where there is none. Nothing else is
// conditional, and no order of writes is relied on but that of one key.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/picharvest/picharvest/internal/storage"
)

var _ storage.Store = (*Store)(nil)

// Config says which bucket, and how it is reached.
type Config struct {
	storage.Location
	// AccessKey and SecretKey, if set, are used in place of the usual chain:
	// AWS_ACCESS_KEY_ID and its like, MINIO_ROOT_USER or MINIO_ACCESS_KEY and
	// its like, ~/.aws/credentials with AWS_PROFILE, and what the machine's
	// or the container's role hands out.
	AccessKey, SecretKey string
}

const (
	// tries are those of one request, with waits between that grow to a second.
	tries = 5
	// roleTimeout bounds the question for a role's credentials, which nobody
	// answers on a machine that has none.
	roleTimeout = 3 * time.Second
	// amazon is the service where none is named.
	amazon = "https://s3.amazonaws.com"
	// usual is the region that services of other makers go by.
	usual = "us-east-1"
)

// bucket is a way to a bucket: requests, and what their errors mean.
type bucket struct {
	core   minio.Core
	name   string
	prefix string // of all object names; "" or with a slash at its end
	place  string // for messages
}

func connect(cfg Config) (*bucket, error) {
	if cfg.Scheme != storage.SchemeS3 {
		return nil, fmt.Errorf("%s is no bucket", cfg.Location)
	}
	endpoint, region := cfg.Endpoint, cfg.Region
	for _, variable := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if region == "" && endpoint == "" {
			region = os.Getenv(variable)
		}
	}
	if endpoint == "" {
		endpoint = amazon
	} else if region == "" {
		region = usual
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("the endpoint of the bucket is no URL")
	}
	transport, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentialsOf(cfg), Secure: u.Scheme == "https", Transport: transport, Region: region, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Location, err)
	}
	b := &bucket{core: *core, name: cfg.Bucket, prefix: cfg.Prefix, place: cfg.String()}
	if b.prefix != "" {
		b.prefix += "/"
	}
	return b, nil
}

func credentialsOf(cfg Config) *credentials.Credentials {
	if cfg.AccessKey != "" {
		return credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Timeout: roleTimeout}},
	})
}

// Store is a bucket, or what is below a prefix of one. It is safe for
// concurrent use; any number of processes on any machines may share it.
type Store struct {
	*bucket
	owner string

	mu   sync.Mutex
	id   string
	read time.Time // when the ID was
}

// New returns the store at cfg's place. It proves by doing it that objects can
// be written, read, listed and removed there, and gives a new store its ID. It
// does not make the bucket. owner names this process in the probes that it
// writes, as letters, digits, dot, hyphen and underscore.
//
// Every error names the place and never a key; one about the bucket is
// ReasonStore and Hold, and says which right is missing.
func New(ctx context.Context, cfg Config, owner string) (*Store, error) {
	s, err := prepare(cfg, owner)
	if err != nil {
		return nil, err
	}
	if s.id, err = s.takeID(ctx); err != nil {
		return nil, err
	}
	s.read = time.Now()
	if err := s.Probe(ctx); err != nil {
		return nil, err
	}
	if err := s.mayList(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Open is [New] for a store that is there: it makes none and writes nothing. A
// place that is no store is an error that is fs.ErrNotExist.
func Open(ctx context.Context, cfg Config, owner string) (*Store, error) {
	s, err := prepare(cfg, owner)
	if err != nil {
		return nil, err
	}
	if s.id, err = s.readID(ctx); err != nil {
		return nil, err
	}
	s.read = time.Now()
	return s, nil
}

func prepare(cfg Config, owner string) (*Store, error) {
	if !ownerPattern.MatchString(owner) {
		return nil, fmt.Errorf("owner %q of probes: want 1 to 64 of A-Z a-z 0-9 . _ -", owner)
	}
	b, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	return &Store{bucket: b, owner: owner}, nil
}

var ownerPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Reader reads the pictures of a store and writes nothing. It is safe for
// concurrent use.
type Reader struct{ *bucket }

// NewReader returns a Reader of the store at cfg's place. It asks nobody.
func NewReader(cfg Config) (*Reader, error) {
	b, err := connect(cfg)
	return &Reader{b}, err
}

// Stat implements storage.Store.
func (b *bucket) Stat(ctx context.Context, key string) (storage.Info, error) {
	if err := check(ctx, key); err != nil {
		return storage.Info{}, err
	}
	o, err := b.core.StatObject(ctx, b.name, b.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return storage.Info{}, b.fail(ctx, reading, key, err)
	}
	return storage.Info{Size: o.Size, ModTime: o.LastModified}, nil
}

// Open implements storage.Store. The bytes come as they are read.
func (b *bucket) Open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	if err := check(ctx, key); err != nil {
		return nil, storage.Info{}, err
	}
	return b.open(ctx, key)
}

func (b *bucket) open(ctx context.Context, key string) (io.ReadCloser, storage.Info, error) {
	body, o, _, err := b.core.GetObject(ctx, b.name, b.prefix+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, storage.Info{}, b.fail(ctx, reading, key, err)
	}
	return &object{ReadCloser: body, ctx: ctx, bucket: b, key: key}, storage.Info{Size: o.Size, ModTime: o.LastModified}, nil
}

// object is the bytes of one object as they come.
type object struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // that of the request that the bytes belong to
	bucket *bucket
	key    string
}

// Read implements io.Reader.
func (o *object) Read(p []byte) (int, error) {
	n, err := o.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = o.bucket.fail(o.ctx, reading, o.key, err)
	}
	return n, err
}

// List implements storage.Store.
func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[storage.Entry, error] {
	return func(yield func(storage.Entry, error) bool) {
		if ctx.Err() != nil {
			yield(storage.Entry{}, context.Cause(ctx))
			return
		}
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Entry{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true}) {
			if o.Err != nil {
				yield(storage.Entry{}, b.fail(ctx, listing, prefix, o.Err))
				return
			}
			key := strings.TrimPrefix(o.Key, b.prefix)
			if storage.CheckKey(key) != nil {
				continue // the store's own, a folder's mark, or somebody else's
			}
			if !yield(storage.Entry{Key: key, Info: storage.Info{Size: o.Size, ModTime: o.LastModified}}, nil) {
				return
			}
		}
	}
}

// mayList makes sure that objects can be listed.
func (b *bucket) mayList(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.core.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.prefix + idKey, MaxKeys: 1}) {
		if o.Err != nil {
			return b.fail(ctx, listing, "", o.Err)
		}
		break
	}
	return nil
}

// ID implements storage.Store. It is read anew once a minute.
func (s *Store) ID(ctx context.Context) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.read) < idFor {
		return s.id, nil
	}
	if err := s.sameID(ctx); err != nil {
		return "", err
	}
	s.read = time.Now()
	return s.id, nil
}

// Create implements storage.Store. The first MiB of a file stays in memory,
// what is more goes to the machine's folder for temporary files.
func (s *Store) Create(ctx context.Context) (storage.Writer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return newWriter(s.bucket), nil
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	return s.remove(ctx, key)
}

func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.core.RemoveObject(ctx, b.name, b.prefix+key, minio.RemoveObjectOptions{})
	if err == nil {
		return nil
	}
	if err = b.fail(ctx, removing, key, err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const (
	// tempDir is below which probes are written.
	tempDir = ".tmp"
	// probeName is the last part of a probe's name.
	probeName = "~probe"
)

// Probe implements storage.Store.
func (s *Store) Probe(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	key := tempDir + "/" + s.owner + probeName
	data := []byte("can this bucket be written?\n")
	if err := s.put(ctx, key, bytes.NewReader(data), sumsOf(data), minio.PutObjectOptions{}); err != nil {
		return err
	}
	return s.remove(ctx, key)
}

// Close implements storage.Store.
func (*Store) Close() error { return nil }

func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return storage.CheckKey(key)
}
