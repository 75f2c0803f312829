package event

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/fclient"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

func TestParseXMatrix_ReadsAllSpellings(t *testing.T) {
	want := XMatrix{"origin.example:8448", "dest.example", "ed25519:key1", "ABC+/def"}
	for _, h := range []string{
		`X-Matrix origin="origin.example:8448",destination="dest.example",key="ed25519:key1",sig="ABC+/def"`,
		`x-matrix   ORIGIN=origin.example:8448 , Destination = "dest.example",	key=ed25519:key1, sig="ABC+/def" `,
		`X-Matrix sig="ABC+/def",unknown=1,other="a\"b,c",key="ed25519:key1",destination=dest.example,origin="origin\.example:8448"`,
		`X-Matrix ,,origin=origin.example:8448,,destination=dest.example,key="ed25519:key1",sig=ABC+/def,`,
		`X-Matrix origin="origin.example:8448",destination="dest.example",key="ed25519:key1",signature="ABC+/def"`,
	} {
		got, err := ParseXMatrix(h)
		if err != nil || got != want {
			t.Errorf("%s\n%+v %v", h, got, err)
		}
	}
	old, err := ParseXMatrix(`X-Matrix origin=o.example,key="ed25519:1",sig="AA"`)
	if err != nil || old.Destination != "" {
		t.Error(old, err)
	}
}

func TestParseXMatrix_RefusesNonsense(t *testing.T) {
	for _, h := range []string{
		"", "Bearer abc", "X-Matrix", "X-Matrix ", "X-Matrixorigin=a,key=ed25519:1,sig=a", `X-Matrix origin="a`, `X-Matrix origin="a\`,
		`X-Matrix origin="a" key="ed25519:1",sig="a"`, `X-Matrix origin=a,origin=b,key=ed25519:1,sig=a`, `X-Matrix origin=a,origin=a,key=ed25519:1,sig=a`,
		`X-Matrix =a,key=ed25519:1,sig=a`, `X-Matrix origin=a b,key=ed25519:1,sig=a`, `X-Matrix origin=exa_mple,key=ed25519:1,sig=a`,
		`X-Matrix origin=a:port,key=ed25519:1,sig=a`, `X-Matrix origin=a,key=rsa:1,sig=a`, `X-Matrix origin=a,key=ed25519:1`,
		`X-Matrix origin=a,key=ed25519:1,sig=""`, `X-Matrix key=ed25519:1,sig=a`, `X-Matrix origin=a,sig=a`, `X-Matrix origin`,
		`X-Matrix origin=a,key=ed25519:1,sig=a,` + strings.Repeat("x=y,", 10_000), "X-Matrix " + strings.Repeat(`"`, 1<<20),
	} {
		if got, err := ParseXMatrix(h); err == nil {
			t.Errorf("%.80s: %+v", h, got)
		}
	}
}

func TestParseXMatrixHeaders_NeverCombinesOrigins(t *testing.T) {
	a1, a2 := `X-Matrix origin=a,key="ed25519:1",sig="x"`, `X-Matrix origin=a,key="ed25519:2",sig="y"`
	b := `X-Matrix origin=b,key="ed25519:1",sig="x"`
	if got, err := ParseXMatrixHeaders([]string{a1, "Bearer x", a2}); err != nil || len(got) != 2 {
		t.Error(got, err)
	}
	for _, headers := range [][]string{nil, {"Bearer x"}, {a1, b}, {a1, "X-Matrix origin"}} {
		if got, err := ParseXMatrixHeaders(headers); err == nil {
			t.Error(headers, got)
		}
	}
}

func TestSignRequest_VerifiesAndNoticesEveryChange(t *testing.T) {
	s := vectorSigner(t)
	body := []byte(`{"b":[1.5,"é"], "a" : null}`)
	uri := "/_matrix/federation/v1/send/1?x=%2F&y=1"
	h, err := SignRequest("PUT", uri, "domain", "dest", body, s)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ParseXMatrix(h)
	if err != nil {
		t.Fatal(err)
	}
	if canon, err := x.Verify("PUT", uri, "dest", body, s.Public()); err != nil || string(canon) != `{"a":null,"b":[1.5,"é"]}` {
		t.Fatal(string(canon), err)
	}
	other := x
	other.Origin = "other"
	stripped := x
	stripped.Destination = ""
	for name, err := range map[string]error{
		"method":         second(x.Verify("POST", uri, "dest", body, s.Public())),
		"uri":            second(x.Verify("PUT", "/_matrix/federation/v1/send/1?y=1&x=%2F", "dest", body, s.Public())),
		"escape":         second(x.Verify("PUT", "/_matrix/federation/v1/send/1?x=/&y=1", "dest", body, s.Public())),
		"destination":    second(x.Verify("PUT", uri, "us", body, s.Public())),
		"body":           second(x.Verify("PUT", uri, "dest", []byte(`{"a":null,"b":[1.5,"e"]}`), s.Public())),
		"empty body":     second(x.Verify("PUT", uri, "dest", nil, s.Public())),
		"no JSON":        second(x.Verify("PUT", uri, "dest", []byte("x"), s.Public())),
		"key":            second(x.Verify("PUT", uri, "dest", body, signerOf("a", "ed25519:1", 'a').Public())),
		"origin":         second(other.Verify("PUT", uri, "dest", body, s.Public())),
		"no destination": second(stripped.Verify("PUT", uri, "dest", body, s.Public())),
		"no key":         second(x.Verify("PUT", uri, "dest", body, nil)),
	} {
		if err == nil {
			t.Errorf("change of %s goes unnoticed", name)
		}
	}
}

func second(_ []byte, err error) error { return err }

// ring is a key database of gomatrixserverlib with one key.
type ring struct{ key Signer }

func (r ring) FetcherName() string { return "ring" }
func (r ring) FetchKeys(_ context.Context, want map[gomatrixserverlib.PublicKeyLookupRequest]spec.Timestamp) (map[gomatrixserverlib.PublicKeyLookupRequest]gomatrixserverlib.PublicKeyLookupResult, error) {
	out := map[gomatrixserverlib.PublicKeyLookupRequest]gomatrixserverlib.PublicKeyLookupResult{}
	for w := range want {
		out[w] = gomatrixserverlib.PublicKeyLookupResult{
			VerifyKey:    gomatrixserverlib.VerifyKey{Key: spec.Base64Bytes(r.key.Public())},
			ValidUntilTS: spec.AsTimestamp(time.Now().Add(time.Hour)),
		}
	}
	return out, nil
}
func (r ring) StoreKeys(context.Context, map[gomatrixserverlib.PublicKeyLookupRequest]gomatrixserverlib.PublicKeyLookupResult) error {
	return nil
}

func TestSignRequest_AgreesWithGomatrixserverlib(t *testing.T) {
	s := vectorSigner(t)
	const uri = "/_matrix/federation/v1/x?a=%2F"
	for _, body := range []string{"", `{"z":1,"a":{"c":"é","b":[]}}`} {
		h, err := SignRequest("PUT", uri, "domain", "dest", []byte(body), s)
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("PUT", "https://dest"+uri, io.NopCloser(strings.NewReader(body)))
		req.RequestURI = uri
		req.Header.Set("Authorization", h)
		req.Header.Set("Content-Type", "application/json")
		keys := &gomatrixserverlib.KeyRing{KeyDatabase: ring{s}}
		if got, res := fclient.VerifyHTTPRequest(req, time.Now(), "dest", nil, keys); got == nil {
			t.Errorf("gomatrixserverlib refuses our request: %+v", res)
		}

		theirs := fclient.NewFederationRequest("PUT", "domain", "dest", uri)
		if body != "" {
			if err = theirs.SetContent(spec.RawJSON(body)); err != nil {
				t.Fatal(err)
			}
		}
		if err = theirs.Sign("domain", gomatrixserverlib.KeyID(s.KeyID), s.Key); err != nil {
			t.Fatal(err)
		}
		hr, err := theirs.HTTPRequest()
		if err != nil {
			t.Fatal(err)
		}
		x, err := ParseXMatrix(hr.Header.Get("Authorization"))
		if err != nil {
			t.Fatal(err)
		}
		sent := []byte(nil)
		if hr.Body != nil {
			sent, _ = io.ReadAll(hr.Body)
		}
		if _, err = x.Verify("PUT", uri, "dest", sent, s.Public()); err != nil {
			t.Error("request of gomatrixserverlib is refused:", err)
		}
	}
}

func FuzzXMatrix(f *testing.F) {
	f.Add(`X-Matrix origin="a.b:1",destination="c",key="ed25519:1",sig="AA"`)
	f.Add(`x-matrix  origin=a , key = "ed25519:\1",sig=AA==,,x="\"`)
	f.Fuzz(func(t *testing.T, header string) {
		x, err := ParseXMatrix(header)
		if err != nil {
			return
		}
		if !ValidServerName(x.Origin) || !ValidKeyID(x.KeyID) || x.Signature == "" {
			t.Fatalf("%+v", x)
		}
		if strings.ContainsAny(x.Destination+x.Signature, `"\`) {
			return
		}
		if again, err := ParseXMatrix(x.String()); len(x.String()) < maxHeader && (err != nil || again != x) {
			t.Fatalf("%+v %+v %v", x, again, err)
		}
		_, _ = x.Verify("GET", "/", "us", nil, bytes.Repeat([]byte{1}, 32))
	})
}

func BenchmarkSignRequest(b *testing.B) {
	s := vectorSigner(b)
	t := Transaction{Origin: "domain", Timestamp: 1, PDUs: nil}
	for range 10 {
		t.PDUs = append(t.PDUs, built(b, "11", nil).JSON())
	}
	body := t.JSON()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SignRequest("PUT", "/_matrix/federation/v1/send/1", "domain", "dest", body, s); err != nil {
			b.Fatal(err)
		}
	}
}
