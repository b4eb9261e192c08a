// Package cli is the command line: commands, flags, streams, exit codes and
// the words on the screen. stdout carries data, stderr logs and progress. The
// work itself is done by the packages below; nothing here decides about
// names.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/picharvest/picharvest/configs"
	"github.com/picharvest/picharvest/internal/app"
	"github.com/picharvest/picharvest/internal/nearest"
)

// Streams are a program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Program makes the root command of one of the three programs.
type Program func(*Env) *cobra.Command

// Main runs program with the process's arguments and returns its exit code.
func Main(program Program) int {
	return Run(context.Background(), program, os.Args[1:], Streams{os.Stdin, os.Stdout, os.Stderr})
}

// Run runs program. The first SIGINT or SIGTERM ends ctx, which ends work in
// an orderly way; the second ends the process at once.
func Run(ctx context.Context, program Program, args []string, std Streams) int {
	ctx, stop := signals(ctx)
	defer stop()
	env := newEnv(std)
	root := program(env)
	root.SetArgs(args)
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(env.Err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(misused)
	argsAreUsage(root)
	completeNames(env, root)
	root.DisableSuggestions = true // unknownCommand has its own
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		err = unknownCommand(root, err)
	}
	code := exitCode(ctx, err)
	text := message(err)
	if code == ExitInterrupted && text != "" {
		text = "interrupted"
	}
	if text != "" {
		fmt.Fprintf(env.Err, "%s: %s\n", root.Name(), text)
	}
	return code
}

// misused is err as a mistake in the call of c.
func misused(c *cobra.Command, err error) error {
	if _, ok := errors.AsType[*coded](err); ok || err == nil {
		return err
	}
	like := ""
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		like = likeFlag(c, unknown.GetSpecifiedName())
	}
	return usage(fmt.Errorf("%w%s\nsee `%s --help`", err, like, c.CommandPath()))
}

// likeFlag offers the flags of c that a mistyped one is like.
func likeFlag(c *cobra.Command, name string) string {
	var known []string
	c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	like := nearest.Words(name, known)
	if len(name) < 3 || len(like) == 0 {
		return ""
	}
	return "; did you mean --" + like[0] + "?"
}

// unknownCommand is err, which names a command that root has not, with the one
// that was meant.
func unknownCommand(root *cobra.Command, err error) error {
	_, word, _ := strings.Cut(err.Error(), `"`)
	word, _, _ = strings.Cut(word, `"`)
	return usage(fmt.Errorf("%w%s\nsee `%s --help`", err, likeCommand(root, word), root.CommandPath()))
}

func likeCommand(c *cobra.Command, word string) string {
	var known []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	if like := nearest.Words(word, known); len(like) > 0 {
		return "; did you mean " + like[0] + "?"
	}
	return ""
}

// onlyCommands makes c, which does nothing itself, refuse words that are none
// of its commands.
func onlyCommands(c *cobra.Command) {
	c.RunE = func(c *cobra.Command, given []string) error {
		if len(given) == 0 {
			return c.Help()
		}
		return usage(fmt.Errorf("unknown command %q for %q%s\nsee `%s --help`", given[0], c.CommandPath(), likeCommand(c, given[0]), c.CommandPath()))
	}
}

// argsAreUsage makes mistakes in the number of arguments, which cobra tells, as
// good as those in flags.
func argsAreUsage(c *cobra.Command) {
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, given []string) error { return misused(c, args(c, given)) }
	}
	for _, sub := range c.Commands() {
		argsAreUsage(sub)
	}
}

// signals returns a context that the first signal ends. The second signal
// exits.
func signals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-ch:
				if n > 0 {
					os.Exit(ExitInterrupted)
				}
				cancel(&interrupted{s})
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal os.Signal }

func (i *interrupted) Error() string { return "interrupted by " + i.signal.String() }

// Is makes it the context error that it stands for.
func (i *interrupted) Is(target error) bool { return target == context.Canceled }

// Harvest is the program that has every command.
func Harvest(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "harvest",
		Short: "From a list of names to their records and pictures",
		Long: `harvest asks a lookup service about every name of a list, downloads the
pictures that the answers point to, proves that they are pictures, and keeps
what became of each name, so that it can be asked, exported and tried again.

On one machine, with nothing installed but this program:

  harvest run --file names.txt --provider wikipedia --contact you@example.org
  harvest results

With a Redis and as many workers as you like:

  harvest worker --concurrency 100 &
  harvest enqueue --file names.txt --wait

Exit codes: 0 all well; 1 a name failed; 2 usage or configuration; 3 Redis or
the picture store is out of reach or full; 4 nothing to do (where asked for);
5 stopped by a limit; 70 internal error; 130 interrupted.`,
		Version:       app.Version(),
		SilenceErrors: true,
	}
	root.AddGroup(&cobra.Group{ID: "work", Title: "Work:"},
		&cobra.Group{ID: "ask", Title: "Ask:"},
		&cobra.Group{ID: "change", Title: "Change a batch:"},
		&cobra.Group{ID: "setup", Title: "Set up:"})
	global(env, root)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("work", runCommand(env), enqueueCommand(env), workerCommand(env), importCommand(env))
	add("ask", statusCommand(env), resultsCommand(env), exportCommand(env), verifyCommand(env), duplicatesCommand(env), serveCommand(env))
	add("change", retryCommand(env), pauseCommand(env), resumeCommand(env), cancelCommand(env), deleteCommand(env), forgetCommand(env))
	add("setup", doctorCommand(env), providersCommand(env), configCommand(env), demoServerCommand(env), healthCommand(env), versionCommand(env))
	root.SetHelpCommandGroupID("setup")
	root.SetCompletionCommandGroupID("setup")
	return root
}

// Enqueue is the program that is `harvest enqueue` alone.
func Enqueue(env *Env) *cobra.Command { return alone(env, enqueueCommand(env)) }

// Worker is the program that is `harvest worker` alone.
func Worker(env *Env) *cobra.Command { return alone(env, workerCommand(env)) }

func alone(env *Env, c *cobra.Command) *cobra.Command {
	c.Version = app.Version()
	global(env, c)
	return c
}

// Programs returns the root commands of all three programs, to be described
// and not to be run.
func Programs() []*cobra.Command {
	var roots []*cobra.Command
	for _, program := range []Program{Harvest, Enqueue, Worker} {
		roots = append(roots, program(newEnv(Streams{os.Stdin, io.Discard, io.Discard})))
	}
	return roots
}

// global adds the flags that every command has.
func global(env *Env, c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&env.configFile, "config", "", "configuration `file` (default: ./harvest.yaml, then the user's, then /etc/harvest/config.yaml)")
	env.setting(f, "redis.url", "redis", "", "`URL` of Redis: redis://, rediss:// or unix://")
	env.setting(f, "redis.namespace", "namespace", "", "`word` that keeps installations on one Redis apart")
	env.setting(f, "data", "data", "", "data `folder` (default ./harvest-data)")
	env.setting(f, "log.level", "log-level", "", "least `level` logged: debug, info, warn or error")
	env.setting(f, "log.format", "log-format", "", "log `format`: auto, text or json")
}

// load reads the settings, and says on stderr what is odd about them.
func (e *Env) load(c *cobra.Command) (configs.Settings, error) {
	loaded, err := e.loaded(c)
	if err != nil {
		return configs.Settings{}, err
	}
	for _, w := range loaded.Warnings {
		fmt.Fprintf(e.Err, "%s: warning: %s\n", c.Root().Name(), w)
	}
	return loaded.Settings, nil
}

func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }
