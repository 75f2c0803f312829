package federation

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// outbound turns the stream into rows for destinations and runs the destinations' workers.
type outbound struct {
	f        *Federation
	followed atomic.Int64 // stream position up to which rows have been made here; 0: not known
	txns     atomic.Int64 // numbers transactions
	started  time.Time
	seed     maphash.Seed

	mu      sync.Mutex
	workers map[string]*worker
	away    map[string]bool      // servers that have been failing for long
	heard   map[string]time.Time // when it was last looked whether a server that we hear from is in back-off
	ctx     context.Context      // of run; nil: not running
	wg      sync.WaitGroup
}

func newOutbound(f *Federation) *outbound {
	return &outbound{f: f, started: time.Now(), seed: maphash.MakeSeed(), workers: map[string]*worker{}, away: map[string]bool{}, heard: map[string]time.Time{}}
}

// follow registers the follower: what must arrive becomes rows, what passes stays in memory. It is one follower, so that both
// kinds find the workers on the same replica.
func (o *outbound) follow() {
	o.f.Stream.Follow("federation", stream.Kinds(stream.Event, stream.Membership, stream.DeviceList, stream.ToDevice,
		stream.Typing, stream.Receipt, stream.Presence), o.take)
}

// take handles one batch of the stream.
func (o *outbound) take(ctx context.Context, changes []stream.Change) error {
	r := &rows{o: o, kick: map[string]work{}, newest: map[roomOf]int{}, devices: map[userOf]int{}}
	if err := r.collect(ctx, changes); err != nil {
		return err
	}
	if len(r.unit.Writes) > 0 {
		if _, err := o.f.Stream.Commit(ctx, &r.unit); err != nil {
			return err
		}
	}
	before := stream.Pos(o.followed.Swap(int64(changes[len(changes)-1].Pos)))
	for server, what := range r.kick {
		o.kick(server, what)
	}
	for _, c := range changes {
		if err := o.pass(ctx, c, before); err != nil && ctx.Err() == nil { // it passes: not worth another try
			zerolog.Ctx(ctx).Debug().Err(err).Str("room_id", string(c.RoomID)).Msg("typing, receipt or presence not sent")
		}
	}
	return nil
}

// rows gathers what destinations are to get. Doing it twice adds nothing.
type rows struct {
	o       *outbound
	unit    stream.Unit
	kick    map[string]work
	newest  map[roomOf]int // where the row of outbound_rooms is in unit
	devices map[userOf]int // and that of outbound_devices
	moves   moves
}

type roomOf struct {
	server string
	room   id.RoomID
}

type userOf struct {
	server string
	user   id.UserID
}

func (r *rows) collect(ctx context.Context, changes []stream.Change) error {
	var ids []id.EventID
	for _, c := range changes {
		if (c.Kind == stream.Event || c.Kind == stream.Membership) && c.Ref != "" {
			ids = append(ids, id.EventID(c.Ref))
		}
	}
	events, err := r.o.f.Rooms.Events(ctx, ids)
	if err != nil {
		return err
	}
	r.moves = moves{rooms: r.o.f.Rooms, stream: r.o.f.Stream, upTo: map[id.RoomID][]stream.Change{}}
	for _, c := range changes {
		switch c.Kind {
		case stream.Event, stream.Membership:
			if ev := events[id.EventID(c.Ref)]; ev != nil {
				err = r.event(ctx, ev, c)
			}
		case stream.DeviceList:
			err = r.deviceList(ctx, c)
		case stream.ToDevice:
			if s := c.UserID.Homeserver(); s != r.o.f.ServerName {
				r.kick[s] |= workMessages
			}
		}
		if err != nil && !isNotFound(err) { // a room that is gone has nobody to be told
			return err
		}
	}
	return nil
}

// event adds rows for an event of a user of this server. One that went through another server already, as joins of rooms
// elsewhere do, begins a history whose past is not known here.
func (r *rows) event(ctx context.Context, ev *room.Stored, c stream.Change) error {
	if ev.Sender().Homeserver() == r.o.f.ServerName && !ev.SoftFailed && !ev.Rejected && !(ev.Gap && ev.Type() == "m.room.member") {
		servers, err := r.destinations(ctx, ev)
		if err != nil {
			return err
		}
		r.addEvent(ctx, servers, ev)
	}
	if c.Kind != stream.Membership || c.UserID.Homeserver() != r.o.f.ServerName || ev.Membership() != room.Joined {
		return nil
	}
	return r.introduce(ctx, ev, c)
}

func (r *rows) addEvent(ctx context.Context, servers []string, ev *room.Stored) {
	for _, s := range servers {
		if !r.o.isAway(ctx, s) {
			r.kick[s] |= workEvents
			r.unit.Writes = append(r.unit.Writes, stream.Write{Table: outboundEvents, Row: []any{s, int64(ev.Pos), string(ev.RoomID()), string(ev.ID())}})
			continue
		}
		row := []any{s, string(ev.RoomID()), int64(ev.Pos), string(ev.ID())}
		k := roomOf{s, ev.RoomID()}
		if i, ok := r.newest[k]; ok {
			r.unit.Writes[i].Row = row
			continue
		}
		r.newest[k] = len(r.unit.Writes)
		r.unit.Writes = append(r.unit.Writes, stream.Write{Table: outboundRooms, Row: row})
	}
}

// deviceList adds rows for the changed device list of a user of this server.
func (r *rows) deviceList(ctx context.Context, c stream.Change) error {
	if c.UserID.Homeserver() != r.o.f.ServerName || c.Ref != "" { // with a reference it concerns the user alone
		return nil
	}
	servers, err := r.o.serversOfUser(ctx, c.UserID, "")
	for _, s := range servers {
		r.addDevices(s, c.UserID, c.Pos-1, c.Pos)
	}
	return err
}

// addDevices notes that a server is to hear of a user's devices: what changed behind after, or all with 0.
func (r *rows) addDevices(server string, user id.UserID, after, pos stream.Pos) {
	r.kick[server] |= workDevices
	k := userOf{server, user}
	if i, ok := r.devices[k]; ok {
		row := r.unit.Writes[i].Row
		row[2], row[3] = min(row[2].(int64), int64(after)), max(row[3].(int64), int64(pos))
		return
	}
	r.devices[k] = len(r.unit.Writes)
	r.unit.Writes = append(r.unit.Writes, stream.Write{Table: outboundDevices, Row: []any{server, string(user), int64(after), int64(pos)}})
}

// introduce tells servers that a user shares a room with for the first time the whole of the user's device list.
func (r *rows) introduce(ctx context.Context, ev *room.Stored, c stream.Change) error {
	here, err := r.o.f.Rooms.JoinedServers(ctx, ev.RoomID())
	if err != nil || len(here) < 2 {
		return err
	}
	others, err := r.o.serversOfUser(ctx, c.UserID, ev.RoomID())
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(others)+1)
	known[r.o.f.ServerName] = true
	for _, s := range others {
		known[s] = true
	}
	for _, s := range here {
		if !known[s] {
			r.addDevices(s, c.UserID, 0, c.Pos)
		}
	}
	return nil
}

// forward tells servers of an event that a remote server handed to us for the room (a join, leave or knock).
func (o *outbound) forward(ctx context.Context, ev *room.Stored, except string) error {
	r := &rows{o: o, kick: map[string]work{}, newest: map[roomOf]int{}, devices: map[userOf]int{}}
	r.moves = moves{rooms: o.f.Rooms, stream: o.f.Stream, upTo: map[id.RoomID][]stream.Change{}}
	servers, err := r.destinations(ctx, ev)
	if err != nil {
		return err
	}
	to := servers[:0]
	for _, s := range servers {
		if s != except && s != ev.Sender().Homeserver() {
			to = append(to, s)
		}
	}
	if r.addEvent(ctx, to, ev); len(r.unit.Writes) == 0 {
		return nil
	}
	if _, err := o.f.Stream.Commit(ctx, &r.unit); err != nil {
		return err
	}
	for s, what := range r.kick {
		o.kick(s, what)
	}
	return nil
}

// pass notes typing, receipts and presence of local users for the servers that may want them. before is the position that
// the stream was read to.
func (o *outbound) pass(ctx context.Context, c stream.Change, before stream.Pos) error {
	switch c.Kind {
	case stream.Typing, stream.Receipt, stream.Presence:
	default:
		return nil
	}
	if c.UserID.Homeserver() != o.f.ServerName || (c.Kind == stream.Receipt && c.Ref != ephemeral.Read) || (c.Kind == stream.Presence && o.f.NoPresence) {
		return nil
	}
	var servers []string
	var err error
	if c.Kind == stream.Presence {
		servers, err = o.serversOfUser(ctx, c.UserID, "")
	} else {
		servers, err = o.f.Rooms.JoinedServers(ctx, c.RoomID)
	}
	if before == 0 || before >= c.Pos {
		before = c.Pos - 1
	}
	for _, s := range servers {
		if s != o.f.ServerName && !o.isAway(ctx, s) {
			o.note(s, passingKey{c.Kind, c.RoomID, c.UserID}, before)
		}
	}
	return err
}
