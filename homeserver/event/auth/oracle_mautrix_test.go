//go:build goexperiment.jsonv2

package auth_test

import (
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/federation/eventauth"
	"maunium.net/go/mautrix/federation/pdu"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/event/eventtest"
)

// These tests run with GOEXPERIMENT=jsonv2 only: the package they compare with exists only there.

func mautrixPDU(t *testing.T, ev *event.Event) *pdu.PDU {
	t.Helper()
	var out *pdu.PDU
	if err := json.Unmarshal(ev.JSON(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// mautrix is the verdict of mautrix: the rule that it names, "ok", or "panic".
func mautrix(t *testing.T, ev *event.Event, b *eventtest.Branch) (rule string) {
	t.Helper()
	defer func() {
		if recover() != nil {
			rule = "panic"
		}
	}()
	state := []*pdu.PDU{}
	for _, key := range auth.NeededBy(ev) {
		if known := b.Get(key); known != nil {
			state = append(state, mautrixPDU(t, known))
		}
	}
	get := func([]id.EventID) ([]*pdu.PDU, error) {
		return []*pdu.PDU{mautrixPDU(t, b.Get(event.Key{Type: "m.room.create"}))}, nil
	}
	key := func(server string, _ id.KeyID, _ time.Time) (id.SigningKey, time.Time, error) {
		return id.SigningKey(base64.RawStdEncoding.EncodeToString(eventtest.Signer(server).Public())), time.Now().Add(time.Hour), nil
	}
	if via, ok := ev.FieldString("join_authorised_via_users_server"); ok { // it checks this signature with the rules
		signed, err := ev.Sign(eventtest.Signer(event.ServerOf(via)))
		if err != nil {
			t.Fatal(err)
		}
		ev = signed
	}
	err := eventauth.Authorize(id.RoomVersion(ev.Version().ID()), mautrixPDU(t, ev), state, get, key)
	var fail eventauth.AuthFailError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &fail):
		return fail.Index
	}
	return fmt.Sprint(err)
}

func TestOracle_Mautrix(t *testing.T) {
	for _, version := range event.Versions()[2:] { // the first two have another event format
		for seed := range uint64(100) {
			compareWithMautrix(t, version, seed)
		}
	}
}

func FuzzOracle_Mautrix(f *testing.F) {
	f.Fuzz(func(t *testing.T, version uint8, seed uint64) {
		compareWithMautrix(t, event.Versions()[2+int(version)%10], seed)
	})
}

func compareWithMautrix(t *testing.T, version string, seed uint64) {
	d := dice{rand.New(rand.NewPCG(seed, uint64(len(version))<<8|uint64(version[len(version)-1])))}
	b := d.state(version)
	for range 12 {
		ev := b.Make(d.draft(b.Room.Version))
		err := auth.Check(ev, b)
		if ev.Type() == "m.room.aliases" && b.Room.Version.AliasesAuthorised() {
			continue // it does not know rule 4
		}
		theirs := mautrix(t, ev, b)
		if (err == nil) != (theirs == "ok") {
			t.Errorf("version %s, seed %d: %s %s %v %s: %v, mautrix %s", version, seed, ev.Sender(), ev.Type(), deref(ev.StateKey()), ev.Content(), err, theirs)
		}
		// It numbers as version 12 does, but for knocks and changes of levels.
		if version == "12" && !strings.HasPrefix(theirs, "5.7") && !strings.HasPrefix(theirs, "10.") && theirs != "panic" && theirs != ruleOf(err) {
			t.Errorf("seed %d: %s %s %v %s: %v, mautrix %s", seed, ev.Sender(), ev.Type(), deref(ev.StateKey()), ev.Content(), err, theirs)
		}
	}
}

// The kinds of events on which the texts and mautrix differ. When the library follows the text, the case goes.
func TestOracle_WhereMautrixIsWrong(t *testing.T) {
	b := room("11", "invite")
	b.Send(eventtest.State(alice, "m.room.power_levels", "", `{"users":{"@bob:b.org":50,"@grace:b.org":50}}`))
	b.Send(eventtest.State(bob, "m.room.third_party_invite", "tok", `{"public_key":"`+publicKey("id.org")+`"}`))
	old := room("5", "public")
	for _, c := range []struct {
		name         string
		on           *eventtest.Branch
		draft        eventtest.Draft
		ours, theirs string
	}{
		{"M1: an equal is removed", b, eventtest.State(bob, "m.room.power_levels", "", `{"users":{"@bob:b.org":50}}`), "9.8.1", "panic"},
		{"M2: third-party invite", b, member(bob, dave, `{"membership":"invite","third_party_invite":{"signed":`+signedFor(t, "id.org", dave, "tok")+`}}`), "ok", "5.4.1.8"},
		{"M3: create event that is not state", b, eventtest.Draft{Type: "m.room.create", Sender: alice, Content: `{"room_version":"11"}`, RoomID: "!r:a.org", Prev: []id.EventID{}}, "1", "ok"},
		{"aliases of another server", old, eventtest.State(bob, "m.room.aliases", "d.org", `{}`), "4.2", "ok"},
	} {
		ev := c.on.Make(c.draft)
		if got := ruleOf(auth.Check(ev, c.on)); got != c.ours {
			t.Errorf("%s: rule %s, want %s", c.name, got, c.ours)
		}
		if got := mautrix(t, ev, c.on); got != c.theirs {
			t.Errorf("%s: mautrix says %s now", c.name, got)
		}
	}
}
