package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span: 90s, 15m, 24h, 7d, and 0.
type Duration time.Duration

// D returns it as time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string {
	t := time.Duration(d)
	const day = 24 * time.Hour
	switch {
	case t == 0:
		return "0"
	case t%day == 0:
		return strconv.FormatInt(int64(t/day), 10) + "d"
	case t%time.Hour == 0:
		return strconv.FormatInt(int64(t/time.Hour), 10) + "h"
	case t%time.Minute == 0:
		return strconv.FormatInt(int64(t/time.Minute), 10) + "m"
	}
	return t.String()
}

// UnmarshalText reads 90s, 15m, 24h, 7d or 0.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 100_000 {
			return fmt.Errorf("%q is not a duration such as 90s, 15m, 24h or 7d", s)
		}
		*d = Duration(n * 24 * float64(time.Hour))
		return nil
	}
	t, err := time.ParseDuration(s)
	if err != nil || t < 0 {
		return fmt.Errorf("%q is not a duration such as 90s, 15m, 24h or 7d", s)
	}
	*d = Duration(t)
	return nil
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes: 512, 64K, 50M, 2G (powers of 1024).
type Size int64

const sizeUnits = "KMGT"

func (s Size) String() string {
	n, unit := int64(s), ""
	for i := 0; i < len(sizeUnits) && n != 0 && n%1024 == 0; i++ {
		n, unit = n/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatInt(n, 10) + unit
}

// UnmarshalText reads 512, 64K, 50M or 2G.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(string(text)), "IB"), "B")
	shift := 0
	if i := len(in) - 1; i >= 0 {
		if u := strings.IndexByte(sizeUnits, in[i]); u >= 0 {
			shift, in = 10*(u+1), in[:i]
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(in), 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("%q is not a size such as 512, 64K, 50M or 2G", text)
	}
	*s = Size(n << shift)
	return nil
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Network is an address range in CIDR form, a single address, or the word
// private.
type Network struct {
	text     string
	prefixes []netip.Prefix
}

// privateNetworks are all ranges that are not the public internet.
var privateNetworks = strings.Fields(`
	0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
	192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15
	198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
	::/128 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16
	3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8`)

// ParseNetwork reads 10.0.0.0/8, ::1 or private.
func ParseNetwork(s string) (Network, error) {
	if s == "private" {
		n := Network{text: s}
		for _, p := range privateNetworks {
			n.prefixes = append(n.prefixes, netip.MustParsePrefix(p))
		}
		return n, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return Network{s, []netip.Prefix{p.Masked()}}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return Network{s, []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}, nil
	}
	return Network{}, fmt.Errorf("%q is not a network such as 10.0.0.0/8, an address, or the word private", s)
}

// Prefixes returns the ranges.
func (n Network) Prefixes() []netip.Prefix { return n.prefixes }

// Contains says whether the address is in the network. An IPv4 address inside
// IPv6 (mapped, or behind the NAT64 prefix) counts as the IPv4 address.
func (n Network) Contains(a netip.Addr) bool {
	a = plainAddr(a)
	for _, p := range n.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func plainAddr(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// InNetworks says whether one of the networks contains the address.
func InNetworks(nets []Network, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// UnmarshalText is ParseNetwork.
func (n *Network) UnmarshalText(text []byte) (err error) {
	*n, err = ParseNetwork(string(text))
	return err
}

// MarshalText returns the text it was read from.
func (n Network) MarshalText() ([]byte, error) { return []byte(n.text), nil }

func (n Network) String() string { return n.text }
