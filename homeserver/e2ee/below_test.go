package e2ee_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/config"
	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/e2ee"
	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
	"github.com/viaduc/viaduc/homeserver/stream/streamtest"
)

// server is e2ee above real accounts and rooms.
type server struct {
	t        *testing.T
	ctx      context.Context
	stream   *stream.Stream
	accounts *account.Accounts
	rooms    *room.Rooms
	keys     *e2ee.Keys
}

func newServer(t *testing.T, db *database.DB) *server {
	s := &server{t: t, ctx: context.Background()}
	cfg := config.Default()
	cfg.ServerName = "here"
	cfg.Passwords.Argon2MemoryKB, cfg.Passwords.Argon2Time = 64, 1
	s.stream = stream.New(db)
	var err error
	s.accounts, err = account.New(s.ctx, cfg, db, s.stream, account.Deps{DefaultRoomVersion: "12"})
	s.must(err)
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))
	s.rooms = room.New(room.Deps{DB: db, Stream: s.stream, Signer: event.Signer{Server: "here", KeyID: "ed25519:1", Key: key},
		Profile: func(_ context.Context, user id.UserID) (string, string, error) { return user.Localpart(), "", nil }})
	s.keys = e2ee.New(e2ee.Deps{DB: db, Stream: s.stream, Accounts: e2ee.FromAccounts(s.accounts), Rooms: e2ee.FromRooms(s.rooms), Log: zerolog.Nop()})
	s.keys.Attach(s.accounts)
	streamtest.Run(t, s.stream)
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) user(name string, device id.DeviceID) id.UserID {
	s.t.Helper()
	user := id.NewUserID(name, "here")
	s.must(s.accounts.EnsureUser(s.ctx, user, ""))
	_, err := s.accounts.StartSession(s.ctx, account.NewSession{UserID: user, DeviceID: device, DisplayName: "first name"})
	s.must(err)
	return user
}

func (s *server) uploaded(user id.UserID, device id.DeviceID, key string) {
	s.t.Helper()
	keys := map[string]any{
		"user_id": user, "device_id": device, "algorithms": []string{"a"}, "signatures": map[string]any{},
		"keys": map[string]string{"ed25519:" + string(device): key},
	}
	raw, err := json.Marshal(keys)
	s.must(err)
	_, err = s.keys.Upload(s.ctx, user, device, e2ee.Upload{DeviceKeys: raw})
	s.must(err)
}

func (s *server) expect(user id.UserID, since stream.Pos, changed, left []id.UserID) stream.Pos {
	s.t.Helper()
	head := s.stream.Head()
	gotChanged, gotLeft, err := s.keys.DeviceListChanges(s.ctx, user, since, head)
	s.must(err)
	if !slices.Equal(gotChanged, changed) || !slices.Equal(gotLeft, left) {
		s.t.Errorf("%s: changed %v, left %v; want %v, %v", user, gotChanged, gotLeft, changed, left)
	}
	return head
}

func TestDeviceLists_OfRealRooms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		s := newServer(t, db)
		alice, bob := s.user("alice", "A"), s.user("bob", "B")
		s.uploaded(bob, "B", "one")
		roomID, err := s.rooms.Create(s.ctx, room.CreateInput{Creator: alice, Preset: "public_chat"})
		s.must(err)
		both, none, onlyBob := []id.UserID{alice, bob}, []id.UserID{}, []id.UserID{bob}
		since := s.stream.Head()

		_, err = s.rooms.Join(s.ctx, room.JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		s.must(err)
		s.expect(bob, since, both, none)
		since = s.expect(alice, since, onlyBob, none)

		_, err = s.rooms.Join(s.ctx, room.JoinInput{User: bob, RoomIDOrAlias: string(roomID), Content: json.RawMessage(`{"displayname":"Robert"}`)})
		s.must(err)
		since = s.expect(alice, since, none, none)

		s.uploaded(bob, "B", "two")
		since = s.expect(alice, since, onlyBob, none)
		s.must(s.accounts.RenameDevice(s.ctx, bob, "B", "second name"))
		since = s.expect(alice, since, onlyBob, none)
		a, err := s.keys.QueryKeys(s.ctx, alice, e2ee.Asked{bob: nil}, 0)
		s.must(err)
		if got := string(a.DeviceKeys[bob]); !strings.Contains(got, "second name") || !strings.Contains(got, `"two"`) {
			t.Error(got)
		}

		s.must(s.rooms.Leave(s.ctx, room.MemberInput{RoomID: roomID, Sender: bob}))
		since = s.expect(alice, since, none, onlyBob)
		s.uploaded(bob, "B", "three")
		since = s.expect(alice, since, none, none)
		_, err = s.rooms.Join(s.ctx, room.JoinInput{User: bob, RoomIDOrAlias: string(roomID)})
		s.must(err)
		since = s.expect(alice, since, onlyBob, none)

		s.must(s.accounts.DeleteDevices(s.ctx, bob, "B"))
		s.expect(alice, since, onlyBob, none)
		if a, err = s.keys.QueryKeys(s.ctx, alice, e2ee.Asked{bob: nil}, 0); err != nil || string(a.DeviceKeys[bob]) != "{}" {
			t.Error(string(a.DeviceKeys[bob]), err)
		}
	})
}

func TestToDevice_OfADeviceThatHasJustSignedIn(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		s := newServer(t, db)
		alice, bob := s.user("alice", "A"), s.user("bob", "B1")
		all := e2ee.Messages{bob: {"*": json.RawMessage(`{}`)}}
		s.must(s.keys.SendToDevice(s.ctx, alice, "A", "m.x", "1", all))
		s.user("bob", "B2")
		s.must(s.keys.SendToDevice(s.ctx, alice, "A", "m.x", "2", all))
		s.must(s.accounts.DeleteDevices(s.ctx, bob, "B1"))
		s.must(s.keys.SendToDevice(s.ctx, alice, "A", "m.x", "3", all))
		for device, want := range map[id.DeviceID]int{"B1": 0, "B2": 2} {
			got, _, _, err := s.keys.ToDevice(s.ctx, bob, device, 0, s.stream.Head(), 10)
			if err != nil || len(got) != want {
				t.Error(device, len(got), err)
			}
		}
	})
}
