package e2ee

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	maxMessage    = 64 << 10 // bytes of one message, and roughly of one EDU
	maxRecipients = 20_000   // devices addressed in one request
	maxType       = 255
	allDevices    = id.DeviceID("*")
)

// Messages are to-device messages: user → device → content; device "*" stands for all devices of the user.
type Messages map[id.UserID]map[id.DeviceID]json.RawMessage

var seenTable = stream.NewGuardTable("to_device_seen", database.Text("id"), "version", database.Int("received_ts"))

// SendToDevice sends messages to devices here and elsewhere. The same transaction of the same device is done once.
// spec: cs#put_matrixclientv3sendtodeviceeventtypetxnid
func (k *Keys) SendToDevice(ctx context.Context, sender id.UserID, device id.DeviceID, eventType, txn string, messages Messages) error {
	if err := checkMessages(eventType, messages); err != nil {
		return err
	}
	once := "c" + ownerSeparator + owner(sender, device) + ownerSeparator + eventType + ownerSeparator + txn
	if done, err := k.seen(ctx, once); err != nil || done {
		return err
	}
	u := &stream.Unit{Guard: onceGuard(once)}
	remote := map[string]Messages{}
	for user, devices := range messages {
		if k.accounts.Local(user) {
			if err := k.deliver(ctx, u, sender, eventType, user, devices); err != nil {
				return err
			}
			continue
		}
		server := user.Homeserver()
		if server == "" || k.remote == nil {
			continue
		}
		if remote[server] == nil {
			remote[server] = Messages{}
		}
		remote[server][user] = devices
	}
	for server, msgs := range remote {
		k.post(u, server, sender, eventType, msgs)
	}
	return k.commitOnce(ctx, u)
}

// SendLocal delivers messages of the server itself, or of an application service, to local devices.
func (k *Keys) SendLocal(ctx context.Context, sender id.UserID, eventType string, messages Messages) error {
	if err := checkMessages(eventType, messages); err != nil {
		return err
	}
	u := &stream.Unit{}
	for user, devices := range messages {
		if k.accounts.Local(user) {
			if err := k.deliver(ctx, u, sender, eventType, user, devices); err != nil {
				return err
			}
		}
	}
	return k.commitOnce(ctx, u)
}

func checkMessages(eventType string, messages Messages) error {
	if eventType == "" || len(eventType) > maxType {
		return mautrix.MInvalidParam.WithMessage("Malformed event type")
	}
	n := 0
	for user, devices := range messages {
		if len(user) < 2 || user[0] != '@' || len(user) > 255 {
			return mautrix.MInvalidParam.WithMessage("Malformed user ID")
		}
		n += len(devices)
		for _, content := range devices {
			if len(content) > maxMessage {
				return mautrix.MTooLarge.WithMessage("To-device message is too large")
			}
			if len(content) == 0 || content[0] != '{' {
				return mautrix.MBadJSON.WithMessage("The content of a to-device message must be an object")
			}
		}
	}
	if n > maxRecipients {
		return mautrix.MTooLarge.WithMessage("Too many recipients")
	}
	return nil
}

// onceGuard lets a unit be committed a single time.
func onceGuard(key string) *stream.Guard {
	return &stream.Guard{Table: seenTable, Key: key, Expect: 0, Next: 1, Row: []any{time.Now().UnixMilli()}}
}

// seen spares the work of a repeated transaction; the guard decides.
func (k *Keys) seen(ctx context.Context, key string) (bool, error) {
	var one int
	err := k.db.QueryRow(ctx, selectSeen, key).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a transaction: %w", err)
	}
	return true, nil
}

func (k *Keys) commitOnce(ctx context.Context, u *stream.Unit) error {
	if len(u.Writes) == 0 {
		return nil
	}
	_, err := k.stream.Commit(ctx, u)
	if errors.Is(err, stream.ErrConflict) {
		return nil // the same transaction, at the same time
	}
	if err != nil {
		return fmt.Errorf("sending to devices: %w", err)
	}
	return nil
}

// deliver adds messages for the devices of one local user. Devices that do not exist get nothing.
func (k *Keys) deliver(ctx context.Context, u *stream.Unit, sender id.UserID, eventType string, user id.UserID, devices map[id.DeviceID]json.RawMessage) error {
	names, err := k.deviceNames(ctx, user)
	if err != nil {
		return err
	}
	put := func(device id.DeviceID, event string) {
		metricToDevice.Inc()
		u.Writes = append(u.Writes, stream.Write{Table: tableInbox, Row: []any{user, device, stream.PosOf(len(u.Changes)), event}})
		u.Changes = append(u.Changes, stream.Change{Kind: stream.ToDevice, UserID: user, Ref: string(device)})
	}
	if content, ok := devices[allDevices]; ok {
		event := inboxEvent(sender, eventType, content)
		for device := range names {
			if _, own := devices[device]; !own {
				put(device, event)
			}
		}
	}
	for device, content := range devices {
		if _, ok := names[device]; ok && device != allDevices {
			put(device, inboxEvent(sender, eventType, content))
		}
	}
	return nil
}

// inboxEvent is the event as the device gets it in /sync.
func inboxEvent(sender id.UserID, eventType string, content json.RawMessage) string {
	out := make([]byte, 0, len(content)+len(sender)+len(eventType)+48)
	out = append(out, `{"content":`...)
	out = append(out, content...)
	out = append(out, `,"sender":`...)
	out = appendString(out, string(sender))
	out = append(out, `,"type":`...)
	out = appendString(out, eventType)
	return string(append(out, '}'))
}

// directToDevice is the content of m.direct_to_device.
type directToDevice struct {
	Sender    id.UserID `json:"sender"`
	Type      string    `json:"type"`
	MessageID string    `json:"message_id"`
	Messages  Messages  `json:"messages"`
}

// post adds EDUs for another server, each no larger than about one message, so that a transaction can carry them.
func (k *Keys) post(u *stream.Unit, server string, sender id.UserID, eventType string, messages Messages) {
	users := make([]id.UserID, 0, len(messages))
	for user := range messages {
		users = append(users, user)
	}
	sort.Slice(users, func(i, j int) bool { return users[i] < users[j] })
	at := len(u.Changes)
	u.Changes = append(u.Changes, stream.Change{Kind: stream.ToDevice, UserID: users[0]})
	seq, size := int64(0), 0
	part := Messages{}
	flush := func() {
		if size == 0 {
			return
		}
		edu := directToDevice{sender, eventType, messageID(), part}
		content, err := json.Marshal(edu)
		if err != nil {
			return // contents were read as JSON, so they can be written
		}
		u.Writes = append(u.Writes, stream.Write{Table: tableOutbox, Row: []any{server, stream.PosOf(at), seq, string(content)}})
		seq, size, part = seq+1, 0, Messages{}
	}
	for _, user := range users {
		for device, content := range messages[user] {
			if size > 0 && size+len(content) > maxMessage {
				flush()
			}
			if part[user] == nil {
				part[user] = map[id.DeviceID]json.RawMessage{}
			}
			part[user][device] = content
			size += len(content) + len(user) + len(device) + 16
		}
	}
	flush()
}

// ReceiveToDevice takes an m.direct_to_device from another server. A message ID is taken once; what cannot be right is
// ignored.
// spec: ss#mdirect_to_device
func (k *Keys) ReceiveToDevice(ctx context.Context, origin string, content json.RawMessage) error {
	var edu directToDevice
	if json.Unmarshal(content, &edu) != nil || edu.Sender.Homeserver() != origin || edu.MessageID == "" || len(edu.MessageID) > 255 {
		return nil
	}
	if checkMessages(edu.Type, edu.Messages) != nil {
		return nil
	}
	once := "s" + ownerSeparator + origin + ownerSeparator + edu.MessageID
	if done, err := k.seen(ctx, once); err != nil || done {
		return err
	}
	u := &stream.Unit{Guard: onceGuard(once)}
	for user, devices := range edu.Messages {
		if !k.accounts.Local(user) {
			continue
		}
		if err := k.deliver(ctx, u, edu.Sender, edu.Type, user, devices); err != nil {
			return err
		}
	}
	return k.commitOnce(ctx, u)
}

// messageID names an EDU; the receiver takes each name once.
func messageID() string { return strconv.FormatInt(time.Now().UnixNano(), 36) + randomText(8) }
