package room

import (
	"encoding/json"
	"slices"
	"testing"

	"maunium.net/go/mautrix/id"
)

func (w *world) list(q ListQuery) []id.RoomID {
	w.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	page, total, err := w.ListRooms(w.ctx, q)
	if err != nil {
		w.t.Fatal(err)
	}
	if q.From == 0 && q.Limit == 100 && int(total) != len(page) {
		w.t.Fatalf("%d of %d", len(page), total)
	}
	out := make([]id.RoomID, len(page))
	for i, l := range page {
		out[i] = l.RoomID
	}
	return out
}

func named(name string) CreateInput { return CreateInput{Preset: "public_chat", Name: &name} }

func TestListRooms_SortsSearchesAndPages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		b, c, none, a := w.create(named("Brest")), w.create(named("Caen 100%")), w.create(CreateInput{Preset: "private_chat"}), w.create(named("angers"))
		if _, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(c)}); err != nil {
			t.Fatal(err)
		}
		if err := w.Leave(w.ctx, MemberInput{RoomID: none, Sender: alice}); err != nil {
			t.Fatal(err)
		}
		yes, no := true, false
		for _, x := range []struct {
			q    ListQuery
			want []id.RoomID
		}{
			{ListQuery{}, []id.RoomID{a, b, c, none}},
			{ListQuery{Backward: true}, []id.RoomID{none, c, b, a}},
			{ListQuery{From: 1, Limit: 2}, []id.RoomID{b, c}},
			{ListQuery{Search: "RES"}, []id.RoomID{b}},
			{ListQuery{Search: "0%"}, []id.RoomID{c}},
			{ListQuery{Search: "_"}, []id.RoomID{}},
			{ListQuery{Search: string(none)}, []id.RoomID{none}},
			{ListQuery{Empty: &yes}, []id.RoomID{none}},
			{ListQuery{Empty: &no}, []id.RoomID{a, b, c}},
			{ListQuery{OnlyPublic: &yes, Public: []id.RoomID{b}}, []id.RoomID{b}},
			{ListQuery{OnlyPublic: &no, Public: []id.RoomID{b}}, []id.RoomID{a, c, none}},
		} {
			if got := w.list(x.q); !slices.Equal(got, x.want) {
				t.Errorf("%+v: %v, want %v", x.q, got, x.want)
			}
		}
		if got := w.list(ListQuery{OrderBy: "joined_members"}); got[0] != c || got[3] != none {
			t.Error(got)
		}
		for order := range listOrders {
			if got := w.list(ListQuery{OrderBy: order, Backward: true}); len(got) != 4 {
				t.Errorf("%s: %v", order, got)
			}
		}
		if _, _, err := w.ListRooms(w.ctx, ListQuery{OrderBy: "nonsense"}); err == nil {
			t.Error("an unknown order was taken")
		}
	})
}

func TestLook_FollowsTheState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.create(named("before"))
		set := func(evType, content string) id.EventID {
			t.Helper()
			e, err := w.Send(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: evType, StateKey: new(string), Content: json.RawMessage(content)})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		look := func() Listing {
			t.Helper()
			l, err := w.ListRoom(w.ctx, roomID)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		if l := look(); l.Name != "before" || l.Creator != alice || l.JoinRule != "public" || !l.Federated || l.Joined != 1 || l.JoinedLocal != 1 || l.Tombstoned {
			t.Fatalf("%+v", l)
		}
		set("m.room.encryption", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
		set("m.room.topic", `{"topic":7}`)
		rude := set("m.room.name", `{"name":"rude"}`)
		if l := look(); l.Name != "rude" || l.Encryption != "m.megolm.v1.aes-sha2" || l.Topic != "" {
			t.Fatalf("%+v", l)
		}
		if _, err := w.Redact(w.ctx, SendInput{RoomID: roomID, Sender: alice, Type: typeRedaction, Redacts: rude, Content: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
		if l := look(); l.Name != "" {
			t.Fatalf("%+v", l)
		}
		if err := w.Purge(w.ctx, roomID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ListRoom(w.ctx, roomID); !isNotFound(err) {
			t.Fatal(err)
		}
	})
}
