package event

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
)

func TestKeyFile_RoundTripsAndNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "signing.key")
	first, err := LoadOrCreateSigners("example.org", path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateSigners("example.org", path)
	if err != nil || again[0].KeyID != first[0].KeyID || !again[0].Key.Equal(first[0].Key) {
		t.Fatal(again, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	other, _ := GenerateSigner("example.org")
	if SaveSigner(path, other) == nil {
		t.Error("key file overwritten")
	}
	if other.KeyID == first[0].KeyID || !ValidKeyID(other.KeyID) {
		t.Error(other.KeyID)
	}
}

func TestKeyFile_IsTheFormOfOtherServers(t *testing.T) {
	const line = "ed25519 a_RXGa YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
	got, err := ParseSigners("example.org", []byte("\n"+line+"\r\ned25519 old YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1=\n"))
	if err != nil || len(got) != 2 || got[0].KeyID != "ed25519:a_RXGa" || got[1].KeyID != "ed25519:old" || !got[0].Key.Equal(vectorSigner(t).Key) {
		t.Fatal(got, err)
	}
	// The seed ends in bits that base64 does not use: they come back as zeros.
	back, err := ParseSigners("example.org", []byte(FormatSigner(got[0])))
	if err != nil || !back[0].Key.Equal(got[0].Key) || back[0].KeyID != got[0].KeyID {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "ed25519 a", "rsa a YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", "ed25519 a AAAA", "ed25519 a !", "ed25519 a b c"} {
		if got, err := ParseSigners("example.org", []byte(bad)); err == nil {
			t.Error(bad, got)
		}
	}
	if _, err := ParseSigners("not valid", []byte(FormatSigner(got[0]))); err == nil {
		t.Error("server name not checked")
	}
}

const now = int64(1732400000000)

func TestServerKeys_RoundTrip(t *testing.T) {
	a, b, old := signerOf("example.org", "ed25519:a", 'a'), signerOf("example.org", "ed25519:b", 'b'), signerOf("example.org", "ed25519:o", 'o')
	doc, err := BuildServerKeys([]Signer{a, b}, map[string]OldKey{"ed25519:o": {old.Public(), now - 5}}, now+1000)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseServerKeys(doc, "example.org", now)
	if err != nil || len(k.VerifyKeys) != 2 || k.ValidUntil != now+1000 || string(k.Raw) != string(doc) {
		t.Fatal(k, err)
	}
	if key, ok := k.Find("ed25519:b"); !ok || !key.Key.Equal(b.Public()) || !key.ValidAt(now+1000) || key.ValidAt(now+1001) {
		t.Error(key, ok)
	}
	if key, ok := k.Find("ed25519:o"); !ok || !key.Key.Equal(old.Public()) || !key.ValidAt(now-5) || key.ValidAt(now-4) {
		t.Error(key, ok)
	}
	if _, ok := k.Find("ed25519:x"); ok {
		t.Error("unknown key found")
	}
	var theirs gomatrixserverlib.ServerKeys
	if err = json.Unmarshal(doc, &theirs); err != nil {
		t.Fatal(err)
	}
	if checks, _ := gomatrixserverlib.CheckKeys("example.org", time.UnixMilli(now), theirs); !checks.AllChecksOK {
		t.Errorf("%+v", checks)
	}
	answer := []byte(`{"server_keys":[` + string(doc) + `,5,{},{"server_name":"bad name"}]}`)
	if all, err := SplitServerKeys(answer); err != nil || len(all) != 1 || len(all["example.org"]) != 1 {
		t.Error(all, err)
	}
}

func TestServerKeys_LiesAreNotBelieved(t *testing.T) {
	a, other := signerOf("example.org", "ed25519:a", 'a'), signerOf("other.org", "ed25519:a", 'b')
	doc, _ := BuildServerKeys([]Signer{a}, nil, 253402300800000)
	k, err := ParseServerKeys(doc, "example.org", now)
	if err != nil || k.ValidUntil != now+MaxKeyValidity {
		t.Fatal("validity of centuries", k, err)
	}
	if _, err = ParseServerKeys(doc, "other.org", now); err == nil {
		t.Error("document of another server accepted")
	}
	edited := strings.Replace(string(doc), "253402300800000", "253402300800001", 1)
	if _, err = ParseServerKeys([]byte(edited), "example.org", now); err == nil {
		t.Error("wrong signature accepted")
	}
	unsigned := strings.Replace(string(doc), `"signatures":{"example.org"`, `"signatures":{"example.com"`, 1)
	if _, err = ParseServerKeys([]byte(unsigned), "example.org", now); err == nil {
		t.Error("unsigned document accepted")
	}
	notary, _ := SignJSON([]byte(unsigned), "other.org", other.KeyID, other.Key)
	if _, err = ParseServerKeys(notary, "example.org", now); err == nil {
		t.Error("document signed by a notary only accepted")
	}
	odd := strings.Replace(string(doc), `"verify_keys":{`, `"verify_keys":{"ed25519:short":{"key":"AAAA"},"rsa:1":{"key":"AAAA"},"ed25519:n":5,`, 1)
	signedOdd, err := SignJSON([]byte(odd), "example.org", a.KeyID, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = ParseServerKeys(signedOdd, "example.org", now); err != nil || len(k.VerifyKeys) != 1 {
		t.Error("malformed keys are not left out:", k, err)
	}
	for _, nonsense := range []string{"", "[]", "{}", "null", `{"server_name":"example.org"}`, `{"server_name":"example.org","valid_until_ts":"5"}`,
		`{"server_name":"example.org","valid_until_ts":5,"verify_keys":[],"signatures":5}`, `{"x":"` + strings.Repeat("x", maxKeyDocument) + `"}`} {
		if _, err := ParseServerKeys([]byte(nonsense), "example.org", now); err == nil {
			t.Errorf("%.60s accepted", nonsense)
		}
	}
}

// spec: appendices#json-signing
func TestSignJSON_GivesTheVectorsOfTheSpecification(t *testing.T) {
	s := vectorSigner(t)
	for in, want := range map[string]string{
		`{}`:                       `{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`,
		`{"one": 1, "two": "Two"}`: `{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}`,
	} {
		got, err := SignJSON([]byte(in), s.Server, s.KeyID, s.Key)
		if err != nil || string(got) != want {
			t.Errorf("\n%s %v\n%s", got, err, want)
		}
		if err = VerifyJSON(got, s.Server, s.KeyID, s.Public()); err != nil {
			t.Error(err)
		}
		if err = gomatrixserverlib.VerifyJSON(s.Server, gomatrixserverlib.KeyID(s.KeyID), s.Public(), got); err != nil {
			t.Error(err)
		}
	}
}

func TestSignJSON_KeepsUnsignedAndOtherSignatures(t *testing.T) {
	s := vectorSigner(t)
	in := `{"unsigned":{"age":1},"zz\n":1,"signatures":{"other":{"ed25519:x":"AA","odd":5}},"a":1}`
	got, err := SignJSON([]byte(in), s.Server, s.KeyID, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err = VerifyJSON(got, s.Server, s.KeyID, s.Public()); err != nil {
		t.Error(err)
	}
	all, err := SignaturesOf(got)
	if err != nil || all["other"]["ed25519:x"] != "AA" || string(Field(got, "unsigned")) != `{"age":1}` {
		t.Error(string(got), err)
	}
	if again, _ := CanonicalJSON(got); string(again) != string(got) {
		t.Error("not canonical", string(got))
	}
	changed := strings.Replace(string(got), `"a":1`, `"a":2`, 1)
	if VerifyJSON([]byte(changed), s.Server, s.KeyID, s.Public()) == nil || VerifyJSON(got, "x", s.KeyID, s.Public()) == nil {
		t.Error("wrong signature accepted")
	}
	if _, err = SignJSON([]byte("[]"), s.Server, s.KeyID, s.Key); err == nil {
		t.Error("list signed")
	}
}
