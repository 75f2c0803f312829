package appservices

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"
)

const goodRegistration = `id: IRC Bridge
url: http://127.0.0.1:1234/
as_token: a
hs_token: h
sender_localpart: _irc_bot
namespaces:
  users:
    - {exclusive: true, regex: "@_irc_bridge_.*"}
  aliases:
    - {exclusive: false, regex: "#_irc_bridge_.*"}
  rooms: []
rate_limited: false
protocols: [irc]
receive_ephemeral: true
`

func TestLoad_EveryMistakeIsNamed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(goodRegistration) }
	cases := map[string]struct{ text, want string }{
		"no-yaml.yaml":   {"id: [", "no-yaml.yaml"},
		"type.yaml":      {with("rate_limited: false", "rate_limited: [1]"), "type.yaml"},
		"no-id.yaml":     {with("id: IRC Bridge\n", ""), "id is missing"},
		"no-as.yaml":     {with("as_token: a\n", ""), "as_token is missing"},
		"no-hs.yaml":     {with("hs_token: h\n", ""), "hs_token is missing"},
		"no-sender.yaml": {with("sender_localpart: _irc_bot\n", ""), "sender_localpart is missing"},
		"sender.yaml":    {with("sender_localpart: _irc_bot", `sender_localpart: "a:b c"`), "sender_localpart is not part of a user ID"},
		"regex.yaml":     {with(`"@_irc_bridge_.*"`, `"@(unclosed"`), "@(unclosed"},
		"url.yaml":       {with("http://127.0.0.1:1234/", "ftp://example.org"), "url is no http address"},
		"host.yaml":      {with("http://127.0.0.1:1234/", "http://"), "url is no http address"},
		"big.yaml":       {goodRegistration + "# " + strings.Repeat("x", maxRegistration), "too large"},
	}
	for name, c := range cases {
		_, err := Load(domain, []string{write(name, c.text)}, "")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error is %v, want one that names the file and %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "as_token: a") {
			t.Errorf("%s: the error has the token in it: %v", name, err)
		}
		os.Remove(filepath.Join(dir, name))
	}
	if _, err := Load(domain, []string{filepath.Join(dir, "absent.yaml")}, ""); err == nil {
		t.Error("a file that is missing is no mistake")
	}
	write("1.yaml", goodRegistration)
	write("2.yaml", goodRegistration)
	_, err := Load(domain, nil, dir)
	for _, want := range []string{"two registrations have the ID", "the as_token of another", "the sender_localpart of another"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("two equal files: %v, want also %q", err, want)
		}
	}
}

func TestLoad_AFileAndAFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.yaml": goodRegistration, "ignored.txt": "id: [",
		"b.yaml": strings.NewReplacer("IRC Bridge", "other", "as_token: a", "as_token: b", "_irc_bot", "other", "url: http://127.0.0.1:1234/", "url: null").Replace(goodRegistration)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Load(domain, nil, dir)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d registrations, %v", len(all), err)
	}
	if all[0].URLText() != "http://127.0.0.1:1234" || all[1].URLText() != "" {
		t.Errorf("addresses are %q and %q", all[0].URLText(), all[1].URLText())
	}
	if s := all[0]; s.Sender != id.UserID("@_irc_bot:"+domain) || !s.wantsEphemeral() || s.asUser.RateLimited || s.asSelf.RateLimited {
		t.Errorf("the registration was read as %+v", s)
	}
}

func TestNamespaces_OwnUsersOnlyAndWhoseTheyAre(t *testing.T) {
	s := service(t, "", nil)
	shared := service(t, "", func(r *Registration) {
		r.ID, r.ASToken, r.SenderLocalpart = "shared", "as2", "shared"
		r.Namespaces = Namespaces{Users: []Namespace{{Regex: "@.*"}}, Aliases: []Namespace{{Regex: "#.*"}}}
	})
	l := NewServices([]*Service{s, shared})
	for user, want := range map[id.UserID]struct{ owns, sharedOwns, reserved bool }{
		"@_irc_bob:hs.test":    {true, true, true},
		"@ircbot:hs.test":      {true, true, true},
		"@alice:hs.test":       {false, true, false},
		"@_irc_bob:other.test": {false, false, false},
		"@x_irc_bob:hs.test":   {false, true, false},
		"_irc_bob":             {false, false, false},
		"":                     {false, false, false},
	} {
		if got := s.OwnsUser(user); got != want.owns {
			t.Errorf("%s is the service's: %v", user, got)
		}
		if got := shared.OwnsUser(user); got != want.sharedOwns {
			t.Errorf("%s is in the namespace that all share: %v", user, got)
		}
		if got := l.ExclusiveUser(user, "shared"); got != want.reserved {
			t.Errorf("%s is reserved: %v", user, got)
		}
		if l.ExclusiveUser(user, "irc") {
			t.Errorf("%s is reserved for somebody else than its own service", user)
		}
	}
	if !l.ExclusiveAlias("#_irc_room:hs.test", "") || l.ExclusiveAlias("#_irc_room:hs.test", "irc") || l.ExclusiveAlias("#room:hs.test", "") {
		t.Error("aliases are reserved for the wrong ones")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodRegistration))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("namespaces: {users: [{regex: '('}], rooms: null}\nurl: ~"))
	f.Add([]byte("\xff\x00: - ? !!binary"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Parse(raw)
		if err != nil {
			return
		}
		s, err := NewService(domain, r)
		if err != nil {
			return
		}
		if s.ID == "" || s.ASToken == "" || s.HSToken == "" || s.Sender.Homeserver() != domain {
			t.Errorf("%q became %+v", raw, s)
		}
		s.OwnsUser("@x:" + domain)
		s.OwnsAlias("#x:" + domain)
	})
}
