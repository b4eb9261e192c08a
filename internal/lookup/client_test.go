package lookup

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/picharvest/picharvest/internal/failure"
	"github.com/picharvest/picharvest/internal/fetch"
)

// exchangeFunc is an Exchanger by function.
type exchangeFunc func(context.Context, fetch.Request) (*fetch.Response, error)

func (f exchangeFunc) Do(ctx context.Context, r fetch.Request) (*fetch.Response, error) {
	return f(ctx, r)
}

// plainHTTP exchanges over a real connection, without the guards.
func plainHTTP(client *http.Client) exchangeFunc {
	return func(ctx context.Context, r fetch.Request) (*fetch.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
		if err != nil {
			return nil, err
		}
		for _, h := range []http.Header{r.Header, r.Credentials} {
			for k, v := range h {
				req.Header[k] = v
			}
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		return &fetch.Response{Status: resp.StatusCode, Header: resp.Header, URL: resp.Request.URL.String(), Body: resp.Body}, nil
	}
}

// setup returns a client of a service that answers with h.
func setup(t *testing.T, yaml string, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	d, err := mustParse(t, yaml).WithBaseURL(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(d, plainHTTP(srv.Client()), Options{Secrets: noSecrets})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func noSecrets(Secret) (string, error) { return "", nil }

func TestLookup(t *testing.T) {
	t.Parallel()
	c := setup(t, minimal, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"ok":1,"picture":"http://p%s"}`, r.RequestURI)
	})
	a, err := c.Lookup(t.Context(), "../Zoë?")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := a.Pictures[0].Candidates[0], "http://p/..%2FZo%C3%AB%3F"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLookupFails(t *testing.T) {
	t.Parallel()
	limited := minimal + "max_bytes: 1KiB\n"
	for _, tt := range []struct {
		title, yaml, name string
		answer            http.HandlerFunc
		reason            failure.Reason
		kind              failure.Kind
	}{
		{"no name", minimal, "", nil, failure.ReasonBadURL, failure.Final},
		{"a dot segment", minimal, "..", nil, failure.ReasonBadURL, failure.Final},
		{"endless", limited, "a", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, failure.ReasonTooLarge, failure.Final},
		{"one byte too many", limited, "a", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"ok":1}`+strings.Repeat(" ", 1024-7))
		}, failure.ReasonTooLarge, failure.Final},
		{"inflating", limited, "a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			z.Write(make([]byte, 50<<20))
			z.Close()
		}, failure.ReasonTooLarge, failure.Final},
		{"cut short", minimal, "a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"ok":1}`)
		}, failure.ReasonTruncated, failure.Temporary},
		{"silent", minimal + "timeout: 50ms\n", "a", func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, failure.ReasonTimeout, failure.Temporary},
		{"silent after the header", minimal + "timeout: 50ms\n", "a", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, failure.ReasonTimeout, failure.Temporary},
		{"down", minimal, "a", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "down", http.StatusInternalServerError)
		}, failure.ReasonUnavailable, failure.Temporary},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			_, err := setup(t, tt.yaml, tt.answer).Lookup(t.Context(), tt.name)
			checkFailure(t, err, tt.reason, tt.kind)
		})
	}
}

func TestLookupTakesExactlyMaxBytes(t *testing.T) {
	t.Parallel()
	c := setup(t, minimal+"max_bytes: 1KiB\n", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"ok":1}`+strings.Repeat(" ", 1024-8))
	})
	if _, err := c.Lookup(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

func TestLookupPassesTheExchangersFailureOn(t *testing.T) {
	t.Parallel()
	dns := failure.Newf(failure.ReasonDNS, failure.Temporary, "no such host")
	c, err := New(mustParse(t, minimal), exchangeFunc(func(context.Context, fetch.Request) (*fetch.Response, error) {
		return nil, dns
	}), Options{Secrets: noSecrets})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lookup(t.Context(), "a"); failure.From(err) != dns {
		t.Errorf("got %v, want %v", err, dns)
	}
}

func TestLookupCancelledBlamesNobody(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c, err := New(mustParse(t, minimal), exchangeFunc(func(ctx context.Context, _ fetch.Request) (*fetch.Response, error) {
		cancel()
		return nil, failure.New(failure.ReasonNetwork, failure.Temporary, ctx.Err())
	}), Options{Secrets: noSecrets})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Lookup(ctx, "a")
	if _, blamed := errors.AsType[*failure.Error](err); !errors.Is(err, context.Canceled) || blamed {
		t.Errorf("got %v, want the context's own error", err)
	}
}

const withSecrets = `
name: secretive
description: A service with keys
base_url: https://API.corp
secrets:
  key: {env: KEY, file: /run/secrets/key}
  token: {env: TOKEN, optional: true}
request:
  url: "{base}/{name}"
  headers: {X-Version: "2", X-Api-Key: "${key}", Authorization: "Bearer ${token}!"}
answer: {expect: [{path: ok, is: present}], error: {message: message}}
pictures: {from: [picture]}
`

// given returns the secrets that m holds by name.
func given(m map[string]string) SecretFunc {
	return func(s Secret) (string, error) { return m[s.Name], nil }
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		title   string
		secrets map[string]string
		want    http.Header
	}{
		{"both", map[string]string{"key": "k1", "token": "t1"}, http.Header{"X-Api-Key": {"k1"}, "Authorization": {"Bearer t1!"}}},
		{"the optional one missing", map[string]string{"key": "k1"}, http.Header{"X-Api-Key": {"k1"}}},
	} {
		t.Run(tt.title, func(t *testing.T) {
			t.Parallel()
			c, err := New(mustParse(t, withSecrets), exchangeFunc(nil), Options{Secrets: given(tt.secrets)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Request(Query{Name: "ada"})
			if err != nil {
				t.Fatal(err)
			}
			want := fetch.Request{
				URL:              "https://API.corp/ada",
				Header:           http.Header{"Accept": {"application/json"}, "X-Version": {"2"}},
				Credentials:      tt.want,
				CredentialOrigin: "https://api.corp",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPictureRequest(t *testing.T) {
	t.Parallel()
	const picture = "https://photos.corp/1.jpg"
	sameOrigin := strings.Replace(withSecrets, "from: [picture]", "from: [picture], auth: same_origin", 1)
	for yaml, want := range map[string]fetch.Request{
		withSecrets: {URL: picture},
		sameOrigin: {
			URL:              picture,
			Credentials:      http.Header{"X-Version": {"2"}, "X-Api-Key": {"k1"}},
			CredentialOrigin: "https://api.corp",
		},
	} {
		c, err := New(mustParse(t, yaml), exchangeFunc(nil), Options{Secrets: given(map[string]string{"key": "k1"})})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.PictureRequest(picture)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestExampleShowsNoSecret(t *testing.T) {
	t.Parallel()
	got, err := mustParse(t, withSecrets).Example(Query{Name: "ada"}, given(map[string]string{"key": "k1"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"X-Api-Key": {"[redacted]"}}, got.Credentials); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretThatGoesMissing(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"key": "k1"}
	c, err := New(mustParse(t, withSecrets), exchangeFunc(nil), Options{Secrets: given(secrets)})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"", "two\nlines"} {
		secrets["key"] = v
		_, err = c.Lookup(t.Context(), "ada")
		checkFailure(t, err, failure.ReasonCredentials, failure.Hold)
		if strings.Contains(err.Error(), "lines") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func TestSecretThatTheServiceRepeats(t *testing.T) {
	t.Parallel()
	c, err := New(mustParse(t, withSecrets), exchangeFunc(func(context.Context, fetch.Request) (*fetch.Response, error) {
		return &fetch.Response{Status: 401, Body: io.NopCloser(strings.NewReader(`{"message":"no such key: k1-secret"}`))}, nil
	}), Options{Secrets: given(map[string]string{"key": "k1-secret"})})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Lookup(t.Context(), "ada")
	checkFailure(t, err, failure.ReasonCredentials, failure.Hold)
	if strings.Contains(err.Error(), "k1-secret") {
		t.Errorf("the error repeats the secret: %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	d := mustParse(t, withSecrets+"contact: required\n")
	err := d.Check(" ", noSecrets)
	want := `provider secretive: its service asks every client for a contact: set --contact you@example.org or HARVEST_CONTACT
provider secretive: secret key is not set: set KEY or write it to /run/secrets/key`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if _, err := New(d, exchangeFunc(nil), Options{Secrets: noSecrets}); err == nil {
		t.Error("New did not check")
	}
	if err := d.Check("me@example.org", given(map[string]string{"key": "k"})); err != nil {
		t.Error(err)
	}
}

func TestWithBaseURL(t *testing.T) {
	t.Parallel()
	d := mustParse(t, minimal)
	for _, tt := range []struct{ base, origin, host string }{
		{"http://127.0.0.1:9000/", "http://127.0.0.1:9000", "127.0.0.1:9000"},
		{"https://API.example.org/v2", "https://api.example.org", "api.example.org:443"},
		{"http://[::1]", "http://[::1]", "[::1]:80"},
	} {
		got, err := d.WithBaseURL(tt.base)
		if err != nil {
			t.Fatal(err)
		}
		if got.Origin() != tt.origin || hostPort(got.Origin()) != tt.host {
			t.Errorf("%s: got %s and %s, want %s and %s", tt.base, got.Origin(), hostPort(got.Origin()), tt.origin, tt.host)
		}
	}
	if d.BaseURL != "http://h" {
		t.Errorf("the definition itself was changed: %s", d.BaseURL)
	}
	for _, base := range []string{"", "h:80", "ftp://h", "http://u:hunter2@h", "http://h/?q", "http://h/#f", "http://", "http://hun ter2"} {
		if _, err := d.WithBaseURL(base); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want an error without secrets", base, err)
		}
	}
	fixed := mustParse(t, strings.Replace(minimal, "{base}", "http://h", 1))
	if _, err := fixed.WithBaseURL("http://x"); err == nil {
		t.Error("a definition without {base} took a base URL")
	}
}

func TestSystemSecrets(t *testing.T) {
	file := t.TempDir() + "/key"
	t.Setenv("LOOKUP_TEST_KEY", "")
	both := Secret{Name: "key", Env: "LOOKUP_TEST_KEY", File: file}
	check := func(want string) {
		t.Helper()
		if got, err := SystemSecrets(both); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	check("")
	write(t, file, "one\n")
	check("one")
	write(t, file, "two\r\n")
	check("two")
	t.Setenv("LOOKUP_TEST_KEY", " three ")
	check("three")
	t.Setenv("LOOKUP_TEST_KEY", "")
	write(t, file, strings.Repeat("x", maxSecretBytes+1))
	if _, err := SystemSecrets(both); err == nil || strings.Contains(err.Error(), "xx") {
		t.Errorf("a huge file: got %v", err)
	}
}

// An answer is asked for again by its validator, unless the definition is
// another one, or the service's address.
func TestRevalidate(t *testing.T) {
	t.Parallel()
	const yaml = `
name: staff
description: Staff
base_url: http://a.test
request: {url: "{base}/{name}"}
answer: {expect: [{path: age, is: present}]}
attributes: {age: age}
pictures: {from: [photo]}
`
	var asked []string
	serve := func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(w, `{"age": 30}`)
	}
	c := setup(t, yaml, serve)
	first, err := c.Lookup(t.Context(), "Ada")
	if err != nil || first.Validator == "" {
		t.Fatalf("got %+v, %v; want a validator", first, err)
	}
	if a, unchanged, err := c.Revalidate(t.Context(), Query{Name: "Ada"}, first.Validator); !unchanged || err != nil {
		t.Errorf("got %+v, unchanged %v, %v; want it unchanged", a, unchanged, err)
	}
	other := setup(t, yaml+"timeout: 9s\n", serve)
	if a, unchanged, err := other.Revalidate(t.Context(), Query{Name: "Ada"}, first.Validator); unchanged || err != nil || a.Validator == first.Validator {
		t.Errorf("another definition: got %+v, unchanged %v, %v; want a whole answer", a, unchanged, err)
	}
	if diff := cmp.Diff([]string{"", `"1"`, ""}, asked); diff != "" {
		t.Errorf("asked by (-want +got):\n%s", diff)
	}
	never := setup(t, yaml, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	if _, err := never.Lookup(t.Context(), "Ada"); err == nil {
		t.Error("304 without a condition is taken for an answer")
	}
}
