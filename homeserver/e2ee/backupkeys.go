package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	maxBackupBatch = 10_000
	maxSessionData = 64 << 10
)

// BackedUpKey is one key in a backup.
type BackedUpKey struct {
	FirstMessageIndex int64           `json:"first_message_index"`
	ForwardedCount    int64           `json:"forwarded_count"`
	IsVerified        bool            `json:"is_verified"`
	SessionData       json.RawMessage `json:"session_data"`
}

// BackedUpRoom are the keys of one room, by session.
type BackedUpRoom struct {
	Sessions map[string]BackedUpKey `json:"sessions"`
}

// BackedUpRooms are the keys of rooms.
type BackedUpRooms map[id.RoomID]BackedUpRoom

// BackupState is what every change of a backup is answered with.
type BackupState struct {
	Count int64  `json:"count"`
	Etag  string `json:"etag"`
}

// betterThan says whether a key should take the place of another: verified before unverified, then the one that decrypts
// more messages, then the one that was forwarded less.
// spec: cs#put_matrixclientv3room_keyskeysroomidsessionid
func (key BackedUpKey) betterThan(old BackedUpKey) bool {
	switch {
	case key.IsVerified != old.IsVerified:
		return key.IsVerified
	case key.FirstMessageIndex != old.FirstMessageIndex:
		return key.FirstMessageIndex < old.FirstMessageIndex
	}
	return key.ForwardedCount < old.ForwardedCount
}

type sessionName struct {
	room    id.RoomID
	session string
}

// PutBackupKeys stores keys in the current version, each unless a better one is there.
// spec: cs#put_matrixclientv3room_keyskeys
func (k *Keys) PutBackupKeys(ctx context.Context, user id.UserID, version string, rooms BackedUpRooms) (BackupState, error) {
	given := map[sessionName]BackedUpKey{}
	var sessions []string
	for room, keys := range rooms {
		for session, key := range keys.Sessions {
			if err := checkBackupKey(room, session, key); err != nil {
				return BackupState{}, err
			}
			given[sessionName{room, session}] = key
			sessions = append(sessions, session)
		}
	}
	if len(given) > maxBackupBatch {
		return BackupState{}, mautrix.MTooLarge.WithMessage("Too many keys at once")
	}
	var state BackupState
	err := k.inBackup(ctx, user, version, func(ctx context.Context, b *Backup) error {
		stored, err := k.sessionRows(ctx, selectSessions, user, b.Version, database.List(sessions))
		if err != nil {
			return err
		}
		left := make(map[sessionName]BackedUpKey, len(given))
		for name, key := range given {
			left[name] = key
		}
		fresh := len(left)
		for _, row := range stored {
			name := sessionName{row.Room, row.Session}
			if key, ok := left[name]; ok {
				fresh--
				if !key.betterThan(row.BackedUpKey) {
					delete(left, name)
				}
			}
		}
		rows := make([][]any, 0, len(left))
		for name, key := range left {
			rows = append(rows, []any{user, b.Version, name.room, name.session, key.FirstMessageIndex, key.ForwardedCount, key.IsVerified, string(key.SessionData)})
		}
		if err := k.db.Insert(ctx, tableBackupSessions, rows...); err != nil {
			return err
		}
		return k.counted(ctx, user, b, len(rows) > 0, int64(fresh), &state)
	})
	return state, err
}

// counted notes that a backup changed and returns its new state.
func (k *Keys) counted(ctx context.Context, user id.UserID, b *Backup, changed bool, more int64, state *BackupState) error {
	if changed {
		if _, err := k.db.Exec(ctx, updateKeyCount, user, b.Version, more); err != nil {
			return err
		}
		b.Etag++
		b.Count += more
	}
	*state = b.state()
	return nil
}

func (b *Backup) state() BackupState {
	return BackupState{Count: b.Count, Etag: strconv.FormatInt(b.Etag, 10)}
}

func checkBackupKey(room id.RoomID, session string, key BackedUpKey) error {
	switch {
	case room == "" || len(room) > 255 || session == "" || len(session) > 255:
		return mautrix.MInvalidParam.WithMessage("Malformed room or session ID")
	case len(key.SessionData) > maxSessionData:
		return mautrix.MTooLarge.WithMessage("session_data is too large")
	case len(key.SessionData) == 0 || key.SessionData[0] != '{':
		return mautrix.MBadJSON.WithMessage("session_data must be an object")
	case key.FirstMessageIndex < 0 || key.ForwardedCount < 0:
		return mautrix.MBadJSON.WithMessage("Counts are not negative")
	}
	return nil
}

// inBackup runs fn in a transaction in which nobody else changes the backup. Only the current version may be written to.
func (k *Keys) inBackup(ctx context.Context, user id.UserID, version string, fn func(ctx context.Context, b *Backup) error) error {
	var refused error
	err := k.db.Tx(ctx, func(ctx context.Context) error {
		refused = nil
		b, found, err := k.backupRow(ctx, selectNewest, user)
		if err != nil {
			return err
		}
		if !found {
			refused = errNoBackup
			return nil
		}
		if current := strconv.FormatInt(b.Version, 10); version != current {
			refused = mautrix.MWrongRoomKeysVersion.WithMessage("Wrong backup version").WithExtraField("current_version", current)
			return nil
		}
		if _, err := k.db.Exec(ctx, lockBackup, user, b.Version); err != nil {
			return err
		}
		if b, found, err = k.backupRow(ctx, selectBackup, user, b.Version); err != nil || !found || b.deleted {
			refused = errNoBackup
			return err
		}
		return fn(ctx, &b)
	})
	if err != nil {
		return fmt.Errorf("writing to a key backup: %w", err)
	}
	return refused
}

// BackupKeys returns keys of a version: all, those of a room, or one session.
// spec: cs#get_matrixclientv3room_keyskeys
func (k *Keys) BackupKeys(ctx context.Context, user id.UserID, version string, room id.RoomID, session string) (BackedUpRooms, error) {
	b, err := k.GetBackup(ctx, user, version)
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	switch {
	case room == "":
		rows, err = k.sessionRows(ctx, selectAllOf, user, b.Version)
	case session == "":
		rows, err = k.sessionRows(ctx, selectRoomOf, user, b.Version, room)
	default:
		rows, err = k.sessionRows(ctx, selectSessionOf, user, b.Version, room, session)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a key backup: %w", err)
	}
	out := BackedUpRooms{}
	for _, row := range rows {
		if out[row.Room].Sessions == nil {
			out[row.Room] = BackedUpRoom{Sessions: map[string]BackedUpKey{}}
		}
		out[row.Room].Sessions[row.Session] = row.BackedUpKey
	}
	return out, nil
}

// DeleteBackupKeys removes keys of a version: all, those of a room, or one session.
// spec: cs#delete_matrixclientv3room_keyskeys
func (k *Keys) DeleteBackupKeys(ctx context.Context, user id.UserID, version string, room id.RoomID, session string) (BackupState, error) {
	var state BackupState
	if _, err := k.GetBackup(ctx, user, version); err != nil {
		return state, err
	}
	err := k.inBackup(ctx, user, version, func(ctx context.Context, b *Backup) error {
		query, args := deleteAllOf, []any{user, b.Version}
		switch {
		case room != "" && session != "":
			query, args = deleteSessionOf, append(args, room, session)
		case room != "":
			query, args = deleteRoomOf, append(args, room)
		}
		done, err := k.db.Exec(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		return k.counted(ctx, user, b, n > 0, -n, &state)
	})
	return state, err
}
