package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

// connKey names a connection of a device.
type connKey struct {
	user   id.UserID
	device id.DeviceID
	conn   string
}

// connection is what a client has been sent on a connection, as of one of its positions. It never changes: an answer that sends
// a room for the first time, or differently, makes a new one, whose row is written before the answer. An answer that only
// brings what is new in rooms already sent makes none, so the usual long poll writes nothing.
type connection struct {
	version int64 // 0: nothing was sent yet
	rooms   map[id.RoomID]sentRoom
}

// sentRoom is how far and how a room was sent.
type sentRoom struct {
	UpTo  stream.Pos `json:"u,omitempty"` // 0: up to the position of the connection
	Limit int        `json:"l"`           // timeline_limit
	State string     `json:"s"`           // required_state, canonical
}

var errUnknownPos = web.MUnknownPos.WithMessage("Unknown position: begin the connection anew")

// connectionPos writes and reads a position: version of the connection and position of the log.
func connectionPos(version int64, at stream.Pos) string {
	return strconv.FormatInt(version, 10) + "_" + strconv.FormatInt(int64(at), 10)
}

func parseConnectionPos(pos string) (version int64, at stream.Pos, err error) {
	v, p, ok := strings.Cut(pos, "_")
	version, err1 := strconv.ParseInt(v, 10, 64)
	n, err2 := strconv.ParseInt(p, 10, 64)
	if !ok || err1 != nil || err2 != nil || version < 0 || n < 0 {
		return 0, 0, errUnknownPos
	}
	return version, stream.Pos(n), nil
}

// connection finds the state that a position refers to.
func (s *Syncs) connection(ctx context.Context, key connKey, version int64) (*connection, error) {
	if version == 0 {
		return &connection{}, nil
	}
	k := versionKey{key, version}
	if c, ok := s.conns.Get(k); ok {
		return c, nil
	}
	raw, err := s.readConnection(ctx, key, version)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errUnknownPos
	}
	c := &connection{version: version}
	var stored storedConnection
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, fmt.Errorf("state of a connection: %w", err)
	}
	c.rooms = stored.unpack()
	s.keepConnection(key, c)
	return c, nil
}

type versionKey struct {
	connKey
	version int64
}

func (s *Syncs) keepConnection(key connKey, c *connection) {
	s.conns.Put(versionKey{key, c.version}, c, int64(200+120*len(c.rooms)))
}

// storedConnection is the row's form: the few different required_state texts stand once.
type storedConnection struct {
	States []string               `json:"states"`
	Rooms  map[id.RoomID][3]int64 `json:"rooms"` // up to, limit, index of the required state
}

func (c *connection) pack() storedConnection {
	out := storedConnection{Rooms: make(map[id.RoomID][3]int64, len(c.rooms))}
	index := map[string]int64{}
	for roomID, r := range c.rooms {
		i, ok := index[r.State]
		if !ok {
			i = int64(len(out.States))
			index[r.State] = i
			out.States = append(out.States, r.State)
		}
		out.Rooms[roomID] = [3]int64{int64(r.UpTo), int64(r.Limit), i}
	}
	return out
}

func (s storedConnection) unpack() map[id.RoomID]sentRoom {
	rooms := make(map[id.RoomID]sentRoom, len(s.Rooms))
	for roomID, v := range s.Rooms {
		r := sentRoom{UpTo: stream.Pos(v[0]), Limit: int(v[1])}
		if i := v[2]; i >= 0 && i < int64(len(s.States)) {
			r.State = s.States[i]
		}
		rooms[roomID] = r
	}
	return rooms
}

// advance makes the next state of a connection and stores it; without changes it is the same one.
func (s *Syncs) advance(ctx context.Context, key connKey, old *connection, changes map[id.RoomID]*sentRoom) (*connection, error) {
	if len(changes) == 0 {
		return old, nil
	}
	version, err := s.DB.NextID(ctx, "sliding_connections")
	if err != nil {
		return nil, fmt.Errorf("number of a connection's state: %w", err)
	}
	next := &connection{version: version, rooms: make(map[id.RoomID]sentRoom, len(old.rooms)+len(changes))}
	maps.Copy(next.rooms, old.rooms)
	for roomID, r := range changes {
		if r == nil {
			delete(next.rooms, roomID)
		} else {
			next.rooms[roomID] = *r
		}
	}
	raw, err := json.Marshal(next.pack())
	if err != nil {
		return nil, err
	}
	if err := s.writeConnection(ctx, key, version, old.version, raw, s.now().UnixMilli()); err != nil {
		return nil, fmt.Errorf("state of a connection: %w", err)
	}
	s.keepConnection(key, next)
	return next, nil
}
