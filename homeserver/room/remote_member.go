package room

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
)

const (
	askTimeout   = 20 * time.Second // one server may think about a membership
	joinTimeout  = 5 * time.Minute  // a join may take once it was handed over
	newsTimeout  = 400 * time.Millisecond
	maxForbidden = 3 // servers that may say no before they are believed
)

// others changes memberships through other servers. spec: ss#joining-rooms, ss#leaving-rooms-rejecting-invites, ss#knocking-rooms
type others struct {
	r *Rooms

	mu    sync.Mutex
	rooms map[id.RoomID]*joining
}

// joining lets one at a time enter a room from outside.
type joining struct {
	slot chan struct{}
	uses int
}

func newOthers(r *Rooms) *others { return &others{r: r, rooms: map[id.RoomID]*joining{}} }

// enter waits until nobody else of this server is on the way into the room.
func (o *others) enter(ctx context.Context, roomID id.RoomID) (leave func(), err error) {
	o.mu.Lock()
	j := o.rooms[roomID]
	if j == nil {
		j = &joining{slot: make(chan struct{}, 1)}
		o.rooms[roomID] = j
	}
	j.uses++
	o.mu.Unlock()
	done := func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if j.uses--; j.uses == 0 {
			delete(o.rooms, roomID)
		}
	}
	select {
	case j.slot <- struct{}{}:
		return func() { <-j.slot; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

// eachServer tries servers until one of them does it. What the caller is told is the weightiest of their refusals.
func (o *others) eachServer(ctx context.Context, via []string, try func(ctx context.Context, server string) error) error {
	var refusal error
	forbidden := 0
	for _, server := range via {
		err := try(ctx, server)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		zerolog.Ctx(ctx).Info().Err(err).Str("server", server).Msg("A server could not help with a membership")
		if weight(err) > weight(refusal) {
			refusal = err
		}
		if weight(err) == weight(mautrix.MForbidden) {
			if forbidden++; forbidden >= maxForbidden {
				break
			}
		}
	}
	if resp, ok := asRespError(refusal); ok && resp.StatusCode >= 400 && resp.StatusCode < 500 {
		return resp
	}
	return mautrix.MUnknown.WithStatus(http.StatusBadGateway).WithMessage("No server could be reached that is in the room")
}

// weight orders refusals by what they tell the person who asked.
func weight(err error) int {
	resp, ok := asRespError(err)
	switch {
	case err == nil:
		return -1
	case !ok || resp.StatusCode >= 500 || resp.ErrCode == "":
		return 0
	case resp.ErrCode == mautrix.MForbidden.ErrCode:
		return 4
	case resp.ErrCode == "M_INCOMPATIBLE_ROOM_VERSION":
		return 5
	case resp.ErrCode == mautrix.MNotFound.ErrCode:
		return 1
	case resp.ErrCode == errUnableToAuth.ErrCode || resp.ErrCode == errUnableToGrant.ErrCode:
		return 3
	}
	return 2
}

// frame is a template that has been checked.
type frame struct {
	version event.Version
	proto   event.Proto
	content map[string]json.RawMessage
}

// templateShape is what is read of a template. References of versions 1 and 2 are pairs.
type templateShape struct {
	Type       string                     `json:"type"`
	RoomID     id.RoomID                  `json:"room_id"`
	Sender     id.UserID                  `json:"sender"`
	StateKey   *string                    `json:"state_key"`
	Content    map[string]json.RawMessage `json:"content"`
	PrevEvents []json.RawMessage          `json:"prev_events"`
	AuthEvents []json.RawMessage          `json:"auth_events"`
	Depth      json.Number                `json:"depth"`
}

var errBadTemplate = errors.New("the server offered something else than the membership asked for")

// checkTemplate refuses a template that is not the membership asked for: whatever is in it gets signed.
func checkTemplate(t Template, m outsideMember, membership string) (*frame, error) {
	v, err := event.Lookup(cmpOr(t.RoomVersion, "1"))
	if err != nil {
		return nil, mautrix.RespError{ErrCode: "M_INCOMPATIBLE_ROOM_VERSION", StatusCode: 400,
			Err: "This server does not support the version of the room", ExtraData: map[string]any{"room_version": t.RoomVersion}}
	}
	var s templateShape
	if len(t.Event) > event.MaxEventBytes || json.Unmarshal(t.Event, &s) != nil {
		return nil, errBadTemplate
	}
	var got string
	_ = json.Unmarshal(s.Content["membership"], &got)
	if s.Type != typeMember || s.RoomID != m.Room || s.Sender != m.User || s.StateKey == nil || *s.StateKey != string(m.User) || got != membership {
		return nil, errBadTemplate
	}
	f := &frame{version: v, content: s.Content}
	f.proto = event.Proto{RoomID: m.Room, Type: typeMember, StateKey: s.StateKey, Sender: m.User}
	if v.IDInside() {
		f.proto.Hashes = map[id.EventID]string{}
	}
	if f.proto.PrevEvents, err = f.references(s.PrevEvents, event.MaxPrevEvents); err != nil {
		return nil, err
	}
	if f.proto.AuthEvents, err = f.references(s.AuthEvents, event.MaxAuthEvents); err != nil {
		return nil, err
	}
	f.proto.Depth, _ = s.Depth.Int64() // nonsense counts as nothing
	f.proto.Depth = max(1, min(f.proto.Depth, v.MaxDepth()))
	return f, nil
}

func cmpOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (f *frame) references(raw []json.RawMessage, most int) ([]id.EventID, error) {
	if len(raw) > most {
		return nil, errBadTemplate
	}
	out := make([]id.EventID, 0, len(raw))
	for _, r := range raw {
		var eventID id.EventID
		if f.version.IDInside() {
			var pair []json.RawMessage
			var hash struct {
				SHA256 string `json:"sha256"`
			}
			if json.Unmarshal(r, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &eventID) != nil || json.Unmarshal(pair[1], &hash) != nil {
				return nil, errBadTemplate
			}
			if hash.SHA256 != "" {
				f.proto.Hashes[eventID] = hash.SHA256
			}
		} else if json.Unmarshal(r, &eventID) != nil {
			return nil, errBadTemplate
		}
		if !event.ValidEventID(string(eventID)) || slices.Contains(out, eventID) {
			return nil, errBadTemplate
		}
		out = append(out, eventID)
	}
	return out, nil
}

// build makes our event of a template: its content is ours, but for who lets the user in.
func (o *others) build(f *frame, m outsideMember) (*event.Event, error) {
	content := m.Content
	if by, ok := f.content["join_authorised_via_users_server"]; ok && f.version.Restricted() && !bytes.Equal(by, []byte("null")) {
		var user id.UserID
		if json.Unmarshal(by, &user) != nil || !event.ValidUserID(string(user)) {
			return nil, errBadTemplate
		}
		var err error
		if content, err = withMember(content, "join_authorised_via_users_server", user); err != nil {
			return nil, err
		}
	}
	p := f.proto
	p.Content, p.Timestamp = content, o.r.now()
	if f.version.IDInside() {
		p.EventID = o.r.newEventID()
	}
	return event.Build(f.version, p, o.r.Signer)
}

// handOver gets a template from a server and gives the event made of it back.
func (o *others) handOver(ctx context.Context, m outsideMember, membership string,
	ask func(ctx context.Context, server string, room id.RoomID, user id.UserID) (Template, error),
	send func(ctx context.Context, server string, ev *event.Event) error,
) (*event.Event, error) {
	var done *event.Event
	err := o.eachServer(ctx, m.Via, func(ctx context.Context, server string) error {
		short, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		t, err := ask(short, server, m.Room, m.User)
		if err != nil {
			return err
		}
		f, err := checkTemplate(t, m, membership)
		if err != nil {
			return err
		}
		ev, err := o.build(f, m)
		if err != nil {
			return err
		}
		if err := send(ctx, server, ev); err != nil {
			return err
		}
		done = ev
		return nil
	})
	return done, err
}

// leave declines an invitation or takes back a knock through a server of the room.
func (o *others) leave(ctx context.Context, m outsideMember) (id.EventID, error) {
	ev, err := o.handOver(ctx, m, Left, o.r.Remote.MakeLeave, func(ctx context.Context, server string, ev *event.Event) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		return o.r.Remote.SendLeave(ctx, server, ev)
	})
	if err != nil {
		return "", err
	}
	if _, err := o.r.recordOutside(context.WithoutCancel(ctx), m.Room, ev.Version(), ev, nil); err != nil {
		return "", err
	}
	return ev.ID(), nil
}

// knock asks to be let into a room elsewhere.
func (o *others) knock(ctx context.Context, m outsideMember) (id.EventID, error) {
	var told []json.RawMessage
	ev, err := o.handOver(ctx, m, Knocked, o.r.Remote.MakeKnock, func(ctx context.Context, server string, ev *event.Event) error {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var err error
		told, err = o.r.Remote.SendKnock(ctx, server, ev)
		return err
	})
	if err != nil {
		return "", err
	}
	stripped := o.r.knockState(ctx, ev.Version(), m.Room, told)
	if _, err := o.r.recordOutside(context.WithoutCancel(ctx), m.Room, ev.Version(), ev, stripped); err != nil {
		return "", fmt.Errorf("knock: %w", err)
	}
	return ev.ID(), nil
}
