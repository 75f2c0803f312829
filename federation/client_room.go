package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	v1 = "/_matrix/federation/v1"
	v2 = "/_matrix/federation/v2"
	// joinTimeout: a large room takes its server a while to answer for.
	joinTimeout = 5 * time.Minute
)

func esc[T ~string](s T) string { return url.PathEscape(string(s)) }

// template asks for the frame of a membership event (spec: ss#get_matrixfederationv1make_joinroomiduserid).
func (c *Client) template(ctx context.Context, kind, server string, roomID id.RoomID, user id.UserID) (room.Template, error) {
	var out struct {
		Event       json.RawMessage `json:"event"`
		RoomVersion string          `json:"room_version"`
	}
	q := url.Values{}
	if kind != "leave" {
		q["ver"] = event.Versions()
	}
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/make_" + kind + "/" + esc(roomID) + "/" + esc(user), Query: q, Out: &out})
	if out.RoomVersion == "" {
		out.RoomVersion = "1"
	}
	return room.Template{RoomVersion: out.RoomVersion, Event: out.Event}, err
}

// MakeJoin implements room.Remote.
func (c *Client) MakeJoin(ctx context.Context, server string, roomID id.RoomID, user id.UserID) (room.Template, error) {
	return c.template(ctx, "join", server, roomID, user)
}

// MakeLeave implements room.Remote.
func (c *Client) MakeLeave(ctx context.Context, server string, roomID id.RoomID, user id.UserID) (room.Template, error) {
	return c.template(ctx, "leave", server, roomID, user)
}

// MakeKnock implements room.Remote.
func (c *Client) MakeKnock(ctx context.Context, server string, roomID id.RoomID, user id.UserID) (room.Template, error) {
	return c.template(ctx, "knock", server, roomID, user)
}

// SendJoin hands a signed join over and gets the room's state (spec: ss#put_matrixfederationv2send_joinroomideventid).
func (c *Client) SendJoin(ctx context.Context, server string, ev *event.Event) (room.JoinAnswer, error) {
	var a room.JoinAnswer
	var raw json.RawMessage
	answer := object{Lists: map[string]*[]json.RawMessage{"state": &a.State, "auth_chain": &a.AuthChain},
		Others: map[string]any{"event": &raw, "members_omitted": &a.Partial, "servers_in_room": &a.Servers}}
	q := request{Method: http.MethodPut, Server: server, Path: v2 + "/send_join/" + esc(ev.RoomID()) + "/" + esc(ev.ID()),
		Body: json.RawMessage(ev.JSON()), Out: answer, Limit: joinBytes, Timeout: c.o.JoinTimeout}
	err := c.do(ctx, q)
	if unsupported(err) {
		q.Path, q.Out = v1+strings.TrimPrefix(q.Path, v2), second{answer}
		err = c.do(ctx, q)
	}
	a.Event = raw
	return a, err
}

// SendLeave hands a signed leave over (spec: ss#put_matrixfederationv2send_leaveroomideventid).
func (c *Client) SendLeave(ctx context.Context, server string, ev *event.Event) error {
	roomID := ev.RoomID()
	q := request{Method: http.MethodPut, Server: server, Path: v2 + "/send_leave/" + esc(roomID) + "/" + esc(ev.ID()), Body: json.RawMessage(ev.JSON())}
	err := c.do(ctx, q)
	if unsupported(err) {
		q.Path = v1 + strings.TrimPrefix(q.Path, v2)
		err = c.do(ctx, q)
	}
	return err
}

// SendKnock hands a signed knock over (spec: ss#put_matrixfederationv1send_knockroomideventid).
func (c *Client) SendKnock(ctx context.Context, server string, ev *event.Event) ([]json.RawMessage, error) {
	roomID := ev.RoomID()
	var out struct {
		State []json.RawMessage `json:"knock_room_state"`
	}
	err := c.do(ctx, request{Method: http.MethodPut, Server: server, Path: v1 + "/send_knock/" + esc(roomID) + "/" + esc(ev.ID()), Body: json.RawMessage(ev.JSON()), Out: &out})
	return out.State, err
}

// SendInvite offers an invite to the invited user's server, which signs it (spec: ss#put_matrixfederationv2inviteroomideventid).
func (c *Client) SendInvite(ctx context.Context, server string, ev *event.Event, stripped []json.RawMessage) (json.RawMessage, error) {
	roomID, version := ev.RoomID(), ev.Version()
	if stripped == nil {
		stripped = []json.RawMessage{}
	}
	var out struct {
		Event json.RawMessage `json:"event"`
	}
	body := map[string]any{"room_version": version.ID(), "event": json.RawMessage(ev.JSON()), "invite_room_state": stripped}
	err := c.do(ctx, request{Method: http.MethodPut, Server: server, Path: v2 + "/invite/" + esc(roomID) + "/" + esc(ev.ID()), Body: body, Out: &out})
	return out.Event, err
}

// transactionOf is the wrapper that several answers share.
type transactionOf struct {
	PDUs []json.RawMessage `json:"pdus"`
}

// Event fetches one event (spec: ss#get_matrixfederationv1eventeventid).
func (c *Client) Event(ctx context.Context, server string, eventID id.EventID) (json.RawMessage, error) {
	var out transactionOf
	if err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/event/" + esc(eventID), Out: &out}); err != nil {
		return nil, err
	}
	if len(out.PDUs) != 1 {
		return nil, fmt.Errorf("%s gave %d events for one", server, len(out.PDUs))
	}
	return out.PDUs[0], nil
}

// StateIDs fetches the IDs of a room's state before an event (spec: ss#get_matrixfederationv1state_idsroomid).
func (c *Client) StateIDs(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) (state, auth []id.EventID, err error) {
	var out struct {
		State []id.EventID `json:"pdu_ids"`
		Auth  []id.EventID `json:"auth_chain_ids"`
	}
	err = c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/state_ids/" + esc(roomID), Query: url.Values{"event_id": {string(eventID)}}, Out: &out, Limit: 64 << 20})
	return out.State, out.Auth, err
}

// State fetches a room's state before an event (spec: ss#get_matrixfederationv1stateroomid).
func (c *Client) State(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) (state, auth []json.RawMessage, err error) {
	out := object{Lists: map[string]*[]json.RawMessage{"pdus": &state, "auth_chain": &auth}}
	err = c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/state/" + esc(roomID), Query: url.Values{"event_id": {string(eventID)}}, Out: out, Limit: joinBytes, Timeout: c.o.JoinTimeout})
	return state, auth, err
}

// MissingEvents fetches what lies between (spec: ss#post_matrixfederationv1get_missing_eventsroomid).
func (c *Client) MissingEvents(ctx context.Context, server string, roomID id.RoomID, q room.MissingQuery) ([]json.RawMessage, error) {
	var out struct {
		Events []json.RawMessage `json:"events"`
	}
	body := map[string]any{"limit": q.Limit, "min_depth": q.MinDepth, "earliest_events": notNil(q.Earliest), "latest_events": notNil(q.Latest)}
	err := c.do(ctx, request{Method: http.MethodPost, Server: server, Path: v1 + "/get_missing_events/" + esc(roomID), Body: body, Out: &out})
	return out.Events, err
}

// Backfill fetches events before the given ones (spec: ss#get_matrixfederationv1backfillroomid).
func (c *Client) Backfill(ctx context.Context, server string, roomID id.RoomID, from []id.EventID, limit int) ([]json.RawMessage, error) {
	var out transactionOf
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, e := range from {
		q.Add("v", string(e))
	}
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/backfill/" + esc(roomID), Query: q, Out: &out, Limit: 32 << 20})
	return out.PDUs, err
}

// EventAuth fetches the auth chain of an event (spec: ss#get_matrixfederationv1event_authroomideventid).
func (c *Client) EventAuth(ctx context.Context, server string, roomID id.RoomID, eventID id.EventID) ([]json.RawMessage, error) {
	var out struct {
		Auth []json.RawMessage `json:"auth_chain"`
	}
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/event_auth/" + esc(roomID) + "/" + esc(eventID), Out: &out, Limit: 64 << 20})
	return out.Auth, err
}

// QueryAlias resolves an alias of another server (spec: ss#get_matrixfederationv1querydirectory).
func (c *Client) QueryAlias(ctx context.Context, server string, alias id.RoomAlias) (room.AliasTarget, error) {
	var out struct {
		RoomID  id.RoomID `json:"room_id"`
		Servers []string  `json:"servers"`
	}
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/query/directory", Query: url.Values{"room_alias": {string(alias)}}, Out: &out})
	return room.AliasTarget{RoomID: out.RoomID, Servers: out.Servers}, err
}

// TimestampToEvent finds an event by time (spec: ss#get_matrixfederationv1timestamp_to_eventroomid).
func (c *Client) TimestampToEvent(ctx context.Context, server string, roomID id.RoomID, ts int64, backwards bool) (id.EventID, error) {
	var out struct {
		EventID id.EventID `json:"event_id"`
	}
	dir := "f"
	if backwards {
		dir = "b"
	}
	err := c.do(ctx, request{Method: http.MethodGet, Server: server, Path: v1 + "/timestamp_to_event/" + esc(roomID),
		Query: url.Values{"ts": {strconv.FormatInt(ts, 10)}, "dir": {dir}}, Out: &out})
	return out.EventID, err
}
