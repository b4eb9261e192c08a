//go:build integration

package hostiletest_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/picharvest/picharvest/internal/redistest"
)

// planted are secrets, each in a place of its own. Their common beginning
// makes them easy to look for.
const (
	planted       = "PLANTED-"
	redisPassword = planted + "redis/p@ss"
	tokenSecret   = planted + "token"
	fileSecret    = planted + "file"
	proxyPassword = planted + "proxy"
	pictureUser   = planted + "picture-user"
	pictureQuery  = planted + "picture-query"
)

// secretService is a lookup service that wants a token and repeats what it
// gets wherever it can.
func secretService(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/p/") {
			if r.Header.Get("X-Api-Key") != "" || r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
				t.Error("a picture's request has the lookup's headers")
			}
			http.Error(w, r.URL.RawQuery, http.StatusNotFound)
			return
		}
		if r.Header.Get("X-Api-Key") != fileSecret || r.Header.Get("Authorization") != "Bearer "+tokenSecret {
			t.Errorf("a lookup without its headers: %v", r.Header)
		}
		picture := "http://" + r.Host + "/p/1.png?token=" + pictureQuery
		switch name := r.URL.Query().Get("name"); name {
		case "says it":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"message":"bad token %s, bad key %s"}`, tokenSecret, fileSecret)
			return
		case "leads away":
			http.Redirect(w, r, "http://other.invalid/?token="+pictureQuery, http.StatusFound)
			return
		case "userinfo":
			picture = "http://user:" + pictureUser + "@" + r.Host + "/p/1.png"
		case "userinfo of no URL":
			picture = "http://user:" + pictureUser + " @" + r.Host + "/p/1.png"
		case "nobody there":
			picture = "http://127.0.0.1:1/p/1.png?token=" + pictureQuery
		}
		fmt.Fprintf(w, `{"picture":%q}`, picture)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestSecretsAreNowhere plants a secret in every setting and URL that may hold
// one and looks for them in all that the product writes. The query of a
// picture's URL is the one exception: the picture cannot be asked for without
// it, so it stands in the name's record and in what lists picture URLs.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	rdb := redistest.StartTCP(t, "--requirepass", redisPassword)
	service := secretService(t)
	own := strings.TrimPrefix(service.URL, "http://")
	// A proxy that nobody listens at, so that its errors are seen.
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()

	definition := func(name string) string {
		return fmt.Sprintf(`
    - name: %s
      description: Wants a token
      base_url: %s
      secrets: {token: {env: SERVICE_TOKEN}, key: {file: key}}
      request: {url: "{base}/?name={name}", headers: {Authorization: "Bearer ${token}", X-Api-Key: "${key}"}}
      answer: {error: {when: [{path: message, is: present}], message: message}, expect: [{path: picture, is: present}]}
      pictures: {from: [picture], allow: [lookup-origin, "127.0.0.1:1"]}
`, name, service.URL)
	}
	base := fmt.Sprintf(`
storage: {url: store/pictures}
provider: secretive
worker: {max_attempts: 2, retry_delay: 10ms, max_retry_delay: 10ms}
picture: {timeout: 2s, PROXY}
redis: {password_file: password, REDIS}
providers:
  definitions:%s`, definition("secretive"))
	for how, tt := range map[string]struct {
		redis, proxy string
		env          []string
	}{
		"in files": {redis: "url: redis://" + rdb.Addr()},
		"in the environment": {redis: "username: ''", env: []string{
			"HARVEST_REDIS_URL=redis://:" + url.QueryEscape(redisPassword) + "@" + rdb.Addr(), "HARVEST_REDIS_PASSWORD_FILE=",
		}},
		"in a proxy": {redis: "url: redis://" + rdb.Addr(), proxy: "proxy: 'http://user:" + proxyPassword + "@" + dead.Addr().String() + "'"},
	} {
		config := strings.NewReplacer("REDIS", tt.redis, "PROXY", tt.proxy).Replace(base)
		if len(tt.env) > 0 {
			config = strings.Replace(config, "password_file: password, ", "", 1)
		}
		p := newProduct(t, config, append(tt.env, "SERVICE_TOKEN="+tokenSecret, "HTTP_PROXY=http://u:"+proxyPassword+"@"+dead.Addr().String())...)
		for file, secret := range map[string]string{"password": redisPassword, "key": fileSecret} {
			if err := os.WriteFile(filepath.Join(p.dir, file), []byte(secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p.wantNoSecret(how, strings.ReplaceAll(how, " ", "-"), own, redis.NewClient(&redis.Options{Addr: rdb.Addr(), Password: redisPassword}))
	}
}

// wantNoSecret runs a batch and searches everything.
func (p *product) wantNoSecret(how, batch, host string, rdb *redis.Client) {
	p.t.Helper()
	defer rdb.Close()
	names := "one\nsays it\nleads away\nuserinfo\nuserinfo of no URL\nnobody there\n"
	path := filepath.Join(p.dir, batch+".txt")
	if err := os.WriteFile(path, []byte(names), 0o644); err != nil {
		p.t.Fatal(err)
	}
	w := p.worker()
	argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.cmd.Process.Pid)) // nothing where there is no /proc
	searched := map[string][]byte{"argv": argv}
	collect := func(what string, code int, args ...string) {
		out, errs := p.run(code, args...)
		searched[what+", stdout"], searched[what+", stderr"] = out, errs
	}
	collect("enqueue", 1, "enqueue", "--file", path, "--wait", "--log-level", "debug")
	collect("dry run", 0, "enqueue", "--file", path, "--dry-run")
	collect("results", 0, "results", batch, "--limit", "0")
	collect("status", 0, "status", batch)
	collect("config", 0, "config", "show", "--origin")
	collect("providers", 0, "providers", "show", "secretive")
	w.stop(p.t)
	searched["log"] = w.log.Bytes()
	if got := p.results(batch); len(got) != 6 {
		p.t.Fatalf("%s: %d names, want 6", how, len(got))
	}
	jsonOut, _ := p.run(0, "results", batch, "--json")
	searched["results as JSON, but for picture URLs"] = withoutPictureURLs(jsonOut, host)
	stored := p.dump(rdb)
	if !bytes.Contains(stored, []byte(pictureQuery)) {
		p.t.Fatalf("%s: the search of Redis is blind", how)
	}
	searched["redis, but for picture URLs"] = withoutPictureURLs(stored, host)
	err := filepath.WalkDir(filepath.Join(p.dir, "store"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		searched[path] = append(content, path...)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for where, text := range searched {
		for _, secret := range []string{planted, redisPassword, base64.StdEncoding.EncodeToString([]byte("user:" + proxyPassword))} {
			for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
				if i := bytes.Index(text, []byte(form)); i >= 0 {
					p.t.Errorf("%s: %s tells a secret: …%q…", how, where, text[max(0, i-150):min(len(text), i+40)])
				}
			}
		}
	}
}

// withoutPictureURLs drops the query of picture URLs, which must be kept, in
// the forms in which JSON has it.
func withoutPictureURLs(text []byte, host string) []byte {
	s := string(text)
	for _, place := range []string{host, "127.0.0.1:1"} {
		s = strings.ReplaceAll(s, "http://"+place+"/p/1.png?token="+pictureQuery, "")
	}
	return []byte(s)
}

// dump returns every key and value of Redis.
func (p *product) dump(rdb *redis.Client) []byte {
	p.t.Helper()
	ctx := p.t.Context()
	keys, err := rdb.Keys(ctx, "*").Result() // a Redis of the test's own
	if err != nil {
		p.t.Fatal(err)
	}
	var b bytes.Buffer
	for _, k := range keys {
		var v any
		switch kind := rdb.Type(ctx, k).Val(); kind {
		case "string":
			v, err = rdb.Get(ctx, k).Result()
		case "hash":
			v, err = rdb.HGetAll(ctx, k).Result()
		case "set":
			v, err = rdb.SMembers(ctx, k).Result()
		case "zset":
			v, err = rdb.ZRangeWithScores(ctx, k, 0, -1).Result()
		case "list":
			v, err = rdb.LRange(ctx, k, 0, -1).Result()
		case "none": // it has expired meanwhile
		default:
			p.t.Fatalf("key %q is a %s", k, kind)
		}
		if err != nil && err != redis.Nil {
			p.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %v\n", k, v)
	}
	if b.Len() == 0 {
		p.t.Fatal("nothing in Redis")
	}
	return b.Bytes()
}
