package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func TestOutbound_PrivateAddressesAreRefusedAtDialTime(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer srv.Close()

	closed := &Outbound{Deny: PrivateNetworks}
	if _, err := closed.Client(time.Second * 5).Get(srv.URL); !errors.Is(err, ErrDialDenied) {
		t.Fatalf("loopback was reached: %v", err)
	}
	open := &Outbound{Deny: PrivateNetworks, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	res, err := open.Client(time.Second * 5).Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
}

func TestOutbound_EmbeddedFormsAreSeen(t *testing.T) {
	o := &Outbound{Deny: PrivateNetworks}
	for _, a := range []string{"127.0.0.1", "::ffff:127.0.0.1", "::1", "100.64.1.1", "169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0", "198.18.0.1", "0.0.0.0"} {
		if o.Allowed(netip.MustParseAddr(a)) {
			t.Errorf("%s is allowed", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "2606:4700::1111", "193.55.0.1"} {
		if !o.Allowed(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused", a)
		}
	}
}
