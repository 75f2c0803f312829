package room

import (
	"encoding/json"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

func TestCreate_EventsComeInTheSpecifiedOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		name, topic := "A room", "About things"
		roomID := w.create(CreateInput{Preset: "private_chat", Name: &name, Topic: &topic, Invite: []id.UserID{bob}, Direct: true,
			AliasName: "things", InitialState: []InitialState{{"m.room.encryption", "", json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`)}}})
		want := []string{typeCreate, typeMember, typePowerLevels, typeCanonical, typeJoinRules, typeVisibility, typeGuestAccess,
			typeEncryption, typeName, typeTopic, typeMember}
		list := w.history(roomID)
		if len(list) != len(want) {
			t.Fatalf("%d events, want %d", len(list), len(want))
		}
		for i, ev := range list {
			if ev.Type() != want[i] {
				t.Errorf("event %d is %s, want %s", i, ev.Type(), want[i])
			}
			if i > 0 && (len(ev.PrevEvents()) != 1 || ev.PrevEvents()[0] != list[i-1].ID() || ev.Depth() != list[i-1].Depth()+1) {
				t.Errorf("event %d does not follow the one before", i)
			}
			if ev.Pos == 0 || ev.Order != orderOf(ev.Pos) {
				t.Errorf("event %d has position %d and order %d", i, ev.Pos, ev.Order)
			}
		}
		if w.membership(roomID, alice) != Joined || w.membership(roomID, bob) != Invited {
			t.Error("wrong memberships")
		}
		info, err := w.Info(w.ctx, roomID)
		if err != nil || !info.Encrypted || !info.Inside || info.Version.ID() != event.Default {
			t.Errorf("info %+v, %v", info, err)
		}
		joined, invited, err := w.Counts(w.ctx, roomID)
		if err != nil || joined != 1 || invited != 1 {
			t.Errorf("counts %d %d %v", joined, invited, err)
		}
		stripped, err := w.InviteState(w.ctx, roomID, bob)
		if err != nil || len(stripped) < 6 {
			t.Errorf("invite state %s %v", stripped, err)
		}
	})
}

func TestCreate_EveryVersion(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, v := range event.Versions() {
			roomID := w.create(CreateInput{Version: v, Preset: "trusted_private_chat", Invite: []id.UserID{bob}})
			w.join(roomID, bob)
			w.say(roomID, bob, "hello")
			levels, err := w.PowerLevels(w.ctx, roomID)
			if err != nil || levels.User(bob) < 100 {
				t.Errorf("version %s: bob has %d, %v", v, levels.User(bob), err)
			}
			if v == "12" && string(event.CreateIDOf(roomID)) != string(w.history(roomID)[0].ID()) {
				t.Errorf("the room is not named after its create event")
			}
		}
	})
}

func TestCreate_RefusesNonsense(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for name, c := range map[string]struct {
			in   CreateInput
			code string
		}{
			"version":             {CreateInput{Version: "99"}, "M_UNSUPPORTED_ROOM_VERSION"},
			"preset":              {CreateInput{Preset: "nice"}, "M_BAD_JSON"},
			"invite":              {CreateInput{Invite: []id.UserID{"bob"}}, "M_INVALID_PARAM"},
			"creators":            {CreateInput{CreationContent: json.RawMessage(`{"additional_creators":["x"]}`)}, "M_BAD_JSON"},
			"creator in levels":   {CreateInput{PowerLevels: json.RawMessage(`{"users":{"@alice:here.test":100}}`)}, "M_INVALID_ROOM_STATE"},
			"level not a number":  {CreateInput{PowerLevels: json.RawMessage(`{"ban":"50"}`)}, "M_BAD_JSON"},
			"state not an object": {CreateInput{InitialState: []InitialState{{"x", "", json.RawMessage(`3`)}}}, "M_BAD_JSON"},
			"locked out":          {CreateInput{PowerLevels: json.RawMessage(`{"events":{"m.room.name":9007199254740993}}`)}, "M_BAD_JSON"},
		} {
			c.in.Creator = alice
			_, err := w.Create(w.ctx, c.in)
			if resp, ok := asRespError(err); !ok || resp.ErrCode != c.code || resp.StatusCode != 400 {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.create(CreateInput{AliasName: "taken"})
		_, err := w.Create(w.ctx, CreateInput{Creator: alice, AliasName: "taken"})
		wantCode(t, err, "M_ROOM_IN_USE", 400)
	})
}

func TestCreate_UnstableVersionsOnlyWhereAllowed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, v := range event.Unstable() {
			_, err := w.Create(w.ctx, CreateInput{Creator: alice, Version: v})
			wantCode(t, err, "M_UNSUPPORTED_ROOM_VERSION", 400)
			w.UnstableVersions = true
			roomID := w.create(CreateInput{Version: v})
			w.UnstableVersions = false
			for key, code := range map[string]string{"@oops": "M_BAD_JSON", string(alice) + "_one": ""} {
				_, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: "org.example", StateKey: &key, Content: []byte(`{}`)})
				if code != "" {
					wantCode(t, err, code, 400)
				} else if err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		}
	})
}
