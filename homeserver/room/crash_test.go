package room

import (
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// striker fails the n-th moment of its kind.
type striker struct {
	mu   sync.Mutex
	at   database.Point
	left int
	hit  bool
}

var errStruck = errors.New("struck on purpose")

func (s *striker) strike(at database.Point, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at != s.at || s.hit {
		return nil
	}
	if s.left--; s.left > 0 {
		return nil
	}
	s.hit = true
	return errStruck
}

// TestWrite_AnyStatementOrCommitMayFail fails each moment of a unit in turn: the caller learns of it, repeating the same
// transaction gives one event, and a server that starts anew finds a room in order.
func TestWrite_AnyStatementOrCommitMayFail(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := start(t, db)
		roomID := w.public()
		w.join(roomID, bob)
		steps := map[string]SendInput{
			"message": {Type: "m.room.message", Content: message("x")},
			"member":  {Type: typeMember, StateKey: (*string)(ptr(bob)), Content: json.RawMessage(`{"membership":"join","displayname":"B"}`)},
			"redact":  {Type: typeRedaction, Redacts: w.say(roomID, bob, "y")},
		}
		for name, in := range steps {
			for _, at := range []database.Point{database.BeforeStatement, database.BeforeCommit, database.CommitUnheard} {
				for n := 1; ; n++ {
					s := &striker{at: at, left: n}
					db.SetFault(s.strike)
					in.RoomID, in.Sender, in.DeviceID, in.TxnID = roomID, bob, "D", name+string(rune('a'+at))+string(rune('a'+n))
					if in.StateKey != nil {
						in.Content = json.RawMessage(`{"membership":"join","displayname":"` + in.TxnID + `"}`)
					}
					before := len(w.history(roomID))
					first, err := w.Send(w.ctx, in)
					db.SetFault(nil)
					if err == nil && s.hit && at != database.CommitUnheard {
						t.Fatalf("%s: a failure at %d/%d was acknowledged", name, at, n)
					}
					again, err := w.Send(w.ctx, in)
					if err != nil || first != "" && again != first {
						t.Fatalf("%s: repeating after %d/%d: %q then %q, %v", name, at, n, first, again, err)
					}
					if got := len(w.history(roomID)); got != before+1 {
						t.Fatalf("%s: %d events instead of one after a failure at %d/%d", name, got-before, at, n)
					}
					if !s.hit {
						break
					}
				}
			}
		}
		for _, x := range []*world{w, start(t, db)} {
			wantLine(t, x.history(roomID))
			wantStateOfHistory(t, x, roomID)
		}
	})
}

func ptr(u id.UserID) *id.UserID { return &u }
