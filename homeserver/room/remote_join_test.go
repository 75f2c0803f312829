package room

import (
	"encoding/json"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

func TestRemoteJoin_EveryVersion(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range event.Versions() {
			roomID := a.create(CreateInput{Version: v, Preset: "public_chat"})
			a.say(roomID, alice, "before")
			b.joinVia(roomID, b.user("bea"), here)
			if a.membership(roomID, b.user("bea")) != Joined || b.membership(roomID, b.user("bea")) != Joined || b.membership(roomID, alice) != Joined {
				t.Fatalf("version %s: memberships differ", v)
			}
			n.sameState(a, b, roomID)
			n.send(a, b, a.say(roomID, alice, "hello"))
			n.send(b, a, b.say(roomID, b.user("bea"), "hello yourself"))
			if x, y := a.last(roomID), b.last(roomID); x.ID() != y.ID() || len(x.PrevEvents()) != 1 {
				t.Errorf("version %s: the histories differ: %s %s, %v", v, x.ID(), y.ID(), x.PrevEvents())
			}
		}
	})
}

func TestRemoteJoin_TwoAtOnceAskOnce(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, name := range []string{"bea", "ben"} {
					if _, err := b.Join(b.ctx, JoinInput{User: b.user(name), RoomIDOrAlias: string(roomID), Via: []string{here}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if c := n.called(here, "send_join"); c != 1 {
			t.Errorf("asked %d times", c)
		}
		joins := 0
		for _, s := range b.history(roomID) {
			if s.Type() == typeMember && s.Membership() == Joined && s.SenderServer() == there {
				joins++
			}
		}
		if joins != 2 {
			t.Errorf("%d joins", joins)
		}
	})
}

func TestRemoteJoin_FailsOver(t *testing.T) {
	eachNetwork(t, []string{here, there, third}, func(t *testing.T, n *network) {
		a, b, c := n.servers[here], n.servers[there], n.servers[third]
		roomID := a.public()
		b.joinVia(roomID, b.user("bea"), here)
		n.down[here] = true
		_, err := c.Join(c.ctx, JoinInput{User: c.user("cem"), RoomIDOrAlias: string(roomID), Via: []string{here}})
		wantCode(t, err, "M_UNKNOWN", 502)
		c.joinVia(roomID, c.user("cem"), "nowhere.test", here, there)
		n.down[here] = false
		n.send(c, a, c.last(roomID).ID())
		n.sameState(a, c, roomID)
	})
}

func TestRemoteJoin_RefusalsReachTheUser(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		private := a.create(CreateInput{Preset: "private_chat"})
		bea := b.user("bea")
		_, err := b.Join(b.ctx, JoinInput{User: bea, RoomIDOrAlias: string(private), Via: []string{here}})
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, err = b.Join(b.ctx, JoinInput{User: bea, RoomIDOrAlias: "!nowhere:here.test", Via: []string{here}})
		wantCode(t, err, "M_NOT_FOUND", 404)
		if known, err := b.Known(b.ctx, private); known || err != nil {
			t.Errorf("a room that could not be entered is known: %v", err)
		}
	})
}

func TestRemoteJoin_NeverSignsSomethingElse(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		change := ""
		n.bend = func(_, method string, answer any) {
			if t, ok := answer.(*Template); ok {
				var m map[string]any
				_ = json.Unmarshal(t.Event, &m)
				switch change {
				case "type":
					m["type"] = "m.room.power_levels"
				case "room":
					m["room_id"] = "!other:here.test"
				case "sender":
					m["sender"] = "@mallory:away.test"
				case "key":
					m["state_key"] = "@mallory:away.test"
				case "membership":
					m["content"] = map[string]any{"membership": "leave"}
				case "version":
					t.RoomVersion = "77"
				case "prev":
					m["prev_events"] = []any{1, 2}
				}
				t.Event, _ = json.Marshal(m)
			}
		}
		for _, change = range []string{"type", "room", "sender", "key", "membership", "version", "prev"} {
			if _, err := b.Join(b.ctx, JoinInput{User: b.user("bea"), RoomIDOrAlias: string(roomID), Via: []string{here}}); err == nil {
				t.Errorf("%s: joined", change)
			}
		}
		if c := n.called(here, "send_join"); c != 0 {
			t.Errorf("%d events were signed and sent", c)
		}
	})
}

func TestRemoteJoin_ChecksTheAnswer(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		a.set(roomID, alice, "m.room.name", "", map[string]string{"name": "x"})
		other := a.create(CreateInput{Preset: "public_chat", Version: "11"})
		spoil := ""
		typeOf := func(raw json.RawMessage) string {
			var x struct{ Type string }
			_ = json.Unmarshal(raw, &x)
			return x.Type
		}
		n.bend = func(_, method string, answer any) {
			j, ok := answer.(*JoinAnswer)
			if !ok {
				return
			}
			keep := j.State[:0]
			for _, raw := range j.State {
				switch {
				case spoil == "no create" && typeOf(raw) == typeCreate:
					continue
				case spoil == "unsigned name" && typeOf(raw) == typeName:
					var m map[string]any
					_ = json.Unmarshal(raw, &m)
					m["signatures"] = map[string]any{}
					raw, _ = json.Marshal(m)
				}
				keep = append(keep, raw)
			}
			j.State = keep
			if spoil == "no create" {
				j.AuthChain = nil
			}
			if spoil == "other room" {
				s, _ := a.State(a.ctx, other)
				evs, _ := s.Events(a.ctx, nil)
				j.State = rawOf(evs)
				j.AuthChain = nil
			}
		}
		for _, spoil = range []string{"no create", "other room"} {
			if _, err := b.Join(b.ctx, JoinInput{User: b.user("bea"), RoomIDOrAlias: string(roomID), Via: []string{here}}); err == nil {
				t.Errorf("%s: joined", spoil)
			}
			if known, _ := b.Known(b.ctx, roomID); known {
				t.Errorf("%s: half a room", spoil)
			}
		}
		spoil = "unsigned name"
		b.joinVia(roomID, b.user("bea"), here)
		if s, _ := b.State(b.ctx, roomID); s != nil {
			if _, ok := s.Get(event.Key{Type: typeName}); ok {
				t.Error("an event without signature became part of the state")
			}
		}
	})
}

func TestRemoteJoin_Again(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		bea := b.user("bea")
		b.joinVia(roomID, bea, here)
		if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: bea}); err != nil {
			t.Fatal(err)
		}
		n.send(b, a, b.last(roomID).ID())
		if a.membership(roomID, bea) != Left {
			t.Fatal("the leave did not arrive")
		}
		a.say(roomID, alice, "meanwhile")
		a.set(roomID, alice, "m.room.topic", "", map[string]string{"topic": "new"})
		a.join(roomID, carol)
		if err := n.deliver(a, b, a.last(roomID).Event)[a.last(roomID).ID()]; err == nil {
			t.Error("events of a room that was left are taken")
		}
		b.joinVia(roomID, bea, here)
		n.sameState(a, b, roomID)
		if b.membership(roomID, carol) != Joined {
			t.Error("carol is not there")
		}
		joined, _, err := b.Counts(b.ctx, roomID)
		if err != nil || joined != 3 {
			t.Errorf("%d joined, %v", joined, err)
		}
		n.send(b, a, b.say(roomID, bea, "back"))
	})
}

func TestRemoteInvite_AcceptedDeclinedTakenBack(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"1", "6", "11", "12"} {
			name := "Secret room"
			roomID := a.create(CreateInput{Version: v, Preset: "private_chat", Name: &name})
			bea, ben, bob := b.user("bea"), b.user("ben"), b.user("bob")
			for _, u := range []id.UserID{bea, ben, bob} {
				if err := a.Invite(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: u}); err != nil {
					t.Fatalf("version %s: %v", v, err)
				}
				if b.membership(roomID, u) != Invited || a.membership(roomID, u) != Invited {
					t.Fatalf("version %s: %s is not invited", v, u)
				}
			}
			told, err := b.InviteState(b.ctx, roomID, bea)
			if err != nil || len(told) < 5 {
				t.Errorf("told %s, %v", told, err)
			}
			if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: ben}); err != nil {
				t.Fatal(err)
			}
			if a.membership(roomID, ben) != Left || b.membership(roomID, ben) != Left {
				t.Errorf("version %s: ben is %s and %s", v, a.membership(roomID, ben), b.membership(roomID, ben))
			}
			if err := a.Kick(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: bob}); err != nil {
				t.Fatal(err)
			}
			n.send(a, b, a.last(roomID).ID())
			if b.membership(roomID, bob) != Left {
				t.Errorf("version %s: the invitation was not taken back", v)
			}
			b.joinVia(roomID, bea)
			if b.membership(roomID, bea) != Joined || a.membership(roomID, bea) != Joined {
				t.Errorf("version %s: bea did not join", v)
			}
			n.sameState(a, b, roomID)
		}
	})
}

func TestRemoteInvite_DeclinedThoughNobodyAnswers(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.create(CreateInput{Preset: "private_chat"})
		bea := b.user("bea")
		for range 3 {
			if err := a.Invite(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: bea}); err != nil {
				t.Fatal(err)
			}
			if b.membership(roomID, bea) != Invited {
				t.Fatal("not invited")
			}
			n.down[here] = true
			if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: bea}); err != nil {
				t.Fatal(err)
			}
			if b.membership(roomID, bea) != Left {
				t.Error("the invitation is still there")
			}
			n.down[here] = false
		}
	})
}

func TestRemoteKnock_AskedAndLetIn(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.create(CreateInput{Preset: "private_chat"})
		bea := b.user("bea")
		_, err := b.Knock(b.ctx, KnockInput{User: bea, RoomIDOrAlias: string(roomID), Via: []string{here}})
		wantCode(t, err, "M_FORBIDDEN", 403)
		a.set(roomID, alice, typeJoinRules, "", map[string]string{"join_rule": "knock"})
		for range 2 {
			if _, err := b.Knock(b.ctx, KnockInput{User: bea, RoomIDOrAlias: string(roomID), Via: []string{here}, Reason: "please"}); err != nil {
				t.Fatal(err)
			}
		}
		if a.membership(roomID, bea) != Knocked || b.membership(roomID, bea) != Knocked {
			t.Fatalf("bea is %s and %s", a.membership(roomID, bea), b.membership(roomID, bea))
		}
		if told, err := b.InviteState(b.ctx, roomID, bea); err != nil || len(told) < 3 {
			t.Errorf("told %s, %v", told, err)
		}
		if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: bea}); err != nil {
			t.Fatal(err)
		}
		if a.membership(roomID, bea) != Left {
			t.Error("the knock was not taken back")
		}
		if _, err := b.Knock(b.ctx, KnockInput{User: bea, RoomIDOrAlias: string(roomID), Via: []string{here}}); err != nil {
			t.Fatal(err)
		}
		if err := a.Invite(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: bea}); err != nil {
			t.Fatal(err)
		}
		_, err = b.Knock(b.ctx, KnockInput{User: bea, RoomIDOrAlias: string(roomID), Via: []string{here}})
		wantCode(t, err, "M_FORBIDDEN", 403)
		b.joinVia(roomID, bea, here)
		n.sameState(a, b, roomID)
	})
}

func TestRemoteJoin_Restricted(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"8", "11", "12"} {
			club := a.create(CreateInput{Version: v, Preset: "public_chat"})
			roomID := a.create(CreateInput{Version: v, Preset: "public_chat", InitialState: []InitialState{{typeJoinRules, "", json.RawMessage(
				`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"` + string(club) + `"}]}`)}}})
			bea, ben := b.user("bea"), b.user("ben")
			_, err := b.Join(b.ctx, JoinInput{User: bea, RoomIDOrAlias: string(roomID), Via: []string{here}})
			wantCode(t, err, "M_FORBIDDEN", 403)
			b.joinVia(club, bea, here)
			b.joinVia(roomID, bea, here)
			n.sameState(a, b, roomID)
			if by := b.last(roomID).Authoriser(); by != alice {
				t.Errorf("version %s: let in by %q", v, by)
			}
			// Nobody of there has the power to invite: the join goes over here although there is inside.
			b.joinVia(club, ben, here)
			n.send(b, a, b.last(club).ID())
			b.joinVia(roomID, ben, here)
			n.sameState(a, b, roomID)
		}
	})
}

func TestRemoteJoin_InvitationWithAnotherVersion(t *testing.T) {
	eachNetwork(t, []string{here, there, third}, func(t *testing.T, n *network) {
		a, b, c := n.servers[here], n.servers[there], n.servers[third]
		roomID := a.create(CreateInput{Version: "10", Preset: "public_chat"})
		bea := string(b.user("bea"))
		lie, err := event.Build(event.MustLookup("2"), event.Proto{RoomID: roomID, Type: typeMember, StateKey: &bea, Sender: c.user("eve"),
			Content: json.RawMessage(`{"membership":"invite"}`), PrevEvents: []id.EventID{"$a:third.test"}, AuthEvents: []id.EventID{},
			EventID: "$lie:third.test", Depth: 1, Timestamp: 1}, signer(third))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.AcceptInvite(b.ctx, third, roomID, lie.Version(), lie, nil); err != nil {
			t.Fatal(err)
		}
		b.joinVia(roomID, b.user("bea"), here)
		n.sameState(a, b, roomID)
		n.send(b, a, b.say(roomID, b.user("bea"), "hello"))
		n.send(a, b, a.say(roomID, alice, "hello"))
	})
}
