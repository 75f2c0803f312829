package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto/attachment"
	"maunium.net/go/mautrix/crypto/backup"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// TestEncryptedConversation is what two people on two servers do in an encrypted room.
func TestEncryptedConversation(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		servers := w.start("localhost", "127.0.0.1")
		newConversation(servers[0], servers[1]).all()
	})
}

// TestEncryptedConversationOnOneServer is the same without federation.
func TestEncryptedConversationOnOneServer(t *testing.T) {
	w := newWorld(t, "")
	s := w.start("localhost")[0]
	newConversation(s, s).all()
}

func (c *conversation) all() {
	c.messages()
	c.editReactRedact()
	c.receipts()
	c.file()
	c.verification()
	c.secondDevice()
	c.restart()
}

// conversation is Alice on one server and Bob on another, in an encrypted room.
type conversation struct {
	t             testing.TB
	a, b          *server
	alice, bob    *person
	room          id.RoomID
	recoveryOfBob string
	hello, answer id.EventID
}

func newConversation(a, b *server) *conversation {
	t := a.w.t
	t.Helper()
	c := &conversation{t: t, a: a, b: b, alice: a.register("alice"), bob: b.register("bob")}
	c.alice.crossSign()
	c.recoveryOfBob = c.bob.crossSign()
	c.room = c.alice.encryptedRoom(c.bob.UserID)
	c.bob.awaitMember(c.room, c.bob.UserID, event.MembershipInvite)
	_, err := c.bob.JoinRoomByID(t.Context(), c.room)
	must(t, err)
	c.alice.awaitMember(c.room, c.bob.UserID, event.MembershipJoin)
	c.bob.awaitMember(c.room, c.alice.UserID, event.MembershipJoin)
	return c
}

// crossSign makes the user's signing keys and signs the device with them.
func (p *person) crossSign() (recoveryKey string) {
	p.t.Helper()
	key, _, err := p.machine().GenerateAndUploadCrossSigningKeysWithPassword(p.ctx, password, "")
	must(p.t, err)
	must(p.t, p.machine().SignOwnDevice(p.ctx, p.machine().OwnIdentity()))
	must(p.t, p.machine().SignOwnMasterKey(p.ctx))
	return key
}

func (p *person) encryptedRoom(invite ...id.UserID) id.RoomID {
	p.t.Helper()
	res, err := p.CreateRoom(p.ctx, &mautrix.ReqCreateRoom{
		Preset: "private_chat", Name: "Council", Invite: invite,
		InitialState: []*event.Event{{Type: event.StateEncryption, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}},
	})
	must(p.t, err)
	p.await("the encryption of the room", func(evt *event.Event) bool {
		return evt.RoomID == res.RoomID && evt.Type == event.StateEncryption
	})
	return res.RoomID
}

func (p *person) say(room id.RoomID, content any) id.EventID {
	p.t.Helper()
	res, err := p.SendMessageEvent(p.ctx, room, event.EventMessage, content)
	must(p.t, err)
	return res.EventID
}

func (p *person) sayText(room id.RoomID, text string) id.EventID {
	p.t.Helper()
	return p.say(room, &event.MessageEventContent{MsgType: event.MsgText, Body: text})
}

// secret demands that the server knows the event only encrypted.
func (c *conversation) secret(p *person, evt id.EventID) {
	c.t.Helper()
	got, err := p.GetEvent(c.t.Context(), c.room, evt)
	must(c.t, err)
	if got.Type.Type != event.EventEncrypted.Type || got.Content.Raw["algorithm"] != string(id.AlgorithmMegolmV1) {
		c.t.Errorf("%s is not encrypted: %s %v", evt, got.Type.Type, got.Content.Raw)
	}
}

func (c *conversation) messages() {
	c.t.Helper()
	c.hello = c.alice.sayText(c.room, "Good morning, Bob")
	got := c.bob.awaitText(c.room, c.alice.UserID, "Good morning, Bob")
	if got.ID != c.hello {
		c.t.Errorf("the message is %s on one server and %s on the other", c.hello, got.ID)
	}
	c.secret(c.bob, c.hello)
	c.answer = c.bob.say(c.room, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "Good morning, Alice",
		RelatesTo: (&event.RelatesTo{}).SetReplyTo(c.hello),
	})
	got = c.alice.awaitText(c.room, c.bob.UserID, "Good morning, Alice")
	if to := got.Content.AsMessage().RelatesTo.GetReplyTo(); to != c.hello {
		c.t.Errorf("Bob replied to %q", to)
	}
	c.secret(c.alice, c.answer)
}

func (c *conversation) editReactRedact() {
	c.t.Helper()
	edit := &event.MessageEventContent{MsgType: event.MsgText, Body: "Good evening, Bob"}
	edit.SetEdit(c.hello)
	edited := c.alice.say(c.room, edit)
	c.bob.await("the edit", func(evt *event.Event) bool {
		m, ok := evt.Content.Parsed.(*event.MessageEventContent)
		return ok && m.NewContent != nil && m.NewContent.Body == "Good evening, Bob" && m.RelatesTo.GetReplaceID() == c.hello
	})
	for _, p := range []*person{c.alice, c.bob} {
		until(c.t, "the server bundles the edit", func() (bool, error) {
			raw, err := p.MakeRequest(c.t.Context(), "GET", p.BuildClientURL("v3", "rooms", c.room, "event", c.hello), nil, nil)
			var got struct {
				Unsigned struct {
					Relations struct {
						Replace struct {
							ID id.EventID `json:"event_id"`
						} `json:"m.replace"`
					} `json:"m.relations"`
				} `json:"unsigned"`
			}
			return err == nil && json.Unmarshal(raw, &got) == nil && got.Unsigned.Relations.Replace.ID == edited, err
		})
	}

	reaction, err := c.bob.SendReaction(c.t.Context(), c.room, c.hello, "👍")
	must(c.t, err)
	c.alice.await("the reaction", func(evt *event.Event) bool {
		return evt.ID == reaction.EventID && evt.Content.AsReaction().RelatesTo.Key == "👍" && evt.Content.AsReaction().RelatesTo.EventID == c.hello
	})

	_, err = c.bob.RedactEvent(c.t.Context(), c.room, c.answer, mautrix.ReqRedact{Reason: "said in haste"})
	must(c.t, err)
	for _, p := range []*person{c.alice, c.bob} {
		p.await("the redaction", func(evt *event.Event) bool {
			return evt.Type == event.EventRedaction && (evt.Redacts == c.answer || evt.Content.AsRedaction().Redacts == c.answer)
		})
		got, err := p.GetEvent(c.t.Context(), c.room, c.answer)
		must(c.t, err)
		if len(got.Content.Raw) != 0 || got.Unsigned.RedactedBecause == nil {
			c.t.Errorf("%s still reads what was redacted: %v", p.UserID, got.Content.Raw)
		}
	}
}

func (c *conversation) receipts() {
	c.t.Helper()
	must(c.t, c.bob.MarkRead(c.t.Context(), c.room, c.hello))
	must(c.t, c.alice.MarkRead(c.t.Context(), c.room, c.answer))
	read := func(by id.UserID, what id.EventID) func(*event.Event) bool {
		return func(evt *event.Event) bool {
			content, ok := evt.Content.Parsed.(*event.ReceiptEventContent)
			if !ok || evt.RoomID != c.room {
				return false
			}
			_, ok = (*content)[what][event.ReceiptTypeRead][by]
			return ok
		}
	}
	c.alice.await("Bob's receipt", read(c.bob.UserID, c.hello))
	c.bob.await("Alice's receipt", read(c.alice.UserID, c.answer))
}

func (c *conversation) file() {
	c.t.Helper()
	plain := bytes.Repeat([]byte("Minutes of the council. "), 20_000)
	sealed := bytes.Clone(plain)
	lock := attachment.NewEncryptedFile()
	lock.EncryptInPlace(sealed)
	up, err := c.alice.UploadBytes(c.t.Context(), sealed, "application/octet-stream")
	must(c.t, err)
	c.alice.say(c.room, &event.MessageEventContent{
		MsgType: event.MsgFile, Body: "minutes.txt", Info: &event.FileInfo{MimeType: "text/plain", Size: len(plain)},
		File: &event.EncryptedFileInfo{EncryptedFile: *lock, URL: up.ContentURI.CUString()},
	})
	got := c.bob.awaitText(c.room, c.alice.UserID, "minutes.txt").Content.AsMessage()
	uri, err := got.File.URL.Parse()
	must(c.t, err)
	data, err := c.bob.DownloadBytes(c.t.Context(), uri)
	must(c.t, err)
	must(c.t, got.File.PrepareForDecryption())
	opened, err := io.ReadAll(got.File.DecryptStream(bytes.NewReader(data)))
	must(c.t, err)
	if !bytes.Equal(opened, plain) {
		c.t.Errorf("Bob reads another file: %d bytes instead of %d", len(opened), len(plain))
	}
}

// verification: Alice and Bob compare emoji, each signs the other.
func (c *conversation) verification() {
	c.t.Helper()
	_, err := c.alice.machine().FetchKeys(c.alice.ctx, []id.UserID{c.bob.UserID}, true)
	must(c.t, err)
	c.alice.compareWith(c.bob)
	for p, other := range map[*person]*person{c.alice: c.bob, c.bob: c.alice} {
		until(c.t, "they trust each other", func() (bool, error) {
			return p.machine().IsUserTrusted(p.ctx, other.UserID)
		})
	}
}

// compareWith verifies two persons by short strings, through the servers.
func (p *person) compareWith(other *person) {
	p.t.Helper()
	for range 5 {
		if p.compared(other) {
			return
		}
	}
	p.t.Fatal("the verification does not come to an end")
}

// compared makes one try. The library fails whoever confirms after the other's
// confirmation has come (it compares the wrong master key), so both confirm at the
// same moment, and if that was not the same moment, it was one try.
func (p *person) compared(other *person) bool {
	p.t.Helper()
	other.asked.with(func() { other.asked.requests = nil })
	txn, err := p.verify.StartVerification(p.ctx, other.UserID)
	must(p.t, err)
	until(p.t, "the request arrives", func() (ok bool, err error) {
		other.asked.with(func() { ok = slices.Contains(other.asked.requests, txn) })
		return ok, nil
	})
	must(p.t, other.verify.AcceptVerification(other.ctx, txn))
	p.both(other, txn, "the verification is ready", func(q *questions) bool { return q.ready[txn] })
	must(p.t, p.verify.StartSAS(p.ctx, txn))
	p.both(other, txn, "emoji are shown", func(q *questions) bool { return q.shown[txn] != "" })
	if mine, theirs := p.asked.shown[txn], other.asked.shown[txn]; mine != theirs {
		p.t.Fatalf("one sees %s, the other %s", mine, theirs)
	}
	var confirms sync.WaitGroup
	var errs [2]error
	for i, one := range []*person{p, other} {
		confirms.Go(func() { errs[i] = one.verify.ConfirmSAS(one.ctx, txn) })
	}
	confirms.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		p.t.Logf("verification: %v; again", err)
		return false
	}
	p.both(other, txn, "the verification is done", func(q *questions) bool { return q.done[txn] })
	return true
}

// both waits until something holds for both sides of a verification.
func (p *person) both(other *person, txn id.VerificationTransactionID, what string, is func(q *questions) bool) {
	p.t.Helper()
	until(p.t, what, func() (ok bool, err error) {
		ok = true
		for _, q := range []*questions{p.asked, other.asked} {
			q.with(func() {
				ok = ok && is(q)
				if q.refused[txn] != "" {
					p.t.Fatalf("verification: %s", q.refused[txn])
				}
			})
		}
		return ok, nil
	})
}

// secondDevice: Bob backs up his keys; a new device proves itself with the recovery
// key, is trusted by Alice, and reads the history from the backup.
func (c *conversation) secondDevice() {
	c.t.Helper()
	count := c.bob.backUp(c.recoveryOfBob)
	if count == 0 {
		c.t.Fatal("Bob has no keys to back up")
	}
	second := c.b.login(c.bob.UserID)
	must(c.t, second.machine().VerifyWithRecoveryKey(second.ctx, c.recoveryOfBob))
	if _, ok, err := second.machine().GetOwnVerificationStatus(second.ctx); err != nil || !ok {
		c.t.Errorf("the second device is not verified (%v)", err)
	}
	until(c.t, "Alice trusts Bob's second device", func() (bool, error) {
		device, err := c.alice.machine().GetOrFetchDevice(c.alice.ctx, c.bob.UserID, second.DeviceID)
		if err != nil {
			return false, err
		}
		trust, err := c.alice.machine().ResolveTrustContext(c.alice.ctx, device)
		if err == nil && trust < id.TrustStateCrossSignedVerified {
			err = errors.New(trust.String())
		}
		return err == nil, err
	})
	second.restore(c.recoveryOfBob)
	c.readHistory(second)

	c.alice.sayText(c.room, "Is that your new telephone?")
	for _, p := range []*person{c.bob, second} {
		p.awaitText(c.room, c.alice.UserID, "Is that your new telephone?")
	}
	second.sayText(c.room, "It is")
	c.alice.awaitText(c.room, c.bob.UserID, "It is")
	c.bob.awaitText(c.room, c.bob.UserID, "It is")
}

// readHistory reads the room from its end with a device that was not there.
func (c *conversation) readHistory(p *person) {
	c.t.Helper()
	res, err := p.Messages(c.t.Context(), c.room, "", "", mautrix.DirectionBackward, nil, 100)
	must(c.t, err)
	texts := map[string]id.EventID{}
	for _, evt := range res.Chunk {
		if evt.Type.Type != event.EventEncrypted.Type || len(evt.Content.Raw) == 0 {
			continue
		}
		evt.Type.Class = event.MessageEventType
		must(c.t, evt.Content.ParseRaw(evt.Type))
		clear, err := p.helper.Decrypt(p.ctx, evt)
		if err != nil {
			c.t.Errorf("the second device cannot read %s: %v", evt.ID, err)
			continue
		}
		texts[clear.Content.AsMessage().Body] = evt.ID
	}
	if texts["Good morning, Bob"] != c.hello || texts["minutes.txt"] == "" {
		c.t.Errorf("the second device reads %v", texts)
	}
}

// backUp makes a key backup, keeps its key in the secret storage, and fills it.
func (p *person) backUp(recoveryKey string) int {
	p.t.Helper()
	storage := p.openStorage(recoveryKey)
	key, err := backup.NewMegolmBackupKey()
	must(p.t, err)
	must(p.t, storage.set(event.AccountDataMegolmBackupKey, key.Bytes()))
	version, err := p.CreateKeyBackupVersion(p.ctx, &mautrix.ReqRoomKeysVersionCreate[backup.MegolmAuthData]{
		Algorithm: id.KeyBackupAlgorithmMegolmBackupV1,
		AuthData:  backup.MegolmAuthData{PublicKey: id.Ed25519(unpadded(key.PublicKey().Bytes()))},
	})
	must(p.t, err)
	sessions, err := p.machine().CryptoStore.GetAllGroupSessions(p.ctx).AsList()
	must(p.t, err)
	rooms := map[id.RoomID]mautrix.ReqRoomKeyBackup{}
	for _, s := range sessions {
		exported, err := s.Internal.Export(s.Internal.FirstKnownIndex())
		must(p.t, err)
		sealed, err := backup.EncryptSessionData(key, backup.MegolmSessionData{
			Algorithm: id.AlgorithmMegolmV1, ForwardingKeyChain: []string{}, SenderKey: s.SenderKey,
			SenderClaimedKeys: backup.SenderClaimedKeys{Ed25519: s.SigningKey}, SessionKey: string(exported),
		})
		must(p.t, err)
		raw, err := json.Marshal(sealed)
		must(p.t, err)
		if rooms[s.RoomID].Sessions == nil {
			rooms[s.RoomID] = mautrix.ReqRoomKeyBackup{Sessions: map[id.SessionID]mautrix.ReqKeyBackupData{}}
		}
		rooms[s.RoomID].Sessions[s.ID()] = mautrix.ReqKeyBackupData{
			FirstMessageIndex: int(s.Internal.FirstKnownIndex()), IsVerified: true, SessionData: raw,
		}
	}
	res, err := p.PutKeysInBackup(p.ctx, version.Version, &mautrix.ReqKeyBackup{Rooms: rooms})
	must(p.t, err)
	if res.Count != len(sessions) {
		p.t.Errorf("the backup counts %d keys of %d", res.Count, len(sessions))
	}
	return res.Count
}

// restore takes all keys from the backup.
func (p *person) restore(recoveryKey string) {
	p.t.Helper()
	raw, err := p.openStorage(recoveryKey).get(event.AccountDataMegolmBackupKey)
	must(p.t, err)
	key, err := backup.MegolmBackupKeyFromBytes(raw)
	must(p.t, err)
	version, err := p.machine().DownloadAndStoreLatestKeyBackup(p.ctx, key)
	must(p.t, err)
	if version == "" {
		p.t.Fatal("there is no backup")
	}
}

// restart: both servers stop and start; all goes on.
func (c *conversation) restart() {
	c.t.Helper()
	c.a.restart()
	c.b.restart()
	c.alice.sayText(c.room, "Are you still there?")
	c.bob.awaitText(c.room, c.alice.UserID, "Are you still there?")
	c.bob.sayText(c.room, "I am")
	c.alice.awaitText(c.room, c.bob.UserID, "I am")
}
