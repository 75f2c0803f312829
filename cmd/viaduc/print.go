package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/web"
)

type printCmd struct {
	Config  printConfigCmd  `cmd:"" help:"All settings with their defaults and comments."`
	Routes  printRoutesCmd  `cmd:"" help:"All endpoints."`
	Metrics printMetricsCmd `cmd:"" help:"All metrics."`
	Spec    printSpecCmd    `cmd:"" help:"Which endpoints of the specification are served, and which are not."`
}

type printConfigCmd struct{}

// Run prints the manual.
func (printConfigCmd) Run(e *env) error {
	_, err := fmt.Fprint(e.out, config.DefaultYAML)
	return err
}

//go:embed metrics.txt
var metricsText string

type printMetricsCmd struct{}

// Run prints the metrics.
func (printMetricsCmd) Run(e *env) error {
	_, err := fmt.Fprint(e.out, metricsText)
	return err
}

// table assembles a server that never runs, in a folder that is thrown away,
// to look at its routes.
func table() ([]web.Route, error) {
	dir, err := os.MkdirTemp("", "viaduc-print-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cfg := config.Default()
	cfg.SigningKeyFile = filepath.Join(dir, "signing.key")
	cfg.Database.URL = filepath.Join(dir, "viaduc.db")
	cfg.Media.Path = filepath.Join(dir, "media")
	cfg.Experimental.EnableAll()
	s, err := assembled(cfg, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	rows := s.Routes()
	slices.SortStableFunc(rows, func(a, b web.Route) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	return rows, nil
}

type printRoutesCmd struct{}

// Run prints the table of routes.
func (printRoutesCmd) Run(e *env) error {
	rows, err := table()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Method, r.Path, r.Auth, r.Limit, r.Spec)
	}
	return w.Flush()
}

// endpointsCSV lists the endpoints of the specification (v1.19): API, method,
// path, who may ask, whether it is rate-limited.
//
//go:embed endpoints.csv
var endpointsCSV string

type endpoint struct {
	api, method, path, auth string
	limited                 bool
}

func endpoints() (out []endpoint) {
	for line := range strings.Lines(endpointsCSV) {
		if f := strings.Split(strings.TrimSpace(line), ","); len(f) == 5 {
			out = append(out, endpoint{f[0], f[1], f[2], f[3], f[4] == "true"})
		}
	}
	return out
}

// divergences are endpoints left out on purpose, with the reason.
var divergences = map[string]string{
	"identity-server":     "an identity server is another program",
	"push-gateway":        "served by push gateways; Viaduc calls it",
	"application-service": "served by bridges; Viaduc calls it",
}

type printSpecCmd struct{}

// Run prints the coverage of the specification.
func (printSpecCmd) Run(e *env) error {
	rows, err := table()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(e.out, coverage(rows, endpoints()))
	return err
}

// shape makes paths comparable: names of parameters do not matter.
func shape(method, path string) string {
	segs := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for i, s := range segs {
		if strings.HasPrefix(s, "{") {
			segs[i] = "{}"
		}
	}
	return method + " " + strings.Join(segs, "/")
}

// sameAuth says whether a route asks for who the specification says.
func sameAuth(spec string, a web.Auth) bool {
	switch spec {
	case "none":
		return a == web.None || a == web.Optional
	case "optional access_token":
		return a == web.Optional || a == web.None
	case "signed_request":
		return a == web.ServerOnly
	case "as_token":
		return a == web.AppServiceOnly
	}
	return a == web.User || a == web.UserOrGuest || a == web.Admin
}

// findings of the comparison with the specification.
type comparison struct {
	counts                           map[string][2]int
	missing, auth, unlimited, beyond []string
}

func compare(rows []web.Route, spec []endpoint) (c comparison) {
	served := map[string]web.Route{}
	for _, r := range rows {
		served[shape(r.Method, r.Path)] = r
	}
	c.counts = map[string][2]int{}
	for _, ep := range spec {
		n := c.counts[ep.api]
		n[1]++
		key := shape(ep.method, ep.path)
		line := fmt.Sprintf("%-6s %s", ep.method, ep.path)
		r, have := served[key]
		switch {
		case have:
			n[0]++
			if !sameAuth(ep.auth, r.Auth) {
				c.auth = append(c.auth, fmt.Sprintf("%s   %s, here %s", line, ep.auth, r.Auth))
			}
			if ep.limited && r.Limit == web.NoLimit {
				c.unlimited = append(c.unlimited, line)
			}
			delete(served, key)
		case divergences[ep.api] == "":
			c.missing = append(c.missing, line)
		}
		c.counts[ep.api] = n
	}
	for _, r := range served {
		c.beyond = append(c.beyond, fmt.Sprintf("%-6s %s", r.Method, r.Path))
	}
	slices.Sort(c.beyond)
	return c
}

func coverage(rows []web.Route, spec []endpoint) string {
	c := compare(rows, spec)
	var b strings.Builder
	fmt.Fprintf(&b, "# Endpoints of the specification, v1.19\n\n")
	for _, api := range []string{"client-server", "server-server", "application-service", "push-gateway", "identity-server"} {
		if n := c.counts[api]; n[1] > 0 {
			fmt.Fprintf(&b, "%-20s %d of %d", api, n[0], n[1])
			if why := divergences[api]; why != "" {
				fmt.Fprintf(&b, "   (%s)", why)
			}
			b.WriteByte('\n')
		}
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"Not served", c.missing},
		{"Asked by others than the specification says", c.auth},
		{"Rate-limited by the specification, not here", c.unlimited},
		{"Served beyond the specification", c.beyond},
	} {
		if len(part.lines) > 0 {
			fmt.Fprintf(&b, "\n# %s\n\n%s\n", part.title, strings.Join(part.lines, "\n"))
		}
	}
	return b.String()
}
