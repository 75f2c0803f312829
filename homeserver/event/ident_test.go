package event

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib/spec"
)

// spec: appendices#server-name
func TestServerName_FollowsTheGrammar(t *testing.T) {
	for _, s := range []string{"matrix.org", "matrix.org:8888", "1.2.3.4", "1.2.3.4:1234", "[1234:5678::abcd]", "[1234:5678::abcd]:5678",
		"[::1]", "[::ffff:1.2.3.4]:1", "localhost", "hs1", "a-b.C", "EXAMPLE.org", "1.2.3", "12", "host.docker.internal:45345"} {
		if !ValidServerName(s) {
			t.Errorf("%q refused", s)
		}
	}
	for _, s := range []string{"", ":", ":80", "a:", "a:b", "a:123456", "a:65536", "a:1:2", "exa mple", "a_b", "a/b", "a@b", "é.org", "1.2.3.256", "1.2.3.1234",
		"1..3.4", "[", "[]", "[::1", "::1", "[::1]x", "[::1]:", "[1.2.3.4]", "[fe80::1%eth0]", "[abcd]", "a\x00", "a\n", "a:+80", "a:-1",
		strings.Repeat("a", 256)} {
		if ValidServerName(s) {
			t.Errorf("%q accepted", s)
		}
	}
	for in, want := range map[string]string{"a.b:1": "a.b", "[::1]:80": "[::1]", "a": "a", "a:x": ""} {
		if got := HostOf(in); got != want {
			t.Errorf("host of %q is %q", in, got)
		}
	}
}

func TestIdentifiers_FollowTheGrammar(t *testing.T) {
	hash := "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
	std := strings.ReplaceAll(hash[:42], "-", "+")
	long := strings.Repeat("x", 250)
	for _, c := range []struct {
		name      string
		check     func(string) bool
		good, bad []string
	}{
		{"user", ValidUserID,
			[]string{"@a:b", "@:b", "@Ä ö\x01:b", "@a:b:80", "@a:[::1]:80", "@" + long + ":abc"},
			[]string{"", "@", "@a", "@a:", "a:b", "@a:b c", "@a\x00:b", "@a\xff:b", "@" + long + ":abcd", "!a:b", "@a:b:c"}},
		{"new user", ValidNewUserID, []string{"@a.b_c=d-e/f+1:b"}, []string{"@A:b", "@:b", "@ä:b", "@a b:c"}},
		{"compliant user", CompliantUserID, []string{"@A!#:b"}, []string{"@:b", "@ä:b", "@a b:c"}},
		{"room", ValidRoomID, []string{"!a:b", "!" + hash, "!a/b ä:c"}, []string{"!", "!a", "!x:", "!abc:exa mple", "!" + long + ":abcde", "!a b", "!é", "!" + hash + "A"}},
		{"room v11", MustLookup("11").ValidRoomID, []string{"!a:b"}, []string{"!" + hash}},
		{"room v12", MustLookup("12").ValidRoomID, []string{"!" + hash}, []string{"!a:b", "!", "!" + hash + ":b", "!" + hash[:42] + "+"}},
		{"event", ValidEventID, []string{"$a:b", "$" + hash, "$" + std + "+"}, []string{"$", "$a", "$a:", "a:b", "$" + hash + "x"}},
		{"event v1", MustLookup("1").ValidEventID, []string{"$a:b"}, []string{"$" + hash}},
		{"event v3", MustLookup("3").ValidEventID, []string{"$" + std + "/"}, []string{"$a:b", "$" + hash}},
		{"event v4", MustLookup("4").ValidEventID, []string{"$" + hash}, []string{"$a:b", "$" + hash[:42] + "/"}},
		{"alias", ValidAlias, []string{"#a:b", "#ä#:b"}, []string{"#:b", "#a", "#a\x00:b", "a:b"}},
	} {
		for _, s := range c.good {
			if !c.check(s) {
				t.Errorf("%s %q refused", c.name, s)
			}
		}
		for _, s := range c.bad {
			if c.check(s) {
				t.Errorf("%s %q accepted", c.name, s)
			}
		}
	}
}

func FuzzServerName(f *testing.F) {
	for _, s := range []string{"matrix.org:8448", "1.2.3.4", "[::1]:80", "[", "a:b:c", "-", ".", "1.2.3.999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ValidServerName(s) {
			return
		}
		if HostOf(s) == "" || len(s) > 255 || strings.ContainsAny(s, " /\\@%\x00\"") || !utf8.ValidString(s) {
			t.Fatalf("%q accepted", s)
		}
		if host, _, ok := spec.ParseAndValidateServerName(spec.ServerName(s)); !ok {
			t.Fatalf("gomatrixserverlib refuses %q %q", s, host)
		}
		if !ValidUserID("@:"+s) && len(s) < 250 || !ValidRoomID("!x:"+s) && len(s) < 250 {
			t.Fatalf("%q is not good for identifiers", s)
		}
	})
}

func FuzzIdentifiers(f *testing.F) {
	for _, s := range []string{"@a:b", "#a:b", "!a:b", "$a:b", "@:b", "#\x00:b", "!" + strings.Repeat("A", 43), "$" + strings.Repeat("_", 43), "@é:[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for kind, ok := range map[byte]bool{'@': ValidUserID(s), '#': ValidAlias(s), '!': ValidRoomID(s), '$': ValidEventID(s)} {
			if !ok {
				continue
			}
			if len(s) > 255 || s[0] != kind || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Fatalf("%q accepted", s)
			}
			if _, server, named := strings.Cut(s, ":"); named && !ValidServerName(server) {
				t.Fatalf("%q accepted with server %q", s, server)
			}
		}
		if ValidNewUserID(s) && !ValidUserID(s) {
			t.Fatalf("%q is a new user ID and none", s)
		}
		if owner, ok := StateOwner(s); ok && owner != "" && !ValidUserID(owner) {
			t.Fatalf("%q belongs to %q", s, owner)
		}
	})
}
