package timeline

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Relation is what m.relates_to says: this event belongs to Parent as Type.
type Relation struct {
	Parent id.EventID
	Type   string
}

var relatesTo = []byte(`"m.relates_to"`)

// RelationOf reads the relation of an event, if it has a well-formed one.
//
// spec: cs#forming-relationships-between-events
func RelationOf(ev *event.Event) (Relation, bool) {
	content := ev.Content()
	if !bytes.Contains(content, relatesTo) {
		return Relation{}, false
	}
	rel := gjson.GetBytes(content, `m\.relates_to`)
	parent, kind := rel.Get("event_id"), rel.Get("rel_type")
	if parent.Type != gjson.String || kind.Type != gjson.String || parent.Str == "" || kind.Str == "" ||
		len(parent.Str) > 255 || len(kind.Str) > 255 {
		return Relation{}, false
	}
	return Relation{id.EventID(parent.Str), kind.Str}, true
}

// relationsProjection keeps table relations: a row for an event with a relation, marked when that event is redacted.
type relationsProjection struct{ t *Timelines }

// Project implements room.Projection.
func (p relationsProjection) Project(ctx context.Context, ev *room.Stored, before *room.State) ([]stream.Write, []stream.Change, error) {
	if ev.Type() == typeRedaction {
		return p.redact(ctx, ev, before)
	}
	rel, ok := RelationOf(ev.Event)
	if !ok || ev.IsState() {
		return nil, nil, nil
	}
	w, err := p.row(ctx, ev, rel, room.OrderOfRow(ev), 0)
	return []stream.Write{w}, nil, err
}

func (p relationsProjection) row(ctx context.Context, ev *room.Stored, rel Relation, order any, redacted int64) (stream.Write, error) {
	parentSender := ""
	parent, err := p.t.rooms.Event(ctx, rel.Parent)
	if err := ignoreNotFound(err); err != nil {
		return stream.Write{}, err
	}
	if parent != nil && parent.RoomID() == ev.RoomID() {
		parentSender = string(parent.Sender())
	}
	return stream.Write{Table: relationsTable, Row: []any{string(ev.ID()), string(rel.Parent), string(ev.RoomID()), rel.Type,
		ev.Type(), string(ev.Sender()), parentSender, ev.Timestamp(), order, redacted}}, nil
}

// redact marks the relation of a redacted event, if the redaction is one that the room lets happen.
func (p relationsProjection) redact(ctx context.Context, ev *room.Stored, before *room.State) ([]stream.Write, []stream.Change, error) {
	target, err := p.t.rooms.Event(ctx, ev.Redacts())
	if err != nil || target == nil || target.RoomID() != ev.RoomID() {
		return nil, nil, ignoreNotFound(err)
	}
	rel, ok := RelationOf(target.Event)
	if !ok || target.IsState() || !p.mayRedact(ctx, ev, target, before) {
		return nil, nil, nil
	}
	w, err := p.row(ctx, target, rel, int64(target.Order), 1)
	w.Table = redactedTable
	return []stream.Write{w}, nil, err
}

// mayRedact: one's own events, or with the power to redact.
func (p relationsProjection) mayRedact(ctx context.Context, ev, target *room.Stored, before *room.State) bool {
	if ev.Sender() == target.Sender() {
		return true
	}
	if before == nil {
		return false
	}
	levels := auth.PowerLevels(eventState{ctx, before})
	return levels.User(ev.Sender()) >= levels.Redact
}

var errDuplicateAnnotation = mautrix.RespError{ErrCode: "M_DUPLICATE_ANNOTATION", Err: "You have reacted in this way already", StatusCode: http.StatusBadRequest}

// maxAnnotations bounds how many reactions of one user to one event are compared.
const maxAnnotations = 200

// notTwice refuses a reaction that its sender has given to the event already.
//
// spec: cs#avoiding-duplicate-annotations
func (t *Timelines) notTwice(ctx context.Context, in *room.SendInput) error {
	if !bytes.Contains(in.Content, []byte("m.annotation")) {
		return nil
	}
	parent, key, ok := annotation(in.Content)
	if !ok {
		return nil
	}
	given, err := t.annotationsOf(ctx, parent, in.Sender, in.Type)
	if err != nil || len(given) == 0 {
		return err
	}
	evs, err := t.rooms.Events(ctx, given)
	if err != nil {
		return err
	}
	for _, ev := range evs {
		if _, k, ok := annotation(ev.Content()); ok && k == key && ev.RedactedBy == "" {
			return errDuplicateAnnotation
		}
	}
	return nil
}

// annotation reads what is annotated, and with what.
func annotation(content json.RawMessage) (parent id.EventID, key string, ok bool) {
	var c struct {
		RelatesTo struct {
			Type   string     `json:"rel_type"`
			Parent id.EventID `json:"event_id"`
			Key    *string    `json:"key"`
		} `json:"m.relates_to"`
	}
	if json.Unmarshal(content, &c) != nil || c.RelatesTo.Type != "m.annotation" || c.RelatesTo.Key == nil {
		return "", "", false
	}
	return c.RelatesTo.Parent, *c.RelatesTo.Key, true
}
