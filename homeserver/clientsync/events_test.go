package clientsync

import (
	"encoding/json"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

type oldEvents struct {
	Start, End string
	Chunk      []struct {
		EventID id.EventID `json:"event_id"`
		RoomID  id.RoomID  `json:"room_id"`
		Type    string
	}
}

func (w *world) listen(user id.UserID, in EventsIn) (oldEvents, error) {
	w.tb.Helper()
	raw, err := w.syncs.GetEvents(w.ctx, web.Requester{UserID: user}, in)
	if err != nil {
		return oldEvents{}, err
	}
	var e oldEvents
	w.must(json.Unmarshal(raw, &e))
	return e, nil
}

func (w *world) heard(user id.UserID, in EventsIn) oldEvents {
	w.tb.Helper()
	e, err := w.listen(user, in)
	w.must(err)
	return e
}

func TestEvents_GiveWhatHappenedInJoinedRooms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		alice, bob := w.user("alice"), w.user("bob")
		r, private := w.create(alice), w.create(alice, room.CreateInput{Preset: "private_chat"})
		w.join(bob, r)
		from := w.heard(bob, EventsIn{}).End
		if e := w.heard(bob, EventsIn{From: from}); len(e.Chunk) != 0 || e.Start != from || e.End != from {
			t.Fatalf("%+v", e)
		}
		w.say(alice, private, "not for bob")
		one, two := w.say(alice, r, "one"), w.say(alice, r, "two")
		e := w.heard(bob, EventsIn{From: from})
		if len(e.Chunk) != 2 || e.Chunk[0].EventID != one || e.Chunk[1].EventID != two || e.Chunk[0].RoomID != r {
			t.Fatalf("%+v", e)
		}
		w.invite(alice, private, bob)
		if e = w.heard(bob, EventsIn{From: e.End}); len(e.Chunk) != 1 || e.Chunk[0].Type != "m.room.member" {
			t.Fatalf("%+v", e)
		}
		if _, err := w.listen(bob, EventsIn{From: "nonsense"}); web.StatusOf(err) != 400 {
			t.Fatal(err)
		}
	})
}

func TestEvents_WaitForTheNext(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		alice, bob := w.user("alice"), w.user("bob")
		r := w.create(alice)
		w.join(bob, r)
		from := w.heard(bob, EventsIn{}).End
		got := make(chan oldEvents, 1)
		go func() {
			e, err := w.listen(bob, EventsIn{From: from, Timeout: 20_000})
			if err != nil {
				t.Error(err)
			}
			got <- e
		}()
		said := w.say(alice, r, "hello")
		if e := <-got; len(e.Chunk) != 1 || e.Chunk[0].EventID != said {
			t.Fatalf("%+v", e)
		}
		if e := w.heard(bob, EventsIn{Timeout: 1}); len(e.Chunk) != 0 {
			t.Fatalf("%+v", e)
		}
	})
}

func TestEvents_OfARoomThatAnyoneMayRead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		alice, eve := w.user("alice"), w.user("eve")
		r := w.create(alice)
		if _, err := w.listen(eve, EventsIn{RoomID: r}); web.StatusOf(err) != 403 {
			t.Fatal(err)
		}
		w.set(alice, r, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`)
		from := w.heard(eve, EventsIn{RoomID: r}).End
		w.say(alice, w.create(alice), "elsewhere")
		said := w.say(alice, r, "for all")
		if e := w.heard(eve, EventsIn{RoomID: r, From: from}); len(e.Chunk) != 1 || e.Chunk[0].EventID != said {
			t.Fatalf("%+v", e)
		}
		if _, err := w.listen(eve, EventsIn{RoomID: "nonsense"}); web.StatusOf(err) != 400 {
			t.Fatal(err)
		}
		if _, err := w.listen(eve, EventsIn{RoomID: "!nowhere:hs1"}); web.StatusOf(err) != 403 {
			t.Fatal(err)
		}
		_, err := w.syncs.GetEvents(w.ctx, web.Requester{UserID: eve, Guest: true}, EventsIn{})
		if web.StatusOf(err) != 403 {
			t.Fatal(err)
		}
	})
}

func TestInitialSync_GivesAllRooms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		alice, bob := w.user("alice"), w.user("bob")
		r, invited, left := w.create(alice), w.create(alice, room.CreateInput{Preset: "private_chat"}), w.create(alice)
		w.join(bob, r)
		w.join(bob, left)
		w.leave(bob, left)
		w.invite(alice, invited, bob)
		w.must(w.accounts.SetAccountData(w.ctx, bob, "", "org.example", json.RawMessage(`{"a":1}`)))
		w.must(w.accounts.SetAccountData(w.ctx, bob, r, "org.example.room", json.RawMessage(`{"b":1}`)))
		said := w.say(alice, r, "newest")
		type roomInfo struct {
			RoomID     id.RoomID `json:"room_id"`
			Membership string
			Invite     struct{ Sender id.UserID }
			Messages   struct {
				Start, End string
				Chunk      []struct {
					EventID id.EventID `json:"event_id"`
				}
			}
			State       []json.RawMessage
			AccountData []json.RawMessage `json:"account_data"`
		}
		ask := func(in InitialSyncIn) (map[id.RoomID]roomInfo, string) {
			raw, err := w.syncs.GetInitialSync(w.ctx, web.Requester{UserID: bob}, in)
			w.must(err)
			var out struct {
				End         string
				Rooms       []roomInfo
				Presence    []json.RawMessage
				AccountData []json.RawMessage `json:"account_data"`
			}
			w.must(json.Unmarshal(raw, &out))
			if !strings.HasPrefix(out.End, "s") || out.Presence == nil || len(out.AccountData) == 0 {
				t.Fatalf("%s", raw)
			}
			m := map[id.RoomID]roomInfo{}
			for _, r := range out.Rooms {
				m[r.RoomID] = r
			}
			return m, out.End
		}
		one := int64(1)
		rooms, end := ask(InitialSyncIn{Limit: &one})
		if len(rooms) != 2 || rooms[invited].Invite.Sender != alice || rooms[invited].Membership != "invite" {
			t.Fatalf("%+v", rooms)
		}
		in := rooms[r]
		if in.Membership != "join" || len(in.Messages.Chunk) != 1 || in.Messages.Chunk[0].EventID != said || len(in.State) < 6 || len(in.AccountData) != 1 {
			t.Fatalf("%+v", in)
		}
		next := w.say(alice, r, "next")
		if e := w.heard(bob, EventsIn{From: end}); len(e.Chunk) != 1 || e.Chunk[0].EventID != next {
			t.Fatalf("%+v", e)
		}
		if rooms, _ = ask(InitialSyncIn{Archived: true}); len(rooms) != 3 || rooms[left].Membership != "leave" {
			t.Fatalf("%+v", rooms)
		}
	})
}
