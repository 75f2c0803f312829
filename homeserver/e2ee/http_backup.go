package e2ee

import (
	"context"
	"encoding/json"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

// BackupIn is a request about a version of the key backup.
type BackupIn struct {
	Path      string          `path:"version"`
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Version   string          `json:"version"`
}

// NewBackupIn is a request for a new version.
type NewBackupIn struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
}

// NewBackupOut names the new version.
type NewBackupOut struct {
	Version string `json:"version"`
}

// BackupPath names a version.
type BackupPath struct {
	Version string `path:"version"`
}

// BackupOut describes a version.
type BackupOut struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	BackupState
	Version string `json:"version"`
}

func backupOut(b Backup) BackupOut {
	return BackupOut{b.Algorithm, b.AuthData, b.state(), strconv.FormatInt(b.Version, 10)}
}

// PostBackup makes a new version.
// spec: cs#post_matrixclientv3room_keysversion
func (k *Keys) PostBackup(ctx context.Context, who web.Requester, in NewBackupIn) (NewBackupOut, error) {
	version, err := k.CreateBackup(ctx, who.UserID, in.Algorithm, in.AuthData)
	return NewBackupOut{version}, err
}

// GetCurrentBackup describes the current version.
// spec: cs#get_matrixclientv3room_keysversion
func (k *Keys) GetCurrentBackup(ctx context.Context, who web.Requester, _ struct{}) (BackupOut, error) {
	b, err := k.CurrentBackup(ctx, who.UserID)
	if err != nil {
		return BackupOut{}, err
	}
	return backupOut(b), nil
}

// GetBackupVersion describes one version.
// spec: cs#get_matrixclientv3room_keysversionversion
func (k *Keys) GetBackupVersion(ctx context.Context, who web.Requester, in BackupPath) (BackupOut, error) {
	b, err := k.GetBackup(ctx, who.UserID, in.Version)
	if err != nil {
		return BackupOut{}, err
	}
	return backupOut(b), nil
}

// PutBackup changes the auth data of a version.
// spec: cs#put_matrixclientv3room_keysversionversion
func (k *Keys) PutBackup(ctx context.Context, who web.Requester, in BackupIn) (struct{}, error) {
	return struct{}{}, k.UpdateBackup(ctx, who.UserID, in.Path, in.Version, in.Algorithm, in.AuthData)
}

// DeleteBackupVersion deletes a version.
// spec: cs#delete_matrixclientv3room_keysversionversion
func (k *Keys) DeleteBackupVersion(ctx context.Context, who web.Requester, in BackupPath) (struct{}, error) {
	return struct{}{}, k.DeleteBackup(ctx, who.UserID, in.Version)
}

// BackupAllIn addresses all keys of a version.
type BackupAllIn struct {
	Version string `query:"version"`
}

// BackupRoomIn addresses the keys of a room.
type BackupRoomIn struct {
	RoomID  id.RoomID `path:"roomId"`
	Version string    `query:"version"`
}

// BackupSessionIn addresses one key.
type BackupSessionIn struct {
	RoomID    id.RoomID `path:"roomId"`
	SessionID string    `path:"sessionId"`
	Version   string    `query:"version"`
}

// PutBackupAllIn, PutBackupRoomIn and PutBackupSessionIn are the same with keys.
type (
	PutBackupAllIn struct {
		Version string        `query:"version"`
		Rooms   BackedUpRooms `json:"rooms"`
	}
	PutBackupRoomIn struct {
		RoomID   id.RoomID              `path:"roomId"`
		Version  string                 `query:"version"`
		Sessions map[string]BackedUpKey `json:"sessions"`
	}
	PutBackupSessionIn struct {
		RoomID            id.RoomID       `path:"roomId"`
		SessionID         string          `path:"sessionId"`
		Version           string          `query:"version"`
		FirstMessageIndex *int64          `json:"first_message_index"`
		ForwardedCount    *int64          `json:"forwarded_count"`
		IsVerified        *bool           `json:"is_verified"`
		SessionData       json.RawMessage `json:"session_data"`
	}
)

// BackupAllOut are keys of rooms.
type BackupAllOut struct {
	Rooms BackedUpRooms `json:"rooms"`
}

// PutBackupAll stores keys of several rooms.
// spec: cs#put_matrixclientv3room_keyskeys
func (k *Keys) PutBackupAll(ctx context.Context, who web.Requester, in PutBackupAllIn) (BackupState, error) {
	if in.Rooms == nil {
		return BackupState{}, mautrix.MBadJSON.WithMessage("Missing member \"rooms\"")
	}
	return k.PutBackupKeys(ctx, who.UserID, in.Version, in.Rooms)
}

// PutBackupRoom stores keys of a room.
// spec: cs#put_matrixclientv3room_keyskeysroomid
func (k *Keys) PutBackupRoom(ctx context.Context, who web.Requester, in PutBackupRoomIn) (BackupState, error) {
	if in.Sessions == nil {
		return BackupState{}, mautrix.MBadJSON.WithMessage("Missing member \"sessions\"")
	}
	return k.PutBackupKeys(ctx, who.UserID, in.Version, BackedUpRooms{in.RoomID: {Sessions: in.Sessions}})
}

// PutBackupSession stores one key.
// spec: cs#put_matrixclientv3room_keyskeysroomidsessionid
func (k *Keys) PutBackupSession(ctx context.Context, who web.Requester, in PutBackupSessionIn) (BackupState, error) {
	if in.FirstMessageIndex == nil || in.ForwardedCount == nil || in.IsVerified == nil {
		return BackupState{}, mautrix.MBadJSON.WithMessage("A key needs first_message_index, forwarded_count, is_verified and session_data")
	}
	key := BackedUpKey{*in.FirstMessageIndex, *in.ForwardedCount, *in.IsVerified, in.SessionData}
	return k.PutBackupKeys(ctx, who.UserID, in.Version, BackedUpRooms{in.RoomID: {Sessions: map[string]BackedUpKey{in.SessionID: key}}})
}

// GetBackupAll returns all keys of a version.
// spec: cs#get_matrixclientv3room_keyskeys
func (k *Keys) GetBackupAll(ctx context.Context, who web.Requester, in BackupAllIn) (BackupAllOut, error) {
	rooms, err := k.BackupKeys(ctx, who.UserID, in.Version, "", "")
	return BackupAllOut{rooms}, err
}

// GetBackupRoom returns the keys of a room.
// spec: cs#get_matrixclientv3room_keyskeysroomid
func (k *Keys) GetBackupRoom(ctx context.Context, who web.Requester, in BackupRoomIn) (BackedUpRoom, error) {
	rooms, err := k.BackupKeys(ctx, who.UserID, in.Version, in.RoomID, "")
	room := rooms[in.RoomID]
	if room.Sessions == nil {
		room.Sessions = map[string]BackedUpKey{}
	}
	return room, err
}

// GetBackupSession returns one key.
// spec: cs#get_matrixclientv3room_keyskeysroomidsessionid
func (k *Keys) GetBackupSession(ctx context.Context, who web.Requester, in BackupSessionIn) (BackedUpKey, error) {
	rooms, err := k.BackupKeys(ctx, who.UserID, in.Version, in.RoomID, in.SessionID)
	if err != nil {
		return BackedUpKey{}, err
	}
	key, ok := rooms[in.RoomID].Sessions[in.SessionID]
	if !ok {
		return BackedUpKey{}, errNoKey
	}
	return key, nil
}

// DeleteBackupAll deletes all keys of a version.
// spec: cs#delete_matrixclientv3room_keyskeys
func (k *Keys) DeleteBackupAll(ctx context.Context, who web.Requester, in BackupAllIn) (BackupState, error) {
	return k.DeleteBackupKeys(ctx, who.UserID, in.Version, "", "")
}

// DeleteBackupRoom deletes the keys of a room.
// spec: cs#delete_matrixclientv3room_keyskeysroomid
func (k *Keys) DeleteBackupRoom(ctx context.Context, who web.Requester, in BackupRoomIn) (BackupState, error) {
	return k.DeleteBackupKeys(ctx, who.UserID, in.Version, in.RoomID, "")
}

// DeleteBackupSession deletes one key.
// spec: cs#delete_matrixclientv3room_keyskeysroomidsessionid
func (k *Keys) DeleteBackupSession(ctx context.Context, who web.Requester, in BackupSessionIn) (BackupState, error) {
	return k.DeleteBackupKeys(ctx, who.UserID, in.Version, in.RoomID, in.SessionID)
}
