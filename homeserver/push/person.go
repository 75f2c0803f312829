package push

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"maunium.net/go/mautrix/id"
)

// person is what memory knows of a user: rules, and cells of rooms.
type person struct {
	user    id.UserID
	version atomic.Int64 // grows when rules or ignored users change

	signals struct {
		sync.Mutex
		rooms map[id.RoomID]struct{} // whose receipts have moved
	}

	mu      sync.Mutex
	loaded  int64 // version that the rest belongs to, plus one
	judge   *judge
	doc     *document
	content json.RawMessage // of m.push_rules; nil: to be written
	cells   map[id.RoomID]*cell
	charged int64
}

// signal notes that a receipt of the user has moved.
func (u *person) signal(roomID id.RoomID) {
	u.signals.Lock()
	defer u.signals.Unlock()
	if u.signals.rooms == nil {
		u.signals.rooms = map[id.RoomID]struct{}{}
	}
	u.signals.rooms[roomID] = struct{}{}
}

// heed lets cells read receipts again that have moved. The caller holds mu.
func (u *person) heed() {
	u.signals.Lock()
	moved := u.signals.rooms
	u.signals.rooms = nil
	u.signals.Unlock()
	for roomID := range moved {
		if c := u.cells[roomID]; c != nil {
			c.receipts, c.fresh = nil, false
		}
	}
}

func (p *Push) person(user id.UserID) *person {
	if u, ok := p.persons.Get(user); ok {
		return u
	}
	p.marks.mu.Lock() // two that come at once must get the same
	defer p.marks.mu.Unlock()
	if u, ok := p.persons.Get(user); ok {
		return u
	}
	u := &person{user: user, cells: map[id.RoomID]*cell{}, charged: personCost}
	p.persons.Put(user, u, personCost)
	return u
}

const (
	personCost = 1 << 10
	cellCost   = 256
	itemCost   = 48
)

// charge corrects what the person costs in the budget of memory. The caller holds mu.
func (p *Push) charge(u *person) {
	cost := int64(personCost + len(u.content) + cellCost*len(u.cells))
	for _, c := range u.cells {
		cost += int64(itemCost * cap(c.items))
	}
	if cost > u.charged+u.charged/4 || cost < u.charged/2 {
		if now, ok := p.persons.Get(u.user); ok && now == u {
			u.charged = cost
			p.persons.Put(u.user, u, cost)
		}
	}
}

// settle reads the user's rules and ignored users if they changed. The caller holds mu.
func (p *Push) settle(ctx context.Context, u *person) error {
	version := u.version.Load()
	if u.loaded == version+1 {
		return nil
	}
	raw, err := p.readRules(ctx, u.user)
	if err != nil {
		return err
	}
	doc, err := parseDocument(raw)
	if err != nil {
		return fmt.Errorf("push rules of %s: %w", u.user, err)
	}
	ignored, err := p.accounts.IgnoredUsers(ctx, u.user)
	if err != nil {
		return err
	}
	j := newJudge(u.user)
	j.rules, j.ignored, j.key = p.shared.rules(doc), ignored, keyOf(raw, ignored)
	if u.judge == nil || u.judge.key != j.key {
		u.cells = map[id.RoomID]*cell{}
	}
	u.judge, u.doc, u.content, u.loaded = j, doc, nil, version+1
	return nil
}

// rulesVersion is part of every key: a new number makes stored counts void. It changes with the predefined rules.
const rulesVersion = 1

// keyOf names what verdicts depend on.
func keyOf(raw string, ignored map[id.UserID]struct{}) string {
	h := fnv.New128a()
	write := func(s string) { _, _ = h.Write(append([]byte(s), 0)) } // never fails
	write(strconv.Itoa(rulesVersion))
	write(raw)
	list := make([]string, 0, len(ignored))
	for u := range ignored {
		list = append(list, string(u))
	}
	slices.Sort(list)
	for _, u := range list {
		write(u)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// judgeOf gives what is needed to judge events for a user.
func (p *Push) judgeOf(ctx context.Context, user id.UserID) (*judge, error) {
	u := p.person(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := p.settle(p.outside(ctx), u); err != nil {
		return nil, err
	}
	return u.judge, nil
}

// Rules is the content of the user's m.push_rules event. spec: cs#mpush_rules
func (p *Push) Rules(ctx context.Context, user id.UserID) (json.RawMessage, error) {
	u := p.person(user)
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := p.settle(p.outside(ctx), u); err != nil {
		return nil, err
	}
	if u.content == nil {
		content, err := u.doc.content(user)
		if err != nil {
			return nil, fmt.Errorf("push rules of %s: %w", user, err)
		}
		u.content = content
		p.charge(u)
	}
	return u.content, nil
}
