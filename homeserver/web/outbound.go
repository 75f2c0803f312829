package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/viaduc/viaduc/config"
)

// ErrDialDenied is returned when an outbound connection would reach an address that the deny list names.
// The check is made on the address of the socket itself, after name resolution, so a name that changes its
// address between a look-up and the connection (DNS rebinding) gains nothing.
var ErrDialDenied = errors.New("address is on the deny list for outbound connections")

// Outbound says which addresses an outbound client may reach.
type Outbound struct {
	// Allow wins over Deny.
	Allow, Deny []netip.Prefix
	// CAs, when set, are the only certificate authorities trusted.
	CAs *x509.CertPool
	// InsecureSkipVerify exists for development only.
	InsecureSkipVerify bool
	// DialTimeout bounds one connection attempt, HeaderTimeout the wait for an answer's header.
	DialTimeout, HeaderTimeout time.Duration
	// MaxPerHost bounds connections to one host (0: 8).
	MaxPerHost int
}

// PrivateNetworks is the deny list that applies when none is configured: everything that is not the public
// internet, as the word "private" means in the configuration.
var PrivateNetworks = privateNetworks()

func privateNetworks() []netip.Prefix {
	n, _ := config.ParseNetwork("private")
	return n.Prefixes()
}

// Prefixes turns configured networks into the form of Outbound.
func Prefixes(nets []config.Network) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range nets {
		out = append(out, n.Prefixes()...)
	}
	return out
}

// Allowed tells whether an address may be dialled.
func (o *Outbound) Allowed(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range o.Allow {
		if p.Contains(addr) {
			return true
		}
	}
	for _, p := range o.Deny {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// Dialer returns a dialer that refuses denied addresses at connect time.
func (o *Outbound) Dialer() *net.Dialer {
	timeout := o.DialTimeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	return &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second, Control: o.control}
}

func (o *Outbound) control(network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrDialDenied, address)
	}
	if !o.Allowed(ap.Addr()) {
		return fmt.Errorf("%w: %s", ErrDialDenied, ap.Addr())
	}
	return nil
}

// Transport returns a transport that dials through Dialer and never through a proxy of the environment.
func (o *Outbound) Transport() *http.Transport {
	perHost := o.MaxPerHost
	if perHost <= 0 {
		perHost = 8
	}
	header := o.HeaderTimeout
	if header <= 0 {
		header = 60 * time.Second
	}
	d := o.Dialer()
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
		TLSClientConfig:        &tls.Config{RootCAs: o.CAs, InsecureSkipVerify: o.InsecureSkipVerify, MinVersion: tls.VersionTLS12}, //nolint:gosec // development switch
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  header,
		MaxIdleConns:           512,
		MaxIdleConnsPerHost:    perHost,
		MaxConnsPerHost:        perHost * 4,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// Client returns an HTTP client on Transport which follows no redirect: whoever wants to follow one does so
// knowingly, hop by hop.
func (o *Outbound) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     o.Transport(),
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
