package account

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const (
	roomTags   = "m.tag"
	maxTags    = 1000
	maxTagInfo = 16 << 10
)

type tagContent struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

// Tags gives the tags a user has put on a room.
//
// spec: cs#room-tagging
func (a *Accounts) Tags(ctx context.Context, user id.UserID, room id.RoomID) (map[string]json.RawMessage, error) {
	raw, err := a.AccountData(ctx, user, room, roomTags)
	return tagsOf(raw), err
}

func tagsOf(raw json.RawMessage) map[string]json.RawMessage {
	var c tagContent
	if json.Unmarshal(raw, &c) != nil || c.Tags == nil {
		return map[string]json.RawMessage{}
	}
	return c.Tags
}

// SetTag puts a tag on a room; info nil takes it away.
func (a *Accounts) SetTag(ctx context.Context, user id.UserID, room id.RoomID, tag string, info json.RawMessage) error {
	if tag == "" || !plain(tag, maxType) {
		return mautrix.MInvalidParam.WithMessage("A tag has 1 to %d bytes", maxType)
	}
	if len(info) > maxTagInfo {
		return mautrix.MTooLarge.WithMessage("A tag has at most %d bytes of content", maxTagInfo)
	}
	return a.UpdateAccountData(ctx, user, room, roomTags, func(old json.RawMessage) (json.RawMessage, error) {
		tags := tagsOf(old)
		_, had := tags[tag]
		switch {
		case info == nil && !had:
			return nil, nil
		case info == nil:
			delete(tags, tag)
		case !had && len(tags) >= maxTags:
			return nil, mautrix.MInvalidParam.WithMessage("A room has at most %d tags", maxTags)
		default:
			tags[tag] = info
		}
		return json.Marshal(tagContent{Tags: tags})
	})
}
