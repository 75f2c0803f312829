package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/viaduc/viaduc/config"
)

// firstRun writes a commented viaduc.yaml when there is no configuration at
// all: none named, no file, nothing in the environment.
func (e *env) firstRun() (bool, error) {
	if e.config != "" {
		return false, nil
	}
	if _, err := os.Stat(defaultConfig); !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "VIADUC_SERVER_NAME=") {
			return false, nil
		}
	}
	if err := os.MkdirAll("data", 0o700); err != nil {
		return false, err
	}
	return true, os.WriteFile(defaultConfig, []byte(firstConfig()), 0o600)
}

// firstConfig is the manual with the values of a server to try out: it keeps
// to this machine, and lets those register who have a token.
func firstConfig() string {
	text := config.DefaultYAML
	for _, change := range []struct{ section, key, value string }{
		{"", "server_name", strconv.Quote("localhost:8448")},
		{"", "public_base_url", strconv.Quote("http://localhost:8008")},
		{"registration", "enabled", "true"},
	} {
		text = setKey(text, change.section, change.key, change.value)
	}
	return "# Written at the first start, to try Viaduc out on this machine. For a server that\n" +
		"# others reach, set server_name and public_base_url first, and see \"viaduc doctor\".\n\n" + text
}

// setKey replaces the value of a key in a file of the form of DefaultYAML.
func setKey(text, section, key, value string) string {
	lines := strings.Split(text, "\n")
	in, indent := section == "", ""
	if section != "" {
		indent = "  "
	}
	for i, line := range lines {
		if section != "" && line != "" && line[0] != ' ' && line[0] != '#' {
			in = line == section+":"
		}
		if in && strings.HasPrefix(line, indent+key+":") {
			lines[i] = indent + key + ": " + value
			break
		}
	}
	return strings.Join(lines, "\n")
}

// welcome prints what a newcomer needs, on one screen.
func welcome(ctx context.Context, out io.Writer, cfg *config.Config, s server) error {
	token, err := s.NewRegistrationToken(ctx, "", 1, zeroTime)
	if err != nil {
		return fmt.Errorf("making the first registration token: %w", err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		here = "."
	}
	_, err = fmt.Fprintf(out, `
  Viaduc runs.

  Server name      %s
  For clients      %s
  For operators    http://%s/health  /metrics
  Settings         %s
  Data and keys    %s   (keep a copy of signing.key)

  Make the first account, in one of two ways
    in a client    register with the token  %s   (works once)
    here           bin/viaduc admin user add NAME --admin

  Sign in
    Open Element (desktop, or https://app.element.io), choose "Edit" next to the
    homeserver, enter  %s  and register or sign in.

  Stop with Ctrl-C. "bin/viaduc doctor" tells what a public server still needs.

`, cfg.ServerName, cfg.BaseURL(), cfg.Listen.Admin,
		filepath.Join(here, defaultConfig), filepath.Join(here, filepath.Dir(cfg.SigningKeyFile)), token, cfg.BaseURL())
	return err
}
