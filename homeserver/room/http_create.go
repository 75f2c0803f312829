package room

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type createIn struct {
	Visibility      string          `json:"visibility"`
	AliasName       string          `json:"room_alias_name"`
	Name            *string         `json:"name"`
	Topic           *string         `json:"topic"`
	Invite          []id.UserID     `json:"invite"`
	RoomVersion     string          `json:"room_version"`
	CreationContent json.RawMessage `json:"creation_content"`
	InitialState    []InitialState  `json:"initial_state"`
	Preset          string          `json:"preset"`
	IsDirect        bool            `json:"is_direct"`
	PowerLevels     json.RawMessage `json:"power_level_content_override"`
	Timestamp       int64           `query:"ts"`
	_               struct{}        `body:"optional"`
}

type roomOut struct {
	RoomID id.RoomID `json:"room_id"`
}

// PostCreateRoom makes a room. Invitations by e-mail address or telephone number are left out: this server knows no identity server.
//
// spec: cs#post_matrixclientv3createroom
func (r *Rooms) PostCreateRoom(ctx context.Context, who web.Requester, in createIn) (roomOut, error) {
	if err := active(who); err != nil {
		return roomOut{}, err
	}
	switch in.Visibility {
	case "", "private", "public":
	default:
		return roomOut{}, mautrix.MInvalidParam.WithMessage("visibility is public or private")
	}
	nextMillisecond()
	defer nextMillisecond()
	roomID, err := r.Create(ctx, CreateInput{Creator: who.UserID, AppService: serviceOf(who), Public: in.Visibility == "public",
		AliasName: in.AliasName, Name: in.Name, Topic: in.Topic, Invite: in.Invite, Version: in.RoomVersion,
		CreationContent: in.CreationContent, InitialState: in.InitialState, Preset: in.Preset, Direct: in.IsDirect,
		PowerLevels: in.PowerLevels, Timestamp: massaged(who, in.Timestamp)})
	return roomOut{roomID}, err
}

// nextMillisecond waits until the clock ticks. Timestamps have no finer unit, and a room can be made in less: it begins in a
// millisecond of its own, so that a jump to the moment before it finds nothing, and one to the moment after it what came after.
// spec: cs#get_matrixclientv1roomsroomidtimestamp_to_event
func nextMillisecond() {
	now := time.Now()
	time.Sleep(now.Truncate(time.Millisecond).Add(time.Millisecond).Sub(now))
}

type upgradeIn struct {
	RoomID             id.RoomID   `path:"roomId"`
	NewVersion         string      `json:"new_version"`
	AdditionalCreators []id.UserID `json:"additional_creators"`
}

type upgradeOut struct {
	Replacement id.RoomID `json:"replacement_room"`
}

// PostUpgrade replaces a room by one of another version.
//
// spec: cs#post_matrixclientv3roomsroomidupgrade
func (r *Rooms) PostUpgrade(ctx context.Context, who web.Requester, in upgradeIn) (upgradeOut, error) {
	if err := active(who); err != nil {
		return upgradeOut{}, err
	}
	if in.NewVersion == "" {
		return upgradeOut{}, errMissingParam.WithMessage("new_version is missing")
	}
	roomID, err := r.Upgrade(ctx, UpgradeInput{RoomID: in.RoomID, User: who.UserID, Version: in.NewVersion,
		AdditionalCreators: in.AdditionalCreators})
	return upgradeOut{roomID}, err
}

// active refuses accounts that are suspended.
func active(who web.Requester) error {
	if who.Suspended {
		return web.MUserSuspended.WithMessage("This account is suspended")
	}
	return nil
}

// massaged is the time that only application services may choose. spec: as#timestamp-massaging
func massaged(who web.Requester, ts int64) int64 {
	if who.AppService == nil || ts < 0 {
		return 0
	}
	return ts
}

func serviceOf(who web.Requester) string {
	if who.AppService == nil {
		return ""
	}
	return who.AppService.ID
}
