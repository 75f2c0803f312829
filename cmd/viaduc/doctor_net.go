package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/viaduc/viaduc/config"
)

// public says that the server is meant to be found by others.
func (d *doctor) public() bool {
	host := hostOf(d.cfg.ServerName)
	return host != "localhost" && !strings.HasSuffix(host, ".localhost") && net.ParseIP(host) == nil
}

func (d *doctor) dns(ctx context.Context) []finding {
	if !d.public() {
		return ok("not needed for %s", d.cfg.ServerName)
	}
	host := hostOf(d.cfg.ServerName)
	var out []finding
	if addrs, err := d.resolve.LookupHost(ctx, host); err != nil {
		out = append(out, wrong("add A and AAAA records", "%s has no address: %v", host, err)...)
	} else {
		out = append(out, ok("%s is %s", host, strings.Join(addrs, ", "))...)
	}
	for _, service := range []string{"matrix-fed", "matrix"} {
		_, records, err := d.resolve.LookupSRV(ctx, service, "tcp", host)
		if err != nil || len(records) == 0 {
			continue
		}
		for _, r := range records {
			target := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			if service == "matrix" {
				out = append(out, hint("name it _matrix-fed._tcp", "SRV _matrix._tcp (an old name) leads to %s", target)...)
			} else {
				out = append(out, ok("SRV leads other servers to %s", target)...)
			}
		}
	}
	return out
}

// fetch gets a JSON document of at most 64 KiB.
func fetch(ctx context.Context, url string, out any) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return res, err
	}
	if res.StatusCode != http.StatusOK {
		return res, fmt.Errorf("status %s", res.Status)
	}
	return res, json.Unmarshal(raw, out)
}

func (d *doctor) wellKnown(ctx context.Context) []finding {
	if !d.public() {
		return ok("not needed for %s", d.cfg.ServerName)
	}
	base := "https://" + hostOf(d.cfg.ServerName)
	var out []finding
	var client struct {
		Homeserver struct {
			BaseURL string `json:"base_url"`
		} `json:"m.homeserver"`
	}
	res, err := fetch(ctx, base+"/.well-known/matrix/client", &client)
	switch want := d.cfg.BaseURL(); {
	case err != nil:
		out = append(out, wrong("let this path reach Viaduc, or serve the file there", "clients do not find the server: %s/.well-known/matrix/client: %v", base, err)...)
	case strings.TrimSuffix(client.Homeserver.BaseURL, "/") != want:
		out = append(out, wrong("set public_base_url, or correct the file", "clients are sent to %q, the configuration says %q", client.Homeserver.BaseURL, want)...)
	case res.Header.Get("Access-Control-Allow-Origin") != "*":
		out = append(out, wrong("add the header Access-Control-Allow-Origin: *", "clients in browsers may not read %s/.well-known/matrix/client", base)...)
	default:
		out = append(out, ok("clients are sent to %s", client.Homeserver.BaseURL)...)
	}
	if d.cfg.Federation.Enabled {
		out = append(out, d.federationReachable(ctx, base)...)
	}
	return out
}

// federationReachable looks at the way other servers take, and asks for our
// keys at its end.
func (d *doctor) federationReachable(ctx context.Context, base string) []finding {
	target := d.cfg.ServerName
	var server struct {
		Server string `json:"m.server"`
	}
	if _, err := fetch(ctx, base+"/.well-known/matrix/server", &server); err == nil && config.ValidServerName(server.Server) {
		target = server.Server
	}
	if _, _, err := net.SplitHostPort(target); err != nil {
		target = net.JoinHostPort(strings.Trim(target, "[]"), "8448")
	}
	var keys struct {
		ServerName string `json:"server_name"`
	}
	if _, err := fetch(ctx, "https://"+target+"/_matrix/key/v2/server", &keys); err != nil {
		return wrong("check the proxy, the port and the certificate of "+target, "other servers do not reach us: %v", err)
	}
	if keys.ServerName != d.cfg.ServerName {
		return wrong("check where "+target+" leads", "at %s, %q answers instead of us", target, keys.ServerName)
	}
	return ok("other servers reach us at %s", target)
}
