package account

import (
	"context"
	"database/sql"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// Device is a session of a user. Its keys are a matter of package e2ee.
type Device struct {
	ID          id.DeviceID
	DisplayName string
	Created     int64 // ms
	LastSeen    int64 // ms, 0 if never
	LastIP      string
	UserAgent   string
}

// Devices lists the devices of a user.
func (a *Accounts) Devices(ctx context.Context, user id.UserID) ([]Device, error) {
	ds, err := database.Rows(ctx, a.db, scanDevice, selectDevices, user)
	return ds, doing("listing devices", err)
}

// DeviceNames gives the display names of all devices of a user, "" for those that have none.
func (a *Accounts) DeviceNames(ctx context.Context, user id.UserID) (map[id.DeviceID]string, error) {
	ds, err := a.Devices(ctx, user)
	names := make(map[id.DeviceID]string, len(ds))
	for _, d := range ds {
		names[d.ID] = d.DisplayName
	}
	return names, err
}

// CountDevices counts the devices of some users together.
func (a *Accounts) CountDevices(ctx context.Context, users []id.UserID) (n int64, err error) {
	err = a.db.QueryRow(ctx, countDevices, database.List(users)).Scan(&n)
	return n, doing("counting devices", err)
}

// GetDevice gives one device; M_NOT_FOUND if there is none.
func (a *Accounts) GetDevice(ctx context.Context, user id.UserID, device id.DeviceID) (Device, error) {
	if !plain(string(device), maxDeviceID) {
		return Device{}, errNoDevice
	}
	d, found, err := a.findDevice(ctx, user, device)
	if err == nil && !found {
		return Device{}, errNoDevice
	}
	return d, err
}

// DeviceExists reports whether the user has such a device.
func (a *Accounts) DeviceExists(ctx context.Context, user id.UserID, device id.DeviceID) (bool, error) {
	if device == "" || !plain(string(device), maxDeviceID) || !plain(string(user), maxUserID) {
		return false, nil
	}
	var one int
	err := a.db.QueryRow(ctx, selectDeviceExists, user, device).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, doing("looking for a device", err)
}

// checkNewDevice says whether a device ID that a client chose may be used.
func (a *Accounts) checkNewDevice(ctx context.Context, user id.UserID, device id.DeviceID) error {
	if device == "" {
		return nil
	}
	if !plain(string(device), maxDeviceID) || device[0] == '#' {
		return mautrix.MInvalidParam.WithMessage("Not a device ID")
	}
	if a.hooks.deviceReserved == nil {
		return nil
	}
	taken, err := a.hooks.deviceReserved(ctx, user, device)
	if err == nil && taken {
		return mautrix.MForbidden.WithMessage("This device ID is the ID of a cross-signing key")
	}
	return err
}

// putDevice makes a device if there is none, inside a transaction.
func (a *Accounts) putDevice(ctx context.Context, user id.UserID, device id.DeviceID, name string) (created bool, err error) {
	done, err := a.db.Exec(ctx, insertDevice, user, device, cut(name, maxDeviceName), a.now().UnixMilli())
	if err != nil {
		return false, doing("writing a device", err)
	}
	n, err := done.RowsAffected()
	if err != nil || n == 0 {
		return false, doing("writing a device", err)
	}
	return true, a.tellDeviceChanged(ctx, user, device)
}

func (a *Accounts) tellDeviceChanged(ctx context.Context, user id.UserID, device id.DeviceID) error {
	for _, fn := range a.hooks.deviceChanged {
		if err := fn(ctx, user, device); err != nil {
			return err
		}
	}
	return nil
}

// PutDevice makes a device without a login, or renames one. Only application services do this.
//
// msc: 4190
func (a *Accounts) PutDevice(ctx context.Context, user id.UserID, device id.DeviceID, name *string) (created bool, err error) {
	if device == "" {
		return false, mautrix.MInvalidParam.WithMessage("Not a device ID")
	}
	if err := a.checkNewDevice(ctx, user, device); err != nil {
		return false, err
	}
	given := ""
	if name != nil {
		given = *name
	}
	err = a.db.Tx(ctx, func(ctx context.Context) error {
		created, err = a.putDevice(ctx, user, device, given)
		if err != nil || created || name == nil {
			return err
		}
		return a.renameDevice(ctx, user, device, given)
	})
	return created, err
}

// RenameDevice gives a device another name.
func (a *Accounts) RenameDevice(ctx context.Context, user id.UserID, device id.DeviceID, name string) error {
	if !plain(string(device), maxDeviceID) {
		return errNoDevice
	}
	if !plain(name, maxDeviceName) {
		return mautrix.MTooLarge.WithMessage("The name of a device has at most %d bytes", maxDeviceName)
	}
	return a.db.Tx(ctx, func(ctx context.Context) error { return a.renameDevice(ctx, user, device, name) })
}

func (a *Accounts) renameDevice(ctx context.Context, user id.UserID, device id.DeviceID, name string) error {
	done, err := a.db.Exec(ctx, updateDeviceName, user, device, cut(name, maxDeviceName))
	if err != nil {
		return doing("renaming a device", err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errNoDevice)
	}
	return a.tellDeviceChanged(ctx, user, device)
}

// DeleteDevices removes devices with their tokens and, through the hooks, keys, pushers and what waits for them.
// Devices that are not there are no error.
func (a *Accounts) DeleteDevices(ctx context.Context, user id.UserID, devices ...id.DeviceID) error {
	err := a.db.Tx(ctx, func(ctx context.Context) error { return a.deleteDevices(ctx, user, devices) })
	for _, d := range devices {
		a.tokens.dropDevice(user, d)
	}
	return err
}

// deleteDevices does it inside a transaction: our own rows first, then the hooks, which may lock the head of the stream.
func (a *Accounts) deleteDevices(ctx context.Context, user id.UserID, devices []id.DeviceID) error {
	gone := make([]id.DeviceID, 0, len(devices))
	for _, device := range devices {
		if !plain(string(device), maxDeviceID) {
			continue
		}
		done, err := a.db.Exec(ctx, deleteDevice, user, device)
		if err != nil {
			return doing("deleting a device", err)
		}
		if n, err := done.RowsAffected(); err != nil {
			return doing("deleting a device", err)
		} else if n == 0 {
			continue
		}
		if err := a.dropDeviceTokens(ctx, user, device); err != nil {
			return err
		}
		gone = append(gone, device)
	}
	changes := make([]stream.Change, len(gone))
	for i, device := range gone {
		for _, fn := range a.hooks.deviceDeleted {
			if err := fn(ctx, user, device); err != nil {
				return err
			}
		}
		changes[i] = stream.Change{Kind: stream.Session, UserID: user, Ref: string(device)}
	}
	if len(changes) == 0 {
		return nil
	}
	if err := a.announce(ctx, changes...); err != nil || !a.cfg.Experimental.MSC3890 {
		return err
	}
	return a.deleteDeviceSettings(ctx, user, gone)
}

// deleteAllDevices removes the devices of a user but one, and the tokens that belong to no device but one.
func (a *Accounts) deleteAllDevices(ctx context.Context, user id.UserID, exceptDevice id.DeviceID, exceptToken string) error {
	all, err := a.Devices(ctx, user)
	if err != nil {
		return err
	}
	doomed := make([]id.DeviceID, 0, len(all))
	for _, d := range all {
		if d.ID != exceptDevice {
			doomed = append(doomed, d.ID)
		}
	}
	if _, err := a.db.Exec(ctx, deleteLooseAccess, user, exceptToken); err != nil {
		return doing("removing tokens", err)
	}
	return a.deleteDevices(ctx, user, doomed)
}

// Logout ends the session of a device, or of a token that belongs to none.
func (a *Accounts) Logout(ctx context.Context, user id.UserID, device id.DeviceID, tokenHash string) error {
	if device != "" {
		return a.DeleteDevices(ctx, user, device)
	}
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := a.db.Exec(ctx, deleteOneAccess, tokenHash); err != nil {
			return doing("removing a token", err)
		}
		return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: refFlags})
	})
	a.tokens.dropUser(user)
	return err
}

// Revoke ends the session that an access or refresh token belongs to. A token that nobody knows is no error.
func (a *Accounts) Revoke(ctx context.Context, token string) error {
	hash := hashToken(token)
	access, found, err := a.findAccessToken(ctx, hash)
	if err != nil {
		return err
	}
	if found {
		return a.Logout(ctx, access.user, access.device, hash)
	}
	refresh, found, err := a.findRefreshToken(ctx, hash)
	if err != nil || !found {
		return err
	}
	return a.Logout(ctx, refresh.user, refresh.device, hash)
}

// LogoutAll ends all sessions of a user.
func (a *Accounts) LogoutAll(ctx context.Context, user id.UserID) error {
	err := a.db.Tx(ctx, func(ctx context.Context) error {
		if err := a.deleteAllDevices(ctx, user, "", ""); err != nil {
			return err
		}
		return a.announce(ctx, stream.Change{Kind: stream.Session, UserID: user, Ref: refFlags})
	})
	a.tokens.dropUser(user)
	return err
}
