package ephemeral

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// PutTypingIn is the input of PutTyping.
type PutTypingIn struct {
	RoomID  id.RoomID `path:"roomId"`
	UserID  id.UserID `path:"userId"`
	Typing  bool      `json:"typing"`
	Timeout int64     `json:"timeout"`
}

// PutTyping says whether one types. spec: cs#put_matrixclientv3roomsroomidtypinguserid
func (e *Ephemeral) PutTyping(ctx context.Context, who web.Requester, in PutTypingIn) (struct{}, error) {
	if in.UserID != who.UserID {
		return struct{}{}, mautrix.MForbidden.WithMessage("You can only say that you type yourself")
	}
	timeout := time.Duration(min(max(in.Timeout, 0), maxTyping.Milliseconds())) * time.Millisecond
	return struct{}{}, e.SetTyping(ctx, in.RoomID, in.UserID, in.Typing, timeout)
}

// PostReceiptIn is the input of PostReceipt.
type PostReceiptIn struct {
	_        struct{}        `body:"optional"`
	RoomID   id.RoomID       `path:"roomId"`
	Type     string          `path:"receiptType"`
	EventID  id.EventID      `path:"eventId"`
	ThreadID json.RawMessage `json:"thread_id"`
}

// PostReceipt says how far one has read. spec: cs#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
func (e *Ephemeral) PostReceipt(ctx context.Context, who web.Requester, in PostReceiptIn) (struct{}, error) {
	thread, err := threadOf(in)
	if err != nil {
		return struct{}{}, err
	}
	switch in.Type {
	case FullyRead:
		return struct{}{}, e.setFullyRead(ctx, who.UserID, in.RoomID, in.EventID)
	case Read, ReadPrivate:
		return struct{}{}, e.SetReceipt(ctx, Receipt{RoomID: in.RoomID, UserID: who.UserID, Type: in.Type, ThreadID: thread, EventID: in.EventID})
	default:
		return struct{}{}, mautrix.MInvalidParam.WithMessage("Unknown receipt type")
	}
}

func threadOf(in PostReceiptIn) (string, error) {
	if len(in.ThreadID) == 0 {
		return "", nil
	}
	var thread string
	if err := json.Unmarshal(in.ThreadID, &thread); err != nil || thread == "" || len(thread) > 255 {
		return "", mautrix.MInvalidParam.WithMessage("thread_id must be an event ID or \"main\"")
	}
	if in.Type == FullyRead {
		return "", mautrix.MInvalidParam.WithMessage("m.fully_read cannot be threaded")
	}
	if thread != MainThread && thread[0] != '$' {
		return "", mautrix.MInvalidParam.WithMessage("thread_id must be an event ID or \"main\"")
	}
	return thread, nil
}

// ReadMarkersIn is the input of PostReadMarkers.
type ReadMarkersIn struct {
	_           struct{}   `body:"optional"`
	RoomID      id.RoomID  `path:"roomId"`
	FullyRead   id.EventID `json:"m.fully_read"`
	Read        id.EventID `json:"m.read"`
	ReadPrivate id.EventID `json:"m.read.private"`
}

// PostReadMarkers sets several markers at one time. spec: cs#post_matrixclientv3roomsroomidread_markers
func (e *Ephemeral) PostReadMarkers(ctx context.Context, who web.Requester, in ReadMarkersIn) (struct{}, error) {
	if in.FullyRead != "" {
		if err := e.setFullyRead(ctx, who.UserID, in.RoomID, in.FullyRead); err != nil {
			return struct{}{}, err
		}
	}
	for _, r := range []Receipt{{Type: Read, EventID: in.Read}, {Type: ReadPrivate, EventID: in.ReadPrivate}} {
		if r.EventID == "" {
			continue
		}
		r.RoomID, r.UserID = in.RoomID, who.UserID
		if err := e.SetReceipt(ctx, r); err != nil {
			return struct{}{}, err
		}
	}
	return struct{}{}, nil
}

func (e *Ephemeral) setFullyRead(ctx context.Context, user id.UserID, roomID id.RoomID, eventID id.EventID) error {
	m, ok, err := e.rooms.Member(ctx, roomID, user)
	if err != nil {
		return err
	}
	if !ok || m.Membership != "join" {
		return mautrix.MForbidden.WithMessage("You are not in this room")
	}
	content, err := json.Marshal(map[string]any{"event_id": eventID})
	if err != nil {
		return err
	}
	return e.accounts.SetAccountData(ctx, user, roomID, FullyRead, content)
}

// PresencePathIn names a user.
type PresencePathIn struct {
	UserID id.UserID `path:"userId"`
}

// GetPresenceStatus tells a user's presence. spec: cs#get_matrixclientv3presenceuseridstatus
func (e *Ephemeral) GetPresenceStatus(ctx context.Context, who web.Requester, in PresencePathIn) (map[string]any, error) {
	p, err := e.GetPresence(ctx, who.UserID, in.UserID)
	if err != nil {
		return nil, err
	}
	return p.Content(), nil
}

// PutPresenceIn is the input of PutPresenceStatus.
type PutPresenceIn struct {
	UserID    id.UserID `path:"userId"`
	Presence  string    `json:"presence"`
	StatusMsg *string   `json:"status_msg"`
}

// PutPresenceStatus sets one's own presence. spec: cs#put_matrixclientv3presenceuseridstatus
func (e *Ephemeral) PutPresenceStatus(ctx context.Context, who web.Requester, in PutPresenceIn) (struct{}, error) {
	if in.UserID != who.UserID {
		return struct{}{}, mautrix.MForbidden.WithMessage("You can only set your own presence")
	}
	return struct{}{}, e.SetPresence(ctx, in.UserID, in.Presence, in.StatusMsg)
}
