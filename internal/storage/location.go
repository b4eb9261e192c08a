package storage

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The kinds of store, as schemes of a URL.
const (
	SchemeFile = "file"
	SchemeS3   = "s3"
	SchemeMem  = "mem"
)

// Location says where a store is. It holds no secret.
type Location struct {
	// Scheme is SchemeFile, SchemeS3 or SchemeMem.
	Scheme string
	// Folder of SchemeFile, the name of SchemeMem.
	Folder string
	// Bucket of SchemeS3, and what stands before the keys of its objects,
	// without slashes at its ends.
	Bucket, Prefix string
	// Endpoint is where the service of SchemeS3 is: http:// or https://, a
	// host and perhaps a port. Empty: Amazon's.
	Endpoint string
	// Region of the bucket. Empty: the service is asked.
	Region string
}

// bucketName is what services take for one in common.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseLocation reads a folder's path, file:///path, mem:// or mem://NAME, or
// s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME]. Its errors do not repeat
// what was given, which may hold a secret in a wrong place.
func ParseLocation(raw string) (Location, error) {
	scheme, rest, isURL := strings.Cut(raw, "://")
	if !isURL {
		return Location{Scheme: SchemeFile, Folder: raw}, nil
	}
	u, err := url.Parse(raw)
	switch {
	case !slices.Contains([]string{SchemeFile, SchemeS3, SchemeMem}, scheme):
		return Location{}, errors.New("give a folder, file:///path, s3://bucket/prefix?endpoint=https://host&region=name, or mem://")
	case scheme == SchemeFile && (err != nil || u.Host != "" && u.Host != "localhost" || u.Path == "" || u.RawQuery != "" || u.Fragment != ""):
		return Location{}, errors.New("no path understood: give file:///path, or the plain path")
	case scheme == SchemeFile:
		return Location{Scheme: SchemeFile, Folder: filepath.FromSlash(u.Path)}, nil
	case scheme == SchemeMem && strings.ContainsAny(rest, "/?#@:"):
		return Location{}, errors.New("give mem:// or mem://name")
	case scheme == SchemeMem:
		return Location{Scheme: SchemeMem, Folder: rest}, nil
	case err != nil:
		return Location{}, errors.New("no bucket understood: give s3://bucket/prefix?endpoint=https://host&region=name")
	}
	return bucketOf(u)
}

// bucketOf reads an s3 URL.
func bucketOf(u *url.URL) (Location, error) {
	if u.User != nil {
		return Location{}, errors.New("keys do not belong into the URL: give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by ~/.aws/credentials")
	}
	l := Location{Scheme: SchemeS3, Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if !bucketName.MatchString(l.Bucket) {
		return Location{}, errors.New("the bucket's name is none: 3 to 63 of a-z, 0-9, dot and hyphen")
	}
	if l.Prefix != "" && (path.Clean(l.Prefix) != l.Prefix || CheckKey(l.Prefix) != nil || len(l.Prefix) > maxPrefix) {
		return Location{}, fmt.Errorf("the prefix is none: names with single slashes between, none of which begins with a dot, at most %d bytes", maxPrefix)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return Location{}, errors.New("what stands behind the ? is not understood: give endpoint=https://host and region=name, with & between")
	}
	for key, values := range query {
		if key != "endpoint" && key != "region" || len(values) != 1 {
			return Location{}, errors.New("behind the ? only endpoint=https://host and region=name can stand, once each; keys come by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
		}
	}
	l.Endpoint, l.Region = query.Get("endpoint"), query.Get("region")
	if l.Endpoint == "" {
		return l, nil
	}
	if !strings.Contains(l.Endpoint, "://") {
		l.Endpoint = "https://" + l.Endpoint
	}
	e, err := url.Parse(l.Endpoint)
	if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Hostname() == "" || e.User != nil || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" {
		return Location{}, errors.New("the endpoint is none: give https://host or http://host:port, without user and path")
	}
	l.Endpoint = e.Scheme + "://" + e.Host
	return l, nil
}

// maxPrefix leaves room for keys in the 1,024 bytes of an object's name.
const maxPrefix = 512

// String returns the place for people: a path, or a URL without options.
func (l Location) String() string {
	switch l.Scheme {
	case SchemeS3:
		return strings.TrimSuffix(SchemeS3+"://"+l.Bucket+"/"+l.Prefix, "/")
	case SchemeMem:
		return SchemeMem + "://" + l.Folder
	}
	return l.Folder
}
