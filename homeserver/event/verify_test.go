package event

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// fixedKeys is a KeySource with keys of "server keyID".
type fixedKeys map[string]VerifyKey

func (f fixedKeys) Keys(_ context.Context, want []KeyRequest) (map[KeyRequest]VerifyKey, error) {
	out := map[KeyRequest]VerifyKey{}
	for _, w := range want {
		if k, ok := f[w.Server+" "+w.KeyID]; ok {
			out[w] = k
		}
	}
	return out, nil
}

func signerOf(server, keyID string, seed byte) Signer {
	return Signer{server, keyID, ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32)))}
}

func (f fixedKeys) add(s Signer, validUntil, expired int64) fixedKeys {
	f[s.Server+" "+s.KeyID] = VerifyKey{s.Public(), validUntil, expired}
	return f
}

const eventTime = 1732400000000

func verifyOne(t *testing.T, keys KeySource, e *Event) error {
	t.Helper()
	return VerifySignatures(context.Background(), keys, []*Event{e})[0]
}

func TestVerifySignatures_SenderMustHaveSigned(t *testing.T) {
	good, other := signerOf("example.org", "ed25519:a", 'a'), signerOf("relay.org", "ed25519:a", 'b')
	keys := fixedKeys{}.add(good, eventTime+1, 0).add(other, eventTime+1, 0)
	v := MustLookup("11")
	mine, err := Build(v, message(v), good)
	if err != nil {
		t.Fatal(err)
	}
	relayed, _ := Build(v, message(v), other)
	if err := verifyOne(t, keys, mine); err != nil {
		t.Error(err)
	}
	if err := verifyOne(t, keys, mine.Redacted()); err != nil {
		t.Error("redacted form:", err)
	}
	if verifyOne(t, keys, relayed) == nil {
		t.Error("signature of a relay suffices")
	}
	if err := verifyOne(t, fixedKeys{}, mine); !errors.Is(err, ErrKeysMissing) {
		t.Error(err)
	}
	changed := strings.Replace(string(mine.JSON()), `"depth":1234`, `"depth":1235`, 1)
	forged, err := ParseUntrusted(v, []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyOne(t, keys, forged); err == nil || errors.Is(err, ErrKeysMissing) {
		t.Error("forged event:", err)
	}
	if errs := VerifySignatures(context.Background(), keys, []*Event{relayed, mine, forged, mine}); errs[0] == nil || errs[1] != nil || errs[2] == nil || errs[3] != nil {
		t.Error(errs)
	}
}

func TestVerifySignatures_UnknownAndExpiredKeysAreSkipped(t *testing.T) {
	good, unknown, old := signerOf("example.org", "ed25519:a", 'a'), signerOf("example.org", "ed25519:policy_server", 'b'), signerOf("example.org", "ed25519:old", 'c')
	v := MustLookup("11")
	e, _ := Build(v, message(v), good)
	e, _ = e.Sign(unknown)
	e, err := e.Sign(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyOne(t, fixedKeys{}.add(good, eventTime, 0).add(old, eventTime-1, eventTime-1), e); err != nil {
		t.Error(err)
	}
	wrong := VerifyKey{Key: unknown.Public(), ValidUntil: eventTime}
	if verifyOne(t, fixedKeys{"example.org ed25519:old": wrong}.add(good, eventTime, 0), e) == nil {
		t.Error("a wrong signature of a known key is ignored")
	}
	if err := verifyOne(t, fixedKeys{}.add(old, eventTime, eventTime), e); err != nil {
		t.Error("signed before the old key expired:", err)
	}
	// Malformed entries do not count, whatever they are.
	raw := strings.Replace(string(e.JSON()), `"ed25519:a":`, `"ed25519:":"x","ed25519:0":"!","ed25519:1":5,"ed25519:2":"AAAA","rsa:1":"x","ed25519:a":`, 1)
	odd, err := ParseUntrusted(v, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyOne(t, fixedKeys{}.add(good, eventTime, 0), odd); err != nil {
		t.Error(err)
	}
}

// spec: rooms/v5#signing-key-validity-period
func TestVerifySignatures_KeyValidityCountsFromVersion5(t *testing.T) {
	good := signerOf("example.org", "ed25519:a", 'a')
	for _, name := range Versions() {
		v := MustLookup(name)
		e, err := Build(v, message(v), good)
		if err != nil {
			t.Fatal(err)
		}
		err = verifyOne(t, fixedKeys{}.add(good, eventTime-1, 0), e)
		if (err != nil) != v.EnforceKeyValidity() {
			t.Errorf("version %s: %v", name, err)
		}
		if err = verifyOne(t, fixedKeys{}.add(good, eventTime, 0), e); err != nil {
			t.Errorf("version %s: %v", name, err)
		}
	}
}

func TestVerifySignatures_EventIDServerSignsInVersions1And2(t *testing.T) {
	sender, idServer := signerOf("example.org", "ed25519:a", 'a'), signerOf("id.org", "ed25519:a", 'b')
	keys := fixedKeys{}.add(sender, eventTime, 0).add(idServer, eventTime, 0)
	for _, name := range []string{"1", "2"} {
		v := MustLookup(name)
		p := message(v)
		p.EventID = "$x:id.org"
		e, err := Build(v, p, sender)
		if err != nil {
			t.Fatal(err)
		}
		if verifyOne(t, keys, e) == nil {
			t.Error("signature of the event ID's server is not asked for")
		}
		if e, err = e.Sign(idServer); err != nil {
			t.Fatal(err)
		}
		if err = verifyOne(t, keys, e); err != nil {
			t.Error(err)
		}
	}
}

func memberEvent(t *testing.T, version, content string, s Signer) *Event {
	t.Helper()
	v := MustLookup(version)
	p := message(v)
	key := "@alice:example.org"
	p.Type, p.StateKey, p.Content = "m.room.member", &key, json.RawMessage(content)
	e, err := Build(v, p, s)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// spec: rooms/v8#authorisation-rules 4.2
func TestVerifySignatures_AuthorisingServerSignsRestrictedJoins(t *testing.T) {
	sender, authoriser := signerOf("example.org", "ed25519:a", 'a'), signerOf("auth.org", "ed25519:a", 'b')
	keys := fixedKeys{}.add(sender, eventTime, 0).add(authoriser, eventTime, 0)
	content := `{"membership":"join","join_authorised_via_users_server":"@bob:auth.org"}`
	e := memberEvent(t, "10", content, sender)
	if verifyOne(t, keys, e) == nil {
		t.Error("signature of the authorising server is not asked for")
	}
	e, _ = e.Sign(authoriser)
	if err := verifyOne(t, keys, e); err != nil {
		t.Error(err)
	}
	if err := verifyOne(t, keys, memberEvent(t, "7", content, sender)); err != nil {
		t.Error("version 7 knows no restricted joins:", err)
	}
	if verifyOne(t, keys, memberEvent(t, "10", `{"membership":"join","join_authorised_via_users_server":5}`, sender)) == nil {
		t.Error("nonsense accepted")
	}
}

// spec: ss#validating-hashes-and-signatures-on-received-events
func TestVerifySignatures_ThirdPartyInvitesNeedNoSenderSignature(t *testing.T) {
	other := signerOf("other.org", "ed25519:a", 'b')
	if err := verifyOne(t, fixedKeys{}, memberEvent(t, "11", `{"membership":"invite","third_party_invite":{"signed":{}}}`, other)); err != nil {
		t.Error(err)
	}
	if verifyOne(t, fixedKeys{}, memberEvent(t, "11", `{"membership":"invite","third_party_invite":null}`, other)) == nil {
		t.Error("invite with a third_party_invite that is no object accepted without signature")
	}
	if verifyOne(t, fixedKeys{}, memberEvent(t, "11", `{"membership":"invite"}`, other)) == nil {
		t.Error("plain invite without signature accepted")
	}
}

type failingKeys struct{}

func (failingKeys) Keys(context.Context, []KeyRequest) (map[KeyRequest]VerifyKey, error) {
	return nil, errors.New("no network")
}

func TestVerifySignatures_FailureOfTheSourceIsEverybodysError(t *testing.T) {
	e := built(t, "11", func(p *Proto) { p.Sender = "@a:domain" })
	if err := verifyOne(t, failingKeys{}, e); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Error(err)
	}
}

func TestAddSignatures_NeverReplacesOne(t *testing.T) {
	e := built(t, "11", func(p *Proto) { p.Sender = "@a:domain" })
	policy := signerOf("policy.org", "ed25519:policy_server", 'p')
	sig := policy.sign(e.SigningBytes())
	got, err := e.AddSignatures([]byte(`{"domain":{"ed25519:1":"AAAA"},"policy.org":{"ed25519:policy_server":"` + sig + `"},"bad name":{"a":"b"},"x":5}`))
	if err != nil {
		t.Fatal(err)
	}
	if err = got.Verify("policy.org", "ed25519:policy_server", policy.Public()); err != nil {
		t.Error(err)
	}
	if err = got.Verify("domain", "ed25519:1", vectorSigner(t).Public()); err != nil {
		t.Error(err)
	}
	if len(got.Signatures()) != 2 || got.ID() != e.ID() || !got.HasSignatureOf("policy.org") || got.HasSignatureOf("x") {
		t.Error(got.Signatures())
	}
	for _, nonsense := range []string{"", "[]", "5", "null"} {
		if got, err := e.AddSignatures([]byte(nonsense)); err == nil && string(got.JSON()) != string(e.JSON()) {
			t.Error(nonsense)
		}
	}
}

func BenchmarkVerifySignatures(b *testing.B) {
	s := signerOf("example.org", "ed25519:a", 'a')
	v := MustLookup("11")
	e, err := Build(v, message(v), s)
	if err != nil {
		b.Fatal(err)
	}
	keys := fixedKeys{}.add(s, eventTime, 0)
	b.ReportAllocs()
	for b.Loop() {
		if err := VerifySignatures(context.Background(), keys, []*Event{e})[0]; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonicalJSON(b *testing.B) {
	e := built(b, "11", nil)
	b.SetBytes(int64(len(e.JSON())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalJSON(e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}
