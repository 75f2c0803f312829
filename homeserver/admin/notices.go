package admin

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/web"
)

// tagNotice marks the room for clients. spec: cs#server-notices
const tagNotice = "m.server_notice"

// Notice is a message of the operator to a user.
type Notice struct {
	User     id.UserID
	Type     string // empty: m.room.message
	StateKey *string
	Content  json.RawMessage
	// By and TxnID make a repeated request give the same event.
	By    string
	TxnID string
}

// MayDecline keeps invitations to the rooms of notices, which users cannot turn down.
//
// spec: cs#server-notices
func (a *Admin) MayDecline(_ context.Context, _ id.UserID, _ id.RoomID, inviter id.UserID) error {
	if a.notifier != "" && inviter == a.notifier {
		return web.MCannotLeaveServerNotice.WithMessage("You cannot reject this invitation")
	}
	return nil
}

// Notifier is the user who sends notices, which nobody may register; empty if there are none.
func (a *Admin) Notifier() id.UserID { return a.notifier }

// SendNotice sends a notice into the user's room of notices, making the room first if there is none.
//
// spec: cs#server-notices
func (a *Admin) SendNotice(ctx context.Context, n Notice) (id.EventID, error) {
	if a.notifier == "" {
		return "", unknown("Server notices are not enabled on this server")
	}
	if err := a.noticeable(ctx, n.User); err != nil {
		return "", err
	}
	defer a.lockNotices(n.User)()
	if err := a.ensureNotifier(ctx); err != nil {
		return "", err
	}
	roomID, err := a.noticeRoom(ctx, n.User)
	if err != nil {
		return "", err
	}
	if n.Type == "" {
		n.Type = "m.room.message"
	}
	return a.rooms.Send(ctx, room.SendInput{RoomID: roomID, Sender: a.notifier, DeviceID: id.DeviceID(n.By), TxnID: n.TxnID,
		Type: n.Type, StateKey: n.StateKey, Content: n.Content, SkipPolicy: true})
}

func (a *Admin) noticeable(ctx context.Context, user id.UserID) error {
	if !a.accounts.Local(user) {
		return unknown("Server notices can only be sent to local users")
	}
	u, err := a.accounts.GetUser(ctx, user)
	if err != nil {
		return err
	}
	if u.Deactivated || user == a.notifier {
		return errNoUser
	}
	return nil
}

// noticeLock lets one notice a user pass at a time.
type noticeLock struct {
	sync.Mutex
	waiting int
}

func (a *Admin) lockNotices(user id.UserID) (unlock func()) {
	a.noticesMu.Lock()
	l := a.noticing[user]
	if l == nil {
		l = &noticeLock{}
		a.noticing[user] = l
	}
	l.waiting++
	a.noticesMu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		a.noticesMu.Lock()
		if l.waiting--; l.waiting == 0 {
			delete(a.noticing, user)
		}
		a.noticesMu.Unlock()
	}
}

// ensureNotifier makes the user who sends notices look as configured.
func (a *Admin) ensureNotifier(ctx context.Context) error {
	if err := a.accounts.EnsureUser(ctx, a.notifier, ""); err != nil {
		return err
	}
	p, err := a.accounts.Profile(ctx, a.notifier)
	if err != nil {
		return err
	}
	if name := a.Notices.DisplayName; name != "" && p.DisplayName != name {
		if err := a.accounts.SetDisplayName(ctx, a.notifier, name); err != nil {
			return err
		}
	}
	if p.AvatarURL != a.Notices.AvatarURL {
		return a.accounts.SetAvatarURL(ctx, a.notifier, a.Notices.AvatarURL)
	}
	return nil
}

// noticeRoom gives the user's room with the user inside or invited.
func (a *Admin) noticeRoom(ctx context.Context, user id.UserID) (id.RoomID, error) {
	old, err := a.readNoticeRoom(ctx, user)
	if err != nil {
		return "", err
	}
	roomID := old
	usable := false
	if old != "" {
		m, _, err := a.rooms.Member(ctx, old, a.notifier)
		if err != nil {
			return "", err
		}
		usable = m.Membership == room.Joined
	}
	if !usable {
		if roomID, err = a.newNoticeRoom(ctx, user, old); err != nil {
			return "", err
		}
	}
	m, _, err := a.rooms.Member(ctx, roomID, user)
	if err != nil || m.Membership == room.Joined || m.Membership == room.Invited {
		return roomID, err
	}
	err = a.rooms.Invite(ctx, room.MemberInput{RoomID: roomID, Sender: a.notifier, Target: user, SkipPolicy: true})
	if errors.Is(err, mautrix.MForbidden) { // joined meanwhile
		if m, _, again := a.rooms.Member(ctx, roomID, user); again == nil && m.Membership == room.Joined {
			return roomID, nil
		}
	}
	if err != nil {
		return "", err
	}
	return roomID, a.accounts.SetTag(ctx, user, roomID, tagNotice, json.RawMessage(`{}`))
}

// newNoticeRoom makes a room in which only the operator speaks.
func (a *Admin) newNoticeRoom(ctx context.Context, user id.UserID, old id.RoomID) (id.RoomID, error) {
	in := room.CreateInput{Creator: a.notifier, Preset: "private_chat", CreationContent: json.RawMessage(`{"m.federate":false}`),
		PowerLevels: json.RawMessage(`{"users_default":-10,"notifications":{"room":100}}`), SkipPolicy: true}
	if a.Notices.RoomName != "" {
		in.Name = &a.Notices.RoomName
	}
	if a.Notices.RoomTopic != "" {
		in.Topic = &a.Notices.RoomTopic
	}
	if a.Notices.RoomAvatarURL != "" {
		content, err := json.Marshal(map[string]string{"url": a.Notices.RoomAvatarURL})
		if err != nil {
			return "", err
		}
		in.InitialState = append(in.InitialState, room.InitialState{Type: "m.room.avatar", Content: content})
	}
	made, err := a.rooms.Create(ctx, in)
	if err != nil {
		return "", err
	}
	return a.writeNoticeRoom(ctx, user, made, old)
}
