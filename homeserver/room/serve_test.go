package room

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

func typesOf(list []*Stored) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Type()
	}
	return out
}

func TestMissingFor_ShowsWhatTheServerMaySee(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, visibility := range []string{"world_readable", "shared", "invited", "joined"} {
			roomID := a.public()
			a.set(roomID, alice, typeVisibility, "", map[string]string{"history_visibility": visibility})
			secret := a.say(roomID, alice, "secret")
			b.joinVia(roomID, b.user("bea"), here)
			create := a.history(roomID)[0].ID()
			list, err := a.MissingFor(a.ctx, there, roomID, []id.EventID{create}, []id.EventID{a.last(roomID).ID()}, 10, 1)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(list, func(s *Stored) bool { return s.ID() == secret })
			if i < 0 || i != len(list)-1 || list[0].Type() != typeMember {
				t.Fatalf("%s: %v", visibility, typesOf(list))
			}
			hidden := string(list[i].Content()) == "{}"
			if want := visibility == "invited" || visibility == "joined"; hidden != want {
				t.Errorf("%s: %s", visibility, list[i].Content())
			}
			ev, err := a.EventFor(a.ctx, there, secret)
			if err != nil || (string(ev.Content()) == "{}") != hidden {
				t.Errorf("%s: %v %v", visibility, ev, err)
			}
		}
	})
}

func TestServe_OnlyToServersInTheRoom(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		other := a.create(CreateInput{})
		said := a.say(roomID, alice, "x")
		_, err := a.EventFor(a.ctx, there, said)
		wantCode(t, err, "M_NOT_FOUND", 404)
		_, _, err = a.StateFor(a.ctx, there, roomID, said)
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, err = a.BackfillFor(a.ctx, there, roomID, []id.EventID{said}, 10)
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, err = a.MissingFor(a.ctx, there, roomID, nil, []id.EventID{said}, 10, 0)
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, err = a.AuthChainFor(a.ctx, there, roomID, said)
		wantCode(t, err, "M_FORBIDDEN", 403)
		b.joinVia(roomID, b.user("bea"), here)
		elsewhere := a.history(other)[1].ID()
		_, _, err = a.StateFor(a.ctx, there, roomID, elsewhere)
		wantCode(t, err, "M_NOT_FOUND", 404)
		_, err = a.AuthChainFor(a.ctx, there, roomID, elsewhere)
		wantCode(t, err, "M_NOT_FOUND", 404)
		_, err = a.EventFor(a.ctx, there, elsewhere)
		wantCode(t, err, "M_NOT_FOUND", 404)
		for _, from := range [][]id.EventID{{elsewhere}, {"$nonsense"}, nil} {
			if list, err := a.BackfillFor(a.ctx, there, roomID, from, 1_000_000); err != nil || len(list) != 0 {
				t.Errorf("%v: %v %v", from, list, err)
			}
		}
		list, err := a.BackfillFor(a.ctx, there, roomID, []id.EventID{a.last(roomID).ID()}, 3)
		if err != nil || len(list) != 3 || list[0].ID() != a.last(roomID).ID() || list[1].ID() != said {
			t.Errorf("%v %v", typesOf(list), err)
		}
	})
}

func TestAuthChainFor_ListsTheChainAndNothingElse(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		first := a.last(roomID).ID()
		if err := b.Leave(b.ctx, MemberInput{RoomID: roomID, Sender: bea}); err != nil {
			t.Fatal(err)
		}
		left := b.last(roomID).ID()
		n.send(b, a, left)
		b.joinVia(roomID, bea, here)
		join := a.last(roomID)
		rules := a.set(roomID, alice, typeJoinRules, "", map[string]string{"join_rule": "invite"})
		for eventID, want := range map[id.EventID][]id.EventID{
			rules:     a.event(rules).AuthEvents(),
			join.ID(): append(slices.Clone(join.AuthEvents()), first, a.history(roomID)[1].ID()),
		} {
			chain, err := a.AuthChainFor(a.ctx, there, roomID, eventID)
			if err != nil {
				t.Fatal(err)
			}
			var got []id.EventID
			for _, s := range chain {
				got = append(got, s.ID())
			}
			slices.Sort(got)
			slices.Sort(want)
			if want = slices.Compact(want); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", eventID, got, want)
			}
		}
	})
}

func TestACL_ShutsServersOut(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("12", a, b)
		said := b.draft(roomID, bea, "m.room.message", nil, `{}`)
		a.set(roomID, alice, typeServerACL, "", map[string]any{"allow": []string{"*"}, "deny": []string{"*AWAY.t?st"}})
		if ok, err := a.AllowedByACL(a.ctx, roomID, there); ok || err != nil {
			t.Errorf("%v %v", ok, err)
		}
		_, err := a.BackfillFor(a.ctx, there, roomID, []id.EventID{said.ID()}, 10)
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, _, err = a.Template(a.ctx, TemplateInput{Server: there, RoomID: roomID, User: b.user("ben"), Membership: Joined, Versions: event.Versions()})
		wantCode(t, err, "M_FORBIDDEN", 403)
		_, err = a.AcceptJoin(a.ctx, there, roomID, said, false)
		wantCode(t, err, "M_FORBIDDEN", 403)
	})
}

func TestACL_Patterns(t *testing.T) {
	for i, c := range []struct {
		content, server string
		allowed         bool
	}{
		{`{"allow":["*"]}`, "a.test", true},
		{`{}`, "a.test", false},
		{`{"allow":"*"}`, "a.test", false},
		{`{"allow":["*",3]}`, "a.test", true},
		{`{"allow":["*"],"deny":["a.test"]}`, "A.Test:8448", false},
		{`{"allow":["*"],"deny":["*.test"]}`, "b.org", true},
		{`{"allow":["b?.org"]}`, "bb.org", true},
		{`{"allow":["*"],"allow_ip_literals":false}`, "1.2.3.4:80", false},
		{`{"allow":["*"],"allow_ip_literals":false}`, "[::1]:80", false},
		{`{"allow":["*"],"allow_ip_literals":true}`, "1.2.3.4", true},
		{`{"allow":["*"],"allow_ip_literals":"false"}`, "1.2.3.4", true},
		{`{"allow":["*"],"deny":null}`, "a.test", true},
		{`{"allow":["*"]}`, "not a server", false},
	} {
		if got := parseACL(json.RawMessage(c.content)).allows(c.server); got != c.allowed {
			t.Errorf("%d: %s %s: %v", i, c.content, c.server, got)
		}
	}
}

func TestAcceptJoin_MembersOmitted(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		for i := range 8 {
			a.join(roomID, id.UserID(fmt.Sprintf("@u%d:here.test", i)))
		}
		user := b.user("bea")
		raw, v, err := a.Template(a.ctx, TemplateInput{Server: there, RoomID: roomID, User: user, Membership: Joined, Versions: event.Versions()})
		if err != nil {
			t.Fatal(err)
		}
		f, err := checkTemplate(Template{RoomVersion: v.ID(), Event: raw}, outsideMember{Room: roomID, User: user}, Joined)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := newOthers(b.Rooms).build(f, outsideMember{Room: roomID, User: user, Content: json.RawMessage(`{"membership":"join"}`)})
		if err != nil {
			t.Fatal(err)
		}
		j, err := a.AcceptJoin(a.ctx, there, roomID, ev, true)
		if err != nil {
			t.Fatal(err)
		}
		members := 0
		for _, s := range j.State {
			if s.Type() == typeMember {
				members++
			}
		}
		if !j.MembersOmitted || members != 5 || len(j.AuthChain) > 1 || !slices.Equal(j.Servers, []string{here}) {
			t.Errorf("%d members, chain %v, servers %v", members, typesOf(j.AuthChain), j.Servers)
		}
	})
}

func TestAccept_RefusesWhatIsNotTheMembership(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		key, other := string(bea), string(b.user("ben"))
		message := b.draft(roomID, bea, "m.room.message", nil, `{}`)
		leave := b.draft(roomID, bea, typeMember, &key, `{"membership":"leave"}`)
		foreign := b.draft(roomID, bea, typeMember, &other, `{"membership":"join"}`)
		unsigned := b.draft(roomID, bea, typeMember, &key, `{"membership":"join","x":1}`, func(p *event.Proto) { p.Depth++ })
		var m map[string]any
		_ = json.Unmarshal(unsigned.JSON(), &m)
		m["signatures"] = map[string]any{there: map[string]string{"ed25519:1": "bm90IGEgc2lnbmF0dXJlIG9mIDY0IGJ5dGVzLCBidXQgbG9uZyBlbm91Z2ggdG8gbG9vayBsaWtlIG9uZSE"}}
		raw, _ := json.Marshal(m)
		unsigned, err := event.ParseUntrusted(unsigned.Version(), raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range []*event.Event{message, leave, foreign, unsigned} {
			_, err := a.AcceptJoin(a.ctx, there, roomID, ev, false)
			wantCode(t, err, "M_INVALID_PARAM", 400)
		}
		wantCode(t, a.AcceptLeave(a.ctx, there, roomID, message), "M_INVALID_PARAM", 400)
		_, err = a.AcceptKnock(a.ctx, there, roomID, leave)
		wantCode(t, err, "M_INVALID_PARAM", 400)
		_, err = a.AcceptJoin(a.ctx, third, roomID, leave, false)
		if err == nil {
			t.Error("another server's event was taken")
		}
		if err := a.Ban(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: b.user("ben")}); err != nil {
			t.Fatal(err)
		}
		banned := b.draft(roomID, b.user("ben"), typeMember, &other, `{"membership":"join"}`)
		_, err = a.AcceptJoin(a.ctx, there, roomID, banned, false)
		wantCode(t, err, "M_FORBIDDEN", 403)
		if a.membership(roomID, b.user("ben")) != Banned {
			t.Error("the ban is gone")
		}
	})
}

func TestTemplate_WhoMayHaveOne(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.create(CreateInput{Version: "11", Preset: "public_chat"})
		ask := func(in TemplateInput) error {
			_, _, err := a.Template(a.ctx, in)
			return err
		}
		in := TemplateInput{Server: there, RoomID: roomID, User: b.user("bea"), Membership: Joined, Versions: event.Versions()}
		if err := ask(in); err != nil {
			t.Error(err)
		}
		other := in
		other.User = alice
		wantCode(t, ask(other), "M_FORBIDDEN", 403)
		other = in
		other.Versions = []string{"1", "2"}
		err := ask(other)
		wantCode(t, err, "M_INCOMPATIBLE_ROOM_VERSION", 400)
		if resp, _ := asRespError(err); resp.ExtraData["room_version"] != "11" {
			t.Errorf("%v", resp.ExtraData)
		}
		other = in
		other.Membership = Left
		wantCode(t, ask(other), "M_FORBIDDEN", 403)
		other = in
		other.RoomID = "!nowhere:here.test"
		wantCode(t, ask(other), "M_NOT_FOUND", 404)
		if err := a.Leave(a.ctx, MemberInput{RoomID: roomID, Sender: alice}); err != nil {
			t.Fatal(err)
		}
		wantCode(t, ask(in), "M_NOT_FOUND", 404)
	})
}

func TestAcceptInvite_SignsOnlyInvitations(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		b.KnownUser = nil
		for _, v := range []string{"10", "12"} {
			roomID := a.create(CreateInput{Version: v})
			version := event.MustLookup(v)
			s, err := a.State(a.ctx, roomID)
			if err != nil {
				t.Fatal(err)
			}
			told, err := a.StrippedPDUs(a.ctx, s, alice)
			if err != nil {
				t.Fatal(err)
			}
			bea, mine := string(b.user("bea")), string(alice)
			invite := a.draft(roomID, alice, typeMember, &bea, `{"membership":"invite"}`)
			for name, ev := range map[string]*event.Event{
				"message": a.draft(roomID, alice, "m.room.message", nil, `{}`),
				"ban":     a.draft(roomID, alice, typeMember, &bea, `{"membership":"ban"}`),
				"foreign": a.draft(roomID, alice, typeMember, &mine, `{"membership":"invite"}`),
			} {
				if _, err := b.AcceptInvite(b.ctx, here, roomID, version, ev, told); err == nil {
					t.Errorf("version %s: %s was signed", v, name)
				}
			}
			_, err = b.AcceptInvite(b.ctx, third, roomID, version, invite, told)
			wantCode(t, err, "M_INVALID_PARAM", 400)
			if v == "12" {
				_, err = b.AcceptInvite(b.ctx, here, roomID, version, invite, nil)
				wantCode(t, err, "M_INVALID_PARAM", 400)
				_, err = b.AcceptInvite(b.ctx, here, roomID, version, invite, append(slices.Clone(told), json.RawMessage(`{"type":"m.room.name"}`)))
				wantCode(t, err, "M_INVALID_PARAM", 400)
			}
			if b.membership(roomID, b.user("bea")) != "" {
				t.Fatal("a refused invitation was stored")
			}
			signed, err := b.AcceptInvite(b.ctx, here, roomID, version, invite, append(told, json.RawMessage(`null`), json.RawMessage(`[]`))[:len(told)])
			if err != nil || !signed.HasSignatureOf(there) || signed.ID() != invite.ID() {
				t.Fatalf("version %s: %v", v, err)
			}
			if b.membership(roomID, b.user("bea")) != Invited {
				t.Error("not invited")
			}
		}
	})
}
