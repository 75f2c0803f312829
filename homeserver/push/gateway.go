package push

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

// notification is what a gateway is told. spec: push#post_matrixpushv1notify
type notification struct {
	EventID           id.EventID      `json:"event_id,omitempty"`
	RoomID            id.RoomID       `json:"room_id,omitempty"`
	Type              string          `json:"type,omitempty"`
	Sender            id.UserID       `json:"sender,omitempty"`
	SenderDisplayName string          `json:"sender_display_name,omitempty"`
	RoomName          string          `json:"room_name,omitempty"`
	RoomAlias         string          `json:"room_alias,omitempty"`
	Membership        string          `json:"membership,omitempty"`
	UserIsTarget      *bool           `json:"user_is_target,omitempty"`
	Prio              string          `json:"prio,omitempty"`
	Content           json.RawMessage `json:"content,omitempty"`
	Counts            map[string]int  `json:"counts,omitempty"`
	Devices           []device        `json:"devices"`
}

type device struct {
	AppID     string          `json:"app_id"`
	Pushkey   string          `json:"pushkey"`
	PushkeyTS int64           `json:"pushkey_ts"`
	Data      json.RawMessage `json:"data"`
	Tweaks    json.RawMessage `json:"tweaks,omitempty"`
}

const maxAnswer = 64 << 10

// gatewayError says that a gateway could not be told.
type gatewayError struct {
	status int // 0: there was no answer
	err    error
}

func (e *gatewayError) Error() string {
	if e.status != 0 {
		return fmt.Sprintf("a push gateway answered %d", e.status)
	}
	return fmt.Sprintf("asking a push gateway: %v", e.err)
}

func (e *gatewayError) Unwrap() error { return e.err }

// down says whether the gateway is out of order for everybody.
func (e *gatewayError) down() bool {
	return e.status == 0 || e.status >= 500 || e.status == http.StatusTooManyRequests
}

// post tells a gateway; rejected says that the pushkey is good no more.
func (p *Push) post(ctx context.Context, address string, pushkey string, n *notification) (rejected bool, err error) {
	body, err := json.Marshal(map[string]any{"notification": n})
	if err != nil {
		return false, fmt.Errorf("encoding a notification: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("asking a push gateway: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Viaduc")
	resp, err := p.client.Do(req)
	if err != nil {
		return false, &gatewayError{err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return false, &gatewayError{err: err}
	}
	if resp.StatusCode/100 != 2 {
		return false, &gatewayError{status: resp.StatusCode}
	}
	var out struct {
		Rejected []string `json:"rejected"`
	}
	_ = json.Unmarshal(answer, &out) // a gateway that says nothing rejects nothing
	return slices.Contains(out.Rejected, pushkey), nil
}

// describe fills in what a notification says of its event.
func (p *Push) describe(ctx context.Context, n *notification, user id.UserID, ev *room.Stored, tweaks string, idOnly bool) error {
	n.EventID, n.RoomID = ev.ID(), ev.RoomID()
	n.Prio = "low"
	if ev.Type() == "m.room.encrypted" || ev.Type() == "m.call.invite" || gjson.Get(tweaks, "highlight").Bool() || gjson.Get(tweaks, "sound").Exists() {
		n.Prio = "high" // what is encrypted may be anything
	}
	if idOnly {
		return nil
	}
	n.Type, n.Sender, n.Content = ev.Type(), ev.Sender(), ev.Content()
	if ev.Type() == typeMember && ev.IsState() {
		target := *ev.StateKey() == string(user)
		n.Membership, n.UserIsTarget = ev.Membership(), &target
	}
	d, err := p.descriptionOf(ctx, user, ev)
	if err != nil {
		return err
	}
	n.SenderDisplayName, n.RoomName, n.RoomAlias = d.names[ev.Sender()], d.name, d.alias
	if n.RoomName == "" {
		n.RoomName = d.heroes(user)
	}
	return nil
}

// description is what is to be shown of a room.
type description struct {
	name, alias string
	names       map[id.UserID]string // of the sender and some members
	others      []id.UserID
}

const maxHeroes = 5

// descriptionOf reads the room's current state, or what an invitation tells of it.
func (p *Push) descriptionOf(ctx context.Context, user id.UserID, ev *room.Stored) (d description, err error) {
	d.names = map[id.UserID]string{}
	st, err := p.rooms.State(ctx, ev.RoomID())
	if err != nil {
		return d, fmt.Errorf("room of a notification: %w", err)
	}
	if st.Len() == 0 {
		stripped, err := p.rooms.InviteState(ctx, ev.RoomID(), user)
		for _, raw := range stripped {
			r := gjson.ParseBytes(raw)
			d.add(r.Get("type").Str, r.Get("state_key").Str, json.RawMessage(r.Get("content").Raw))
		}
		return d, err
	}
	keys := []event.Key{{Type: "m.room.name"}, {Type: "m.room.canonical_alias"}, memberKey(ev.Sender())}
	joinedCount, invitedCount, err := p.rooms.Counts(ctx, ev.RoomID())
	if err != nil {
		return d, err
	}
	if joinedCount+invitedCount <= maxHeroes {
		st.RangeType(typeMember, func(key string, _ room.Ref) bool {
			keys = append(keys, memberKey(id.UserID(key)))
			return len(keys) < 4*maxHeroes
		})
	}
	evs, err := st.EventsOfKeys(ctx, keys)
	if err != nil {
		return d, fmt.Errorf("room of a notification: %w", err)
	}
	for _, e := range evs {
		if e.RedactedBy == "" {
			d.add(e.Type(), *e.StateKey(), e.Content())
		}
	}
	return d, nil
}

func (d *description) add(evType, key string, content json.RawMessage) {
	text := func(name string) string { return gjson.GetBytes(content, name).Str }
	switch evType {
	case "m.room.name":
		d.name = text("name")
	case "m.room.canonical_alias":
		d.alias = text("alias")
	case typeMember:
		user := id.UserID(key)
		if m := text("membership"); m != joined && m != invited {
			return
		}
		if d.names[user] == "" {
			d.others = append(d.others, user)
		}
		if d.names[user] = text("displayname"); d.names[user] == "" {
			d.names[user] = key
		}
	}
}

// heroes names a room without a name by its members. spec: cs#calculating-the-display-name-for-a-room
func (d *description) heroes(user id.UserID) string {
	if d.alias != "" {
		return d.alias
	}
	var names []string
	for _, u := range d.others {
		if u != user && len(names) < maxHeroes {
			names = append(names, d.names[u])
		}
	}
	return strings.Join(names, ", ")
}

// predecessor is the room that this one replaces, if it says so.
func (p *Push) predecessor(ctx context.Context, roomID id.RoomID) (id.RoomID, error) {
	st, err := p.rooms.State(ctx, roomID)
	if err != nil {
		return "", fmt.Errorf("room that is replaced: %w", err)
	}
	create, err := st.Event(ctx, "m.room.create", "")
	if err != nil || create == nil {
		return "", err
	}
	old, _ := event.FieldString(event.Field(create.Content(), "predecessor"), "room_id")
	return id.RoomID(old), nil
}
