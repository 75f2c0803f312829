package e2ee

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// world is a Keys with a database and a stream, and scripted accounts, rooms and remote servers.
type world struct {
	t      testing.TB
	ctx    context.Context
	db     *database.DB
	stream *stream.Stream
	keys   *Keys
	people *people
	remote *farServer
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) { fn(t, newWorld(t, db)) })
}

func newWorld(t testing.TB, db *database.DB) *world {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	if _, bench := t.(*testing.B); bench {
		ctx, cancel = context.WithCancel(context.Background())
	}
	s := stream.New(db)
	w := &world{t: t, ctx: ctx, db: db, stream: s, people: newPeople(db, s), remote: &farServer{lists: map[id.UserID]*UserDevices{}}}
	w.keys = New(Deps{DB: db, Stream: s, Accounts: w.people, Rooms: w.people, Remote: w.remote, Log: zerolog.Nop()})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// eventually waits for a condition.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("never: %s", what)
		}
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("never: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// people are accounts and rooms, kept in memory.
type people struct {
	db     *database.DB
	stream *stream.Stream

	mu      sync.Mutex
	devices map[id.UserID]map[id.DeviceID]string
	joined  map[id.RoomID]map[id.UserID]stream.Pos
	steps   map[stream.Pos][2]string
	confirm error
	asked   int
}

func newPeople(db *database.DB, s *stream.Stream) *people {
	return &people{
		db: db, stream: s, devices: map[id.UserID]map[id.DeviceID]string{},
		joined: map[id.RoomID]map[id.UserID]stream.Pos{}, steps: map[stream.Pos][2]string{},
	}
}

func (p *people) Local(user id.UserID) bool { return user.Homeserver() == "here" }

func (p *people) DeviceNames(_ context.Context, user id.UserID) (map[id.DeviceID]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := map[id.DeviceID]string{}
	for device, name := range p.devices[user] {
		names[device] = name
	}
	return names, nil
}

func (p *people) ConfirmOwner(context.Context, id.UserID, id.DeviceID, string, json.RawMessage) error {
	p.asked++
	return p.confirm
}

func (p *people) RoomsOf(_ context.Context, user id.UserID) (rooms []id.RoomID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for room, members := range p.joined {
		if _, in := members[user]; in {
			rooms = append(rooms, room)
		}
	}
	return rooms, nil
}

func (p *people) JoinedMembers(_ context.Context, room id.RoomID) (users []id.UserID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.joined[room] {
		users = append(users, user)
	}
	return users, nil
}

func (p *people) LocalJoined(ctx context.Context, room id.RoomID) (users []id.UserID, err error) {
	all, err := p.JoinedMembers(ctx, room)
	for _, user := range all {
		if p.Local(user) {
			users = append(users, user)
		}
	}
	return users, err
}

func (p *people) share(a, b id.UserID) bool {
	for _, members := range p.joined {
		_, x := members[a]
		_, y := members[b]
		if x && y {
			return true
		}
	}
	return false
}

func (p *people) Sharing(_ context.Context, user id.UserID, others []id.UserID) (map[id.UserID]bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[id.UserID]bool{}
	for _, other := range others {
		if p.share(user, other) {
			out[other] = true
		}
	}
	return out, nil
}

func (p *people) JoinedAt(_ context.Context, room id.RoomID, user id.UserID) (stream.Pos, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pos, in := p.joined[room][user]
	return pos, in, nil
}

func (p *people) Transition(_ context.Context, c stream.Change) (before, after string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.steps[c.Pos]
	if !ok {
		return "", "", errors.New("unknown membership")
	}
	return s[0], s[1], nil
}

// device gives a local user a device.
func (w *world) device(user id.UserID, device id.DeviceID, name string) {
	w.t.Helper()
	w.people.mu.Lock()
	if w.people.devices[user] == nil {
		w.people.devices[user] = map[id.DeviceID]string{}
	}
	w.people.devices[user][device] = name
	w.people.mu.Unlock()
	w.must(w.db.Tx(w.ctx, func(ctx context.Context) error { return w.keys.DeviceChanged(ctx, user, device) }))
}

// member sets a membership.
func (w *world) member(room id.RoomID, user id.UserID, membership string) stream.Pos {
	w.t.Helper()
	p := w.people
	p.mu.Lock()
	defer p.mu.Unlock()
	var pos stream.Pos
	w.must(w.db.Tx(w.ctx, func(ctx context.Context) (err error) {
		pos, err = w.stream.Append(ctx, stream.Change{Kind: stream.Membership, RoomID: room, UserID: user, Ref: "$" + fmt.Sprint(len(p.steps))})
		return err
	}))
	before := "leave"
	if _, in := p.joined[room][user]; in {
		before = "join"
	}
	p.steps[pos] = [2]string{before, membership}
	if p.joined[room] == nil {
		p.joined[room] = map[id.UserID]stream.Pos{}
	}
	delete(p.joined[room], user)
	if membership == "join" {
		p.joined[room][user] = pos
	}
	return pos
}

// farServer is the rest of the federation.
type farServer struct {
	mu      sync.Mutex
	lists   map[id.UserID]*UserDevices
	err     error
	fetched int
	during  func() // called while a list is on its way
	queried []Asked
	claimed *ClaimedKeys
}

func (f *farServer) UserDevices(_ context.Context, _ string, user id.UserID) (*UserDevices, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetched++
	if f.err != nil {
		return nil, f.err
	}
	list := f.lists[user]
	if list == nil {
		return nil, errors.New("no such user")
	}
	copied := *list
	if during := f.during; during != nil {
		f.during = nil
		f.mu.Unlock()
		during()
		f.mu.Lock()
	}
	return &copied, nil
}

func (f *farServer) QueryUserKeys(_ context.Context, _ string, asked map[id.UserID][]id.DeviceID) (*UserKeys, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queried = append(f.queried, asked)
	if f.err != nil {
		return nil, f.err
	}
	out := &UserKeys{DeviceKeys: map[id.UserID]map[id.DeviceID]json.RawMessage{}, MasterKeys: map[id.UserID]json.RawMessage{}}
	for user, list := range f.lists {
		out.DeviceKeys[user] = map[id.DeviceID]json.RawMessage{}
		for _, d := range list.Devices {
			out.DeviceKeys[user][d.DeviceID] = d.Keys
		}
		if list.MasterKey != nil {
			out.MasterKeys[user] = list.MasterKey
		}
	}
	return out, nil
}

func (f *farServer) ClaimUserKeys(context.Context, string, map[id.UserID]map[id.DeviceID]string) (*ClaimedKeys, error) {
	return f.claimed, f.err
}

func (f *farServer) set(user id.UserID, streamID int64, devices ...UserDevice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists[user] = &UserDevices{UserID: user, StreamID: streamID, Devices: devices}
}

func (f *farServer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched
}

// signer is an ed25519 key of a device or of cross-signing.
type signer struct {
	private ed25519.PrivateKey
	public  string
}

func newSigner(t testing.TB) signer {
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{priv, base64.RawStdEncoding.EncodeToString(pub)}
}

func (s signer) sign(t testing.TB, raw []byte, user id.UserID, keyID string) json.RawMessage {
	out, err := event.SignJSON(raw, string(user), keyID, s.private)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// deviceKeys makes signed identity keys.
func (s signer) deviceKeys(t testing.TB, user id.UserID, device id.DeviceID) json.RawMessage {
	raw := fmt.Sprintf(`{"user_id":%q,"device_id":%q,"algorithms":["m.olm.v1.curve25519-aes-sha2"],"keys":{"ed25519:%s":%q,"curve25519:%s":%q}}`,
		user, device, device, s.public, device, s.public)
	return s.sign(t, []byte(raw), user, "ed25519:"+string(device))
}

// signingKey makes a cross-signing key, signed by another one if given.
func (s signer) signingKey(t testing.TB, user id.UserID, usage string, by *signer) json.RawMessage {
	raw := []byte(fmt.Sprintf(`{"user_id":%q,"usage":[%q],"keys":{"ed25519:%s":%q}}`, user, usage, s.public, s.public))
	if by == nil {
		return raw
	}
	return by.sign(t, raw, user, "ed25519:"+by.public)
}

func oneTimeKeys(from, to int) map[string]json.RawMessage {
	m := map[string]json.RawMessage{}
	for i := from; i < to; i++ {
		m[fmt.Sprintf("signed_curve25519:%06d", i)] = json.RawMessage(fmt.Sprintf(
			`{"key":"%043d","signatures":{"@alice:here":{"ed25519:DEV":"%086d"}}}`, i, i))
	}
	return m
}

func (w *world) upload(user id.UserID, device id.DeviceID, up Upload) map[string]int {
	w.t.Helper()
	counts, err := w.keys.Upload(w.ctx, user, device, up)
	w.must(err)
	return counts
}

func (w *world) query(by id.UserID, users ...id.UserID) *Answer {
	w.t.Helper()
	asked := Asked{}
	for _, user := range users {
		asked[user] = nil
	}
	a, err := w.keys.QueryKeys(w.ctx, by, asked, 0)
	w.must(err)
	if !json.Valid(a.Encode()) {
		w.t.Fatalf("not JSON: %s", a.Encode())
	}
	return a
}

func (w *world) changes(user id.UserID, since stream.Pos) (changed, left string) {
	w.t.Helper()
	c, l, err := w.keys.DeviceListChanges(w.ctx, user, since, w.stream.Head())
	w.must(err)
	return join(c), join(l)
}

func join(users []id.UserID) string {
	names := make([]string, len(users))
	for i, user := range users {
		names[i] = user.Localpart()
	}
	return strings.Join(names, " ")
}

func errcode(err error) string {
	if err == nil {
		return ""
	}
	code, _, _ := strings.Cut(err.Error(), ":")
	return code
}

const (
	alice = id.UserID("@alice:here")
	bob   = id.UserID("@bob:here")
	carol = id.UserID("@carol:here")
	dave  = id.UserID("@dave:there")
	erin  = id.UserID("@erin:there")
	room1 = id.RoomID("!one:here")
	room2 = id.RoomID("!two:here")
)

// deleteDevice takes a device away from a local user.
func (w *world) deleteDevice(user id.UserID, device id.DeviceID) {
	w.t.Helper()
	w.people.mu.Lock()
	delete(w.people.devices[user], device)
	w.people.mu.Unlock()
	w.must(w.db.Tx(w.ctx, func(ctx context.Context) error { return w.keys.DeviceDeleted(ctx, user, device) }))
}
