package admin

import (
	"context"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// maxReason bounds the text of a report.
const maxReason = 4000

var errNoSuchEvent = mautrix.MNotFound.WithMessage("The event was not found or you are not joined to the room")

// ReportEvent takes a report of an event in a room that the reporter is in. The event must be one they can see.
//
// spec: cs#post_matrixclientv3roomsroomidreporteventid
func (a *Admin) ReportEvent(ctx context.Context, r Report) error {
	if err := checkReason(r.Reason); err != nil {
		return err
	}
	m, _, err := a.rooms.Member(ctx, r.RoomID, r.Reporter)
	if err != nil {
		return err
	}
	if m.Membership != room.Joined {
		return errNoSuchEvent
	}
	ev, err := a.rooms.Event(ctx, r.EventID)
	if err != nil {
		return err
	}
	if ev == nil || ev.RoomID() != r.RoomID {
		return errNoSuchEvent
	}
	seen, err := a.Timeline.Visible(ctx, r.Reporter, []*room.Stored{ev})
	if err != nil {
		return err
	}
	if len(seen) == 0 && !ev.IsState() {
		return errNoSuchEvent
	}
	r.Kind, r.UserID = ReportedEvent, ev.Sender()
	return a.writeReport(ctx, r)
}

// ReportRoom takes a report of a room known here, whether or not the reporter is in it.
//
// spec: cs#post_matrixclientv3roomsroomidreport
func (a *Admin) ReportRoom(ctx context.Context, r Report) error {
	if err := checkReason(r.Reason); err != nil {
		return err
	}
	known, err := a.knownRoom(ctx, r.RoomID)
	if err != nil {
		return err
	}
	if !known {
		return mautrix.MNotFound.WithMessage("The room was not found")
	}
	r.Kind = ReportedRoom
	return a.writeReport(ctx, r)
}

// ReportUser takes a report of a user of this server or of another one.
//
// spec: cs#post_matrixclientv3usersuseridreport
func (a *Admin) ReportUser(ctx context.Context, r Report) error {
	if err := checkReason(r.Reason); err != nil {
		return err
	}
	if !event.ValidUserID(string(r.UserID)) {
		return errBadUser
	}
	if a.accounts.Local(r.UserID) {
		exists, err := a.accounts.Exists(ctx, r.UserID)
		if err != nil {
			return err
		}
		if !exists {
			return mautrix.MNotFound.WithMessage("The user was not found")
		}
	}
	r.Kind = ReportedUser
	return a.writeReport(ctx, r)
}

func checkReason(reason *string) error {
	if reason != nil && utf8.RuneCountInString(*reason) > maxReason {
		return mautrix.MTooLarge.WithMessage("A reason has at most %d characters", maxReason)
	}
	return nil
}

// knownRoom says whether this server has anything of a room.
func (a *Admin) knownRoom(ctx context.Context, r id.RoomID) (bool, error) {
	if !event.ValidRoomID(string(r)) {
		return false, nil
	}
	return a.rooms.Known(ctx, r)
}

// like makes a text that must be part of a value a pattern for LIKE with ! as escape.
func like(part string) string {
	if part == "" {
		return ""
	}
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(part) + "%"
}
