package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// stamped is the version, set by the linker (-X main.stamped=…).
var stamped string

func version() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dev-" + s.Value[:12]
			}
		}
	}
	return "dev"
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(e *env) error {
	_, err := fmt.Fprintf(e.out, "viaduc %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

type migrateCmd struct{}

// Run migrates the database and stops.
func (migrateCmd) Run(e *env) error {
	cfg, err := e.load()
	if err != nil {
		return err
	}
	if err := migrated(e.ctx, cfg); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "The database is at this version.")
	return nil
}
