package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// model is a client that only adds up what /sync tells it.
type model struct {
	name    string
	user    id.UserID
	fixed   syncOptions
	since   string
	lazy    bool
	rooms   map[id.RoomID]*roomModel
	invites map[id.RoomID]bool
}

type roomModel struct {
	state           map[string]id.EventID
	joined, invited int
	timeline        []id.EventID // since the last gap
	senders         map[id.UserID]bool
}

func key(evType, stateKey string) string { return evType + "\x00" + stateKey }

func newModel(name string, user id.UserID, o syncOptions, lazy bool) *model {
	return &model{name: name, user: user, fixed: o, lazy: lazy, rooms: map[id.RoomID]*roomModel{}, invites: map[id.RoomID]bool{}}
}

// sync asks with a timeline limit and adds up the answer.
func (m *model) sync(w *world, limit int) error {
	o := m.fixed
	o.since = m.since
	o.filter = fmt.Sprintf(o.filter, limit)
	r := w.sync(m.user, o)
	if m.since != "" {
		before, _ := stream.ParseToken(m.since)
		if after, _ := stream.ParseToken(r.NextBatch); after < before {
			return fmt.Errorf("token went back from %s to %s", m.since, r.NextBatch)
		}
	}
	m.since = r.NextBatch
	for roomID, j := range r.Rooms.Join {
		delete(m.invites, roomID)
		rm := m.rooms[roomID]
		if rm == nil {
			rm = &roomModel{state: map[string]id.EventID{}, senders: map[id.UserID]bool{}}
			m.rooms[roomID] = rm
		} else if j.Timeline.Limited {
			rm.timeline = nil
		}
		if err := rm.add(j, o.after); err != nil {
			return fmt.Errorf("%s: %w", roomID, err)
		}
	}
	for roomID := range r.Rooms.Leave {
		delete(m.rooms, roomID)
		delete(m.invites, roomID)
	}
	for roomID := range r.Rooms.Invite {
		m.invites[roomID] = true
		delete(m.rooms, roomID)
	}
	return nil
}

func (rm *roomModel) add(j joinedReply, after bool) error {
	state := j.State
	if after {
		state = j.StateAfter
	}
	if state == nil {
		return fmt.Errorf("no state member, after=%v", after)
	}
	for _, e := range state.Events {
		rm.state[key(e.Type, *e.StateKey)] = e.ID
	}
	for _, e := range j.Timeline.Events {
		if slices.Contains(rm.timeline, e.ID) {
			return fmt.Errorf("%s twice", e.ID)
		}
		rm.timeline = append(rm.timeline, e.ID)
		rm.senders[e.Sender] = true
		if !after && e.StateKey != nil {
			rm.state[key(e.Type, *e.StateKey)] = e.ID
		}
	}
	if j.Summary.Joined != nil {
		rm.joined, rm.invited = *j.Summary.Joined, *j.Summary.Invited
	}
	return nil
}

// check compares with the slow reference: the rooms themselves.
func (m *model) check(w *world) error {
	members, err := w.rooms.Memberships(w.ctx, m.user)
	w.must(err)
	for roomID, mem := range members {
		if (mem.Membership == memberInvite) != m.invites[roomID] {
			return fmt.Errorf("%s: membership %s, client has invite: %v", roomID, mem.Membership, m.invites[roomID])
		}
		rm := m.rooms[roomID]
		if (mem.Membership == memberJoin) != (rm != nil) {
			return fmt.Errorf("%s: membership %s, client has room: %v", roomID, mem.Membership, rm != nil)
		}
		if rm == nil {
			continue
		}
		if err := m.checkRoom(w, roomID, rm); err != nil {
			return fmt.Errorf("%s: %w", roomID, err)
		}
	}
	if len(m.rooms) > len(members) {
		return fmt.Errorf("client has rooms that are none")
	}
	return nil
}

func (m *model) checkRoom(w *world, roomID id.RoomID, rm *roomModel) error {
	st, err := w.rooms.State(w.ctx, roomID)
	w.must(err)
	want := map[string]id.EventID{}
	st.Range(func(k event.Key, ref room.Ref) bool {
		want[key(k.Type, k.StateKey)] = ref.EventID
		return true
	})
	for u := range rm.senders {
		if _, ok := rm.state[key(typeMember, string(u))]; !ok && want[key(typeMember, string(u))] != "" {
			return fmt.Errorf("%s spoke, but is not known", u)
		}
	}
	if m.lazy { // what it has must be right, and it has all but members, of whom it has those who spoke
		for k, e := range want {
			got, ok := rm.state[k]
			if ok && got != e || !ok && k[:min(len(k), len(typeMember))] != typeMember {
				return fmt.Errorf("lazy: %q is %q, want %q", k, got, e)
			}
		}
	} else if !maps.Equal(want, rm.state) {
		return fmt.Errorf("state differs: %s", difference(want, rm.state))
	}
	joined, invited, err := w.rooms.Counts(w.ctx, roomID)
	w.must(err)
	if joined != rm.joined || invited != rm.invited {
		return fmt.Errorf("counts %d %d, client has %d %d", joined, invited, rm.joined, rm.invited)
	}
	return m.checkTimeline(w, roomID, rm)
}

// checkTimeline: from the first event it has on, the client misses none that it may see.
func (m *model) checkTimeline(w *world, roomID id.RoomID, rm *roomModel) error {
	if len(rm.timeline) == 0 {
		return nil
	}
	all, _, err := w.rooms.Live(w.ctx, roomID, 0, w.stream.Head(), 100_000)
	w.must(err)
	visible, err := w.times.Visible(w.ctx, m.user, all)
	w.must(err)
	start := slices.IndexFunc(visible, func(s *room.Stored) bool { return s.ID() == rm.timeline[0] })
	if start < 0 {
		return fmt.Errorf("first event %s is not visible", rm.timeline[0])
	}
	var want []id.EventID
	for _, s := range visible[start:] {
		want = append(want, s.ID())
	}
	if !slices.Equal(want, rm.timeline) {
		return fmt.Errorf("timeline has %d events %v, want %d %v", len(rm.timeline), rm.timeline, len(want), want)
	}
	return nil
}

func difference(want, got map[string]id.EventID) string {
	var out []string
	for k, v := range want {
		if got[k] != v {
			out = append(out, fmt.Sprintf("%q: want %s, got %q", k, v, got[k]))
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			out = append(out, fmt.Sprintf("%q: %s too much", k, v))
		}
	}
	return fmt.Sprint(out)
}

// history makes something random happen; what the rules forbid does not happen.
type history struct {
	w     *world
	rng   *rand.Rand
	users []id.UserID
	rooms []id.RoomID
	said  []id.EventID
	where map[id.EventID]id.RoomID
	n     int
}

func (h *history) step() {
	w, rng := h.w, h.rng
	u, v := h.users[rng.IntN(len(h.users))], h.users[rng.IntN(len(h.users))]
	r := h.rooms[rng.IntN(len(h.rooms))]
	h.n++
	member := func(do func(ctx context.Context, in room.MemberInput) error) {
		_ = do(w.ctx, room.MemberInput{RoomID: r, Sender: u, Target: v})
	}
	put := func(evType, k string, content any) {
		raw, _ := json.Marshal(content)
		_, _ = w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: u, Type: evType, StateKey: &k, Content: raw})
	}
	switch n := rng.IntN(100); {
	case n < 40:
		raw, _ := json.Marshal(map[string]any{"msgtype": "m.text", "body": fmt.Sprint(h.n)})
		e, err := w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: u, Type: "m.room.message", Content: raw})
		if err == nil {
			h.said = append(h.said, e)
			h.where[e] = r
		}
	case n < 55:
		put("m.room.topic", "", map[string]any{"topic": fmt.Sprint(h.n)})
	case n < 60:
		put("org.example.thing", fmt.Sprint(rng.IntN(3)), map[string]any{"n": h.n})
	case n < 62:
		put("m.room.history_visibility", "", map[string]any{"history_visibility": []string{"shared", "joined", "invited", "world_readable"}[rng.IntN(4)]})
	case n < 75:
		_, _ = w.rooms.Join(w.ctx, room.JoinInput{User: u, RoomIDOrAlias: string(r)})
	case n < 82:
		_ = w.rooms.Leave(w.ctx, room.MemberInput{RoomID: r, Sender: u})
	case n < 88:
		member(w.rooms.Invite)
	case n < 91:
		member(w.rooms.Kick)
	case n < 93:
		member(w.rooms.Ban)
	case n < 96:
		member(w.rooms.Unban)
	case len(h.said) > 0:
		e := h.said[rng.IntN(len(h.said))]
		_, _ = w.rooms.Redact(w.ctx, room.SendInput{RoomID: h.where[e], Sender: u, Redacts: e, Content: json.RawMessage(`{}`)})
	}
}

// The heart of /sync: whatever happens, and however a client asks, what it adds up is what the rooms are.
func TestSync_IncrementsAddUpToTheRooms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		w := newWorld(t, db)
		for seed := range seeds() {
			t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { addUp(t, w, seed) })
		}
	})
}

// seeds can be raised through the environment to look for rare histories.
func seeds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("VIADUC_TEST_SEEDS"), 10, 32); err == nil {
		return n
	}
	return 4
}

func addUp(t *testing.T, w *world, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	h := &history{w: w, rng: rng, where: map[id.EventID]id.RoomID{}}
	for i := range 4 {
		h.users = append(h.users, w.user(fmt.Sprintf("u%d-%d", seed, i)))
	}
	for i := range 3 {
		r := w.create(h.users[i])
		// Everybody may do everything, so that much happens.
		_, _ = w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: h.users[i], Type: "m.room.power_levels", StateKey: new(string),
			Content: json.RawMessage(`{"state_default":0,"redact":0,"kick":0,"ban":0,"invite":0,"events":{}}`)})
		h.rooms = append(h.rooms, r)
	}
	const plain = `{"room":{"timeline":{"limit":%d}}}`
	const lazy = `{"room":{"timeline":{"limit":%d},"state":{"lazy_load_members":true}}}`
	var models []*model
	for i, u := range h.users {
		models = append(models,
			newModel("plain", u, syncOptions{filter: plain, device: "A"}, false),
			newModel("after", u, syncOptions{filter: plain, after: true, device: "B"}, false),
			newModel("lazy", u, syncOptions{filter: lazy, device: "C", after: i%2 == 0}, true))
	}
	for step := range 220 {
		h.step()
		for _, m := range models {
			if rng.IntN(12) != 0 {
				continue
			}
			limit := []int{0, 1, 2, 5, 30}[rng.IntN(5)]
			if err := m.sync(w, limit); err != nil {
				t.Fatalf("step %d, %s of %s, limit %d: %v", step, m.name, m.user, limit, err)
			}
			if err := m.check(w); err != nil {
				t.Fatalf("step %d, %s of %s, limit %d: %v", step, m.name, m.user, limit, err)
			}
		}
	}
	for _, m := range models {
		fresh := newModel("fresh "+m.name, m.user, m.fixed, m.lazy)
		for _, c := range []*model{m, fresh} {
			if err := c.sync(w, 10); err != nil {
				t.Fatal(c.name, err)
			}
			if err := c.check(w); err != nil {
				t.Fatalf("at the end, %s of %s: %v", c.name, c.user, err)
			}
		}
	}
}
