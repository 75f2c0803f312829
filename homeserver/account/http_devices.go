package account

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/web"
)

type deviceOut struct {
	DeviceID    id.DeviceID `json:"device_id"`
	DisplayName string      `json:"display_name,omitempty"`
	LastSeenIP  string      `json:"last_seen_ip,omitempty"`
	LastSeenTS  int64       `json:"last_seen_ts,omitempty"`
	UserAgent   string      `json:"org.matrix.msc3852.last_seen_user_agent,omitempty"`
}

func outOfDevice(d Device) deviceOut {
	return deviceOut{d.ID, d.DisplayName, d.LastIP, d.LastSeen, d.UserAgent}
}

type devicesOut struct {
	Devices []deviceOut `json:"devices"`
}

// GetDevices lists the devices of the user.
//
// spec: cs#get_matrixclientv3devices
func (a *Accounts) GetDevices(ctx context.Context, who web.Requester, _ struct{}) (devicesOut, error) {
	ds, err := a.Devices(ctx, who.UserID)
	out := devicesOut{make([]deviceOut, len(ds))}
	for i, d := range ds {
		out.Devices[i] = outOfDevice(d)
	}
	return out, err
}

type deviceIn struct {
	DeviceID id.DeviceID `path:"deviceId"`
}

// GetDeviceInfo describes one device of the user.
//
// spec: cs#get_matrixclientv3devicesdeviceid
func (a *Accounts) GetDeviceInfo(ctx context.Context, who web.Requester, in deviceIn) (deviceOut, error) {
	d, err := a.GetDevice(ctx, who.UserID, in.DeviceID)
	return outOfDevice(d), err
}

type putDeviceIn struct {
	DeviceID    id.DeviceID `path:"deviceId"`
	DisplayName *string     `json:"display_name"`

	_ struct{} `body:"optional"`
}

// PutDeviceInfo renames a device; application services also make one in this way.
//
// spec: cs#put_matrixclientv3devicesdeviceid
func (a *Accounts) PutDeviceInfo(ctx context.Context, who web.Requester, in putDeviceIn) (web.WithStatus[struct{}], error) {
	ok := web.WithStatus[struct{}]{Code: http.StatusOK}
	if who.AppService != nil {
		created, err := a.PutDevice(ctx, who.UserID, in.DeviceID, in.DisplayName)
		if created {
			ok.Code = http.StatusCreated
		}
		return ok, err
	}
	if in.DisplayName == nil {
		_, err := a.GetDevice(ctx, who.UserID, in.DeviceID)
		return ok, err
	}
	return ok, a.RenameDevice(ctx, who.UserID, in.DeviceID, *in.DisplayName)
}

type deleteDeviceIn struct {
	DeviceID id.DeviceID     `path:"deviceId"`
	Auth     json.RawMessage `json:"auth"`

	_ struct{} `body:"optional"`
}

// DeleteDeviceInfo removes a device.
//
// spec: cs#delete_matrixclientv3devicesdeviceid
func (a *Accounts) DeleteDeviceInfo(ctx context.Context, who web.Requester, in deleteDeviceIn) (struct{}, error) {
	if err := a.UserInteractive(ctx, who, in.Auth, "delete devices "+string(in.DeviceID)); err != nil {
		return struct{}{}, err
	}
	return struct{}{}, a.DeleteDevices(ctx, who.UserID, in.DeviceID)
}

type deleteDevicesIn struct {
	Devices []id.DeviceID   `json:"devices"`
	Auth    json.RawMessage `json:"auth"`

	_ struct{} `body:"optional"`
}

const maxDeletedDevices = 2000

// PostDeleteDevices removes several devices.
//
// spec: cs#post_matrixclientv3delete_devices
func (a *Accounts) PostDeleteDevices(ctx context.Context, who web.Requester, in deleteDevicesIn) (struct{}, error) {
	if len(in.Devices) > maxDeletedDevices {
		return struct{}{}, mautrix.MInvalidParam.WithMessage("At most %d devices at once", maxDeletedDevices)
	}
	names := make([]string, len(in.Devices))
	for i, d := range in.Devices {
		names[i] = string(d)
	}
	slices.Sort(names)
	if err := a.UserInteractive(ctx, who, in.Auth, "delete devices "+strings.Join(names, "\x00")); err != nil {
		return struct{}{}, err
	}
	if in.Devices == nil {
		return struct{}{}, web.MMissingParam.WithMessage("devices must be given")
	}
	return struct{}{}, a.DeleteDevices(ctx, who.UserID, in.Devices...)
}
