package cli_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/picharvest/picharvest/internal/cli"
	"github.com/picharvest/picharvest/internal/redistest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"harvest": func() { os.Exit(cli.Main(cli.Harvest)) },
		"enqueue": func() { os.Exit(cli.Main(cli.Enqueue)) },
		"worker":  func() { os.Exit(cli.Main(cli.Worker)) },
	})
}

// TestScripts runs the programs as a user types them. Each script has a
// folder of its own, and no configuration but what it writes.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts(t, "script", "")
}

// TestScriptsOnARedis are scripts that need a server, each with a namespace of
// its own.
func TestScriptsOnARedis(t *testing.T) {
	t.Parallel()
	scripts(t, "redis", redistest.Start(t, "--appendonly", "no").URL())
}

func scripts(t *testing.T, folder, redisURL string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", folder),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			env.Setenv("REDIS", redisURL)
			down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "down", http.StatusInternalServerError)
			}))
			env.Defer(down.Close)
			env.Setenv("DOWN", down.URL)
			// Bytes that a script's text cannot hold.
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "some.txt"), []byte("Brus Lee\n\x1b[31mevil\nJack Chen\ntwo\tcolumns\n"), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "latin.csv"), []byte("name;age\nBr\xfcs Lee;30\nJo\xe3o;31\n"), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "picture.bin"), []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), 0o600),
			)
		},
		RequireExplicitExec: true,
	})
}
