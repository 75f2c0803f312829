package room

import (
	"encoding/json"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/stream"
)

func TestMembership_Verbs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.create(CreateInput{Preset: "private_chat"})
		member := func(sender, target id.UserID) MemberInput {
			return MemberInput{RoomID: roomID, Sender: sender, Target: target, Reason: "because"}
		}
		step := func(name string, err error, user id.UserID, want string) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := w.membership(roomID, user); got != want {
				t.Fatalf("%s: %s is %q, want %q", name, user, got, want)
			}
		}
		_, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_FORBIDDEN", 403)
		step("invite", w.Invite(w.ctx, member(alice, bob)), bob, Invited)
		step("decline", w.Leave(w.ctx, member(bob, "")), bob, Left)
		step("leave twice", w.Leave(w.ctx, member(bob, "")), bob, Left)
		step("invite again", w.Invite(w.ctx, member(alice, bob)), bob, Invited)
		w.join(roomID, bob)
		wantCode(t, w.Invite(w.ctx, member(alice, bob)), "M_FORBIDDEN", 403)
		wantCode(t, w.Kick(w.ctx, member(bob, alice)), "M_FORBIDDEN", 403)
		wantCode(t, w.Kick(w.ctx, member(alice, carol)), "M_FORBIDDEN", 403)
		wantCode(t, w.Unban(w.ctx, member(alice, bob)), "M_BAD_STATE", 403)
		wantCode(t, w.Forget(w.ctx, roomID, bob), "M_UNKNOWN", 400)
		step("kick", w.Kick(w.ctx, member(alice, bob)), bob, Left)
		if m, _, _ := w.Member(w.ctx, roomID, bob); m.Sender != alice || w.event(m.EventID).Sender() != alice {
			t.Errorf("kicked by %s", m.Sender)
		}
		step("ban", w.Ban(w.ctx, member(alice, bob)), bob, Banned)
		wantCode(t, w.Invite(w.ctx, member(alice, bob)), "M_FORBIDDEN", 403)
		_, err = w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_FORBIDDEN", 403)
		step("forget", w.Forget(w.ctx, roomID, bob), bob, Banned)
		if m, _, _ := w.Member(w.ctx, roomID, bob); !m.Forgotten {
			t.Error("not forgotten")
		}
		step("unban", w.Unban(w.ctx, member(alice, bob)), bob, Left)
		if m, _, _ := w.Member(w.ctx, roomID, bob); m.Forgotten {
			t.Error("news about a forgotten room are not shown")
		}
		wantCode(t, w.Leave(w.ctx, member(carol, "")), "M_FORBIDDEN", 403)
		wantCode(t, w.Leave(w.ctx, MemberInput{RoomID: "!nowhere:here.test", Sender: carol}), "M_NOT_FOUND", 404)
		wantCode(t, w.Forget(w.ctx, roomID, carol), "M_NOT_FOUND", 404)
		_, err = w.Join(w.ctx, JoinInput{User: carol, RoomIDOrAlias: "!nowhere:away.test"})
		wantCode(t, err, "M_UNKNOWN", 404)
		wantStateOfHistory(t, w, roomID)
	})
}

func TestLeave_InvitationIntoADesertedRoomCanBeDeclined(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.create(CreateInput{Preset: "private_chat", Invite: []id.UserID{bob}})
		if err := w.Leave(w.ctx, MemberInput{RoomID: roomID, Sender: alice}); err != nil {
			t.Fatal(err)
		}
		if list, err := w.InviteState(w.ctx, roomID, bob); err != nil || len(list) < 3 {
			t.Errorf("invite state %s %v", list, err)
		}
		_, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_UNKNOWN", 404)
		if err := w.Leave(w.ctx, MemberInput{RoomID: roomID, Sender: bob}); err != nil {
			t.Fatal(err)
		}
		wantStateOfHistory(t, w, roomID)
		if w.membership(roomID, bob) != Left {
			t.Error("still invited")
		}
	})
}

func TestJoin_AgainChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		w.join(roomID, bob)
		n := len(w.history(roomID))
		w.join(roomID, bob)
		if len(w.history(roomID)) != n {
			t.Error("joining again wrote an event")
		}
		ev, err := w.State(w.ctx, roomID)
		if err != nil {
			t.Fatal(err)
		}
		member, err := ev.Event(w.ctx, typeMember, string(bob))
		if err != nil {
			t.Fatal(err)
		}
		if name, _ := member.FieldString("displayname"); name != "Name of bob" {
			t.Errorf("display name %q", name)
		}
	})
}

func TestJoin_Guests(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		closed := w.public()
		_, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(closed), Guest: true})
		wantCode(t, err, "M_GUEST_ACCESS_FORBIDDEN", 403)
		w.set(closed, alice, typeGuestAccess, "", map[string]string{"guest_access": "can_join"})
		if _, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(closed), Guest: true}); err != nil {
			t.Error(err)
		}
	})
}

func TestKnock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.create(CreateInput{Preset: "private_chat"})
		_, err := w.Knock(w.ctx, KnockInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_FORBIDDEN", 403)
		w.set(roomID, alice, typeJoinRules, "", map[string]string{"join_rule": "knock"})
		if _, err := w.Knock(w.ctx, KnockInput{User: bob, RoomIDOrAlias: string(roomID), Reason: "please"}); err != nil {
			t.Fatal(err)
		}
		if w.membership(roomID, bob) != Knocked {
			t.Fatal("not knocking")
		}
		if err := w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: bob}); err != nil {
			t.Fatal(err)
		}
		w.join(roomID, bob)
		_, err = w.Knock(w.ctx, KnockInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_FORBIDDEN", 403)
	})
}

func TestInvite_PublicRoomsLeaveItToModerators(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		w.join(roomID, bob)
		wantCode(t, w.Invite(w.ctx, MemberInput{RoomID: roomID, Sender: bob, Target: carol}), "M_FORBIDDEN", 403)
	})
}

func TestJoin_RestrictedRooms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		space := w.public()
		for _, version := range []string{"8", "10", "12"} {
			roomID := w.create(CreateInput{Preset: "private_chat", Version: version, InitialState: []InitialState{{typeJoinRules, "",
				json.RawMessage(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"` + string(space) + `"}]}`)}}})
			_, err := w.Join(w.ctx, JoinInput{User: carol, RoomIDOrAlias: string(roomID)})
			wantCode(t, err, "M_FORBIDDEN", 403)
			w.join(space, bob)
			w.join(roomID, bob)
			s, err := w.State(w.ctx, roomID)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := s.Event(w.ctx, typeMember, string(bob))
			if err != nil || ev.Authoriser() != alice {
				t.Errorf("version %s: authorised by %s, %v", version, ev.Authoriser(), err)
			}
		}
	})
}

func TestMemberships_FollowEveryChange(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.public(), w.public()
		for range 3 {
			w.join(a, bob)
			w.join(b, bob)
			rooms, err := w.JoinedRooms(w.ctx, bob)
			if err != nil || len(rooms) != 2 {
				t.Fatalf("joined rooms %v %v", rooms, err)
			}
			shared, err := w.SharesRoom(w.ctx, alice, bob)
			if err != nil || !shared {
				t.Fatal("they share no room")
			}
			if err := w.Leave(w.ctx, MemberInput{RoomID: a, Sender: bob}); err != nil {
				t.Fatal(err)
			}
			all, err := w.Memberships(w.ctx, bob)
			if err != nil || all[a].Membership != Left || all[b].Membership != Joined || all[a].Pos == 0 {
				t.Fatalf("memberships %+v %v", all, err)
			}
		}
		users, err := w.UsersSharing(w.ctx, bob)
		if err != nil || len(users) != 2 {
			t.Errorf("users sharing a room: %v %v", users, err)
		}
		servers, err := w.JoinedServers(w.ctx, b)
		if err != nil || len(servers) != 1 || servers[0] != "here.test" {
			t.Errorf("servers %v %v", servers, err)
		}
	})
}

func TestRedact(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, version := range []string{"2", "6", "11", "12"} {
			roomID := w.create(CreateInput{Preset: "public_chat", Version: version})
			w.join(roomID, bob)
			w.join(roomID, carol)
			said := w.say(roomID, bob, "a secret")
			_, err := w.Redact(w.ctx, SendInput{RoomID: roomID, Sender: carol, Redacts: said})
			wantCode(t, err, "M_FORBIDDEN", 403)
			_, err = w.Send(w.ctx, SendInput{RoomID: roomID, Sender: carol, Type: typeRedaction, Content: json.RawMessage(`{"redacts":"` + string(said) + `"}`)})
			wantCode(t, err, "M_FORBIDDEN", 403)
			red, err := w.Redact(w.ctx, SendInput{RoomID: roomID, Sender: bob, Redacts: said, Content: json.RawMessage(`{"reason":"oops"}`)})
			if err != nil {
				t.Fatal(err)
			}
			if ev := w.event(said); ev.RedactedBy != red || ev.Pos == 0 {
				t.Errorf("version %s: redacted by %q, position %d", version, ev.RedactedBy, ev.Pos)
			}
			live, _, err := w.Live(w.ctx, roomID, 0, w.stream.Head(), 2)
			if err != nil || live[0].RedactedBy != red || live[1].Redacts() != said {
				t.Errorf("version %s: the newest events do not show the redaction: %v", version, err)
			}
			name := w.set(roomID, alice, typeName, "", map[string]string{"name": "x"})
			if _, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: typeRedaction,
				Content: json.RawMessage(`{"redacts":"` + string(name) + `"}`)}); err != nil {
				t.Fatal(err)
			}
			if w.event(name).RedactedBy == "" {
				t.Errorf("version %s: a redaction by /send does nothing", version)
			}
			w.events.drop(said)
			if ev := w.event(said); ev.RedactedBy != red {
				t.Errorf("version %s: the redaction is not stored", version)
			}
			other := w.public()
			_, err = w.Redact(w.ctx, SendInput{RoomID: other, Sender: alice, Redacts: said})
			wantCode(t, err, "M_INVALID_PARAM", 400)
		}
	})
}

func TestAliases(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.create(CreateInput{Preset: "private_chat", Invite: []id.UserID{bob}})
		w.join(roomID, bob)
		const one, two = id.RoomAlias("#one:here.test"), id.RoomAlias("#老虎:here.test")
		wantCode(t, w.CreateAlias(w.ctx, carol, "", one, roomID), "M_FORBIDDEN", 403)
		wantCode(t, w.CreateAlias(w.ctx, alice, "", "#one:away.test", roomID), "M_INVALID_PARAM", 400)
		wantCode(t, w.CreateAlias(w.ctx, alice, "", "one", roomID), "M_INVALID_PARAM", 400)
		for _, a := range []id.RoomAlias{one, two} {
			if err := w.CreateAlias(w.ctx, bob, "", a, roomID); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, w.CreateAlias(w.ctx, bob, "", one, roomID), "M_UNKNOWN", 409)
		if got, servers, err := w.ResolveAlias(w.ctx, two); err != nil || got != roomID || len(servers) != 1 {
			t.Errorf("%s %v %v", got, servers, err)
		}
		w.set(roomID, alice, typeCanonical, "", map[string]any{"alias": one, "alt_aliases": []id.RoomAlias{two}})
		list, err := w.ListAliases(w.ctx, bob, false, roomID)
		if err != nil || len(list) != 2 {
			t.Errorf("aliases %v %v", list, err)
		}
		_, err = w.ListAliases(w.ctx, carol, false, roomID)
		wantCode(t, err, "M_FORBIDDEN", 403)
		wantCode(t, w.DeleteAlias(w.ctx, carol, false, "", one), "M_FORBIDDEN", 403)
		if err := w.DeleteAlias(w.ctx, alice, false, "", one); err != nil {
			t.Fatal(err)
		}
		wantCode(t, w.DeleteAlias(w.ctx, alice, false, "", one), "M_NOT_FOUND", 404)
		canonical := func() string {
			s, err := w.State(w.ctx, roomID)
			if err != nil {
				t.Fatal(err)
			}
			ev, err := s.Event(w.ctx, typeCanonical, "")
			if err != nil {
				t.Fatal(err)
			}
			return string(ev.Content())
		}
		if got := canonical(); got != `{"alt_aliases":["#老虎:here.test"]}` {
			t.Errorf("canonical alias %s", got)
		}
		if err := w.DeleteAlias(w.ctx, alice, false, "", two); err != nil {
			t.Fatal(err)
		}
		if got := canonical(); got != `{}` {
			t.Errorf("canonical alias %s", got)
		}
	})
}

func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, c := range []struct{ from, to string }{{"10", "11"}, {"11", "12"}, {"12", "12"}, {"12", "11"}} {
			name := "Old name"
			roomID := w.create(CreateInput{Preset: "public_chat", Version: c.from, Name: &name, AliasName: "up-" + c.from + "-" + c.to,
				CreationContent: json.RawMessage(`{"type":"m.space"}`)})
			w.join(roomID, bob)
			w.join(roomID, carol)
			if err := w.Ban(w.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: carol}); err != nil {
				t.Fatal(err)
			}
			w.set(roomID, alice, typeSpaceChild, "!child:here.test", map[string]any{"via": []string{"here.test"}})
			_, err := w.Upgrade(w.ctx, UpgradeInput{RoomID: roomID, User: bob, Version: c.to})
			wantCode(t, err, "M_FORBIDDEN", 403)
			_, err = w.Upgrade(w.ctx, UpgradeInput{RoomID: roomID, User: alice, Version: "99"})
			wantCode(t, err, "M_UNSUPPORTED_ROOM_VERSION", 400)
			newID, err := w.Upgrade(w.ctx, UpgradeInput{RoomID: roomID, User: alice, Version: c.to})
			if err != nil {
				t.Fatalf("%s to %s: %v", c.from, c.to, err)
			}
			old, err := w.State(w.ctx, roomID)
			if err != nil {
				t.Fatal(err)
			}
			tombstone, err := old.Event(w.ctx, typeTombstone, "")
			if err != nil || tombstone == nil {
				t.Fatalf("no tombstone: %v", err)
			}
			if got, _ := tombstone.FieldString("replacement_room"); got != string(newID) {
				t.Errorf("replaced by %s", got)
			}
			now, err := w.State(w.ctx, newID)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range [][2]string{{typeName, ""}, {typeCanonical, ""}, {typeJoinRules, ""}, {typeSpaceChild, "!child:here.test"}} {
				if ev, err := now.Event(w.ctx, k[0], k[1]); err != nil || ev == nil {
					t.Errorf("%s to %s: %s did not come over: %v", c.from, c.to, k[0], err)
				}
			}
			if w.membership(newID, carol) != Banned || w.membership(newID, bob) != "" || w.membership(newID, alice) != Joined {
				t.Error("wrong memberships in the new room")
			}
			if got, _, err := w.ResolveAlias(w.ctx, id.RoomAlias("#up-"+c.from+"-"+c.to+":here.test")); err != nil || got != newID {
				t.Errorf("the alias points to %s, %v", got, err)
			}
			info, err := w.Info(w.ctx, newID)
			if err != nil || info.Type != "m.space" || info.Version.ID() != c.to {
				t.Errorf("info %+v %v", info, err)
			}
			levels, err := w.PowerLevels(w.ctx, roomID)
			if err != nil || levels.EventsDefault < 50 {
				t.Errorf("the old room stays open: %d %v", levels.EventsDefault, err)
			}
		}
	})
}

func TestFollowers_ProfileAndDeactivation(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		name := "First"
		w := start(t, db, func(d *Deps) { d.Profile = profileOf(&name) })
		w.Follow()
		a, b := w.public(), w.public()
		w.join(a, bob)
		w.join(b, bob)
		name = "Second"
		publish := func(k stream.Kind) {
			t.Helper()
			if _, err := w.stream.Commit(w.ctx, &stream.Unit{Changes: []stream.Change{{Kind: k, UserID: bob}}}); err != nil {
				t.Fatal(err)
			}
		}
		publish(stream.Profile)
		eventually(t, "new names", func() bool {
			x, _, _ := w.Member(w.ctx, a, bob)
			y, _, _ := w.Member(w.ctx, b, bob)
			return x.DisplayName == "Second" && y.DisplayName == "Second" && x.Membership == Joined
		})
		publish(stream.Deactivation)
		eventually(t, "left", func() bool { return w.membership(a, bob) == Left && w.membership(b, bob) == Left })
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
