package room

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// chaos is a world in which everybody acts at once and the post is slow, doubled and out of order.
type chaos struct {
	*network
	room    id.RoomID
	version string
	rng     *rand.Rand
	worlds  []*world
	sent    map[*world]stream.Pos
	mu      sync.Mutex
	post    map[[2]*world][]*event.Event // on its way from one to another
}

// collect puts a server's new events into the post.
func (c *chaos) collect() {
	for _, w := range c.worlds {
		head := w.stream.Head()
		list, _, err := w.Live(w.ctx, c.room, c.sent[w], head, 10_000)
		if err != nil {
			c.t.Fatal(err)
		}
		c.sent[w] = head
		for _, s := range list {
			if s.SenderServer() != w.server {
				continue
			}
			for _, to := range c.worlds {
				if to != w {
					c.post[[2]*world{w, to}] = append(c.post[[2]*world{w, to}], s.Event)
				}
			}
		}
	}
}

// action is something that somebody does, or nothing if they may not.
func (c *chaos) action() func() error {
	w := c.worlds[c.rng.IntN(len(c.worlds))]
	users := []id.UserID{w.user("one"), w.user("two"), w.user("three")}
	user := users[c.rng.IntN(len(users))]
	any := c.worlds[c.rng.IntN(len(c.worlds))].user([]string{"one", "two", "three"}[c.rng.IntN(3)])
	n := c.rng.IntN(1000)
	state := func(evType, content string) func() error {
		empty := ""
		return func() error {
			_, err := w.Send(w.ctx, SendInput{RoomID: c.room, Sender: user, Type: evType, StateKey: &empty, Content: []byte(content)})
			return err
		}
	}
	member := MemberInput{RoomID: c.room, Sender: user, Target: any}
	switch c.rng.IntN(14) {
	case 0, 1:
		return state("m.room.topic", fmt.Sprintf(`{"topic":"%d"}`, n))
	case 2:
		return state("m.room.name", fmt.Sprintf(`{"name":"%d"}`, n))
	case 3:
		return state(typeJoinRules, fmt.Sprintf(`{"join_rule":%q}`, []string{"public", "invite"}[n%2]))
	case 4:
		levels := fmt.Sprintf(`{"users":{%s%q:%d,%q:%d},"state_default":50}`, c.creatorLevel(), any, n%3*50, c.worlds[1].user("one"), 50+n%2*50)
		return state(typePowerLevels, levels)
	case 5:
		return func() error { return w.Ban(w.ctx, member) }
	case 6:
		return func() error { return w.Unban(w.ctx, member) }
	case 7:
		return func() error { return w.Kick(w.ctx, member) }
	case 8:
		return func() error { return w.Leave(w.ctx, MemberInput{RoomID: c.room, Sender: user}) }
	case 9, 10, 11:
		return func() error {
			_, err := w.Join(w.ctx, JoinInput{User: user, RoomIDOrAlias: string(c.room), Via: []string{here, there}})
			return err
		}
	}
	return func() error {
		_, err := w.Send(w.ctx, SendInput{RoomID: c.room, Sender: user, Type: "m.room.message", Content: message(fmt.Sprint(n))})
		return err
	}
}

func (c *chaos) creatorLevel() string {
	if c.version == "12" {
		return ""
	}
	return fmt.Sprintf("%q:100,", c.worlds[0].user("one"))
}

// delivery takes some of the post of one way, in any order; some of it stays there too.
func (c *chaos) delivery(all bool) func() error {
	from, to := c.worlds[c.rng.IntN(len(c.worlds))], c.worlds[c.rng.IntN(len(c.worlds))]
	way := [2]*world{from, to}
	list := c.post[way]
	if from == to || len(list) == 0 {
		return func() error { return nil }
	}
	n := 1 + c.rng.IntN(min(len(list), 8))
	if all {
		n = len(list)
	} else {
		c.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	part := append([]*event.Event(nil), list[:n]...)
	if !all && c.rng.IntN(3) == 0 {
		return func() error { c.deliver(from, to, part...); return nil } // it comes again later
	}
	c.post[way] = list[n:]
	return func() error {
		for _, err := range c.deliver(from, to, part...) {
			if err != nil && !all {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.post[way] = append(c.post[way], part...)
				return nil
			}
		}
		return nil
	}
}

// settle delivers everything and lets the servers join the ends of their histories, until they agree.
func (c *chaos) settle() bool {
	for range 6 {
		c.collect()
		for len(c.post) > 0 {
			for way, list := range c.post {
				delete(c.post, way)
				if len(list) > 0 {
					c.deliver(way[0], way[1], list...)
				}
			}
			c.collect()
		}
		if c.agree() {
			return true
		}
		for _, w := range c.worlds {
			for _, name := range []string{"one", "two", "three"} {
				if w.membership(c.room, w.user(name)) == Joined {
					w.say(c.room, w.user(name), "settling")
					break
				}
			}
		}
	}
	return false
}

func (c *chaos) agree() bool {
	first := c.worlds[0].state(c.room)
	for _, w := range c.worlds[1:] {
		other := w.state(c.room)
		if len(other) != len(first) {
			return false
		}
		for k, v := range first {
			if other[k] != v {
				return false
			}
		}
	}
	return true
}

func runChaos(t *testing.T, n *network, version string, seed uint64) {
	c := &chaos{network: n, version: version, rng: rand.New(rand.NewPCG(seed, 7)), sent: map[*world]stream.Pos{}, post: map[[2]*world][]*event.Event{}}
	for _, name := range []string{here, there, third} {
		if w := n.servers[name]; w != nil {
			c.worlds = append(c.worlds, w)
		}
	}
	a, b := c.worlds[0], c.worlds[1]
	for _, w := range c.worlds {
		c.sent[w] = w.stream.Head()
	}
	c.room = a.create(CreateInput{Creator: a.user("one"), Version: version, Preset: "public_chat"})
	for _, w := range c.worlds[1:] {
		w.joinVia(c.room, w.user("one"), here)
	}
	empty := ""
	if _, err := a.Send(a.ctx, SendInput{RoomID: c.room, Sender: a.user("one"), Type: typePowerLevels, StateKey: &empty,
		Content: []byte(fmt.Sprintf(`{"users":{%s%q:100},"state_default":50}`, c.creatorLevel(), b.user("one")))}); err != nil {
		t.Fatal(err)
	}
	for range 25 {
		c.collect()
		var wg sync.WaitGroup
		var jobs []func() error
		for range 2 + c.rng.IntN(4) {
			if c.rng.IntN(2) == 0 {
				jobs = append(jobs, c.action())
			} else {
				jobs = append(jobs, c.delivery(false))
			}
		}
		for _, job := range jobs {
			wg.Go(func() {
				err := job()
				if resp, ok := asRespError(err); err != nil && (!ok || resp.StatusCode >= 500) && !errors.Is(err, errNotTogether) {
					t.Errorf("seed %d: %v", seed, err)
				}
			})
		}
		wg.Wait()
	}
	settled := c.settle()
	for _, w := range c.worlds {
		if !w.inside(c.room) {
			return // whoever left does not learn any more
		}
	}
	if !settled {
		t.Errorf("version %s, seed %d: the servers do not agree", version, seed)
		for _, w := range c.worlds[1:] {
			n.sameState(a, w, c.room)
		}
	}
	for _, w := range c.worlds {
		w.wantMembersLikeState(c.room)
	}
}

func (w *world) inside(roomID id.RoomID) bool {
	info, err := w.Info(w.ctx, roomID)
	return err == nil && info.Inside
}

// wantMembersLikeState wants table, memory and state to say the same of who is in the room.
func (w *world) wantMembersLikeState(roomID id.RoomID) {
	w.t.Helper()
	s, err := w.State(w.ctx, roomID)
	if err != nil {
		w.t.Fatal(err)
	}
	joined := 0
	s.RangeType(typeMember, func(user string, ref Ref) bool {
		ev := w.event(ref.EventID)
		if ev.Membership() == Joined {
			joined++
		}
		m, ok, err := w.readMember(w.ctx, roomID, id.UserID(user))
		if err != nil || !ok || m.Membership != ev.Membership() || m.EventID != ev.ID() {
			w.t.Errorf("%s is %+v, the state says %s", user, m, ev.Membership())
		}
		return true
	})
	count, _, err := w.Counts(w.ctx, roomID)
	list, listErr := w.JoinedMembers(w.ctx, roomID)
	if err != nil || listErr != nil || count != joined || len(list) != joined {
		w.t.Errorf("%d joined, %d counted, %d listed (%v %v)", joined, count, len(list), err, listErr)
	}
}

func TestConverge_WhateverThePostDoes(t *testing.T) {
	seeds := 2
	if testing.Short() {
		seeds = 1
	}
	for _, names := range [][]string{{here, there}, {here, there, third}} {
		t.Run(fmt.Sprint(len(names)), func(t *testing.T) {
			eachNetwork(t, names, func(t *testing.T, n *network) {
				n.t = t
				for seed := range seeds {
					for _, v := range []string{"6", "11", "12"} {
						runChaos(t, n, v, uint64(seed))
					}
				}
			})
		})
	}
}
