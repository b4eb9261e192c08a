package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/storage"
	"github.com/picharvest/picharvest/internal/storage/s3"
	"github.com/picharvest/picharvest/internal/storage/storagetest"
)

const secret = "SECRETkeySECRETkeySECRETkey"

// service is an S3 service with a bucket of one's own. A fault, if set, sees
// each request first and reports whether it has answered.
type service struct {
	*httptest.Server
	backend *s3mem.Backend
	fault   atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func serve(t *testing.T) *service {
	t.Helper()
	s := &service{backend: s3mem.New()}
	if err := s.backend.CreateBucket("shelf"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(s.backend).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := s.fault.Load(); fault != nil && (*fault)(w, r) {
			return
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) inject(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.fault.Store(&fault)
}

func (s *service) config(t *testing.T, prefix string) s3.Config {
	t.Helper()
	l, err := storage.ParseLocation("s3://shelf/" + prefix + "?region=eu-west-1&endpoint=" + s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s3.Config{Location: l, AccessKey: "AKIAHARVEST", SecretKey: secret}
}

func (s *service) open(t *testing.T, prefix string) *s3.Store {
	t.Helper()
	store, err := s3.New(t.Context(), s.config(t, prefix), "worker-1")
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// objects returns the names of all objects but IDs.
func (s *service) objects(t *testing.T) []string {
	t.Helper()
	list, err := s.backend.ListBucket("shelf", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list.Contents {
		if !strings.HasSuffix(o.Key, ".harvest-store") {
			names = append(names, o.Key)
		}
	}
	return names
}

func refuse(w http.ResponseWriter, status int, code, message string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
	return true
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "deep/er"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, func(t *testing.T) storage.Store { return serve(t).open(t, prefix) })
		})
	}
}

// TestFaults: a fifth of the requests is refused or cut off; every picture is
// stored in the end, none in part.
func TestFaults(t *testing.T) {
	t.Parallel()
	const names = 1000
	s := serve(t)
	store := s.open(t, "pictures")
	var injected atomic.Int64
	s.inject(func(w http.ResponseWriter, r *http.Request) bool {
		switch n := rand.IntN(100); {
		case n < 10:
			injected.Add(1)
			return refuse(w, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
		case n < 20:
			injected.Add(1)
			_, _ = io.CopyN(io.Discard, r.Body, 10_000)
			panic(http.ErrAbortHandler)
		}
		return false
	})
	key := func(i int) string { return storage.Key("people", fmt.Sprintf("Number %d", i), 1, "jpg") }
	var wg sync.WaitGroup
	var held atomic.Int64
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < names; i += 32 {
				for {
					err := storagetest.Put(t.Context(), store, key(i), storagetest.Picture(i, 20_000+i))
					if err == nil {
						break
					}
					if failure.From(err).Kind != failure.Hold {
						t.Errorf("%s: got %v, want a hold", key(i), err)
						return
					}
					held.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d requests were refused or cut off, %d puts came back held", injected.Load(), held.Load())
	s.fault.Store(nil)
	for i := range names {
		got, err := storagetest.Get(t.Context(), store, key(i))
		if err != nil || !bytes.Equal(got, storagetest.Picture(i, 20_000+i)) {
			t.Errorf("%s: got %d bytes, %v", key(i), len(got), err)
		}
	}
	if n := len(s.objects(t)); n != names {
		t.Errorf("got %d objects, want %d", n, names)
	}
}

// TestGarbled: bytes that change on the way are refused by their checksum and
// sent again.
func TestGarbled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	store := s.open(t, "")
	var puts atomic.Int64
	s.inject(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		if r.Header.Get("Content-MD5") == "" || len(r.Header.Get("X-Amz-Content-Sha256")) != 64 {
			t.Errorf("a picture is sent with MD5 %q and SHA-256 %q", r.Header.Get("Content-MD5"), r.Header.Get("X-Amz-Content-Sha256"))
		}
		if puts.Add(1) == 1 {
			data, _ := io.ReadAll(r.Body)
			data[len(data)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(data))
		}
		return false
	})
	want := storagetest.Picture(1, 30_000)
	if err := storagetest.Put(t.Context(), store, "people/Lucy.jpg", want); err != nil {
		t.Fatal(err)
	}
	if got, err := storagetest.Get(t.Context(), store, "people/Lucy.jpg"); err != nil || !bytes.Equal(got, want) || puts.Load() != 2 {
		t.Errorf("got %d bytes, %v, by %d uploads, want 2", len(got), err, puts.Load())
	}
	// A picture beyond memory is sent again from its file.
	puts.Store(0)
	want = storagetest.Picture(2, 3<<20)
	if err := storagetest.Put(t.Context(), store, "people/Lily.jpg", want); err != nil {
		t.Fatal(err)
	}
	if got, err := storagetest.Get(t.Context(), store, "people/Lily.jpg"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestCutRead: an answer that ends early is no whole picture.
func TestCutRead(t *testing.T) {
	t.Parallel()
	s := serve(t)
	store := s.open(t, "")
	if err := storagetest.Put(t.Context(), store, "people/Lucy.jpg", storagetest.Picture(1, 100_000)); err != nil {
		t.Fatal(err)
	}
	s.inject(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "100000")
		w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
		w.Header().Set("ETag", `"x"`)
		_, _ = w.Write(storagetest.Picture(1, 50_000))
		panic(http.ErrAbortHandler)
	})
	r, _, err := store.Open(t.Context(), "people/Lucy.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = io.ReadAll(r)
	wantHold(t, err, "s3://shelf/people/Lucy.jpg")
}

func wantHold(t *testing.T, err error, words ...string) {
	t.Helper()
	f, ok := errors.AsType[*failure.Error](err)
	if !ok || f.Reason != failure.ReasonStore || f.Kind != failure.Hold {
		t.Fatalf("got error %v, want reason store and kind hold", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got error %q, want it to contain %q", err, w)
		}
	}
	for _, never := range []string{secret, "AKIAHARVEST", "Signature=", "\n"} {
		if strings.Contains(err.Error(), never) {
			t.Errorf("error %q contains %q", err, never)
		}
	}
}

// TestRights: a bucket without a right is refused at the start, and the right
// is named.
func TestRights(t *testing.T) {
	t.Parallel()
	isList := func(r *http.Request) bool { return r.Method == http.MethodGet && r.URL.Query().Has("list-type") }
	for _, tc := range []struct {
		name   string
		denied func(r *http.Request) bool
		words  []string
	}{
		{"put", func(r *http.Request) bool { return r.Method == http.MethodPut }, []string{"s3:PutObject on arn:aws:s3:::shelf/pictures/*"}},
		{"get", func(r *http.Request) bool { return r.Method == http.MethodGet && !isList(r) }, []string{"s3:GetObject on arn:aws:s3:::shelf/pictures/*"}},
		{"delete", func(r *http.Request) bool { return r.Method == http.MethodDelete }, []string{"s3:DeleteObject on arn:aws:s3:::shelf/pictures/*"}},
		{"list", isList, []string{"s3:ListBucket on arn:aws:s3:::shelf"}},
		// Without the right to list, what is not there is refused too.
		{"list and what is missing", func(r *http.Request) bool { return r.Method == http.MethodGet }, []string{"s3:ListBucket on arn:aws:s3:::shelf"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.inject(func(w http.ResponseWriter, r *http.Request) bool {
				return tc.denied(r) && refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
			})
			_, err := s3.New(t.Context(), s.config(t, "pictures"), "worker-1")
			wantHold(t, err, append(tc.words, "s3://shelf/pictures")...)
		})
	}
}

// TestRefusals: what else a service can refuse comes with its cure.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code   string
		status int
		words  string
	}{
		{"NoSuchBucket", 404, "make the bucket shelf"},
		{"InvalidAccessKeyId", 403, "AWS_ACCESS_KEY_ID"},
		{"SignatureDoesNotMatch", 403, "AWS_SECRET_ACCESS_KEY"},
		{"AuthorizationHeaderMalformed", 400, "region=…"},
		{"XMinioStorageFull", 507, "make room"},
		{"RequestTimeTooSkewed", 403, "clock"},
		{"MethodNotAllowed", 405, "the service's own words"},
	} {
		t.Run(tc.code, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			store := s.open(t, "")
			s.inject(func(w http.ResponseWriter, _ *http.Request) bool { return refuse(w, tc.status, tc.code, "No.") })
			wantHold(t, storagetest.Put(t.Context(), store, "people/Lucy.jpg", []byte("x")), tc.code, tc.words)
		})
	}
	s := serve(t)
	store := s.open(t, "")
	s.Close()
	wantHold(t, storagetest.Put(t.Context(), store, "people/Lucy.jpg", []byte("x")), "is the service at its endpoint up")
}

// TestShared: workers that begin at once on one empty bucket have one ID and
// one set of pictures; a store that is another one later is refused.
func TestShared(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			store, err := s3.New(t.Context(), s.config(t, "p"), fmt.Sprintf("worker-%d", i))
			if err != nil {
				t.Error(err)
				return
			}
			if ids[i], err = store.ID(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("got IDs %q, want one", ids)
		}
	}
	other, err := s.open(t, "other").ID(t.Context())
	if err != nil || other == ids[0] {
		t.Errorf("another prefix has the ID %q, %v", other, err)
	}
	if left := s.objects(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestReader reads without a write.
func TestReader(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if err := storagetest.Put(t.Context(), s.open(t, "p"), "people/Lucy.jpg", []byte("x")); err != nil {
		t.Fatal(err)
	}
	s.inject(func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method != http.MethodGet && r.Method != http.MethodHead && refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied.")
	})
	r, err := s3.NewReader(s.config(t, "p"))
	if err != nil {
		t.Fatal(err)
	}
	body, info, err := r.Open(context.Background(), "people/Lucy.jpg")
	if err != nil || info.Size != 1 {
		t.Fatalf("got %+v, %v", info, err)
	}
	body.Close()
}
