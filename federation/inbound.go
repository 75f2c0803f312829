package federation

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/web"
)

const (
	// answersKept and answersPDUs bound the transactions whose answer is kept in memory, and the events in those answers;
	// answersLife how long.
	answersKept = 10_000
	answersPDUs = 100_000
	answersLife = 30 * time.Minute
	// maxWaiting bounds the transactions of one server that wait for the one in work, maxBacklog the events of one server
	// that wait for their rooms. Above, the server is told to come later.
	maxWaiting = 20
	maxBacklog = 5000
)

// inbound takes what other servers send.
type inbound struct {
	f *Federation

	mu      sync.Mutex
	answers map[string]*answer // origin + transaction ID
	order   []*answer
	pdus    int // in order
	turns   map[string]*turn
	staged  map[string]int // events that wait for their rooms, by origin, as far as they came in here
	staging
}

// answer is a transaction in work or done. done is closed when out is set.
type answer struct {
	key  string
	done chan struct{}
	out  sendOut
	err  error
	at   time.Time
	pdus int
}

// turn lets one transaction of a server be in work at a time.
type turn struct {
	slot  chan struct{}
	users int
}

func newInbound(f *Federation) *inbound {
	return &inbound{f: f, answers: map[string]*answer{}, turns: map[string]*turn{}, staged: map[string]int{}, staging: newStaging(f.Rooms)}
}

// receive takes one transaction. The same one again gets the same answer and is not looked at. After a restart it is: then
// all that is in it is recognised by itself, events by their IDs, to-device messages by theirs, device lists by their numbers.
func (in *inbound) receive(ctx context.Context, origin, txnID string, t *event.Transaction) (sendOut, error) {
	a, first := in.answerFor(origin+"\x00"+txnID, len(t.PDUs))
	if !first {
		select {
		case <-a.done:
			return a.out, a.err
		case <-ctx.Done():
			return sendOut{}, ctx.Err()
		}
	}
	defer func() {
		if a.err != nil {
			in.mu.Lock()
			delete(in.answers, a.key)
			in.mu.Unlock()
		}
		close(a.done)
	}()
	release, err := in.takeTurn(ctx, origin)
	if err != nil {
		a.err = err
		return a.out, a.err
	}
	defer release()
	a.out, a.err = in.process(ctx, origin, t)
	return a.out, a.err
}

// answerFor finds the answer of a transaction, or makes it: then first is true.
func (in *inbound) answerFor(key string, pdus int) (a *answer, first bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if a := in.answers[key]; a != nil {
		return a, false
	}
	a = &answer{key: key, done: make(chan struct{}), at: time.Now(), pdus: pdus, err: errors.New("the transaction was not finished")}
	in.answers[key] = a
	in.order = append(in.order, a)
	in.pdus += pdus
	for len(in.order) > 1 && (len(in.order) > answersKept || in.pdus > answersPDUs || time.Since(in.order[0].at) > answersLife) {
		old := in.order[0]
		in.order[0], in.order = nil, in.order[1:]
		in.pdus -= old.pdus
		if in.answers[old.key] == old {
			delete(in.answers, old.key)
		}
	}
	return a, true
}

// takeTurn waits until no other transaction of the server is in work.
func (in *inbound) takeTurn(ctx context.Context, origin string) (release func(), err error) {
	in.mu.Lock()
	t := in.turns[origin]
	if t == nil {
		t = &turn{slot: make(chan struct{}, 1)}
		in.turns[origin] = t
	}
	if t.users > maxWaiting || in.staged[origin] > maxBacklog {
		in.mu.Unlock()
		return nil, web.LimitExceeded(5 * time.Second)
	}
	t.users++
	in.mu.Unlock()
	leave := func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(in.turns, origin)
		}
	}
	select {
	case t.slot <- struct{}{}:
		return func() { <-t.slot; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// process checks the events' form, stages them, applies EDUs, and wakes the rooms' workers.
func (in *inbound) process(ctx context.Context, origin string, t *event.Transaction) (sendOut, error) {
	metricReceived.Add(float64(len(t.PDUs)))
	out := sendOut{PDUs: make(map[id.EventID]pduResult, len(t.PDUs))}
	c := checking{in: in, origin: origin, rooms: map[id.RoomID]*admission{}}
	evs := make([]*event.Event, len(t.PDUs))
	good := 0
	for i, raw := range t.PDUs {
		ev, refused, err := c.check(ctx, raw)
		switch {
		case err != nil: // we are at fault: the server shall send all of it again
			return sendOut{}, err
		case ev == nil: // there is no ID to answer for
		case refused != nil:
			out.PDUs[ev.ID()] = pduResult{Error: refused.Error()}
		default:
			out.PDUs[ev.ID()] = pduResult{}
			evs[i] = ev
			good++
		}
	}
	if good > 0 {
		if err := in.stage(ctx, origin, t.PDUs, evs, good); err != nil {
			return sendOut{}, err
		}
	}
	in.applyEDUs(ctx, origin, t.EDUs)
	// The rest of a transaction whose sender hung up comes again.
	return out, ctx.Err()
}

// stage writes the events down and wakes their rooms.
func (in *inbound) stage(ctx context.Context, origin string, raws []json.RawMessage, evs []*event.Event, n int) error {
	first, err := in.f.DB.NextIDs(ctx, "staged", n)
	if err != nil {
		return err
	}
	u := &stream.Unit{Writes: make([]stream.Write, 0, n)}
	rooms := make(map[id.RoomID]struct{}, 1)
	now := time.Now()
	for i, ev := range evs {
		if ev == nil {
			continue
		}
		rooms[ev.RoomID()] = struct{}{}
		u.Writes = append(u.Writes, stream.Write{Table: stagedTable, Row: []any{first + int64(len(u.Writes)), string(ev.RoomID()), origin,
			string(ev.ID()), string(raws[i]), now.UnixMilli(), now.Add(adoptAfter).UnixMilli(), int64(0)}})
	}
	in.count(origin, n)
	if _, err := in.f.Stream.Commit(ctx, u); err != nil {
		in.count(origin, -n)
		return err
	}
	for r := range rooms {
		in.start(r)
	}
	return nil
}

// count keeps the number of events of a server that wait.
func (in *inbound) count(origin string, n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.staged[origin] = max(in.staged[origin]+n, 0); in.staged[origin] == 0 {
		delete(in.staged, origin)
	}
}

// checking looks at the events of one transaction.
type checking struct {
	in     *inbound
	origin string
	rooms  map[id.RoomID]*admission
}

// admission is whether a server may send events into a room. The version is that of no room if there is no such room.
type admission struct {
	known   bool
	version event.Version
	refused error
}

var errNotAllowed = errors.New("your server is not allowed in this room")

// check parses one event and refuses what can be refused without the room's history. An event of nil means that there is
// nothing to answer for; err is a fault of ours.
func (c *checking) check(ctx context.Context, raw json.RawMessage) (ev *event.Event, refused, err error) {
	roomID, kind, perr := event.RoomIDOfUntrusted(raw)
	if perr != nil || roomID == "" {
		c.log(ctx, kind, roomID, perr)
		return nil, nil, nil
	}
	a := c.rooms[roomID]
	if a == nil {
		if a, err = c.in.admit(ctx, roomID, c.origin); err != nil {
			return nil, nil, err
		}
		c.rooms[roomID] = a
	}
	if !a.known {
		return nil, nil, nil
	}
	ev, perr = event.ParseUntrusted(a.version, raw)
	if perr != nil {
		c.log(ctx, kind, roomID, perr)
		return nil, nil, nil
	}
	return ev, a.refused, nil
}

func (c *checking) log(ctx context.Context, kind string, roomID id.RoomID, err error) {
	zerolog.Ctx(ctx).Info().Str("server", c.origin).Str("room_id", string(roomID)).Str("event_type", clipped(kind, 64)).Err(err).Msg("event refused")
}

// admit looks a room up. Only a room that certainly is not known here may be passed over: what cannot be looked up now may
// be known.
func (in *inbound) admit(ctx context.Context, roomID id.RoomID, origin string) (*admission, error) {
	info, err := in.f.Rooms.Info(ctx, roomID)
	if isNotFound(err) {
		return &admission{}, nil
	}
	if err != nil {
		return nil, err
	}
	a := &admission{known: true, version: info.Version}
	if !info.Known {
		return a, nil
	}
	allowed, err := in.f.Rooms.AllowedByACL(ctx, roomID, origin)
	if err != nil {
		return nil, err
	}
	if !allowed {
		a.refused = errNotAllowed
	}
	return a, nil
}

func isNotFound(err error) bool {
	var resp mautrix.RespError
	return errors.As(err, &resp) && resp.StatusCode == http.StatusNotFound
}

// refusal says that a room has decided about an event and would decide the same again.
func refusal(err error) bool {
	var resp mautrix.RespError
	return errors.As(err, &resp) && resp.StatusCode/100 == 4
}

// receiver is what takes staged events: *room.Rooms.
type receiver interface {
	Receive(ctx context.Context, origin string, roomID id.RoomID, evs []*event.Event) map[id.EventID]error
	Info(ctx context.Context, roomID id.RoomID) (room.Info, error)
}

func clipped(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
