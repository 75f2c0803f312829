package event

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"

	"maunium.net/go/mautrix/id"
)

func vectorSigner(t testing.TB) Signer {
	seed, ok := decode64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if !ok {
		t.Fatal("seed")
	}
	return Signer{Server: "domain", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}
}

// spec: appendices#event-signing
func TestBuild_GivesTheVectorsOfTheSpecification(t *testing.T) {
	// The vectors have no event_id and an origin: what versions 3 to 5 allow.
	e, err := Build(MustLookup("3"), Proto{
		RoomID: "!x:domain", Sender: "@a:domain", Type: "X", Depth: 3, Timestamp: 1000000,
		Extra: map[string]json.RawMessage{"origin": json.RawMessage(`"domain"`)},
	}, vectorSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"auth_events":[],"content":{},"depth":3,"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"origin":"domain","origin_server_ts":1000000,"prev_events":[],"room_id":"!x:domain","sender":"@a:domain","signatures":{"domain":{"ed25519:1":"KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg"}},"type":"X"}`
	if string(e.JSON()) != want {
		t.Fatalf("\n%s\n%s", e.JSON(), want)
	}
}

func message(v Version) Proto {
	p := Proto{
		RoomID: "!abcdefghijklmnopqr:example.org", Type: "m.room.message", Sender: "@alice:example.org", Depth: 1234,
		Timestamp:  1732400000000,
		Content:    json.RawMessage(`{"msgtype":"m.text","body":"Hello, wörld! This is a message of usual length \"quoted\"."}`),
		PrevEvents: []id.EventID{"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"},
		AuthEvents: []id.EventID{"$Aqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", "$Bqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg",
			"$Cqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg"},
	}
	if v.DomainlessRoomID() {
		p.RoomID = "!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
	}
	if !v.URLSafeEventIDs() {
		p.PrevEvents = []id.EventID{"$Rqnc+F+dvnEYJTyHq/iKxU2bZ1CI92+kuZq3a5lr5Zg"}
		p.AuthEvents = []id.EventID{"$Aqnc+F+dvnEYJTyHq/iKxU2bZ1CI92+kuZq3a5lr5Zg", "$Bqnc+F+dvnEYJTyHq/iKxU2bZ1CI92+kuZq3a5lr5Zg"}
	}
	if v.IDInside() {
		p.EventID = "$1:example.org"
		p.PrevEvents = []id.EventID{"$2:example.org"}
		p.AuthEvents = []id.EventID{"$3:example.org", "$4:example.org"}
	}
	return p
}

func TestBuild_ParsesBackInEveryVersion(t *testing.T) {
	for _, name := range Versions() {
		v := MustLookup(name)
		e, err := Build(v, message(v), vectorSigner(t))
		if err != nil {
			t.Fatal(name, err)
		}
		u, err := ParseUntrusted(v, e.JSON())
		if err != nil {
			t.Fatal(name, err, string(e.JSON()))
		}
		if u.WasRedacted() || u.ID() != e.ID() || string(u.JSON()) != string(e.JSON()) {
			t.Fatal(name, u.WasRedacted(), u.ID(), e.ID())
		}
		s, err := ParseStored(v, e.ID(), e.JSON())
		if err != nil {
			t.Fatal(name, err)
		}
		for _, x := range []*Event{u, s} {
			if x.Depth() != 1234 || x.Timestamp() != 1732400000000 || x.Sender() != "@alice:example.org" ||
				x.RoomID() != e.RoomID() || len(x.PrevEvents()) != 1 || len(x.AuthEvents()) < 2 || x.IsState() {
				t.Fatal(name, x)
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	v, s := MustLookup("11"), vectorSigner(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(v, message(v), s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseStored(b *testing.B) {
	v := MustLookup("11")
	e, _ := Build(v, message(v), vectorSigner(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseStored(v, e.ID(), e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseUntrusted(b *testing.B) {
	v := MustLookup("11")
	e, _ := Build(v, message(v), vectorSigner(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseUntrusted(v, e.JSON()); err != nil {
			b.Fatal(err)
		}
	}
}
