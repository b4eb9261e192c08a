package cli_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScriptsWithAService are scripts about what is asked of a service: it
// says what it was asked, and has one picture for everybody.
func TestScriptsWithAService(t *testing.T) {
	t.Parallel()
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 40, 30))); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/img/") {
			w.Write(picture.Bytes())
			return
		}
		fmt.Fprintf(w, `{"asked": %q, "photo": "http://%s/img/1.png"}`, r.RequestURI, r.Host)
	}))
	t.Cleanup(s.Close)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "service"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			env.Setenv("SERVICE", s.URL)
			env.Setenv("HARVEST_PROVIDERS_BASE_URLS", "staff="+s.URL)
			env.Setenv("HARVEST_PICTURE_ALLOW", "127.0.0.0/8")
			return nil
		},
		RequireExplicitExec: true,
	})
}
