package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/synapseadmin"

	"github.com/viaduc/viaduc/homeserver/room"
)

func called(name string) room.CreateInput { return room.CreateInput{Name: &name} }

func TestRooms_AreListedAndDescribed(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		tools := op.tools()
		a := alice.create(called("Accueil"))
		b := alice.create(room.CreateInput{Preset: "private_chat", InitialState: []room.InitialState{{Type: "m.room.encryption", Content: json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`)}}})
		bob.join(a)
		w.must(w.core.Directory.Publish(w.ctx, a, "", true))
		w.must(w.core.Rooms.CreateAlias(w.ctx, alice.id, "", "#accueil:hs1", a))
		list, err := tools.ListRooms(w.ctx, synapseadmin.ReqListRoom{})
		w.must(err)
		if list.TotalRooms != 2 || len(list.Rooms) != 2 {
			t.Fatalf("%+v", list)
		}
		first, second := list.Rooms[0], list.Rooms[1]
		if first.RoomID != a || first.Name != "Accueil" || first.JoinedMembers != 2 || first.JoinedLocalMembers != 2 || first.Creator != alice.id ||
			!first.Public || first.JoinRules != "public" || !first.Federatable || first.StateEvents < 7 || first.Version != "11" {
			t.Fatalf("%+v", first)
		}
		if second.RoomID != b || second.Encryption != id.AlgorithmMegolmV1 || second.Public || second.HistoryVisibility != "shared" {
			t.Fatalf("%+v", second)
		}
		if list, err = tools.ListRooms(w.ctx, synapseadmin.ReqListRoom{OrderBy: "joined_members", Direction: mautrix.DirectionBackward, Limit: 1}); err != nil || list.Rooms[0].RoomID != b || list.NextBatch != 1 {
			t.Fatalf("%+v %v", list, err)
		}
		if list, err = tools.ListRooms(w.ctx, synapseadmin.ReqListRoom{SearchTerm: "CCUEI"}); err != nil || list.TotalRooms != 1 {
			t.Fatalf("%+v %v", list, err)
		}
		for query, want := range map[string]float64{"public_rooms=true": 1, "public_rooms=false": 1, "empty_rooms=true": 0, "from=5": 2} {
			if got := op.do("GET", "!v1/rooms?"+query, nil).ok(); got.json["total_rooms"] != want {
				t.Errorf("%s: %s", query, got.raw)
			}
		}
		op.do("GET", "!v1/rooms?order_by=nonsense", nil).is(400, "M_INVALID_PARAM")

		info, err := tools.RoomInfo(w.ctx, a)
		if err != nil || info.Name != "Accueil" {
			t.Fatalf("%+v %v", info, err)
		}
		if raw := op.do("GET", "!v1/rooms/"+string(a), nil).ok(); raw.json["joined_local_devices"] != 2.0 || raw.json["forgotten"] != false || raw.json["topic"] != nil {
			t.Fatalf("%s", raw.raw)
		}
		op.do("GET", "!v1/rooms/!nowhere:hs1", nil).is(404, "M_NOT_FOUND")
		members, err := tools.RoomMembers(w.ctx, a)
		if err != nil || members.Total != 2 || !slices.Contains(members.Members, bob.id) {
			t.Fatalf("%+v %v", members, err)
		}
		op.do("GET", "!v1/rooms/!nowhere:hs1/members", nil).is(404, "M_NOT_FOUND")
		if n := len(op.do("GET", "!v1/rooms/"+string(a)+"/state?type=m.room.member", nil).ok().json["state"].([]any)); n != 2 {
			t.Fatal(n)
		}
	})
}

func TestRooms_OperatorsReadThem(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		tools := op.tools()
		r := alice.create(room.CreateInput{Preset: "private_chat"})
		var said []id.EventID
		for i := range 5 {
			said = append(said, alice.say(r, fmt.Sprint(i)))
		}
		page, err := tools.RoomMessages(w.ctx, r, "", "", mautrix.DirectionBackward, nil, 3)
		w.must(err)
		if len(page.Chunk) != 3 || page.Chunk[0].ID != said[4] {
			t.Fatalf("%+v", page)
		}
		if page, err = tools.RoomMessages(w.ctx, r, page.End, "", mautrix.DirectionBackward, nil, 100); err != nil || page.Chunk[0].ID != said[1] || page.End != "" {
			t.Fatalf("%+v %v", page, err)
		}
		if page, err = tools.RoomMessages(w.ctx, r, "", "", mautrix.DirectionForward, nil, 1); err != nil || page.Chunk[0].Type.Type != "m.room.create" {
			t.Fatalf("%+v %v", page, err)
		}
		op.do("GET", "!v1/rooms/"+string(r)+"/messages?dir=x", nil).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/rooms/"+string(r)+"/messages?from=x", nil).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/rooms/"+string(r)+"/messages?filter=x", nil).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/rooms/!nowhere:hs1/messages", nil).is(404, "M_NOT_FOUND")
		if a := op.do("GET", "!v1/rooms/"+string(r)+`/messages?limit=100&filter={"types":["m.room.create"]}`, nil).ok(); len(a.json["chunk"].([]any)) != 1 {
			t.Fatalf("%s", a.raw)
		}

		c := op.do("GET", "!v1/rooms/"+string(r)+"/context/"+string(said[2])+"?limit=2", nil).ok()
		if c.json["event"].(map[string]any)["event_id"] != string(said[2]) || len(c.json["events_before"].([]any)) != 1 || len(c.json["events_after"].([]any)) != 1 || len(c.json["state"].([]any)) < 6 {
			t.Fatalf("%s", c.raw)
		}
		op.do("GET", "!v1/rooms/"+string(r)+"/context/$nothing", nil).is(404, "M_NOT_FOUND")
		if f := op.do("GET", "!v1/fetch_event/"+string(said[0]), nil).ok(); f.json["event"].(map[string]any)["event_id"] != string(said[0]) {
			t.Fatalf("%s", f.raw)
		}
		op.do("GET", "!v1/fetch_event/$nothing", nil).is(404, "M_NOT_FOUND")
		if m := op.do("GET", "!v1/rooms/"+string(r)+"/timestamp_to_event?ts=0", nil).ok(); m.str("event_id") == "" {
			t.Fatalf("%s", m.raw)
		}
		op.do("GET", "!v1/rooms/"+string(r)+"/timestamp_to_event?ts=0&dir=b", nil).is(404, "M_NOT_FOUND")
	})
}

func TestRooms_BlockKeepsEverybodyOut(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		tools := op.tools()
		r := alice.create(room.CreateInput{})
		op.do("GET", "!v1/rooms/"+string(r)+"/block", nil).equals(`{"block":false}`)
		w.must(tools.BlockRoom(w.ctx, r, synapseadmin.ReqBlockRoom{Block: true}))
		if got, err := tools.GetRoomBlockStatus(w.ctx, r); err != nil || !got.Block || got.UserID != op.id {
			t.Fatal(got, err)
		}
		bob.do("POST", "join/"+string(r), nil).is(403, "M_FORBIDDEN")
		op.do("PUT", "!v1/rooms/"+string(r)+"/block", body{"block": false}).equals(`{"block":false}`)
		bob.do("POST", "join/"+string(r), nil).ok()
		op.do("PUT", "!v1/rooms/!elsewhere:hs2/block", body{"block": true}).equals(`{"block":true}`)
		op.do("PUT", "!v1/rooms/"+string(r)+"/block", body{}).is(400, "M_MISSING_PARAM")
		op.do("PUT", "!v1/rooms/nonsense/block", body{"block": true}).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/rooms/nonsense/block", nil).is(400, "M_INVALID_PARAM")
	})
}

func TestRooms_OperatorTakesPowerAndJoinsOthers(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		tools := op.tools()
		for _, version := range []string{"11", "12"} {
			r := alice.create(room.CreateInput{Preset: "private_chat", Version: version})
			w.must(tools.MakeRoomAdmin(w.ctx, string(r), synapseadmin.ReqMakeRoomAdmin{UserID: op.id}))
			if op.membership(r) != "invite" {
				t.Fatal(op.membership(r))
			}
			levels, err := w.core.Rooms.PowerLevels(w.ctx, r)
			if err != nil || levels.User(op.id) != 100 {
				t.Fatal(levels.User(op.id), err)
			}
			op.join(r)
			w.must(tools.JoinUserToRoom(w.ctx, r, synapseadmin.ReqJoinUserToRoom{UserID: bob.id}))
			if bob.membership(r) != "join" {
				t.Fatal(bob.membership(r))
			}
		}
		w.must(w.core.Rooms.CreateAlias(w.ctx, alice.id, "", "#a:hs1", alice.create(room.CreateInput{})))
		w.must(tools.JoinUserToRoom(w.ctx, "#a:hs1", synapseadmin.ReqJoinUserToRoom{UserID: bob.id}))
		closed := alice.create(room.CreateInput{Preset: "private_chat"})
		op.do("POST", "!v1/join/"+string(closed), body{"user_id": bob.id}).is(403, "M_FORBIDDEN")
		op.do("POST", "!v1/join/"+string(closed), body{}).is(400, "M_MISSING_PARAM")
		op.do("POST", "!v1/join/"+string(closed), body{"user_id": "@nobody:hs1"}).is(404, "M_NOT_FOUND")
		op.do("POST", "!v1/join/"+string(closed), body{"user_id": "@bob:elsewhere"}).is(400, "M_UNKNOWN")
		op.do("POST", "!v1/join/nonsense", body{"user_id": bob.id}).is(400, "M_INVALID_PARAM")
		w.must(w.core.Rooms.Leave(w.ctx, room.MemberInput{RoomID: closed, Sender: alice.id}))
		op.do("POST", "!v1/rooms/"+string(closed)+"/make_room_admin", nil).is(400, "M_UNKNOWN")
		op.do("POST", "!v1/rooms/!nowhere:hs1/make_room_admin", nil).is(404, "M_NOT_FOUND")
	})
}

func TestDeletion_PutsEverybodyOutAndPurges(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		tools := op.tools()
		r := alice.create(called("bad"))
		bob.join(r)
		said := bob.say(r, "bad")
		w.must(w.core.Rooms.CreateAlias(w.ctx, alice.id, "", "#bad:hs1", r))
		w.must(w.core.Directory.Publish(w.ctx, r, "", true))
		got, err := tools.DeleteRoomSync(w.ctx, r, synapseadmin.ReqDeleteRoom{Block: true, Purge: true, NewRoomUserID: op.id, Message: "gone"})
		w.must(err)
		if len(got.KickedUsers) != 2 || len(got.FailedToKickUsers) != 0 || !slices.Equal(got.LocalAliases, []id.RoomAlias{"#bad:hs1"}) || got.NewRoomID == "" {
			t.Fatalf("%+v", got)
		}
		for _, u := range []*user{alice, bob, op} {
			if u.membership(got.NewRoomID) != "join" {
				t.Errorf("%s is not in the new room: %s", u.id, u.membership(got.NewRoomID))
			}
		}
		if moved, _, err := w.core.Rooms.ResolveAlias(w.ctx, "#bad:hs1"); err != nil || moved != got.NewRoomID {
			t.Error(moved, err)
		}
		op.do("GET", "!v1/rooms/"+string(r), nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/fetch_event/"+string(said), nil).is(404, "M_NOT_FOUND")
		if list, err := w.core.Directory.PublishedRooms(w.ctx); err != nil || len(list) != 0 {
			t.Error(list, err)
		}
		bob.do("POST", "join/"+string(r), nil).is(403, "M_FORBIDDEN")
		alice.do("GET", "sync", nil).ok()

		op.do("DELETE", "!v1/rooms/!nowhere:hs1", nil).equals(`{"kicked_users":[],"failed_to_kick_users":[],"local_aliases":[],"new_room_id":null}`)
		op.do("DELETE", "!v1/rooms/nonsense", nil).is(400, "M_INVALID_PARAM")
		op.do("DELETE", "!v1/rooms/!nowhere:hs1", body{"new_room_user_id": "@x:elsewhere"}).is(400, "M_UNKNOWN")
		op.do("DELETE", "!v1/rooms/!nowhere:hs1", body{"new_room_user_id": "@nobody:hs1"}).is(404, "M_NOT_FOUND")
		op.do("DELETE", "!v1/rooms/!nowhere:hs1", body{"block": 1}).is(400, "M_BAD_JSON")
	})
}

// done asks until the answer says that the work is over.
func (u *user) done(path string) answer {
	u.w.Helper()
	deadline, cancel := context.WithTimeout(u.w.ctx, 20*time.Second)
	defer cancel()
	for deadline.Err() == nil {
		if a := u.do("GET", path, nil).ok(); strings.Contains(string(a.raw), `"status":"complete"`) || strings.Contains(string(a.raw), `"status":"failed"`) {
			return a
		}
	}
	u.w.Fatalf("%s is never done", path)
	return answer{}
}

func TestDeletion_InTheBackground(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		tools := op.tools()
		r := alice.create(called("bad"))
		job, err := tools.DeleteRoom(w.ctx, r, synapseadmin.ReqDeleteRoom{Purge: true})
		w.must(err)
		op.done("!v2/rooms/delete_status/" + job.DeleteID)
		status, err := tools.DeleteRoomStatus(w.ctx, job.DeleteID)
		if err != nil || status.Status != "complete" || !slices.Equal(status.ShutdownRoom.KickedUsers, []id.UserID{alice.id}) {
			t.Fatalf("%+v %v", status, err)
		}
		a := op.do("GET", "!v2/rooms/"+string(r)+"/delete_status", nil).ok()
		if one := a.json["results"].([]any)[0].(map[string]any); one["delete_id"] != job.DeleteID || one["status"] != "complete" {
			t.Fatalf("%s", a.raw)
		}
		op.do("GET", "!v1/rooms/"+string(r), nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v2/rooms/delete_status/nothing", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v2/rooms/!nowhere:hs1/delete_status", nil).is(404, "M_NOT_FOUND")
		op.do("DELETE", "!v2/rooms/nonsense", nil).is(400, "M_INVALID_PARAM")

		kept := alice.create(called("kept"))
		op.done("!v2/rooms/delete_status/" + op.do("DELETE", "!v2/rooms/"+string(kept), body{"purge": false}).ok().str("delete_id"))
		if a := op.do("GET", "!v1/rooms/"+string(kept), nil).ok(); a.json["joined_members"] != 0.0 {
			t.Fatalf("%s", a.raw)
		}
	})
}

func TestPurgeHistory_RemovesOldMessages(t *testing.T) {
	each(t, func(w *world) {
		op, alice := w.operator("op"), w.user("alice")
		r := alice.create(room.CreateInput{})
		old, kept, newest := alice.say(r, "old"), alice.say(r, "kept"), alice.say(r, "newest")
		id := op.do("POST", "!v1/purge_history/"+string(r)+"/"+string(kept), body{"delete_local_events": true}).ok().str("purge_id")
		op.done("!v1/purge_history_status/" + id).equals(`{"status":"complete"}`)
		op.do("GET", "!v1/fetch_event/"+string(old), nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/fetch_event/"+string(kept), nil).ok()
		id = op.do("POST", "!v1/purge_history/"+string(r), body{"purge_up_to_ts": time.Now().Add(time.Hour).UnixMilli()}).ok().str("purge_id")
		op.done("!v1/purge_history_status/" + id)
		op.do("GET", "!v1/fetch_event/"+string(kept), nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/fetch_event/"+string(newest), nil).ok()
		op.do("POST", "!v1/purge_history/"+string(r), nil).is(400, "M_INVALID_PARAM")
		op.do("POST", "!v1/purge_history/"+string(r)+"/$nothing", nil).is(404, "M_NOT_FOUND")
		op.do("GET", "!v1/purge_history_status/nothing", nil).is(404, "M_NOT_FOUND")
	})
}

func TestRedactUser_TakesTheMessagesOut(t *testing.T) {
	each(t, func(w *world) {
		op, alice, bob := w.operator("op"), w.user("alice"), w.user("bob")
		tools := op.tools()
		r, other := alice.create(room.CreateInput{}), alice.create(called("other"))
		bob.join(r)
		bob.join(other)
		one, mine, two := bob.say(r, "spam"), alice.say(r, "fine"), bob.say(other, "spam")
		job, err := tools.RedactUser(w.ctx, bob.id, synapseadmin.ReqRedactUser{Reason: "spam"})
		w.must(err)
		op.done("!v1/user/redact_status/" + job.RedactID)
		status, err := tools.RedactUserStatus(w.ctx, job.RedactID)
		if err != nil || status.Status != "complete" || len(status.FailedRedactions) != 0 {
			t.Fatalf("%+v %v", status, err)
		}
		for e, gone := range map[id.EventID]bool{one: true, two: true, mine: false} {
			ev, err := w.core.Rooms.Event(w.ctx, e)
			if err != nil || (ev.RedactedBy != "") != gone {
				t.Errorf("%s: %v %v", e, ev.RedactedBy, err)
			}
		}
		again := bob.say(r, "more spam")
		if job, err = tools.RedactUser(w.ctx, bob.id, synapseadmin.ReqRedactUser{Rooms: []id.RoomID{r, "!nowhere:hs1"}, UseAdmin: true}); err != nil {
			t.Fatal(err)
		}
		op.done("!v1/user/redact_status/" + job.RedactID)
		if status, err = tools.RedactUserStatus(w.ctx, job.RedactID); err != nil || status.FailedRedactions[again] == "" {
			t.Fatalf("%+v %v", status, err)
		}
		op.do("POST", "!v1/user/@bob:hs1/redact", body{}).is(400, "M_MISSING_PARAM")
		op.do("POST", "!v1/user/bob/redact", body{"rooms": []string{}}).is(400, "M_INVALID_PARAM")
		op.do("POST", "!v1/user/@bob:hs1/redact", body{"rooms": []string{}, "limit": 0}).is(400, "M_INVALID_PARAM")
		op.do("GET", "!v1/user/redact_status/nothing", nil).is(404, "M_NOT_FOUND")
	})
}
