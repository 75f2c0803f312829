package timeline

import (
	"context"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// ThreadsIn is the request of GetThreads.
type ThreadsIn struct {
	RoomID  id.RoomID `path:"roomId"`
	Include string    `query:"include"`
	Limit   *int      `query:"limit"`
	From    string    `query:"from"`
}

// GetThreads lists the threads of a room, the one with the newest reply first.
//
// spec: cs#get_matrixclientv1roomsroomidthreads
func (t *Timelines) GetThreads(ctx context.Context, who web.Requester, in ThreadsIn) (web.Bytes, error) {
	a, err := t.access(ctx, who.UserID, in.RoomID)
	if err != nil {
		return nil, err
	}
	var participant id.UserID
	switch in.Include {
	case "", "all":
	case "participated":
		participant = who.UserID
	default:
		return nil, mautrix.MInvalidParam.WithMessage("include must be all or participated")
	}
	from := a.until
	if in.From != "" {
		at, err := t.place(ctx, in.RoomID, in.From)
		if err != nil {
			return nil, err
		}
		from = min(from, at)
	}
	limit := 20
	if in.Limit != nil {
		limit = min(max(*in.Limit, 1), 100)
	}
	rows, err := t.threadRoots(ctx, in.RoomID, participant, from, limit+1)
	if err != nil {
		return nil, err
	}
	more := len(rows) > limit
	rows = rows[:min(len(rows), limit)]
	ids := make([]id.EventID, len(rows))
	for i, r := range rows {
		ids[i] = r.Parent
	}
	evs, err := t.inOrder(ctx, ids)
	if err != nil {
		return nil, err
	}
	seen, err := t.See(ctx, who.UserID, evs)
	if err != nil {
		return nil, err
	}
	dst := append(make([]byte, 0, 1024+2000*len(seen)), `{"chunk":[`...)
	if dst, err = t.AppendEvents(ctx, dst, seen, RenderOptions{ForUser: who.UserID, Device: who.DeviceID}); err != nil {
		return nil, err
	}
	dst = append(dst, ']')
	if more {
		dst = append(AppendToken(append(dst, `,"next_batch":"`...), rows[len(rows)-1].Order-1), '"')
	}
	return append(dst, '}'), nil
}
