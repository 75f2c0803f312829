package federation

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"

	"github.com/viaduc/viaduc/homeserver/event"
)

// Bounds of server discovery (spec: ss#resolving-server-names).
const (
	srvKept      = 5 * time.Minute
	srvFailed    = 15 * time.Second
	srvMost      = 8      // addresses of one server
	discoveryMax = 20_000 // servers remembered
	// anyPort stands for the ports that SRV records name, in the key of a connection: without it, a server that has SRV records
	// and the one of the same name with port 8448 would share connections.
	anyPort = "0"
)

// target is where a server's requests go. Addresses are tried in order; Host is the HTTP Host header; Name is the name that
// the certificate must have, and with Port the key under which connections are kept.
type target struct {
	Host      string
	Name      string
	Port      string
	Addresses []string // host:port
	until     time.Time
}

func (t *target) key() string { return net.JoinHostPort(t.Name, t.Port) }

// srvResolver looks SRV records up: net.Resolver.
type srvResolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
}

// resolver finds servers by the steps of the specification and remembers what it found.
type resolver struct {
	http *http.Client // for .well-known; follows no redirect by itself
	dns  srvResolver

	mu      sync.Mutex
	targets map[string]*target
	byKey   map[string]*target
	known   map[string]wellKnown
	flights map[string]chan struct{}
}

func newResolver(client *http.Client) *resolver {
	return &resolver{http: client, dns: net.DefaultResolver, targets: map[string]*target{},
		byKey: map[string]*target{}, known: map[string]wellKnown{}, flights: map[string]chan struct{}{}}
}

var errServerName = mautrix.MInvalidParam.WithMessage("Not a valid server name")

// resolve returns where to send requests for a server. Parallel calls for one server share the work.
func (r *resolver) resolve(ctx context.Context, server string) (*target, error) {
	if !event.ValidServerName(server) {
		return nil, errServerName
	}
	for {
		t, wait := r.remembered(server)
		if t != nil {
			return t, nil
		}
		if wait == nil {
			break
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var t *target
	var err error
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		close(r.flights[server])
		delete(r.flights, server)
		if t != nil {
			r.keep(server, t)
		}
	}()
	t, err = r.find(ctx, server)
	return t, err
}

// remembered finds a target, or the channel that is closed when somebody else has found it. With neither, the caller is to
// find it.
func (r *resolver) remembered(server string) (*target, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.targets[server]; ok && time.Now().Before(t.until) {
		return t, nil
	}
	if wait, busy := r.flights[server]; busy {
		return nil, wait
	}
	r.flights[server] = make(chan struct{})
	return nil, nil
}

// keep is called under mu.
func (r *resolver) keep(server string, t *target) {
	if len(r.targets) >= discoveryMax || len(r.byKey) >= discoveryMax {
		clear(r.targets)
		clear(r.byKey)
	}
	r.targets[server], r.byKey[t.key()] = t, t
}

// addresses answers the dialer: what the key of a connection stands for.
func (r *resolver) addresses(key string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.byKey[key]; ok {
		return t.Addresses
	}
	return []string{key}
}

// find takes the six steps.
func (r *resolver) find(ctx context.Context, server string) (*target, error) {
	host, port := splitName(server)
	if isIP(host) || port != "" { // steps 1 and 2
		return direct(server, host, port), nil
	}
	wk := r.lookupWellKnown(ctx, server) // step 3
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if wk.server == "" {
		return r.bySRV(ctx, server) // steps 4 to 6
	}
	host, port = splitName(wk.server)
	if isIP(host) || port != "" { // steps 3.1 and 3.2
		t := direct(wk.server, host, port)
		t.until = wk.until
		return t, nil
	}
	return r.bySRV(ctx, wk.server) // steps 3.3 to 3.5
}

func direct(name, host, port string) *target {
	if port == "" {
		port = "8448"
	}
	return &target{Host: name, Name: host, Port: port, Addresses: []string{net.JoinHostPort(host, port)}, until: time.Now().Add(wellKnownMax)}
}

// bySRV asks for _matrix-fed, then the older _matrix; without either it is port 8448. The resolver of the standard
// library orders the answers by priority and, within one, at random by weight.
func (r *resolver) bySRV(ctx context.Context, host string) (*target, error) {
	t := &target{Host: host, Name: host, Port: anyPort, until: time.Now().Add(srvKept)}
	for _, service := range []string{"matrix-fed", "matrix"} {
		_, records, err := r.dns.LookupSRV(ctx, service, "tcp", host)
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var d *net.DNSError
		if err != nil && (!errors.As(err, &d) || !d.IsNotFound) { // there may be records that cannot be asked for now
			t.until = time.Now().Add(srvFailed)
		}
		for _, rec := range records[:min(len(records), srvMost)] {
			if h := strings.TrimSuffix(rec.Target, "."); h != "" {
				t.Addresses = append(t.Addresses, net.JoinHostPort(h, strconv.Itoa(int(rec.Port))))
			}
		}
		if len(t.Addresses) > 0 {
			return t, nil
		}
	}
	t.Addresses = []string{net.JoinHostPort(host, "8448")}
	return t, nil
}

// splitName splits a valid server name; port is empty when there is none.
func splitName(server string) (host, port string) {
	if h, p, err := net.SplitHostPort(server); err == nil {
		return h, p
	}
	return strings.Trim(server, "[]"), ""
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
