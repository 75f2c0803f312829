package e2ee

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"
)

// Remote asks other homeservers about the keys of their users.
// The federation client implements it. Each call is bounded by its context.
type Remote interface {
	// UserDevices fetches the whole device list of a user.
	// spec: ss#get_matrixfederationv1userdevicesuserid
	UserDevices(ctx context.Context, server string, user id.UserID) (*UserDevices, error)
	// QueryUserKeys fetches device keys of several users of one server.
	// spec: ss#post_matrixfederationv1userkeysquery
	QueryUserKeys(ctx context.Context, server string, devices map[id.UserID][]id.DeviceID) (*UserKeys, error)
	// ClaimUserKeys claims one-time keys: user → device → algorithm.
	// spec: ss#post_matrixfederationv1userkeysclaim
	ClaimUserKeys(ctx context.Context, server string, want map[id.UserID]map[id.DeviceID]string) (*ClaimedKeys, error)
}

// UserDevices is a whole device list as one server tells it to another.
type UserDevices struct {
	UserID         id.UserID       `json:"user_id"`
	StreamID       int64           `json:"stream_id"`
	Devices        []UserDevice    `json:"devices"`
	MasterKey      json.RawMessage `json:"master_key,omitempty"`
	SelfSigningKey json.RawMessage `json:"self_signing_key,omitempty"`
}

// UserDevice is one device of UserDevices.
type UserDevice struct {
	DeviceID    id.DeviceID     `json:"device_id"`
	Keys        json.RawMessage `json:"keys"`
	DisplayName string          `json:"device_display_name,omitempty"`
}

// UnmarshalJSON leaves devices out that are no devices: one that is wrong says nothing of the others.
func (u *UserDevices) UnmarshalJSON(raw []byte) error {
	type plain UserDevices
	in := struct {
		*plain
		Devices []json.RawMessage `json:"devices"`
	}{plain: (*plain)(u)}
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	u.Devices = make([]UserDevice, 0, min(len(in.Devices), 1000))
	for _, d := range in.Devices {
		var one UserDevice
		if json.Unmarshal(d, &one) == nil && one.DeviceID != "" && len(one.DeviceID) <= maxDeviceID {
			u.Devices = append(u.Devices, one)
		}
	}
	return nil
}

const maxDeviceID = 255

// UserKeys is the answer to a key query between servers.
type UserKeys struct {
	DeviceKeys      map[id.UserID]map[id.DeviceID]json.RawMessage `json:"device_keys"`
	MasterKeys      map[id.UserID]json.RawMessage                 `json:"master_keys,omitempty"`
	SelfSigningKeys map[id.UserID]json.RawMessage                 `json:"self_signing_keys,omitempty"`
}

// ClaimedKeys is the answer to a claim between servers: user → device → key ID → key.
type ClaimedKeys struct {
	OneTimeKeys map[id.UserID]map[id.DeviceID]map[string]json.RawMessage `json:"one_time_keys"`
}

// An EDU is something to be sent to another server.
type EDU struct {
	Type    string          `json:"edu_type"`
	Content json.RawMessage `json:"content"`
}
