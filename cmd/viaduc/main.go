package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/viaduc/viaduc/config"
)

// cli is the command line.
type cli struct {
	Config string `short:"c" help:"Configuration file." env:"VIADUC_CONFIG" placeholder:"viaduc.yaml"`

	Serve      serveCmd   `cmd:"" help:"Run the homeserver."`
	Bridge     bridgeCmd  `cmd:"" help:"Run one bridge alone, against any homeserver."`
	Testserver testCmd    `cmd:"" help:"Run a homeserver for test suites: open registration, no limits, cheap hashes. Never for people."`
	Migrate    migrateCmd `cmd:"" help:"Bring the database to this version and stop."`
	Doctor     doctorCmd  `cmd:"" help:"Check the installation and say what to fix."`
	Admin      adminCmd   `cmd:"" help:"Accounts and registration tokens of the running server."`
	Health     healthCmd  `cmd:"" help:"Ask a running server whether it is well."`
	Print      printCmd   `cmd:"" help:"Print the manual of the configuration, the routes, the metrics, or what is covered of the specification."`
	Version    versionCmd `cmd:"" help:"Print the version."`
}

// env is what commands share.
type env struct {
	ctx    context.Context
	config string
	out    io.Writer
}

// errQuiet ends a command with code 1 when all has been said.
var errQuiet = errors.New("")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	var c cli
	exit := -1
	k, err := kong.New(&c,
		kong.Name("viaduc"),
		kong.Description("A Matrix homeserver with its bridges."),
		kong.UsageOnError(), kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 2
	}
	kc, err := k.Parse(args)
	if exit >= 0 {
		return exit // help was asked for
	}
	if err != nil {
		fmt.Fprintln(errOut, "viaduc:", err)
		return 2
	}
	switch err := kc.Run(&env{ctx, c.Config, out}); {
	case err == nil:
		return 0
	case errors.Is(err, errQuiet):
		return 1
	default:
		if m, ok := errors.AsType[config.Mistakes](err); ok {
			fmt.Fprintf(errOut, "viaduc: the configuration has %d mistakes:\n%v\n", len(m), m)
			return 1
		}
		fmt.Fprintln(errOut, "viaduc:", err)
		return 1
	}
}

// defaultConfig is the file used when none is named.
const defaultConfig = "viaduc.yaml"

// load reads the configuration: the file that was named, else viaduc.yaml if
// there is one, else only the environment.
func (e *env) load() (*config.Config, error) {
	file := e.config
	if file == "" {
		if _, err := os.Stat(defaultConfig); err == nil {
			file = defaultConfig
		}
	}
	return config.Load(file, os.Environ())
}
