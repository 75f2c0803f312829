package admin

import (
	"context"
	"encoding/json"
	"math"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// HistoryPurge says up to where the messages of a room go.
type HistoryPurge struct {
	EventID id.EventID `json:"purge_up_to_event_id,omitempty"`
	Time    int64      `json:"purge_up_to_ts,omitempty"`
}

// purgeBefore finds the place before which history goes.
func (a *Admin) purgeBefore(ctx context.Context, r id.RoomID, p HistoryPurge) (room.Order, error) {
	var ev *room.Stored
	var err error
	switch {
	case p.EventID != "":
		if ev, err = a.rooms.Event(ctx, p.EventID); err == nil && ev != nil && ev.RoomID() != r {
			ev = nil
		}
	case p.Time > 0:
		ev, err = a.rooms.EventAt(ctx, r, p.Time, false)
	default:
		return 0, mautrix.MInvalidParam.WithMessage("must specify purge_up_to_event_id or purge_up_to_ts")
	}
	if err == nil && (ev == nil || ev.Order == 0) {
		err = mautrix.MNotFound.WithMessage("Event not found in this room")
	}
	if err != nil {
		return 0, err
	}
	if p.EventID == "" {
		return ev.Order + 1, nil
	}
	return ev.Order, nil
}

func (a *Admin) doPurgeHistory(ctx context.Context, j *job) error {
	var p HistoryPurge
	if err := json.Unmarshal(j.Input, &p); err != nil {
		return err
	}
	if err := a.at(ctx, j, statusActive, nil); err != nil {
		return err
	}
	before, err := a.purgeBefore(ctx, id.RoomID(j.Subject), p)
	if err == nil {
		_, err = a.rooms.PurgeHistory(ctx, id.RoomID(j.Subject), before)
	}
	return err
}

// Redaction says what of a user's messages goes.
type Redaction struct {
	Rooms    []id.RoomID `json:"rooms"` // empty: all the user is or was in
	Reason   string      `json:"reason,omitempty"`
	Limit    int         `json:"limit,omitempty"` // a room; 0: 1000
	UseAdmin bool        `json:"use_admin,omitempty"`
}

// Redacted tells which events could not be redacted, and why.
type Redacted struct {
	Failed map[id.EventID]string `json:"failed_redactions"`
}

const (
	usualRedactions = 1000
	// redactScan bounds how many events of a room are looked at.
	redactScan = 100_000
	scanStep   = 500
)

func (a *Admin) doRedact(ctx context.Context, j *job) (any, error) {
	var d Redaction
	if err := json.Unmarshal(j.Input, &d); err != nil {
		return nil, err
	}
	out := Redacted{Failed: map[id.EventID]string{}}
	if err := a.at(ctx, j, statusActive, out); err != nil {
		return out, err
	}
	user := id.UserID(j.Subject)
	if len(d.Rooms) == 0 {
		list, err := a.rooms.Memberships(ctx, user)
		if err != nil {
			return out, err
		}
		for r := range list {
			d.Rooms = append(d.Rooms, r)
		}
		slices.Sort(d.Rooms)
	}
	by := user
	if d.UseAdmin || !a.accounts.Local(user) {
		by = j.Operator
	}
	for _, r := range d.Rooms {
		if err := a.redactIn(ctx, r, user, by, &d, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// redactIn redacts a user's events in a room, the newest first.
func (a *Admin) redactIn(ctx context.Context, r id.RoomID, user, by id.UserID, d *Redaction, out *Redacted) error {
	left := d.Limit
	if left <= 0 {
		left = usualRedactions
	}
	content, err := json.Marshal(map[string]string{"reason": d.Reason})
	if err != nil {
		return err
	}
	if d.Reason == "" {
		content = json.RawMessage(`{}`)
	}
	from := room.Order(math.MaxInt64)
	for scanned := 0; scanned < redactScan && left > 0; scanned += scanStep {
		evs, err := a.rooms.History(ctx, r, from, true, scanStep)
		if notFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, ev := range evs {
			if from = ev.Order - 1; left == 0 || ev.Sender() != user || !redactable(ev) {
				continue
			}
			left--
			_, err := a.rooms.Redact(ctx, room.SendInput{RoomID: r, Sender: by, Type: "m.room.redaction", Redacts: ev.ID(), Content: content, SkipPolicy: true})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				why := "Internal error"
				if e, ok := web.AsRespError(err); ok {
					why = e.Err
				}
				out.Failed[ev.ID()] = why
			}
		}
		if len(evs) < scanStep {
			return nil
		}
	}
	return nil
}

// redactable leaves out what is redacted already, and what a room cannot do without.
func redactable(ev *room.Stored) bool {
	if ev.RedactedBy != "" || ev.Type() == "m.room.redaction" {
		return false
	}
	if !ev.IsState() {
		return true
	}
	switch ev.Type() {
	case "m.room.member", "m.room.name", "m.room.topic", "m.room.avatar":
		return true
	}
	return false
}
