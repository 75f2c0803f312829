package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

// signedFor is the signed object of an identity server.
func signedFor(t *testing.T, server string, mxid id.UserID, token string) string {
	t.Helper()
	s := eventtest.Signer(server)
	raw, err := event.SignJSON([]byte(fmt.Sprintf(`{"mxid":%q,"token":%q}`, mxid, token)), s.Server, "ed25519:0", s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func publicKey(server string) string {
	return base64.RawStdEncoding.EncodeToString(eventtest.Signer(server).Public())
}

func TestCheck_ThirdPartyInvites(t *testing.T) {
	key := publicKey("id.org")
	urlSafe := strings.NewReplacer("+", "-", "/", "_").Replace(key)
	issued := func(content string) eventtest.Draft {
		return eventtest.State(bob, "m.room.third_party_invite", "tok", content)
	}
	invite := func(sender, target id.UserID, tpi string) eventtest.Draft {
		return member(sender, target, `{"membership":"invite","third_party_invite":`+tpi+`}`)
	}
	signed := func(server string, mxid id.UserID, token string) string {
		return `{"display_name":"x","signed":` + signedFor(t, server, mxid, token) + `}`
	}
	good := issued(`{"public_key":"` + key + `"}`)
	for n, version := range event.Versions() {
		rule := expected("1:5.3.1 6:4.3.1 8:4.4.1 12:5.4.1", n+1)
		for _, c := range []struct {
			name   string
			issued eventtest.Draft
			invite eventtest.Draft
			want   string
		}{
			{"good (M2)", good, invite(bob, dave, signed("id.org", dave, "tok")), ""},
			{"key in the list", issued(`{"public_key":"","public_keys":[{"public_key":"x"},"y",{"public_key":"` + key + `"}]}`), invite(bob, dave, signed("id.org", dave, "tok")), ""},
			{"key in the URL-safe alphabet", issued(`{"public_key":"` + urlSafe + `"}`), invite(bob, dave, signed("id.org", dave, "tok")), ""},
			{"key with padding", issued(`{"public_key":"` + key + `="}`), invite(bob, dave, signed("id.org", dave, "tok")), ""},
			{"banned (B6)", good, invite(bob, erin, signed("id.org", erin, "tok")), ".1"},
			{"nothing signed", good, invite(bob, dave, `{}`), ".2"},
			{"null", good, invite(bob, dave, `null`), ".2"},
			{"a list", good, invite(bob, dave, `["signed"]`), ".2"},
			{"signed is a string", good, invite(bob, dave, `{"signed":"x"}`), ".3"},
			{"no token", good, invite(bob, dave, `{"signed":{"mxid":"@dave:d.org"}}`), ".3"},
			{"token a number", good, invite(bob, dave, `{"signed":{"mxid":"@dave:d.org","token":1}}`), ".3"},
			{"for somebody else", good, invite(bob, heidi, signed("id.org", dave, "tok")), ".4"},
			{"unknown token", good, invite(bob, dave, signed("id.org", dave, "other")), ".5"},
			{"another sender (B6)", good, invite(grace, dave, signed("id.org", dave, "tok")), ".6"},
			{"another key", good, invite(bob, dave, signed("evil.org", dave, "tok")), ".8"},
			{"no signatures", good, invite(bob, dave, `{"signed":{"mxid":"@dave:d.org","token":"tok"}}`), ".8"},
			{"signatures a list", good, invite(bob, dave, `{"signed":{"mxid":"@dave:d.org","signatures":[],"token":"tok"}}`), ".8"},
			{"signatures strings", good, invite(bob, dave, `{"signed":{"mxid":"@dave:d.org","signatures":{"id.org":"x"},"token":"tok"}}`), ".8"},
			{"no key", issued(`{}`), invite(bob, dave, signed("id.org", dave, "tok")), ".8"},
			{"short key", issued(`{"public_key":"AAAA"}`), invite(bob, dave, signed("id.org", dave, "tok")), ".8"},
			{"keys an object", issued(`{"public_keys":{"public_key":"` + key + `"}}`), invite(bob, dave, signed("id.org", dave, "tok")), ".8"},
			{"in a room with the join rule private", good, invite(bob, dave, signed("id.org", dave, "tok")), ""},
		} {
			b := room(version, "private")
			b.Send(c.issued)
			want := "ok"
			if c.want != "" {
				want = rule + c.want
			}
			if got := ruleOf(auth.Check(b.Make(c.invite), b)); got != want {
				t.Errorf("version %s, %s: rule %s, want %s", version, c.name, got, want)
			}
		}
	}
}

// An event full of signatures and keys costs no more than a few dozen verifications.
func TestCheck_ThirdPartyInviteWithManyKeysIsQuick(t *testing.T) {
	keys, signatures := []map[string]string{}, map[string]string{}
	for i := range 400 {
		keys = append(keys, map[string]string{"public_key": publicKey(fmt.Sprint(i))})
		signatures[fmt.Sprintf("ed25519:%d", i)] = strings.Repeat("A", 86)
	}
	keysJSON, _ := json.Marshal(keys)
	signaturesJSON, _ := json.Marshal(signatures)
	b := room("12", "invite")
	b.Send(eventtest.State(bob, "m.room.third_party_invite", "tok", `{"public_keys":`+string(keysJSON)+`}`))
	ev := b.Make(member(bob, dave, `{"membership":"invite","third_party_invite":{"signed":{"mxid":"@dave:d.org","signatures":{"id.org":`+string(signaturesJSON)+`},"token":"tok"}}}`))
	start := time.Now()
	if got := ruleOf(auth.Check(ev, b)); got != "5.4.1.8" {
		t.Errorf("rule %s", got)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %s", took)
	}
}
