package ephemeral

import (
	"context"
	"encoding/json"
	"sort"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Receipt types of the specification (cs#receipts).
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
	FullyRead   = "m.fully_read"
)

// MainThread is the thread ID of what belongs to no thread.
const MainThread = "main"

// Receipt is how far a user has read. ThreadID is empty for an unthreaded receipt. Time is in ms.
type Receipt struct {
	RoomID   id.RoomID
	UserID   id.UserID
	Type     string
	ThreadID string
	EventID  id.EventID
	Time     int64
	Pos      stream.Pos
	Order    room.Order // of the event, 0 when it is not known here
}

// recentReceipts are the newest receipts of a room, by position. It has all receipts newer than floor.
type recentReceipts struct {
	floor stream.Pos
	all   []Receipt
}

// SetReceipt records a receipt of a local user. One that is behind the one already set changes nothing.
func (e *Ephemeral) SetReceipt(ctx context.Context, r Receipt) error {
	m, ok, err := e.rooms.Member(ctx, r.RoomID, r.UserID)
	if err != nil {
		return err
	}
	if !ok || m.Membership != "join" {
		return mautrix.MForbidden.WithMessage("You are not in this room")
	}
	r.Time = time.Now().UnixMilli()
	return e.writeReceipts(ctx, []Receipt{r})
}

func (e *Ephemeral) writeReceipts(ctx context.Context, rs []Receipt) error {
	u := &stream.Unit{}
	for i := range rs {
		r := &rs[i]
		if ev, err := e.rooms.Event(ctx, r.EventID); err == nil && ev != nil && ev.RoomID() == r.RoomID {
			r.Order = ev.Order
		}
		old, err := e.findReceipt(ctx, r)
		if err != nil {
			return err
		}
		if old != nil && (old.EventID == r.EventID || (old.Order != 0 && r.Order != 0 && old.Order > r.Order)) {
			continue
		}
		n := len(u.Changes)
		u.Writes = append(u.Writes, stream.Write{Table: receiptsTable, Row: []any{string(r.RoomID), string(r.UserID), r.Type, r.ThreadID,
			string(r.EventID), r.Time, int64(r.Order), stream.PosOf(n)}})
		u.Changes = append(u.Changes, stream.Change{Kind: stream.Receipt, RoomID: r.RoomID, UserID: r.UserID, Ref: r.Type})
	}
	if len(u.Changes) == 0 {
		return nil
	}
	_, err := e.stream.Commit(ctx, u)
	return err
}

// ReceiptsSince gives, for each room that has any, the m.receipt event with the receipts set in (since, upTo] that
// forUser may see: those of all, and the user's own private ones.
func (e *Ephemeral) ReceiptsSince(ctx context.Context, rooms []id.RoomID, since, upTo stream.Pos, forUser id.UserID) (map[id.RoomID]json.RawMessage, error) {
	out := make(map[id.RoomID]json.RawMessage, len(rooms))
	var ask []id.RoomID
	for _, r := range rooms {
		if since == 0 {
			ask = append(ask, r)
			continue
		}
		recent, err := e.receipts.get(ctx, r, e.loadRecent)
		if err != nil {
			return nil, err
		}
		if since < recent.floor {
			ask = append(ask, r)
			continue
		}
		i := sort.Search(len(recent.all), func(i int) bool { return recent.all[i].Pos > since })
		if ev := receiptEvent(recent.all[i:], upTo, forUser); ev != nil {
			out[r] = ev
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	rows, err := e.listReceipts(ctx, ask, since, upTo)
	if err != nil {
		return nil, err
	}
	for len(rows) > 0 {
		n := sort.Search(len(rows), func(i int) bool { return rows[i].RoomID > rows[0].RoomID })
		if ev := receiptEvent(rows[:n], upTo, forUser); ev != nil {
			out[rows[0].RoomID] = ev
		}
		rows = rows[n:]
	}
	return out, nil
}

type receiptData struct {
	Time     int64  `json:"ts"`
	ThreadID string `json:"thread_id,omitempty"`
}

func receiptEvent(rs []Receipt, upTo stream.Pos, forUser id.UserID) json.RawMessage {
	content := map[id.EventID]map[string]map[id.UserID]receiptData{}
	for _, r := range rs {
		if r.Pos > upTo || (r.Type == ReadPrivate && r.UserID != forUser) {
			continue
		}
		types := content[r.EventID]
		if types == nil {
			types = map[string]map[id.UserID]receiptData{}
			content[r.EventID] = types
		}
		if types[r.Type] == nil {
			types[r.Type] = map[id.UserID]receiptData{}
		}
		// A user may have an unthreaded and a threaded receipt at one event; the format has room for one.
		if old, ok := types[r.Type][r.UserID]; ok && old.ThreadID == "" {
			continue
		}
		types[r.Type][r.UserID] = receiptData{r.Time, r.ThreadID}
	}
	if len(content) == 0 {
		return nil
	}
	ev, err := json.Marshal(map[string]any{"type": "m.receipt", "content": content})
	if err != nil {
		return nil
	}
	return ev
}

// OwnReceipts lists all receipts of a user in a room, from which unread counts follow.
func (e *Ephemeral) OwnReceipts(ctx context.Context, roomID id.RoomID, user id.UserID) ([]Receipt, error) {
	return e.listOwn(ctx, roomID, user)
}

// ReadUpTo is the order of the newest event that a user has read in a thread: the greatest among public and private,
// threaded and unthreaded receipts. 0 means none.
func (e *Ephemeral) ReadUpTo(ctx context.Context, roomID id.RoomID, user id.UserID, thread string) (room.Order, error) {
	rs, err := e.listOwn(ctx, roomID, user)
	if err != nil {
		return 0, err
	}
	var best room.Order
	for _, r := range rs {
		if (r.ThreadID == "" || r.ThreadID == thread) && r.Order > best {
			best = r.Order
		}
	}
	return best, nil
}

// Public is one public receipt as other servers are told of it; nil when there is none.
func (e *Ephemeral) Public(ctx context.Context, roomID id.RoomID, user id.UserID) ([]Receipt, error) {
	rs, err := e.listOwn(ctx, roomID, user)
	if err != nil {
		return nil, err
	}
	public := rs[:0]
	for _, r := range rs {
		if r.Type == Read {
			public = append(public, r)
		}
	}
	return public, nil
}

// maxReceiptsEDU bounds the receipts taken from one EDU.
const maxReceiptsEDU = 1000

// ReceiveReceipts takes an m.receipt EDU (spec: ss#receipts).
func (e *Ephemeral) ReceiveReceipts(ctx context.Context, origin string, content json.RawMessage) error {
	var rooms map[id.RoomID]map[string]map[id.UserID]struct {
		EventIDs []id.EventID `json:"event_ids"`
		Data     struct {
			Time     int64  `json:"ts"`
			ThreadID string `json:"thread_id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(content, &rooms); err != nil {
		return mautrix.MBadJSON.WithMessage("m.receipt is malformed")
	}
	var take []Receipt
	for roomID, types := range rooms {
		for user, r := range types[Read] {
			if user.Homeserver() != origin || len(r.EventIDs) == 0 || len(take) >= maxReceiptsEDU {
				continue
			}
			m, ok, err := e.rooms.Member(ctx, roomID, user)
			if err != nil {
				return err
			}
			if !ok || m.Membership != "join" {
				continue
			}
			take = append(take, Receipt{RoomID: roomID, UserID: user, Type: Read, ThreadID: r.Data.ThreadID,
				EventID: r.EventIDs[len(r.EventIDs)-1], Time: r.Data.Time})
		}
	}
	return e.writeReceipts(ctx, take)
}
