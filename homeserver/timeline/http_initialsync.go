package timeline

import (
	"context"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

// InitialSyncIn is the request of GetInitialSync.
type InitialSyncIn struct {
	RoomID id.RoomID `path:"roomId"`
	Limit  *int      `query:"limit"`
}

// GetInitialSync returns a room at once: its newest messages, its state, and the user's account data there.
//
// spec: cs#get_matrixclientv3roomsroomidinitialsync
func (t *Timelines) GetInitialSync(ctx context.Context, who web.Requester, in InitialSyncIn) (web.Bytes, error) {
	data, err := t.accounts.AccountDataSince(ctx, who.UserID, 0, t.stream.Head())
	if err != nil {
		return nil, err
	}
	return t.AppendRoom(ctx, make([]byte, 0, 8192), RenderOptions{ForUser: who.UserID, Device: who.DeviceID}, in.RoomID,
		limitParam(in.Limit, nil, defaultLimit), data)
}

// AppendRoom appends what a reader may know of a room: membership, newest messages, state, and of data what belongs to it.
func (t *Timelines) AppendRoom(ctx context.Context, dst []byte, o RenderOptions, roomID id.RoomID, limit int, data []account.AccountDatum) ([]byte, error) {
	a, err := t.access(ctx, o.ForUser, roomID)
	if err != nil {
		return nil, err
	}
	dst = AppendString(append(dst, `{"room_id":`...), string(roomID))
	if m := a.member.Membership; m != "" {
		dst = AppendString(append(dst, `,"membership":`...), m)
	}
	if dst, err = t.appendPublished(ctx, dst, roomID); err != nil {
		return nil, err
	}
	if dst, err = t.appendNewest(ctx, dst, a, limit, o); err != nil {
		return nil, err
	}
	st, err := t.state(ctx, a)
	if err != nil {
		return nil, err
	}
	evs, err := st.Events(ctx, nil)
	if err != nil {
		return nil, err
	}
	dst = append(t.AppendState(append(dst, `,"state":[`...), evs, o), ']')
	dst = AppendAccountData(append(dst, `,"account_data":[`...), data, roomID)
	return append(dst, ']', '}'), nil
}

func (t *Timelines) appendPublished(ctx context.Context, dst []byte, roomID id.RoomID) ([]byte, error) {
	if t.published == nil {
		return dst, nil
	}
	public, err := t.published(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if public {
		return append(dst, `,"visibility":"public"`...), nil
	}
	return append(dst, `,"visibility":"private"`...), nil
}

// appendNewest appends the newest messages, oldest first.
func (t *Timelines) appendNewest(ctx context.Context, dst []byte, a *access, limit int, o RenderOptions) ([]byte, error) {
	q := pageQuery{from: a.until, backwards: true, limit: limit}
	p, err := t.page(ctx, a, q)
	if err != nil {
		return nil, err
	}
	slices.Reverse(p.events)
	dst = append(dst, `,"messages":{"chunk":[`...)
	if dst, err = t.AppendEvents(ctx, dst, p.events, o); err != nil {
		return nil, err
	}
	dst = append(AppendToken(append(dst, `],"start":"`...), p.next), '"')
	end := q.from
	if n := len(p.events); n > 0 {
		end = p.events[n-1].Order
	}
	return append(AppendToken(append(dst, `,"end":"`...), end), '"', '}'), nil
}

// AppendAccountData appends the account data of a room ("": global), separated by commas.
func AppendAccountData(dst []byte, data []account.AccountDatum, roomID id.RoomID) []byte {
	first := true
	for _, d := range data {
		if d.RoomID != roomID {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, `{"content":`...), d.Content...)
		dst = append(AppendString(append(dst, `,"type":`...), d.Type), '}')
	}
	return dst
}
