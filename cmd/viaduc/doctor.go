package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/viaduc/viaduc/config"
)

// finding is what one check says.
type finding struct {
	level level
	what  string
	fix   string
}

type level uint8

const (
	fine level = iota
	note
	bad
)

func (l level) String() string { return [...]string{"ok  ", "note", "BAD "}[l] }

func ok(format string, args ...any) []finding {
	return []finding{{fine, fmt.Sprintf(format, args...), ""}}
}

func hint(fix, format string, args ...any) []finding {
	return []finding{{note, fmt.Sprintf(format, args...), fix}}
}

func wrong(fix, format string, args ...any) []finding {
	return []finding{{bad, fmt.Sprintf(format, args...), fix}}
}

// doctor is the installation under examination.
type doctor struct {
	cfg     *config.Config
	resolve *net.Resolver
	now     func() time.Time
}

// check is one examination; none takes longer than its time.
type check struct {
	name string
	run  func(*doctor, context.Context) []finding
}

func checks() []check {
	return []check{
		{"server name", (*doctor).serverName},
		{"signing key", (*doctor).signingKey},
		{"certificate", (*doctor).certificate},
		{"database", (*doctor).database},
		{"disk", (*doctor).disk},
		{"clock", (*doctor).clock},
		{"registration", (*doctor).registration},
		{"DNS", (*doctor).dns},
		{"well-known", (*doctor).wellKnown},
	}
}

type doctorCmd struct {
	Offline bool `help:"Skip what needs the network."`
}

// Run examines the installation. The exit code is 1 if something is bad.
func (cmd doctorCmd) Run(e *env) error {
	cfg, err := e.load()
	if err != nil {
		return err
	}
	fmt.Fprintln(e.out, "ok   configuration: no mistakes")
	d := &doctor{cfg: cfg, resolve: net.DefaultResolver, now: time.Now}
	sick := false
	for _, c := range checks() {
		if cmd.Offline && (c.name == "DNS" || c.name == "well-known") {
			continue
		}
		ctx, cancel := context.WithTimeout(e.ctx, 20*time.Second)
		for _, f := range c.run(d, ctx) {
			fmt.Fprintf(e.out, "%s %s: %s\n", f.level, c.name, f.what)
			if f.fix != "" {
				fmt.Fprintf(e.out, "       → %s\n", f.fix)
			}
			sick = sick || f.level == bad
		}
		cancel()
	}
	if sick {
		return errQuiet
	}
	return nil
}

// private says that a file can be read by its owner only.
func private(file string) (os.FileMode, bool, error) {
	st, err := os.Stat(file)
	if err != nil {
		return 0, false, err
	}
	return st.Mode().Perm(), st.Mode().Perm()&0o077 == 0, nil
}
