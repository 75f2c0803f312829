package clientsync

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// slideReply is the decoded answer of sliding sync.
type slideReply struct {
	Pos   string `json:"pos"`
	TxnID string `json:"txn_id"`
	Lists map[string]struct {
		Count int `json:"count"`
	} `json:"lists"`
	Rooms      map[id.RoomID]slideRoomReply `json:"rooms"`
	Extensions struct {
		AccountData struct {
			Global []ev               `json:"global"`
			Rooms  map[id.RoomID][]ev `json:"rooms"`
		} `json:"account_data"`
		E2EE     json.RawMessage `json:"e2ee"`
		ToDevice struct {
			Next   string            `json:"next_batch"`
			Events []json.RawMessage `json:"events"`
		} `json:"to_device"`
	} `json:"extensions"`
}

type slideRoomReply struct {
	Initial  bool    `json:"initial"`
	Expanded bool    `json:"expanded_timeline"`
	Name     *string `json:"name"`
	IsDM     bool    `json:"is_dm"`
	State    []ev    `json:"required_state"`
	Timeline []ev    `json:"timeline"`
	Limited  bool    `json:"limited"`
	Prev     string  `json:"prev_batch"`
	Live     int     `json:"num_live"`
	Bump     int64   `json:"bump_stamp"`
	Joined   *int    `json:"joined_count"`
	Invited  *int    `json:"invited_count"`
	Invite   []ev    `json:"invite_state"`
	Heroes   []struct {
		UserID id.UserID `json:"user_id"`
		Name   string    `json:"displayname"`
	} `json:"heroes"`
}

func (w *world) slide(u id.UserID, pos, body string, wait time.Duration) slideReply {
	w.tb.Helper()
	r, err := w.trySlide(u, pos, body, wait)
	w.must(err)
	return r
}

func (w *world) trySlide(u id.UserID, pos, body string, wait time.Duration) (r slideReply, err error) {
	var in SlidingIn
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		w.tb.Fatalf("%v in %s", err, body)
	}
	in.Pos, in.Timeout = pos, wait.Milliseconds()
	a, err := w.syncs.PostSlidingSync(w.ctx, web.Requester{UserID: u, DeviceID: "DEV"}, in)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(a.buf, &r); err != nil {
		w.tb.Fatalf("%v in %s", err, a.buf)
	}
	return r, nil
}

const slideAll = `{"lists":{"all":{"ranges":[[0,99]],"timeline_limit":%d,"required_state":[["*","*"]]}}}`

func TestSlide_RoomListAndSubscription(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		one, two := w.create(a), w.create(a)
		for i := range 5 {
			w.say(a, one, fmt.Sprint("one ", i))
		}
		w.set(a, one, "m.room.name", "", `{"name":"One"}`)
		w.join(b, two)
		const list = `"lists":{"all_rooms":{"ranges":[[0,0]],"timeline_limit":1,"required_state":[["m.room.name",""],["m.room.member","$LAZY"],["m.room.member","$ME"]]}}`
		x := w.slide(a, "", `{`+list+`,"txn_id":"t"}`, 0)
		if x.Lists["all_rooms"].Count != 2 || len(x.Rooms) != 1 || x.TxnID != "t" {
			t.Fatalf("%+v", x)
		}
		r := x.Rooms[one]
		if !r.Initial || *r.Name != "One" || len(r.Timeline) != 1 || !r.Limited || *r.Joined != 1 || len(r.State) != 2 || r.Prev == "" {
			t.Errorf("room %+v", r)
		}
		w.say(b, two, "to the top")
		x = w.slide(a, x.Pos, `{`+list+`}`, time.Second)
		if r = x.Rooms[two]; len(x.Rooms) != 1 || !r.Initial || r.Live != 1 || *r.Joined != 2 || len(r.Heroes) != 1 || r.Heroes[0].UserID != b {
			t.Errorf("rooms %+v", x.Rooms)
		}
		if find(r.State, typeMember, string(b)) == nil {
			t.Error("no member for who spoke")
		}
		y := w.slide(a, x.Pos, `{`+list+`,"room_subscriptions":{"`+string(one)+`":{"timeline_limit":3,"required_state":[["m.room.topic",""],["m.room.create",""]]}}}`, time.Second)
		if r = y.Rooms[one]; r.Initial || !r.Expanded || len(r.Timeline) != 3 || find(r.State, typeCreate, "") == nil || find(r.State, "m.room.name", "") != nil {
			t.Errorf("subscribed room %+v", r)
		}
		z := w.slide(a, y.Pos, `{`+list+`}`, 0)
		if len(z.Rooms) != 0 {
			t.Errorf("nothing happened, but %+v", z.Rooms)
		}
	})
}

func TestSlide_InviteThenJoinThenLeave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.user("a"), w.user("b")
		r := w.create(a)
		all := fmt.Sprintf(slideAll, 5)
		x := w.slide(b, "", all, 0)
		w.invite(a, r, b)
		x = w.slide(b, x.Pos, all, time.Second)
		if i := x.Rooms[r]; !i.Initial || find(i.Invite, typeMember, string(b)) == nil || len(i.Timeline) != 0 {
			t.Errorf("invite %+v", i)
		}
		if got := w.slide(b, "", `{"lists":{"i":{"ranges":[[0,9]],"filters":{"is_invite":true}},"n":{"ranges":[[0,9]],"filters":{"is_invite":false}}}}`, 0); got.Lists["i"].Count != 1 || got.Lists["n"].Count != 0 {
			t.Errorf("filtered %+v", got.Lists)
		}
		w.join(b, r)
		x = w.slide(b, x.Pos, all, time.Second)
		if j := x.Rooms[r]; !j.Initial || find(j.State, typeCreate, "") == nil {
			t.Errorf("join %+v", j)
		}
		w.leave(b, r)
		x = w.slide(b, x.Pos, all, time.Second)
		if l := x.Rooms[r]; l.Initial || find(l.State, typeMember, string(b)) == nil || x.Lists["all"].Count != 0 {
			t.Errorf("leave %+v", l)
		}
		if x = w.slide(b, x.Pos, all, 0); len(x.Rooms) != 0 {
			t.Errorf("after the leave %+v", x.Rooms)
		}
	})
}

func TestSlide_UnknownPositionIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		w.create(a)
		x := w.slide(a, "", fmt.Sprintf(slideAll, 1), 0)
		for _, pos := range []string{"x", "1", "999999_1", "-1_1", strings.Replace(x.Pos, "_", "0_", 1)} {
			_, err := w.trySlide(a, pos, `{}`, 0)
			if resp, ok := web.AsRespError(err); !ok || resp.ErrCode != "M_UNKNOWN_POS" || resp.StatusCode != 400 {
				t.Errorf("%s: %v", pos, err)
			}
		}
		if _, err := w.trySlide(a, x.Pos, `{"conn_id":"other"}`, 0); err == nil {
			t.Error("a position of another connection is taken")
		}
		w.must(w.syncs.ForgetDevice(w.ctx, a, "DEV"))
		w.syncs.conns = newTestConns()
		if _, err := w.trySlide(a, x.Pos, `{}`, 0); err == nil {
			t.Error("the connection of a deleted device lives")
		}
	})
}

// An answer that never arrived is asked for again, and any process can give it.
func TestSlide_LostAnswerAndAnotherProcess(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		one := w.create(a)
		all := fmt.Sprintf(slideAll, 3)
		x := w.slide(a, "", all, 0)
		two := w.create(a)
		for range 3 {
			w.syncs.conns = newTestConns() // as if another process answered
			y := w.slide(a, x.Pos, all, 0)
			if len(y.Rooms) != 1 || !y.Rooms[two].Initial {
				t.Errorf("again: %+v", y.Rooms)
			}
		}
		y := w.slide(a, x.Pos, all, 0)
		w.say(a, one, "hello")
		if z := w.slide(a, y.Pos, all, 0); len(z.Rooms) != 1 || z.Rooms[one].Initial {
			t.Errorf("afterwards: %+v", z.Rooms)
		}
	})
}

func TestSlide_FiltersAndExtensions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		dm, space, secret := w.create(a), w.create(a, room.CreateInput{Preset: "public_chat", CreationContent: json.RawMessage(`{"type":"m.space"}`)}), w.create(a)
		w.set(a, secret, "m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`)
		w.must(w.accounts.SetAccountData(w.ctx, a, "", "m.direct", json.RawMessage(fmt.Sprintf(`{"@b:hs1":[%q]}`, dm))))
		w.must(w.accounts.SetAccountData(w.ctx, a, secret, "m.tag", json.RawMessage(`{"tags":{"m.favourite":{}}}`)))
		for filter, want := range map[string][]id.RoomID{
			`{"is_dm":true}`:                                   {dm},
			`{"is_dm":false,"room_types":[null]}`:              {secret},
			`{"room_types":["m.space"]}`:                       {space},
			`{"not_room_types":["m.space"],"is_dm":false}`:     {secret},
			`{"is_encrypted":true}`:                            {secret},
			`{"tags":["m.favourite"]}`:                         {secret},
			`{"not_tags":["m.favourite"],"room_types":[null]}`: {dm},
		} {
			x := w.slide(a, "", `{"lists":{"l":{"ranges":[[0,9]],"filters":`+filter+`}}}`, 0)
			var got []id.RoomID
			for r := range x.Rooms {
				got = append(got, r)
			}
			if !slices.Equal(got, want) || x.Lists["l"].Count != len(want) {
				t.Errorf("%s: %v, want %v", filter, got, want)
			}
		}
		body := `{"lists":{"l":{"ranges":[[0,9]]}},"extensions":{"account_data":{"enabled":true},"e2ee":{"enabled":true},"to_device":{"enabled":true},"receipts":{"enabled":true,"rooms":["*"]},"typing":{"enabled":true}}}`
		x := w.slide(a, "", body, 0)
		equal(t, "global", types(x.Extensions.AccountData.Global), []string{"m.direct", "m.push_rules"})
		equal(t, "room", types(x.Extensions.AccountData.Rooms[secret]), []string{"m.tag"})
		w.must(w.accounts.SetAccountData(w.ctx, a, dm, "org.example.x", json.RawMessage(`{"x":1}`)))
		y := w.slide(a, x.Pos, body, time.Second)
		equal(t, "changed", types(y.Extensions.AccountData.Rooms[dm]), []string{"org.example.x"})
		if len(y.Rooms) != 0 || len(y.Extensions.AccountData.Global) != 0 {
			t.Errorf("too much: %+v", y)
		}
	})
}

// slideModel adds up what sliding sync tells it.
type slideModel struct {
	user  id.UserID
	pos   string
	rooms map[id.RoomID]*roomModel
}

func (m *slideModel) sync(w *world, body string, wait time.Duration) error {
	r, err := w.trySlide(m.user, m.pos, body, wait)
	if err != nil {
		return err
	}
	m.pos = r.Pos
	for roomID, x := range r.Rooms {
		rm := m.rooms[roomID]
		if x.Initial {
			rm = &roomModel{state: map[string]id.EventID{}}
			m.rooms[roomID] = rm
		}
		if x.Invite != nil {
			delete(m.rooms, roomID)
			continue
		}
		if own := find(x.State, typeMember, string(m.user)); rm == nil && own != nil && len(x.State) == 1 {
			continue // an invite that ended
		}
		if rm == nil {
			return fmt.Errorf("%s: first sent without initial", roomID)
		}
		if x.Limited || x.Expanded {
			rm.timeline = nil
		}
		for _, e := range x.State {
			rm.state[key(e.Type, *e.StateKey)] = e.ID
		}
		for _, e := range x.Timeline {
			if slices.Contains(rm.timeline, e.ID) {
				return fmt.Errorf("%s twice", e.ID)
			}
			rm.timeline = append(rm.timeline, e.ID)
		}
		if x.Joined != nil {
			rm.joined, rm.invited = *x.Joined, *x.Invited
		}
		if own := find(x.State, typeMember, string(m.user)); own != nil {
			var c struct{ Membership string }
			_ = json.Unmarshal(own.Content, &c)
			if c.Membership != memberJoin {
				delete(m.rooms, roomID)
			}
		}
	}
	return nil
}

func (m *slideModel) check(w *world) error {
	members, err := w.rooms.Memberships(w.ctx, m.user)
	w.must(err)
	v := newModel("sliding", m.user, syncOptions{}, false)
	for roomID, mem := range members {
		rm := m.rooms[roomID]
		if (mem.Membership == memberJoin) != (rm != nil) {
			return fmt.Errorf("%s: membership %s, client has room: %v", roomID, mem.Membership, rm != nil)
		}
		if rm == nil {
			continue
		}
		if err := v.checkRoom(w, roomID, rm); err != nil {
			return fmt.Errorf("%s: %w", roomID, err)
		}
	}
	return nil
}

// Windows that show and hide rooms, subscriptions that come and go: whenever all rooms are in the window, the client is right.
func TestSlide_IncrementsAddUpToTheRooms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for seed := range seeds() {
			slideUp(t, w, seed)
		}
	})
}

func slideUp(t *testing.T, w *world, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	h := &history{w: w, rng: rng, where: map[id.EventID]id.RoomID{}}
	for i := range 3 {
		h.users = append(h.users, w.user(fmt.Sprintf("s%d-%d", seed, i)))
	}
	var models []*slideModel
	for i := range 4 {
		r := w.create(h.users[i%3])
		_, _ = w.rooms.Send(w.ctx, room.SendInput{RoomID: r, Sender: h.users[i%3], Type: "m.room.power_levels", StateKey: new(string),
			Content: json.RawMessage(`{"state_default":0,"redact":0,"kick":0,"ban":0,"invite":0,"events":{}}`)})
		h.rooms = append(h.rooms, r)
	}
	for _, u := range h.users {
		models = append(models, &slideModel{user: u, rooms: map[id.RoomID]*roomModel{}})
	}
	for step := range 200 {
		h.step()
		for _, m := range models {
			if rng.IntN(6) != 0 {
				continue
			}
			width, limit := []int{0, 1, 50}[rng.IntN(3)], []int{0, 1, 4, 20}[rng.IntN(4)]
			subs := ""
			if rng.IntN(3) == 0 {
				subs = fmt.Sprintf(`,"room_subscriptions":{%q:{"timeline_limit":%d,"required_state":[["*","*"]]}}`, h.rooms[rng.IntN(4)], rng.IntN(10))
			}
			body := fmt.Sprintf(`{"lists":{"l":{"ranges":[[0,%d]],"timeline_limit":%d,"required_state":[["*","*"]]}}%s}`, width, limit, subs)
			if rng.IntN(10) == 0 {
				_, err := w.trySlide(m.user, m.pos, body, 0) // an answer that gets lost
				w.must(err)
			}
			if err := m.sync(w, body, 0); err != nil {
				t.Fatalf("seed %d step %d, %s: %v", seed, step, m.user, err)
			}
			if width < 50 {
				continue
			}
			if err := m.check(w); err != nil {
				t.Fatalf("seed %d step %d, %s: %v", seed, step, m.user, err)
			}
		}
	}
}

func TestSlide_RequiredState(t *testing.T) {
	parse := func(s string) *wanted {
		var r requiredStateIn
		if err := json.Unmarshal([]byte(s), &r); err != nil {
			t.Fatal(err)
		}
		return (&wanted{}).with(0, parsePatterns(newWanted(roomConfigIn{RequiredState: r}).text))
	}
	for _, c := range []struct {
		want string
		key  event.Key
		ok   bool
	}{
		{`[["m.room.name",""]]`, event.Key{Type: "m.room.name"}, true},
		{`[["m.room.name","*"]]`, event.Key{Type: "m.room.name", StateKey: "x"}, true},
		{`[["*","*"]]`, event.Key{Type: typeMember, StateKey: "@b:hs1"}, true},
		{`[["*","*"],["m.room.member","$LAZY"]]`, event.Key{Type: typeMember, StateKey: "@b:hs1"}, false},
		{`[["*","*"],["m.room.member","$LAZY"],["m.room.member","$ME"]]`, event.Key{Type: typeMember, StateKey: "@a:hs1"}, true},
		{`[["m.room.member","$LAZY"]]`, event.Key{Type: typeMember, StateKey: "$LAZY"}, false},
		{`{"include":[{"type":"m.room.name"}],"lazy_members":true}`, event.Key{Type: "m.room.name", StateKey: "y"}, true},
		{`[]`, event.Key{Type: "m.room.name"}, false},
	} {
		w := parse(c.want)
		if got := w.matches("@a:hs1", c.key.Type, c.key.StateKey); got != c.ok {
			t.Errorf("%s %v: %v", c.want, c.key, got)
		}
	}
}

func TestSlide_WaitEndsEmpty(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.user("a")
		w.create(a)
		all := fmt.Sprintf(slideAll, 1)
		x := w.slide(a, "", all, 0)
		y := w.slide(a, x.Pos, all, 30*time.Millisecond)
		if len(y.Rooms) != 0 || y.Lists["all"].Count != 1 {
			t.Errorf("%+v", y)
		}
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		var in SlidingIn
		in.Pos, in.Timeout = y.Pos, 60_000
		if _, err := w.syncs.PostSlidingSync(ctx, web.Requester{UserID: a, DeviceID: "DEV"}, in); err == nil {
			t.Error("a request that nobody waits for goes on")
		}
	})
}
