//go:build integration

package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// shelf is the bucket with the pictures, and shelfPrefix where they are in it.
const shelf, shelfPrefix = "shelf", "pictures"

// bucket is an S3 service in which every fifth request goes wrong while it is
// ill. It is well while workers start: one that cannot try its store then ends,
// and is started again by whoever runs it.
type bucket struct {
	*httptest.Server
	backend *s3mem.Backend
	ill     atomic.Bool
	// How many requests were refused, cut off before their end, changed on
	// their way, and done without an answer; and how many there were.
	refused, cut, garbled, silent, requests atomic.Int64
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	b := &bucket{backend: s3mem.New()}
	if err := b.backend.CreateBucket(shelf); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(b.backend).Server()
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.ill.Load() {
			fake.ServeHTTP(w, r)
			return
		}
		b.requests.Add(1)
		switch n := rand.IntN(100); {
		case n < 5:
			b.refused.Add(1)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
			return
		case n < 10:
			b.cut.Add(1)
			_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
			panic(http.ErrAbortHandler)
		case n < 15:
			b.silent.Add(1)
			fake.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case n < 20 && r.Method == http.MethodPut && r.ContentLength > 0:
			b.garbled.Add(1)
			body, err := io.ReadAll(r.Body)
			if err != nil || len(body) == 0 {
				panic(http.ErrAbortHandler)
			}
			body[len(body)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// sums returns the SHA-256 of every object but the store's ID, in hex, by the
// place that records give it.
func (b *bucket) sums(t *testing.T) map[string]string {
	t.Helper()
	list, err := b.backend.ListBucket(shelf, nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]string)
	for _, o := range list.Contents {
		if strings.HasSuffix(o.Key, "/.harvest-store") {
			continue
		}
		object, err := b.backend.GetObject(shelf, o.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		_, err = io.Copy(hash, object.Contents)
		object.Contents.Close()
		if err != nil {
			t.Fatal(err)
		}
		sums["s3://"+shelf+"/"+o.Key] = hex.EncodeToString(hash.Sum(nil))
	}
	return sums
}

func inABucket(f *trouble) {
	f.bucket = newBucket(f.t)
	f.set("AWS_ACCESS_KEY_ID=AKIAHARVEST", "AWS_SECRET_ACCESS_KEY=SECRETkeySECRETkeySECRETkey",
		"HARVEST_STORAGE_URL=s3://"+shelf+"/"+shelfPrefix+"?region=eu-west-1&endpoint="+f.bucket.URL)
}

func bucketFails(f *trouble) string {
	f.bucket.ill.Store(true)
	f.reach(f.fault.names * 9 / 10)
	return ""
}

func bucketFailed(f *trouble) string {
	b := f.bucket
	for what, n := range map[string]*atomic.Int64{"refused": &b.refused, "cut off": &b.cut, "changed": &b.garbled, "unanswered": &b.silent} {
		if n.Load() == 0 {
			f.t.Errorf("no request was %s", what)
		}
	}
	wrong := b.refused.Load() + b.cut.Load() + b.garbled.Load() + b.silent.Load()
	return fmt.Sprintf("of %d requests %d refused, %d cut off, %d changed, %d unanswered: %d %%",
		b.requests.Load(), b.refused.Load(), b.cut.Load(), b.garbled.Load(), b.silent.Load(), 100*wrong/b.requests.Load())
}
