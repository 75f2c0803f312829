package e2ee

import (
	"context"
	"fmt"
	"slices"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

// DeviceListChanges returns whose keys a client should fetch again, and whose it may forget, for the window
// (since, upTo]. Changed are users whose lists changed while they share a room with the user, and everyone who came
// together with the user in a room in the window (the user too, if by joining). Left are users who shared a room
// before and share none now.
// spec: cs#tracking-the-device-list-for-a-user
func (k *Keys) DeviceListChanges(ctx context.Context, user id.UserID, since, upTo stream.Pos) (changed, left []id.UserID, err error) {
	if since >= upTo {
		return nil, nil, nil
	}
	w := &listWindow{k: k, user: user, moves: map[id.RoomID]map[id.UserID]moved{},
		changed: map[id.UserID]bool{}, left: map[id.UserID]bool{}, signed: map[id.UserID]bool{}}
	if err := w.memberships(ctx, since, upTo); err != nil {
		return nil, nil, fmt.Errorf("reading membership changes: %w", err)
	}
	if err := w.lists(ctx, since, upTo); err != nil {
		return nil, nil, fmt.Errorf("reading device list changes: %w", err)
	}
	if err := w.settle(ctx); err != nil {
		return nil, nil, fmt.Errorf("looking for shared rooms: %w", err)
	}
	return sorted(w.changed), sorted(w.left), nil
}

func sorted(set map[id.UserID]bool) []id.UserID {
	out := make([]id.UserID, 0, len(set))
	for user := range set {
		out = append(out, user)
	}
	slices.Sort(out)
	return out
}

// listWindow gathers what happened to the device lists that concern one user.
type listWindow struct {
	k             *Keys
	user          id.UserID
	topics        []stream.Topic // the user, and the rooms the user is in at the end
	moves         map[id.RoomID]map[id.UserID]moved
	changed, left map[id.UserID]bool
	signed        map[id.UserID]bool // whose keys the user has signed
	listed        []id.UserID        // whose own lists changed
}

// moved is how a member entered or left a room in the window, first and last.
type moved struct{ first, last step }

// memberships looks at who came together and who parted.
func (w *listWindow) memberships(ctx context.Context, since, upTo stream.Pos) error {
	rooms, err := w.k.rooms.RoomsOf(ctx, w.user)
	if err != nil {
		return err
	}
	joined := make(map[id.RoomID]bool, len(rooms))
	w.topics = append(make([]stream.Topic, 0, len(rooms)+1), stream.UserTopic(w.user))
	for _, room := range rooms {
		joined[room] = true
		w.topics = append(w.topics, stream.RoomTopic(room))
	}
	if err := w.scan(ctx, since, upTo, w.topics); err != nil {
		return err
	}
	var gone []stream.Topic
	for room, moves := range w.moves {
		if moves[w.user].first != stepNone && !joined[room] {
			gone = append(gone, stream.RoomTopic(room))
		}
	}
	if len(gone) > 0 {
		if err := w.scan(ctx, since, upTo, gone); err != nil {
			return err
		}
	}
	for room, moves := range w.moves {
		if err := w.room(ctx, room, moves, joined[room]); err != nil {
			return err
		}
	}
	return nil
}

// scan notes the moves of each member.
func (w *listWindow) scan(ctx context.Context, since, upTo stream.Pos, topics []stream.Topic) error {
	changes, err := w.k.stream.Changes(ctx, since, upTo, stream.Kinds(stream.Membership), topics)
	if err != nil {
		return err
	}
	exact := len(changes) <= maxExactMoves
	for _, c := range changes {
		m, err := w.move(ctx, c, exact)
		if err != nil {
			return err
		}
		if m.first == stepNone {
			continue
		}
		if w.moves[c.RoomID] == nil {
			w.moves[c.RoomID] = map[id.UserID]moved{}
		}
		if before := w.moves[c.RoomID][c.UserID]; before.first != stepNone {
			m.first = before.first
		}
		w.moves[c.RoomID][c.UserID] = m
	}
	return nil
}

// maxExactMoves is how many member events are looked at one by one. In a longer window, everyone who has one counts as
// somebody who may have moved: clients then fetch some keys in vain.
const maxExactMoves = 500

func (w *listWindow) move(ctx context.Context, c stream.Change, exact bool) (moved, error) {
	if exact || c.UserID == w.user {
		s, err := w.k.stepOf(ctx, c)
		return moved{s, s}, err
	}
	if s, ok := w.k.steps.get(c.Pos); ok {
		return moved{s, s}, nil
	}
	_, in, err := w.k.rooms.JoinedAt(ctx, c.RoomID, c.UserID)
	if in {
		return moved{stepLeft, stepJoined}, err
	}
	return moved{stepLeft, stepLeft}, err
}

// room draws the conclusions for one room in which somebody moved. Whether those who met or parted share another room is
// settled later.
func (w *listWindow) room(ctx context.Context, room id.RoomID, moves map[id.UserID]moved, isIn bool) error {
	own := moves[w.user].first
	wasIn := own == stepLeft || (own == stepNone && isIn)
	for user, m := range moves {
		if isIn && m.last == stepJoined {
			w.changed[user] = true
		}
		if wasIn && m.first == stepLeft {
			w.left[user] = true
		}
	}
	entered := isIn && own != stepNone
	if !entered && (isIn || !wasIn) {
		return nil
	}
	members, err := w.k.rooms.JoinedMembers(ctx, room)
	if err != nil {
		return err
	}
	for _, m := range members {
		switch {
		case entered:
			w.changed[m] = true
		case moves[m].first == stepNone:
			w.left[m] = true
		}
	}
	return nil
}

// lists looks at changes of the lists themselves.
func (w *listWindow) lists(ctx context.Context, since, upTo stream.Pos) error {
	changes, err := w.k.stream.Changes(ctx, since, upTo, stream.Kinds(stream.DeviceList), w.topics)
	if err != nil {
		return err
	}
	for _, c := range changes {
		switch {
		case c.UserID == w.user && c.Ref != "":
			w.signed[id.UserID(c.Ref)] = true // news to the user's other devices
		case c.Ref != "":
		case c.UserID == w.user:
			w.changed[w.user] = true
		default:
			w.listed = append(w.listed, c.UserID)
		}
	}
	return nil
}

// settle removes those who do not share a room now from changed, and those who do from left.
func (w *listWindow) settle(ctx context.Context) error {
	delete(w.left, w.user)
	var ask []id.UserID
	for user := range w.left {
		ask = append(ask, user)
	}
	for user := range w.changed {
		if user != w.user && !w.left[user] {
			ask = append(ask, user)
		}
	}
	for _, user := range w.listed {
		if !w.left[user] && !w.changed[user] {
			ask = append(ask, user)
		}
	}
	shared, err := w.k.rooms.Sharing(ctx, w.user, ask)
	if err != nil {
		return err
	}
	for user := range w.left {
		if shared[user] {
			delete(w.left, user)
		}
	}
	for _, user := range w.listed {
		if shared[user] {
			w.changed[user] = true
		}
	}
	for user := range w.changed {
		if user != w.user && !shared[user] {
			delete(w.changed, user)
		}
	}
	for user := range w.signed {
		w.changed[user] = true
		delete(w.left, user)
	}
	return nil
}

// deviceListAudience says whose waiting requests a changed list wakes: the rooms of the user.
func (k *Keys) deviceListAudience(ctx context.Context, c stream.Change) []stream.Topic {
	if c.Ref != "" {
		return nil
	}
	rooms, err := k.rooms.RoomsOf(ctx, c.UserID)
	if err != nil {
		k.log.Warn().Err(err).Str("user_id", string(c.UserID)).Msg("Cannot tell the rooms of a user about a changed device list")
		return nil
	}
	topics := make([]stream.Topic, len(rooms))
	for i, room := range rooms {
		topics[i] = stream.RoomTopic(room)
	}
	return topics
}
