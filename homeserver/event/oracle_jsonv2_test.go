//go:build goexperiment.jsonv2

package event

import (
	"encoding/json"
	jsonv2 "encoding/json/v2"
	"fmt"
	"testing"
	"time"

	"maunium.net/go/mautrix/federation/pdu"
	"maunium.net/go/mautrix/id"
)

func TestEvents_AgreeWithMautrix(t *testing.T) {
	s := vectorSigner(t)
	user := "@bob:example.org"
	for _, name := range Versions()[2:] {
		v := MustLookup(name)
		all := samples(v)
		invite := message(v)
		invite.Type, invite.StateKey = "m.room.member", &user
		invite.Content = json.RawMessage(`{"membership":"invite","third_party_invite":{"display_name":"x","signed":{"mxid":"@a:b","token":"t","signatures":{}}}}`)
		for _, p := range append(all, invite) {
			if p.Type == "m.room.redaction" && !v.RedactsInContent() {
				continue // mautrix keeps redacts there, the specification does not
			}
			if v.DomainlessRoomID() && p.Type == "m.room.create" {
				p.AuthEvents, p.PrevEvents = nil, nil
			}
			what := fmt.Sprintf("version %s, %s", name, p.Type)
			e, err := Build(v, p, s)
			if err != nil {
				t.Fatal(what, err)
			}
			var theirs pdu.PDU
			if err = jsonv2.Unmarshal(e.JSON(), &theirs); err != nil {
				t.Fatal(what, err)
			}
			eventID, err := theirs.GetEventID(id.RoomVersion(name))
			if err != nil || eventID != e.ID() || !theirs.VerifyContentHash() {
				t.Errorf("%s: ID %s, there %s %v", what, e.ID(), eventID, err)
			}
			key := func(string, id.KeyID, time.Time) (id.SigningKey, time.Time, error) {
				return id.SigningKey(encode64(s.Public())), time.Now().Add(time.Hour), nil
			}
			if err = theirs.VerifySignature(id.RoomVersion(name), s.Server, key); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			redacted, err := jsonv2.Marshal(theirs.Redact(id.RoomVersion(name)))
			if err != nil {
				t.Fatal(what, err)
			}
			if canon, err := CanonicalJSON(redacted); err != nil || string(canon) != string(e.Redacted().JSON()) {
				t.Errorf("%s: redacted\n%s\nthere\n%s", what, e.Redacted().JSON(), canon)
			}
		}
	}
}
