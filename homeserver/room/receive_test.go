package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
)

// draft is an event that a server would make now, not stored anywhere. change may bend it.
func (w *world) draft(roomID id.RoomID, sender id.UserID, evType string, key *string, content string, change ...func(*event.Proto)) *event.Event {
	w.t.Helper()
	e, err := w.acquire(w.ctx, roomID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer w.release(e)
	h, err := e.committed(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	ev, err := w.newBatch(e, h).build(w.ctx, event.Proto{Type: evType, StateKey: key, Sender: sender, Content: json.RawMessage(content)})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(change) == 0 {
		return ev
	}
	p := event.Proto{RoomID: roomID, Type: evType, StateKey: key, Sender: sender, Content: ev.Content(), PrevEvents: slices.Clone(ev.PrevEvents()),
		AuthEvents: slices.Clone(ev.AuthEvents()), Depth: ev.Depth(), Timestamp: ev.Timestamp()}
	if ev.Version().IDInside() {
		p.EventID = w.newEventID()
	}
	for _, c := range change {
		c(&p)
	}
	if ev, err = event.Build(ev.Version(), p, w.Signer); err != nil {
		w.t.Fatal(err)
	}
	return ev
}

func wantTaken(t *testing.T, out map[id.EventID]error) {
	t.Helper()
	for eventID, err := range out {
		if err != nil {
			t.Fatalf("%s was not taken: %v", eventID, err)
		}
	}
}

// shared is a room of two servers with alice here and bea there.
func (n *network) shared(version string, a, b *world) (id.RoomID, id.UserID) {
	n.t.Helper()
	bea := b.user("bea")
	roomID := a.create(CreateInput{Version: version, Preset: "public_chat"})
	b.joinVia(roomID, bea, here)
	return roomID, bea
}

func TestReceive_GapIsFilledInOrder(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, _ := n.shared("12", a, b)
		var ids []id.EventID
		for i := range 7 {
			ids = append(ids, a.say(roomID, alice, fmt.Sprint(i)))
		}
		n.send(a, b, ids[6])
		got := b.history(roomID)
		if len(got) != 8 {
			t.Fatalf("%d events", len(got))
		}
		for i, eventID := range ids {
			if got[i+1].ID() != eventID || got[i+1].Gap {
				t.Errorf("event %d is %s", i, got[i+1].ID())
			}
		}
		if n.called(here, "get_missing_events") != 1 || n.called(here, "state_ids")+n.called(here, "state") != 0 {
			t.Error("asked too much")
		}
		n.send(a, b, ids...)
		if len(b.history(roomID)) != 8 {
			t.Error("events are there twice")
		}
	})
}

func TestReceive_WideGapTakesTheStateFromElsewhere(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		n.send(b, a, b.say(roomID, bea, "x"))
		var last id.EventID
		for i := range 45 {
			last = a.set(roomID, alice, "m.room.topic", "", map[string]string{"topic": fmt.Sprint(i)})
		}
		n.send(a, b, last)
		n.sameState(a, b, roomID)
		list := b.history(roomID)
		if gap := list[len(list)-askMissing-1]; !gap.Gap {
			t.Errorf("no gap at %s", gap.ID())
		}
		if n.called(here, "state_ids") != 1 {
			t.Errorf("asked for the state %d times", n.called(here, "state_ids"))
		}
		count, err := b.Backfill(b.ctx, roomID, []id.EventID{list[len(list)-askMissing-1].ID()}, 100)
		if err != nil || count == 0 {
			t.Fatalf("backfill: %d %v", count, err)
		}
		wantSameHistory(t, a, b, roomID)
	})
}

// wantSameHistory wants what b knows of a room to be the end of what a knows, in the same order.
func wantSameHistory(t *testing.T, a, b *world, roomID id.RoomID) {
	t.Helper()
	x, y := a.history(roomID), b.history(roomID)
	if len(y) > len(x) {
		t.Fatalf("%s knows more than %s: %d, %d", b.server, a.server, len(y), len(x))
	}
	x = x[len(x)-len(y):]
	for i := range y {
		if x[i].ID() != y[i].ID() {
			t.Fatalf("event %d of %d is %s (%s) on %s, %s (%s) on %s", i, len(y), x[i].ID(), x[i].Type(), a.server, y[i].ID(), y[i].Type(), b.server)
		}
	}
}

func TestBackfill_ReachesTheBeginning(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"1", "12"} {
			roomID := a.create(CreateInput{Version: v, Preset: "public_chat"})
			for i := range 60 {
				a.say(roomID, alice, fmt.Sprint(i))
				if i%20 == 0 {
					a.set(roomID, alice, "m.room.topic", "", map[string]string{"topic": fmt.Sprint(i)})
				}
			}
			b.joinVia(roomID, b.user("bea"), here)
			for range 10 {
				first := b.history(roomID)[0]
				if first.Is(typeCreate, "") {
					break
				}
				if _, err := b.Backfill(b.ctx, roomID, []id.EventID{first.ID()}, 25); err != nil {
					t.Fatal(err)
				}
			}
			wantSameHistory(t, a, b, roomID)
			list := b.history(roomID)
			if !list[0].Is(typeCreate, "") {
				t.Fatal("the beginning was not reached")
			}
			for i, s := range list[1:] {
				before, err := b.StateBefore(b.ctx, s)
				if err != nil || before == nil {
					t.Fatalf("event %d: no state: %v", i+1, err)
				}
				theirs, err := a.StateBefore(a.ctx, a.event(s.ID()))
				if err != nil || before.Len() != theirs.Len() {
					t.Fatalf("event %d: %d entries, %d there", i+1, before.Len(), theirs.Len())
				}
			}
		}
	})
}

func TestReceive_ForksAreResolvedAlike(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"1", "2", "6", "11", "12"} {
			roomID, bea := n.shared(v, a, b)
			n.send(a, b, a.set(roomID, alice, typePowerLevels, "", map[string]any{"users": levelsOf(v, alice, 100, bea, 50)}))
			var mine, theirs []id.EventID
			mine = append(mine, a.set(roomID, alice, "m.room.topic", "", map[string]string{"topic": "here"}), a.say(roomID, alice, "x"))
			theirs = append(theirs, b.set(roomID, bea, "m.room.topic", "", map[string]string{"topic": "there"}),
				b.set(roomID, bea, "m.room.name", "", map[string]string{"name": "there"}))
			n.send(a, b, mine...)
			n.send(b, a, theirs...)
			n.sameState(a, b, roomID)
			after := a.say(roomID, alice, "after")
			if prev := a.event(after).PrevEvents(); len(prev) != 2 {
				t.Errorf("version %s: the fork has %d ends", v, len(prev))
			}
			n.send(a, b, after)
			n.sameState(a, b, roomID)
			if prev := b.event(b.say(roomID, bea, "end")).PrevEvents(); len(prev) != 1 {
				t.Errorf("version %s: %d ends after the join of the fork", v, len(prev))
			}
		}
	})
}

func levelsOf(version string, pairs ...any) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if version == "12" && pairs[i] == alice {
			continue // the creator's power is not said
		}
		out[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return out
}

func TestReceive_SoftFailed(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("12", a, b)
		evil := b.draft(roomID, bea, "m.room.message", nil, `{"body":"late"}`)
		if err := a.Ban(a.ctx, MemberInput{RoomID: roomID, Sender: alice, Target: bea}); err != nil {
			t.Fatal(err)
		}
		wantTaken(t, n.deliver(b, a, evil))
		s := a.event(evil.ID())
		if !s.SoftFailed || s.Rejected || s.Pos != 0 || s.Order != 0 {
			t.Errorf("%+v", s)
		}
		ev := a.event(a.say(roomID, alice, "on"))
		if slices.Contains(ev.PrevEvents(), evil.ID()) {
			t.Error("a soft-failed event is followed")
		}
		// whoever follows it honestly takes the place of what it followed
		honest := b.draft(roomID, bea, "m.room.message", nil, `{}`, func(p *event.Proto) { p.PrevEvents = []id.EventID{evil.ID()} })
		wantTaken(t, n.deliver(b, a, honest))
	})
}

func TestReceive_RejectsAndDrops(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		other := a.create(CreateInput{Version: "11", Preset: "public_chat"})
		otherEvents := a.history(other)
		empty := ""
		member := string(bea)
		topic := b.draft(roomID, bea, "m.room.topic", &empty, `{"topic":"x"}`)
		for name, c := range map[string]struct {
			ev       *event.Event
			rejected bool
		}{
			"no power":             {topic, true},
			"auth of another room": {b.draft(roomID, bea, "m.room.message", nil, `{"body":"1"}`, func(p *event.Proto) { p.AuthEvents[0] = otherEvents[0].ID() }), true},
			"doubled auth":         {b.draft(roomID, bea, "m.room.message", nil, `{"body":"2"}`, func(p *event.Proto) { p.AuthEvents = append(p.AuthEvents, p.AuthEvents[0]) }), true},
			"no auth":              {b.draft(roomID, bea, "m.room.message", nil, `{"body":"3"}`, func(p *event.Proto) { p.AuthEvents = []id.EventID{} }), true},
			"rejected auth": {b.draft(roomID, bea, "m.room.message", nil, `{"body":"4"}`, func(p *event.Proto) {
				p.AuthEvents = append(p.AuthEvents, topic.ID())
			}), true},
			"prev of another room": {b.draft(roomID, bea, "m.room.message", nil, `{"body":"5"}`, func(p *event.Proto) { p.PrevEvents = []id.EventID{otherEvents[2].ID()} }), false},
			"unknown prev":         {b.draft(roomID, bea, "m.room.message", nil, `{"body":"7"}`, func(p *event.Proto) { p.PrevEvents = []id.EventID{"$lqYvVq2e0Ht4y1qHQRzX9eFFI6RZ5Lb5YJx3GZaNZ4A"} }), false},
			"unknown auth":         {b.draft(roomID, bea, "m.room.message", nil, `{"body":"8"}`, func(p *event.Proto) { p.AuthEvents[0] = "$lqYvVq2e0Ht4y1qHQRzX9eFFI6RZ5Lb5YJx3GZaNZ4A" }), false},
			"alice by another":     {b.draft(roomID, alice, "m.room.message", nil, `{"body":"9"}`), false},
			"second create":        {b.draft(roomID, bea, typeCreate, &empty, `{"room_version":"11"}`, func(p *event.Proto) { p.AuthEvents = []id.EventID{} }), true},
			"odd membership":       {b.draft(roomID, bea, typeMember, &member, `{"membership":"admin"}`), true},
		} {
			if name == "rejected auth" {
				n.deliver(b, a, topic)
			}
			good := b.draft(roomID, bea, "m.room.message", nil, `{"body":"good beside `+name+`"}`)
			out := n.deliver(b, a, c.ev, good)
			if out[good.ID()] != nil || a.event(good.ID()).Pos == 0 {
				t.Errorf("%s spoils others: %v", name, out[good.ID()])
			}
			s, err := a.Event(a.ctx, c.ev.ID())
			switch {
			case err != nil:
				t.Fatal(err)
			case c.rejected && (s == nil || !s.Rejected || out[c.ev.ID()] != nil || s.Pos != 0):
				t.Errorf("%s: %+v, %v", name, s, out[c.ev.ID()])
			case !c.rejected && (s != nil || out[c.ev.ID()] == nil):
				t.Errorf("%s: %+v, %v", name, s, out[c.ev.ID()])
			}
		}
		if m := a.membership(roomID, bea); m != Joined {
			t.Errorf("bea is %q", m)
		}
	})
}

func TestReceive_WrongHashIsTakenRedacted(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		ev := b.draft(roomID, bea, "m.room.message", nil, `{"body":"true"}`)
		var m map[string]any
		_ = json.Unmarshal(ev.JSON(), &m)
		m["content"] = map[string]any{"body": "false"}
		raw, _ := json.Marshal(m)
		bent, err := event.ParseUntrusted(ev.Version(), raw)
		if err != nil || !bent.WasRedacted() {
			t.Fatal(err)
		}
		wantTaken(t, a.Receive(a.ctx, there, roomID, []*event.Event{bent}))
		if s := a.event(bent.ID()); s.Pos == 0 || string(s.Content()) != "{}" {
			t.Errorf("%s", s.JSON())
		}
	})
}

func TestReceive_RedactionBeforeItsTarget(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"2", "9", "11"} {
			roomID, bea := n.shared(v, a, b)
			target := b.draft(roomID, bea, "m.room.message", nil, `{"body":"oops"}`)
			redaction := b.draft(roomID, bea, typeRedaction, nil, `{}`, func(p *event.Proto) { p.Redacts = target.ID() })
			wantTaken(t, n.deliver(b, a, redaction))
			wantTaken(t, n.deliver(b, a, target))
			if s := a.event(target.ID()); s.RedactedBy != redaction.ID() {
				t.Errorf("version %s: redacted by %q", v, s.RedactedBy)
			}
			// nobody else's
			n.send(a, b, a.say(roomID, alice, "keep"))
			keep := a.last(roomID)
			other := b.draft(roomID, bea, typeRedaction, nil, `{}`, func(p *event.Proto) { p.Redacts = keep.ID() })
			n.deliver(b, a, other)
			if s := a.event(keep.ID()); s.RedactedBy != "" {
				t.Errorf("version %s: a redaction without power counts", v)
			}
		}
	})
}

func TestReceive_BothOfOneUnitAtOnce(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		target := b.draft(roomID, bea, "m.room.message", nil, `{"body":"oops"}`)
		redaction := b.draft(roomID, bea, typeRedaction, nil, `{}`, func(p *event.Proto) { p.Redacts = target.ID() })
		wantTaken(t, n.deliver(b, a, redaction, target, target, redaction))
		if s := a.event(target.ID()); s.RedactedBy != redaction.ID() {
			t.Errorf("redacted by %q", s.RedactedBy)
		}
	})
}

func TestReceive_HugeDepth(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		for _, v := range []string{"1", "11"} {
			roomID, bea := n.shared(v, a, b)
			top := event.MustLookup(v).MaxDepth()
			deep := b.draft(roomID, bea, "m.room.message", nil, `{}`, func(p *event.Proto) { p.Depth = top })
			wantTaken(t, n.deliver(b, a, deep))
			next := a.event(a.say(roomID, alice, "on"))
			if next.Depth() != top || !slices.Contains(next.PrevEvents(), deep.ID()) {
				t.Errorf("version %s: depth %d", v, next.Depth())
			}
		}
	})
}

func TestReceive_CycleOfAuthEvents(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("1", a, b)
		x, y := id.EventID("$x:away.test"), id.EventID("$y:away.test")
		make1 := func(self, auth, prev id.EventID) *event.Event {
			return b.draft(roomID, bea, "m.room.message", nil, `{}`, func(p *event.Proto) {
				p.EventID = self
				p.AuthEvents = append(p.AuthEvents, auth)
				if prev != "" {
					p.PrevEvents = []id.EventID{prev}
				}
			})
		}
		out := n.deliver(b, a, make1(x, y, ""), make1(y, x, ""))
		if out[x] == nil && out[y] == nil {
			t.Error("a loop of authorisations was taken")
		}
		out = n.deliver(b, a, make1("$p:away.test", a.history(roomID)[1].ID(), "$q:away.test"), make1("$q:away.test", a.history(roomID)[1].ID(), "$p:away.test"))
		if out["$p:away.test"] == nil || out["$q:away.test"] == nil {
			t.Error("a loop of history was taken")
		}
		n.send(b, a, b.say(roomID, bea, "all is well"))
	})
}

func TestReceive_OutliersFindTheirPlace(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID, bea := n.shared("11", a, b)
		key := string(bea)
		named := b.draft(roomID, bea, typeMember, &key, `{"membership":"join","displayname":"Bea"}`)
		// an event authorised by one that has not come yet: that one is fetched beside the history
		n.bend = nil
		wantTaken(t, n.deliver(b, a, named))
		n.send(a, b, a.say(roomID, alice, "x"))
		if s := a.event(named.ID()); s.Outlier || s.Pos == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestReceive_NobodyInside(t *testing.T) {
	pair(t, func(t *testing.T, n *network, a, b *world) {
		roomID := a.public()
		ev := a.event(a.say(roomID, alice, "x")).Event
		out := n.deliver(a, b, ev)
		if !errors.Is(out[ev.ID()], errNoRoom(roomID)) {
			t.Errorf("%v", out)
		}
	})
}

func TestReceive_ByTwoReplicasAtOnce(t *testing.T) {
	opts := dbtest.PostgresOptions(t)
	n := &network{t: t, servers: map[string]*world{}, down: map[string]bool{}, calls: map[string]int{}}
	at := func(name string, db *database.DB) *world {
		return start(t, db, func(d *Deps) { d.Signer, d.Remote, d.Keys, d.Now = signer(name), &wire{n, name}, n, n.now })
	}
	open := func() *database.DB {
		db, err := database.Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	a1, a2, b := at(here, open()), at(here, open()), at(there, dbtest.SQLite(t))
	n.servers[here], n.servers[there] = a1, b
	roomID, bea := n.shared("12", a1, b)
	var evs []*event.Event
	for i := range 40 {
		if i%5 == 0 {
			key := string(bea)
			eventID, err := b.Send(b.ctx, SendInput{RoomID: roomID, Sender: bea, Type: typeMember, StateKey: &key,
				Content: json.RawMessage(fmt.Sprintf(`{"membership":"join","displayname":"%d"}`, i))})
			if err != nil {
				t.Fatal(err)
			}
			evs = append(evs, b.event(eventID).Event)
			continue
		}
		evs = append(evs, b.event(b.say(roomID, bea, fmt.Sprint(i))).Event)
	}
	var wg sync.WaitGroup
	for i, w := range []*world{a1, a2} {
		wg.Go(func() {
			for k := 0; k < len(evs); k += 4 {
				n.deliver(b, w, evs[k:min(k+4, len(evs))]...)
				w.say(roomID, alice, fmt.Sprint("replica ", i, k))
			}
		})
	}
	wg.Wait()
	seen := map[id.EventID]bool{}
	for _, s := range a2.history(roomID) {
		if seen[s.ID()] {
			t.Errorf("%s is there twice", s.ID())
		}
		seen[s.ID()] = true
	}
	for i, ev := range evs {
		if !seen[ev.ID()] {
			t.Errorf("event %d is not there", i)
		}
	}
	if err := a1.stream.Reach(a1.ctx, a2.stream.Head()); err != nil {
		t.Fatal(err)
	}
	n.sameState(a1, a2, roomID)
	a1.wantMembersLikeState(roomID)
	a2.wantMembersLikeState(roomID)
}
