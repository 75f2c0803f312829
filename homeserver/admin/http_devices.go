package admin

import (
	"context"
	"net/http"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/web"
)

type deviceOut struct {
	ID         id.DeviceID `json:"device_id"`
	Name       *string     `json:"display_name"`
	IP         *string     `json:"last_seen_ip"`
	UserAgent  *string     `json:"last_seen_user_agent"`
	LastSeen   *int64      `json:"last_seen_ts"`
	UserID     id.UserID   `json:"user_id"`
	Dehydrated bool        `json:"dehydrated"`
}

func deviceOf(user id.UserID, d account.Device) deviceOut {
	out := deviceOut{ID: d.ID, Name: orNull(d.DisplayName), IP: orNull(d.LastIP), UserAgent: orNull(d.UserAgent), UserID: user}
	if d.LastSeen > 0 {
		out.LastSeen = &d.LastSeen
	}
	return out
}

type devicesOut struct {
	Devices []deviceOut `json:"devices"`
	Total   int         `json:"total"`
}

// GetUserDevices lists a user's devices.
func (a *Admin) GetUserDevices(ctx context.Context, _ web.Requester, in userIn) (devicesOut, error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return devicesOut{}, err
	}
	list, err := a.accounts.Devices(ctx, in.UserID)
	out := devicesOut{Devices: []deviceOut{}, Total: len(list)}
	for _, d := range list {
		out.Devices = append(out.Devices, deviceOf(in.UserID, d))
	}
	return out, err
}

type newDeviceIn struct {
	userIn
	DeviceID id.DeviceID `json:"device_id"`
	Name     *string     `json:"display_name"`
}

// PostUserDevice makes a device without a session.
func (a *Admin) PostUserDevice(ctx context.Context, _ web.Requester, in newDeviceIn) (out web.WithStatus[struct{}], err error) {
	out.Code = http.StatusCreated
	if in.DeviceID == "" {
		return out, web.MMissingParam.WithMessage("device_id is missing")
	}
	if _, err := a.local(ctx, in.UserID); err != nil {
		return out, err
	}
	_, err = a.accounts.PutDevice(ctx, in.UserID, in.DeviceID, in.Name)
	return out, err
}

type deleteDevicesIn struct {
	userIn
	Devices *[]id.DeviceID `json:"devices"`
}

// PostDeleteDevices ends sessions.
func (a *Admin) PostDeleteDevices(ctx context.Context, _ web.Requester, in deleteDevicesIn) (struct{}, error) {
	if in.Devices == nil {
		return struct{}{}, web.MMissingParam.WithMessage("devices is missing")
	}
	if _, err := a.local(ctx, in.UserID); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.accounts.DeleteDevices(ctx, in.UserID, *in.Devices...)
}

type deviceIn struct {
	userIn
	DeviceID id.DeviceID `path:"deviceId"`
}

// GetUserDevice tells about a device.
func (a *Admin) GetUserDevice(ctx context.Context, _ web.Requester, in deviceIn) (deviceOut, error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return deviceOut{}, err
	}
	d, err := a.accounts.GetDevice(ctx, in.UserID, in.DeviceID)
	return deviceOf(in.UserID, d), err
}

type putDeviceIn struct {
	deviceIn
	Name *string `json:"display_name"`
}

// PutUserDevice renames a device.
func (a *Admin) PutUserDevice(ctx context.Context, _ web.Requester, in putDeviceIn) (struct{}, error) {
	if _, err := a.local(ctx, in.UserID); err != nil || in.Name == nil {
		return struct{}{}, err
	}
	return struct{}{}, a.accounts.RenameDevice(ctx, in.UserID, in.DeviceID, *in.Name)
}

// DeleteUserDevice ends a session.
func (a *Admin) DeleteUserDevice(ctx context.Context, _ web.Requester, in deviceIn) (struct{}, error) {
	if _, err := a.local(ctx, in.UserID); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.accounts.DeleteDevices(ctx, in.UserID, in.DeviceID)
}
