package timeline

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	relReplace   = "m.replace"
	relReference = "m.reference"
	relThread    = "m.thread"
)

// bundle is what unsigned["m.relations"] tells about an event.
//
// spec: cs#aggregations-of-child-events
type bundle struct {
	edit       *room.Stored
	references []id.EventID
	thread     *threadSummary
}

type threadSummary struct {
	latest *room.Stored
	count  int
	mine   bool
	edit   *room.Stored // of the latest event
}

// knownRelations remembers for a room which events have children. It holds as long as nothing happened in the room.
type knownRelations struct {
	mu      sync.Mutex
	at      stream.Pos
	parents map[id.EventID]bool
}

// bundles finds what belongs to these events; events without anything are not in the map.
func (t *Timelines) bundles(ctx context.Context, evs []Seen, o RenderOptions) (map[id.EventID]*bundle, error) {
	if o.NoBundles || o.State || o.Federation || len(evs) == 0 {
		return nil, nil
	}
	parents, err := t.parentsAmong(ctx, evs)
	if err != nil || len(parents) == 0 {
		return nil, err
	}
	out := make(map[id.EventID]*bundle, len(parents))
	targets := make(map[id.EventID]*room.Stored, len(parents))
	ids := make([]id.EventID, 0, len(parents))
	for _, ev := range parents {
		ids = append(ids, ev.ID())
		targets[ev.ID()] = ev
	}
	if err := t.bundleEdits(ctx, ids, targets, out, o); err != nil {
		return nil, err
	}
	return out, t.bundleThreads(ctx, ids, targets, out, o)
}

// parentsAmong picks the events that have children, asking the database only about rooms that changed since it last did.
func (t *Timelines) parentsAmong(ctx context.Context, evs []Seen) ([]*room.Stored, error) {
	var parents, ask []*room.Stored
	known := map[id.RoomID]*knownRelations{}
	head := t.stream.Head()
	for _, s := range evs {
		if s.RedactedBy != "" || s.IsState() {
			continue
		}
		k, ok := known[s.RoomID()]
		if !ok {
			var err error
			if k, err = t.knownIn(ctx, s.RoomID(), head); err != nil {
				return nil, err
			}
			known[s.RoomID()] = k
		}
		k.mu.Lock()
		has, sure := k.parents[s.ID()]
		k.mu.Unlock()
		switch {
		case has:
			parents = append(parents, s.Stored)
		case !sure:
			ask = append(ask, s.Stored)
		}
	}
	if len(ask) == 0 {
		return parents, nil
	}
	ids := make([]id.EventID, len(ask))
	for i, ev := range ask {
		ids[i] = ev.ID()
	}
	found, err := t.relatedParents(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, ev := range ask {
		has := slices.Contains(found, ev.ID())
		k := known[ev.RoomID()]
		k.mu.Lock()
		if k.at == head {
			k.parents[ev.ID()] = has
		}
		k.mu.Unlock()
		if has {
			parents = append(parents, ev)
		}
	}
	return parents, nil
}

// knownIn returns what is known about a room, emptied if something happened in it since.
func (t *Timelines) knownIn(ctx context.Context, roomID id.RoomID, head stream.Pos) (*knownRelations, error) {
	k, ok := t.relationsIn.Get(roomID)
	if !ok {
		k = &knownRelations{at: head, parents: map[id.EventID]bool{}}
		t.relationsIn.Put(roomID, k, 64)
		return k, nil
	}
	k.mu.Lock()
	at := k.at
	k.mu.Unlock()
	if at >= head {
		return k, nil
	}
	topic := stream.RoomTopic(roomID)
	touched, err := t.stream.Touched(ctx, at, head, []stream.Topic{topic})
	if err != nil {
		return nil, err
	}
	kinds := touched[topic]
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == at {
		if kinds.Has(stream.Event) || kinds.Has(stream.Membership) || len(k.parents) > 2000 {
			k.parents = map[id.EventID]bool{}
		}
		k.at = head
	}
	return k, nil
}

// bundleEdits fills edits and references.
func (t *Timelines) bundleEdits(ctx context.Context, ids []id.EventID, targets map[id.EventID]*room.Stored, out map[id.EventID]*bundle, o RenderOptions) error {
	rows, err := t.editsAndReferences(ctx, ids)
	if err != nil || len(rows) == 0 {
		return err
	}
	var edits []id.EventID
	for _, r := range rows {
		if _, hidden := o.Ignored[r.Sender]; hidden {
			continue
		}
		if r.Type == relReference {
			b := bundleFor(out, r.Parent)
			if len(b.references) < 1000 {
				b.references = append(b.references, r.Event)
			}
		} else if targets[r.Parent].Sender() == r.Sender {
			edits = append(edits, r.Event)
		}
	}
	newest, err := t.newestEdits(ctx, edits, targets)
	if err != nil {
		return err
	}
	for parent, edit := range newest {
		bundleFor(out, parent).edit = edit
	}
	return nil
}

// newestEdits chooses for each event the valid replacement that counts.
func (t *Timelines) newestEdits(ctx context.Context, edits []id.EventID, targets map[id.EventID]*room.Stored) (map[id.EventID]*room.Stored, error) {
	if len(edits) == 0 {
		return nil, nil
	}
	evs, err := t.rooms.Events(ctx, edits)
	if err != nil {
		return nil, err
	}
	out := map[id.EventID]*room.Stored{}
	for _, ev := range evs {
		rel, ok := RelationOf(ev.Event)
		target := targets[rel.Parent]
		if !ok || target == nil || rel.Type != relReplace || !validEdit(target, ev) {
			continue
		}
		best := out[rel.Parent]
		if best == nil || ev.Timestamp() > best.Timestamp() || ev.Timestamp() == best.Timestamp() && ev.ID() > best.ID() {
			out[rel.Parent] = ev
		}
	}
	return out, nil
}

// validEdit checks a replacement against its target.
//
// spec: cs#validity-of-replacement-events
func validEdit(target, edit *room.Stored) bool {
	if edit.RedactedBy != "" || edit.RoomID() != target.RoomID() || edit.Sender() != target.Sender() ||
		edit.Type() != target.Type() || edit.IsState() || target.IsState() {
		return false
	}
	if rel, ok := RelationOf(target.Event); ok && rel.Type == relReplace {
		return false
	}
	return edit.Type() == "m.room.encrypted" || edit.Field("m.new_content") != nil
}

// bundleThreads fills thread summaries.
func (t *Timelines) bundleThreads(ctx context.Context, ids []id.EventID, targets map[id.EventID]*room.Stored, out map[id.EventID]*bundle, o RenderOptions) error {
	var ignored []id.UserID
	for u := range o.Ignored {
		ignored = append(ignored, u)
	}
	rows, err := t.threadSummaries(ctx, ids, o.ForUser, ignored)
	if err != nil || len(rows) == 0 {
		return err
	}
	latest := make([]id.EventID, len(rows))
	for i, r := range rows {
		latest[i] = r.Latest
	}
	evs, err := t.rooms.Events(ctx, latest)
	if err != nil {
		return err
	}
	var edited []id.EventID
	for _, r := range rows {
		ev := evs[r.Latest]
		if ev == nil {
			continue
		}
		mine := r.Mine || targets[r.Parent].Sender() == o.ForUser
		bundleFor(out, r.Parent).thread = &threadSummary{latest: ev, count: r.Count, mine: mine}
		edited = append(edited, ev.ID())
	}
	return t.editLatest(ctx, edited, evs, out)
}

// editLatest gives the newest reply of each thread its own replacement.
func (t *Timelines) editLatest(ctx context.Context, ids []id.EventID, evs map[id.EventID]*room.Stored, out map[id.EventID]*bundle) error {
	rows, err := t.editsAndReferences(ctx, ids)
	if err != nil || len(rows) == 0 {
		return err
	}
	var edits []id.EventID
	for _, r := range rows {
		if r.Type == relReplace && evs[r.Parent].Sender() == r.Sender {
			edits = append(edits, r.Event)
		}
	}
	newest, err := t.newestEdits(ctx, edits, evs)
	for _, b := range out {
		if b.thread != nil {
			b.thread.edit = newest[b.thread.latest.ID()]
		}
	}
	return err
}

func bundleFor(m map[id.EventID]*bundle, parent id.EventID) *bundle {
	b := m[parent]
	if b == nil {
		b = &bundle{}
		m[parent] = b
	}
	return b
}

// appendBundle writes the member m.relations of unsigned.
func (t *Timelines) appendBundle(ctx context.Context, dst []byte, b *bundle, o RenderOptions) ([]byte, error) {
	dst = append(dst, `,"m.relations":{`...)
	inner := RenderOptions{ForUser: o.ForUser, Device: o.Device, NoRoomID: o.NoRoomID, NoBundles: true, now: o.now}
	var err error
	if b.edit != nil {
		dst = appendKey(dst, relReplace)
		if dst, err = t.appendEvent(ctx, dst, Seen{Stored: b.edit}, inner, nil); err != nil {
			return dst, err
		}
	}
	if len(b.references) > 0 {
		dst = append(appendKey(dst, relReference), `{"chunk":[`...)
		for i, e := range b.references {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(AppendString(append(dst, `{"event_id":`...), string(e)), '}')
		}
		dst = append(dst, ']', '}')
	}
	if b.thread != nil {
		dst = append(appendKey(dst, relThread), `{"count":`...)
		dst = strconv.AppendInt(dst, int64(b.thread.count), 10)
		dst = append(dst, `,"current_user_participated":`...)
		dst = strconv.AppendBool(dst, b.thread.mine)
		dst = append(dst, `,"latest_event":`...)
		var edit *bundle
		if b.thread.edit != nil {
			edit = &bundle{edit: b.thread.edit}
		}
		if dst, err = t.appendEvent(ctx, dst, Seen{Stored: b.thread.latest}, inner, edit); err != nil {
			return dst, err
		}
		dst = append(dst, '}')
	}
	return append(dst, '}'), nil
}
