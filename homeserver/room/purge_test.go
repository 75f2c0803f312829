package room

import (
	"context"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

func TestPurge_NothingIsLeft(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := start(t, db)
		var told []id.RoomID
		w.OnPurge(func(_ context.Context, roomID id.RoomID) error { told = append(told, roomID); return nil })
		kept := w.public()
		roomID := w.create(CreateInput{Preset: "public_chat", AliasName: "gone"})
		w.join(roomID, bob)
		said := w.say(roomID, bob, "x")
		if _, err := w.Redact(w.ctx, SendInput{RoomID: roomID, Sender: bob, Redacts: said}); err != nil {
			t.Fatal(err)
		}
		left, failed, err := w.Evict(w.ctx, roomID)
		if err != nil || len(left) != 2 || len(failed) != 0 {
			t.Fatalf("left %v, failed %v, %v", left, failed, err)
		}
		if err := w.Purge(w.ctx, roomID); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 {
			t.Error("others were not told")
		}
		for _, x := range []*world{w, start(t, db)} {
			if known, err := x.Known(x.ctx, roomID); err != nil || known {
				t.Errorf("still known: %v", err)
			}
			if ev, err := x.Event(x.ctx, said); err != nil || ev != nil {
				t.Errorf("event still there: %v", err)
			}
			if rooms, err := x.Memberships(x.ctx, bob); err != nil || len(rooms) != 0 {
				t.Errorf("memberships %v %v", rooms, err)
			}
			wantStateOfHistory(t, x, kept)
		}
		var n int
		if err := db.QueryRow(w.ctx, `SELECT count(*) FROM state_snapshots`).Scan(&n); err != nil || n != len(w.state(kept)) {
			t.Errorf("%d states are left, %v", n, err)
		}
		_, err = w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: "#gone:here.test"})
		wantCode(t, err, "M_NOT_FOUND", 404)
	})
}

func TestPurgeHistory_KeepsStateAndTheNewest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		for range 20 {
			w.say(roomID, alice, "x")
		}
		last := w.say(roomID, alice, "last")
		n, err := w.PurgeHistory(w.ctx, roomID, w.event(last).Order+1)
		if err != nil || n != 20 {
			t.Fatalf("%d removed, %v", n, err)
		}
		if got := len(w.history(roomID)); got != 6 {
			t.Errorf("%d events are left", got)
		}
		w.say(roomID, alice, "goes on")
		if live, _, err := w.Live(w.ctx, roomID, 0, w.stream.Head(), 100); err != nil || len(live) != 7 {
			t.Errorf("%d live events, %v", len(live), err)
		}
	})
}

func TestBlock(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		roomID := w.public()
		if err := w.Block(w.ctx, roomID, alice, true); err != nil {
			t.Fatal(err)
		}
		_, err := w.Join(w.ctx, JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		wantCode(t, err, "M_FORBIDDEN", 403)
		if by, blocked, err := w.Blocked(w.ctx, roomID); err != nil || !blocked || by != alice {
			t.Errorf("blocked %v by %s, %v", blocked, by, err)
		}
		if err := w.Block(w.ctx, roomID, alice, false); err != nil {
			t.Fatal(err)
		}
		w.join(roomID, bob)
	})
}
