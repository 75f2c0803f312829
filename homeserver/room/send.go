package room

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

// SendInput is an event that a local user wants to send.
type SendInput struct {
	RoomID    id.RoomID
	Sender    id.UserID
	DeviceID  id.DeviceID
	TxnID     string // "": none
	Type      string
	StateKey  *string
	Content   json.RawMessage
	Redacts   id.EventID
	Timestamp int64 // ms; 0: now
	// SkipPolicy is for what the server itself does on behalf of someone.
	SkipPolicy bool
}

// Send decides and commits an event of a local user, and returns its ID. The same transaction ID of the same device in the
// same room gives the same event; a state event that changes nothing gives the event that is there.
func (r *Rooms) Send(ctx context.Context, in SendInput) (id.EventID, error) {
	if err := in.validate(); err != nil {
		return "", err
	}
	if in.Type == typeMember && in.StateKey != nil {
		return r.sendMember(ctx, in)
	}
	e, err := r.acquire(ctx, in.RoomID)
	if err != nil {
		return "", noRoomForbidden(err)
	}
	defer r.release(e)
	if err := r.checkContent(ctx, e, &in); err != nil {
		return "", err
	}
	return r.sendOn(ctx, e, func(ctx context.Context, b *batch) (id.EventID, *flight, error) { return b.send(ctx, &in) })
}

// sendOn commits what decide decides. If that is on its way already, it waits for it, and decides again if it fails.
func (r *Rooms) sendOn(ctx context.Context, e *roomEntry, decide func(ctx context.Context, b *batch) (id.EventID, *flight, error)) (id.EventID, error) {
	for {
		var sent id.EventID
		var same *flight
		err := r.write(ctx, e, func(ctx context.Context, b *batch) error {
			var err error
			sent, same, err = decide(ctx, b)
			return err
		})
		if err != nil {
			return "", err
		}
		if same == nil {
			return sent, nil
		}
		if sent, err = same.landed(ctx); err != nil || sent != "" {
			return sent, err
		}
	}
}

// send decides one event. It returns an event that is there already, or one on its way with the same transaction ID.
func (b *batch) send(ctx context.Context, in *SendInput) (id.EventID, *flight, error) {
	if in.TxnID != "" {
		f, err := b.r.findTxn(ctx, b.e, in.Sender, in.DeviceID, in.Type, in.TxnID)
		if err != nil {
			return "", nil, err
		}
		if f != nil && !f.lost() {
			return "", f, nil
		}
	}
	if !b.now.inside() && !b.now.deserted() {
		return "", nil, errNotInRoom
	}
	if in.StateKey != nil {
		same, err := b.unchanged(ctx, in)
		if err != nil || same != "" {
			return same, nil, err
		}
	}
	if !in.SkipPolicy && b.r.Policy != nil {
		err := b.r.allow(ctx, Action{Kind: ActionSend, User: in.Sender, RoomID: b.room, Type: in.Type, Key: in.StateKey,
			Content: in.Content, State: b.now.state})
		if err != nil {
			return "", nil, err
		}
	}
	if in.StateKey == nil && !in.SkipPolicy {
		for _, fn := range b.r.sending {
			if err := fn(ctx, in); err != nil {
				return "", nil, err
			}
		}
	}
	s, err := b.addLocal(ctx, event.Proto{Type: in.Type, StateKey: in.StateKey, Sender: in.Sender, Content: in.Content,
		Redacts: in.Redacts, Timestamp: in.Timestamp}, in.DeviceID, in.TxnID)
	if err != nil {
		return "", nil, err
	}
	if in.TxnID != "" {
		b.takeOff(s)
	}
	return s.ID(), nil, nil
}

// lost says that a flight is known to have failed.
func (f *flight) lost() bool {
	if f.done == nil {
		return false
	}
	select {
	case <-f.done:
		return f.failed
	default:
		return false
	}
}

// unchanged returns the event that holds the same content already, by the same sender.
func (b *batch) unchanged(ctx context.Context, in *SendInput) (id.EventID, error) {
	old, err := b.now.state.Event(ctx, in.Type, *in.StateKey)
	if err != nil || old == nil || old.Sender() != in.Sender || old.RedactedBy != "" {
		return "", err
	}
	content, err := b.version.CanonicalJSON(in.Content)
	if err != nil {
		return "", mautrix.MBadJSON.WithMessage("The content is not allowed in an event: %v", err)
	}
	if !bytes.Equal(content, old.Content()) {
		return "", nil
	}
	// whoever may not send it shall learn that
	ev, err := b.build(ctx, event.Proto{Type: in.Type, StateKey: in.StateKey, Sender: in.Sender, Content: in.Content})
	if err != nil {
		return "", err
	}
	return old.ID(), check(ctx, ev, b.now.state)
}

const maxFieldBytes = 255 // spec: cs#size-limits

func (in *SendInput) validate() error {
	if len(in.Content) == 0 {
		in.Content = json.RawMessage("{}")
	}
	switch {
	case in.Type == "":
		return mautrix.MInvalidParam.WithMessage("The event type is missing")
	case len(in.Type) > maxFieldBytes:
		return mautrix.MTooLarge.WithMessage("The event type is longer than %d bytes", maxFieldBytes)
	case in.StateKey != nil && len(*in.StateKey) > maxFieldBytes:
		return mautrix.MTooLarge.WithMessage("The state key is longer than %d bytes", maxFieldBytes)
	case in.Type == typeCreate:
		return mautrix.MInvalidParam.WithMessage("A room is created once")
	case firstByte(in.Content) != '{':
		return mautrix.MBadJSON.WithMessage("The content must be an object")
	}
	return nil
}

func firstByte(raw json.RawMessage) byte {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// checkContent refuses contents that would harm the room, before anything is decided.
func (r *Rooms) checkContent(ctx context.Context, e *roomEntry, in *SendInput) error {
	if in.StateKey != nil && e.version.OwnedState() {
		if _, ok := event.StateOwner(*in.StateKey); !ok {
			return mautrix.MBadJSON.WithMessage("The state key begins like a user ID, and has none")
		}
	}
	switch {
	case in.Type == typePowerLevels && in.StateKey != nil:
		if err := checkPowerLevels(e.version, in.Content); err != nil {
			return err
		}
		return r.checkCreatorLevels(ctx, e, in.Content)
	case in.Type == typeCanonical && in.StateKey != nil && *in.StateKey == "":
		return r.checkCanonicalAlias(ctx, e, in.Content)
	case in.Type == typeServerACL && in.StateKey != nil:
		return r.checkServerACL(in.Content)
	case in.Type == typeRedaction && in.StateKey == nil:
		if err := in.takeRedacts(); err != nil || in.Redacts == "" {
			return err
		}
		return r.mayRedact(ctx, e, in)
	}
	return nil
}

// takeRedacts lets /send make redactions: the target stands in the content whatever the version.
// spec: rooms/v11#moving-the-redacts-property-of-mroomredaction-events-to-a-content-property
func (in *SendInput) takeRedacts() error {
	if in.Redacts != "" {
		return nil
	}
	var c struct {
		Redacts id.EventID `json:"redacts"`
	}
	if err := json.Unmarshal(in.Content, &c); err != nil {
		return mautrix.MBadJSON.WithMessage("The event to redact must be named by a string")
	}
	in.Redacts = c.Redacts
	return nil
}

// noRoomForbidden says of a room that is not known here what is said of one that the user is not in.
func noRoomForbidden(err error) error {
	if isNotFound(err) {
		return errNotInRoom
	}
	return err
}

// Redact sends a redaction of an event.
func (r *Rooms) Redact(ctx context.Context, in SendInput) (id.EventID, error) {
	if in.Redacts == "" {
		return "", mautrix.MInvalidParam.WithMessage("The event to redact is missing")
	}
	in.Type, in.StateKey = typeRedaction, nil
	return r.Send(ctx, in)
}

// mayRedact refuses early what would be sent and then ignored. Of other people's events the rules leave it to each server what
// its own users may redact, so here the power level decides. spec: rooms/v3#handling-redactions
func (r *Rooms) mayRedact(ctx context.Context, e *roomEntry, in *SendInput) error {
	target, err := r.Event(ctx, in.Redacts)
	if err != nil || target == nil {
		return err
	}
	if target.RoomID() != e.id {
		return mautrix.MInvalidParam.WithMessage("The event to redact is in another room")
	}
	if target.Is(typeCreate, "") {
		return mautrix.MForbidden.WithMessage("The event that created the room cannot be redacted")
	}
	if target.Sender() == in.Sender {
		return nil
	}
	h, err := e.newestForReading(ctx)
	if err != nil {
		return err
	}
	v := &view{ctx: ctx, s: h.state}
	if levels := auth.PowerLevels(v); v.err == nil && levels.User(in.Sender) < levels.Redact {
		return mautrix.MForbidden.WithMessage("You are not allowed to redact this event")
	}
	return v.err
}

// SendMany sends several events as one unit: all or none.
func (r *Rooms) SendMany(ctx context.Context, roomID id.RoomID, list []SendInput) ([]id.EventID, error) {
	e, err := r.acquire(ctx, roomID)
	if err != nil {
		return nil, noRoomForbidden(err)
	}
	defer r.release(e)
	list = slices.Clone(list)
	for i := range list {
		if err := list[i].validate(); err != nil {
			return nil, err
		}
		if list[i].Type == typeMember && list[i].StateKey != nil || list[i].TxnID != "" {
			return nil, fmt.Errorf("memberships and transactions cannot be sent in a list")
		}
		if err := r.checkContent(ctx, e, &list[i]); err != nil {
			return nil, err
		}
	}
	var sent []id.EventID
	err = r.write(ctx, e, func(ctx context.Context, b *batch) error {
		sent = sent[:0]
		for i := range list {
			eventID, _, err := b.send(ctx, &list[i])
			if err != nil {
				return err
			}
			sent = append(sent, eventID)
		}
		return nil
	})
	return sent, err
}
