package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/viaduc/viaduc/config"
)

type bridgeCmd struct {
	Name string `arg:"" optional:"" help:"Name of the bridge; without it, the names are listed."`
}

// Run runs one bridge until it is told to stop.
func (cmd bridgeCmd) Run(e *env) error {
	all := bridges()
	names := slices.Sorted(maps.Keys(all))
	if cmd.Name == "" {
		if len(names) == 0 {
			return errors.New("this binary has no bridges")
		}
		fmt.Fprintln(e.out, strings.Join(names, "\n"))
		return nil
	}
	run := all[cmd.Name]
	switch {
	case len(names) == 0:
		return fmt.Errorf("no bridge %q: this binary has no bridges", cmd.Name)
	case run == nil:
		return fmt.Errorf("no bridge %q; there are: %s", cmd.Name, strings.Join(names, ", "))
	}
	return run(e.ctx, e.config, newLog(config.Default().Log, os.Stderr))
}
