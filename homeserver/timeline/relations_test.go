package timeline

import (
	"encoding/json"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
)

func (w *world) relate(u id.UserID, r id.RoomID, parent id.EventID, rel, evType, more string) id.EventID {
	w.tb.Helper()
	return w.send(u, r, evType, nil, fmt.Sprintf(`{"msgtype":"m.text","body":"x"%s,"m.relates_to":{"rel_type":%q,"event_id":%q}}`, more, rel, parent))
}

const edited = `,"m.new_content":{"body":"new"}`

func (w *world) event(u id.UserID, r id.RoomID, e id.EventID) ev {
	w.tb.Helper()
	raw, err := w.times.GetEvent(w.ctx, who(u), EventIn{r, e})
	return decode[ev](w.tb, raw, err)
}

func TestRelations_Pages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		root := w.say(a, r, "root")
		var sent []id.EventID
		for range 10 {
			sent = append(sent, w.relate(a, r, root, relThread, "m.room.message", ""))
		}
		page := func(q RelationsQuery) chunk {
			raw, err := w.times.GetRelations(w.ctx, who(a), RelationsIn{RoomID: r, EventID: root, RelationsQuery: q})
			return decode[chunk](t, raw, err)
		}
		p := page(RelationsQuery{Limit: limit(3)})
		same(t, "first", ids(p.Chunk), []id.EventID{sent[9], sent[8], sent[7]})
		p = page(RelationsQuery{Limit: limit(3), From: p.Next})
		same(t, "second", ids(p.Chunk), []id.EventID{sent[6], sent[5], sent[4]})
		p = page(RelationsQuery{Limit: limit(3), Dir: "f"})
		same(t, "forwards", ids(p.Chunk), sent[:3])
		p = page(RelationsQuery{Limit: limit(30), Dir: "f", From: p.Next})
		same(t, "rest", ids(p.Chunk), sent[3:])
		if p.Next != "" {
			t.Error("next_batch though nothing follows")
		}
	})
}

func TestRelations_ByTypeAndRecursive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		root := w.say(a, r, "root")
		thread := w.relate(a, r, root, relThread, "m.room.message", "")
		dummy := w.relate(a, r, root, relThread, "m.dummy", "")
		edit := w.relate(a, r, root, relReplace, "m.room.message", edited)
		reaction := w.relate(a, r, thread, "m.annotation", "m.reaction", "")
		raw, err := w.times.GetRelations(w.ctx, who(a), RelationsIn{RoomID: r, EventID: root})
		same(t, "all", ids(decode[chunk](t, raw, err).Chunk), []id.EventID{edit, dummy, thread})
		raw, err = w.times.GetRelationsOfType(w.ctx, who(a), RelationsOfTypeIn{RoomID: r, EventID: root, RelType: relThread})
		same(t, "by relation", ids(decode[chunk](t, raw, err).Chunk), []id.EventID{dummy, thread})
		raw, err = w.times.GetRelationsOfEventType(w.ctx, who(a), RelationsOfEventTypeIn{RoomID: r, EventID: root, RelType: relThread, EventType: "m.room.message"})
		same(t, "by event type", ids(decode[chunk](t, raw, err).Chunk), []id.EventID{thread})
		raw, err = w.times.GetRelations(w.ctx, who(a), RelationsIn{RoomID: r, EventID: root, RelationsQuery: RelationsQuery{Recurse: true}})
		same(t, "recursive", ids(decode[chunk](t, raw, err).Chunk), []id.EventID{reaction, edit, dummy, thread})
		if _, err := w.times.GetRelations(w.ctx, who(w.user("b")), RelationsIn{RoomID: r, EventID: root}); status(err) != 403 {
			t.Errorf("outsider: %v", err)
		}
	})
}

func TestBundles(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		root := w.say(a, r, "root")
		if e := w.event(a, r, root); e.Unsigned.Relations.Replace != nil {
			t.Error("relations of a new event")
		}
		w.relate(b, r, root, relReplace, "m.room.message", edited) // not b's to edit
		w.relate(a, r, root, relReplace, "m.room.message", "")     // no new content
		edit := w.relate(a, r, root, relReplace, "m.room.message", edited)
		ref := w.relate(b, r, root, relReference, "m.room.message", "")
		first := w.relate(a, r, root, relThread, "m.room.message", "")
		second := w.relate(b, r, root, relThread, "m.room.message", "")
		secondEdit := w.relate(b, r, second, relReplace, "m.room.message", edited)
		rel := w.event(b, r, root).Unsigned.Relations
		if rel.Replace == nil || rel.Replace.ID != edit {
			t.Errorf("edit %+v", rel.Replace)
		}
		if rel.Reference == nil {
			t.Fatal("no references")
		}
		same(t, "references", ids(rel.Reference.Chunk), []id.EventID{ref})
		if rel.Thread == nil || rel.Thread.Count != 2 || rel.Thread.Latest.ID != second || !rel.Thread.Mine {
			t.Fatalf("thread %+v", rel.Thread)
		}
		if x := rel.Thread.Latest.Unsigned.Relations.Replace; x == nil || x.ID != secondEdit {
			t.Errorf("edit of the newest reply: %+v", x)
		}
		for _, e := range []id.EventID{second, edit} {
			_, err := w.rooms.Redact(w.ctx, room.SendInput{RoomID: r, Sender: a, Redacts: e, Content: json.RawMessage(`{}`)})
			w.must(err)
		}
		rel = w.event(b, r, root).Unsigned.Relations
		if rel.Thread == nil || rel.Thread.Count != 1 || rel.Thread.Latest.ID != first {
			t.Errorf("thread after a redaction: %+v", rel.Thread)
		}
		if rel.Replace != nil {
			t.Errorf("redacted edit counts: %+v", rel.Replace)
		}
	})
}

func TestThreads_NewestReplyFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		w.join(b, r)
		one, two := w.say(a, r, "one"), w.say(b, r, "two")
		w.relate(a, r, one, relThread, "m.room.message", "")
		w.relate(b, r, two, relThread, "m.room.message", "")
		list := func(in ThreadsIn) chunk {
			in.RoomID = r
			raw, err := w.times.GetThreads(w.ctx, who(a), in)
			return decode[chunk](t, raw, err)
		}
		same(t, "threads", ids(list(ThreadsIn{}).Chunk), []id.EventID{two, one})
		reply := w.relate(b, r, one, relThread, "m.room.message", "")
		p := list(ThreadsIn{})
		same(t, "after a reply", ids(p.Chunk), []id.EventID{one, two})
		if p.Chunk[0].Unsigned.Relations.Thread.Latest.ID != reply {
			t.Errorf("latest %+v", p.Chunk[0].Unsigned.Relations.Thread)
		}
		p = list(ThreadsIn{Limit: limit(1)})
		same(t, "page", ids(p.Chunk), []id.EventID{one})
		same(t, "next page", ids(list(ThreadsIn{Limit: limit(1), From: p.Next}).Chunk), []id.EventID{two})
		same(t, "participated", ids(list(ThreadsIn{Include: "participated"}).Chunk), []id.EventID{one})
	})
}

func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		var sent []id.EventID
		for i := range 20 {
			sent = append(sent, w.say(a, r, fmt.Sprint("Message number ", i)))
		}
		type result struct {
			Categories struct {
				RoomEvents struct {
					Count   int    `json:"count"`
					Next    string `json:"next_batch"`
					Results []struct {
						Result  ev `json:"result"`
						Context struct {
							Before []ev `json:"events_before"`
							After  []ev `json:"events_after"`
						} `json:"context"`
					} `json:"results"`
				} `json:"room_events"`
			} `json:"search_categories"`
		}
		search := func(body, next string) result {
			var in SearchIn
			w.must(json.Unmarshal([]byte(`{"search_categories":{"room_events":`+body+`}}`), &in))
			in.NextBatch = next
			raw, err := w.times.PostSearch(w.ctx, who(a), in)
			return decode[result](t, raw, err)
		}
		x := search(`{"search_term":"MESSAGE 4","order_by":"recent","filter":{"limit":1},"event_context":{"before_limit":2,"after_limit":2}}`, "").Categories.RoomEvents
		if x.Count != 1 || x.Next == "" || x.Results[0].Result.ID != sent[4] {
			t.Fatalf("found %+v", x)
		}
		same(t, "before", ids(x.Results[0].Context.Before), []id.EventID{sent[3], sent[2]})
		same(t, "after", ids(x.Results[0].Context.After), []id.EventID{sent[5], sent[6]})
		const all = `{"search_term":"message","order_by":"recent","filter":{"limit":10}}`
		x = search(all, "").Categories.RoomEvents
		if x.Count != 20 || x.Results[0].Result.ID != sent[19] || x.Results[9].Result.ID != sent[10] {
			t.Errorf("first page %+v", x)
		}
		w.say(a, r, "another message")
		y := search(all, x.Next).Categories.RoomEvents
		if y.Results[0].Result.ID != sent[9] || y.Results[9].Result.ID != sent[0] {
			t.Errorf("second page %+v", y)
		}
		if z := search(all, y.Next).Categories.RoomEvents; len(z.Results) != 0 || z.Next != "" || z.Count != 20 {
			t.Errorf("third page %+v", z)
		}
		_, err := w.rooms.Redact(w.ctx, room.SendInput{RoomID: r, Sender: a, Redacts: sent[4], Content: json.RawMessage(`{}`)})
		w.must(err)
		if x := search(`{"search_term":"4"}`, "").Categories.RoomEvents; x.Count != 0 {
			t.Errorf("redacted event found: %+v", x)
		}
	})
}

func TestRelations_GoWithThePurgedRoom(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r, other := w.create(a), w.create(a)
		for _, roomID := range []id.RoomID{r, other} {
			w.relate(a, roomID, w.say(a, roomID, "root"), relThread, "m.room.message", "")
		}
		w.must(w.rooms.Purge(w.ctx, r))
		var n int
		w.must(w.db.QueryRow(w.ctx, `SELECT COUNT(*) FROM relations`).Scan(&n))
		if n != 1 {
			t.Errorf("%d relations left", n)
		}
	})
}

func TestReaction_TwiceIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		r := w.create(a)
		target := w.say(a, r, "x")
		react := func(key string) (id.EventID, error) {
			return w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: a, Type: "m.reaction",
				Content: json.RawMessage(`{"m.relates_to":{"rel_type":"m.annotation","event_id":"` + string(target) + `","key":"` + key + `"}}`)})
		}
		first, err := react("x")
		w.must(err)
		if _, err := react("y"); err != nil {
			t.Error(err)
		}
		if _, err := react("x"); status(err) != 400 {
			t.Errorf("again: %v", err)
		}
		_, err = w.rooms.Redact(w.ctx, room.SendInput{RoomID: r, Sender: a, Redacts: first})
		w.must(err)
		if _, err := react("x"); err != nil {
			t.Errorf("after the redaction: %v", err)
		}
	})
}
