package e2ee

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/stream"
)

const maxDeviceData = 64 << 10

var errNoDehydrated = mautrix.MNotFound.WithMessage("No dehydrated device available")

// PutDehydrated makes the dehydrated device of a user, in the place of an older one.
// msc: 3814
func (k *Keys) PutDehydrated(ctx context.Context, user id.UserID, d Dehydrated, up Upload) error {
	if len(d.ID) == 0 || len(d.ID) > maxDeviceIDLen {
		return mautrix.MInvalidParam.WithMessage("Malformed device ID")
	}
	if len(d.Data) > maxDeviceData {
		return mautrix.MTooLarge.WithMessage("device_data is too large")
	}
	if _, err := parseObject(d.Data); err != nil {
		return mautrix.MBadJSON.WithMessage("device_data must be an object")
	}
	if len(up.DeviceKeys) == 0 {
		return mautrix.MBadJSON.WithMessage("A dehydrated device needs device_keys")
	}
	if _, err := checkDeviceKeys(user, d.ID, up.DeviceKeys); err != nil {
		return err
	}
	names, err := k.accounts.DeviceNames(ctx, user)
	if err != nil {
		return fmt.Errorf("listing devices: %w", err)
	}
	if _, taken := names[d.ID]; taken {
		return mautrix.MInvalidParam.WithMessage("There is such a device already")
	}
	if _, err := k.DeleteDehydrated(ctx, user); err != nil && !errors.Is(err, errNoDehydrated) {
		return err
	}
	u := &stream.Unit{Writes: []stream.Write{{Table: tableDehydrated, Row: []any{user, d.ID, string(d.Data), clip(d.Name)}}}}
	announceDevice(u, user, d.ID)
	if _, err := k.stream.Commit(ctx, u); err != nil {
		return fmt.Errorf("storing a dehydrated device: %w", err)
	}
	_, err = k.Upload(ctx, user, d.ID, up)
	return err
}

// GetDehydrated returns the dehydrated device of a user.
// msc: 3814
func (k *Keys) GetDehydrated(ctx context.Context, user id.UserID) (Dehydrated, error) {
	d, found, err := k.findDehydrated(ctx, user)
	if err == nil && !found {
		err = errNoDehydrated
	}
	return d, err
}

// DeleteDehydrated deletes the dehydrated device of a user with its keys and messages.
// msc: 3814
func (k *Keys) DeleteDehydrated(ctx context.Context, user id.UserID) (id.DeviceID, error) {
	var d Dehydrated
	found := false
	err := k.db.Tx(ctx, func(ctx context.Context) (err error) {
		if d, found, err = k.findDehydrated(ctx, user); err != nil || !found {
			return err
		}
		if _, err := k.db.Exec(ctx, deleteDehydrated, user); err != nil {
			return fmt.Errorf("deleting a dehydrated device: %w", err)
		}
		return k.DeviceDeleted(ctx, user, d.ID)
	})
	if err == nil && !found {
		err = errNoDehydrated
	}
	return d.ID, err
}

// DehydratedEvents returns messages that the dehydrated device received, from a place on, and the next place. What lies
// before the place is not needed any more.
// msc: 3814
func (k *Keys) DehydratedEvents(ctx context.Context, user id.UserID, device id.DeviceID, from stream.Pos) ([]json.RawMessage, stream.Pos, error) {
	d, err := k.GetDehydrated(ctx, user)
	if err != nil {
		return nil, 0, err
	}
	if d.ID != device {
		return nil, 0, mautrix.MForbidden.WithMessage("Not the dehydrated device of this user")
	}
	if from > 0 {
		if err := k.DeleteToDevice(ctx, user, device, from); err != nil {
			return nil, 0, err
		}
	}
	events, next, _, err := k.ToDevice(ctx, user, device, from, k.stream.Head(), dehydratedPage)
	return events, next, err
}

const dehydratedPage = 100

// followDeactivations removes what a deactivated user leaves behind beside devices: backup and dehydrated device.
func (k *Keys) followDeactivations(ctx context.Context, changes []stream.Change) error {
	for _, c := range changes {
		if err := k.DeleteBackups(ctx, c.UserID); err != nil {
			return err
		}
		if _, err := k.DeleteDehydrated(ctx, c.UserID); err != nil && !errors.Is(err, errNoDehydrated) {
			return err
		}
	}
	return nil
}
