package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/picharvest/picharvest/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"harvest": func() { os.Exit(cli.Main(cli.Harvest)) },
		"enqueue": func() { os.Exit(cli.Main(cli.Enqueue)) },
		"worker":  func() { os.Exit(cli.Main(cli.Worker)) },
	})
}

// TestScripts runs the programs as a user types them. Each script has a
// folder of its own, and no configuration but what it writes. The condition
// [redis-server] says whether one is installed; scripts that need to be
// without it set NOREDIS=1.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Condition: func(cond string) (bool, error) {
			_, err := exec.LookPath(cond)
			return err == nil, nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			return nil
		},
		RequireExplicitExec: true,
	})
}
