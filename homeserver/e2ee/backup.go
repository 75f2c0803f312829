package e2ee

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"
)

const maxAuthData = 64 << 10

var (
	errNoBackup = mautrix.MNotFound.WithMessage("No current backup version")
	errNoKey    = mautrix.MNotFound.WithMessage("No such key in the backup")
)

// CreateBackup makes a new version of the key backup, which becomes the current one.
// spec: cs#post_matrixclientv3room_keysversion
func (k *Keys) CreateBackup(ctx context.Context, user id.UserID, algorithm string, auth json.RawMessage) (string, error) {
	if err := checkBackupInfo(algorithm, auth); err != nil {
		return "", err
	}
	unlock, err := k.uploads.lock(ctx, user)
	if err != nil {
		return "", err
	}
	defer unlock()
	var version int64
	err = k.db.Tx(ctx, func(ctx context.Context) error {
		if err := k.db.QueryRow(ctx, selectLastNumber, user).Scan(&version); err != nil {
			return err
		}
		version++
		return k.db.Insert(ctx, tableBackups, []any{user, version, algorithm, string(auth), 0, 0, 0})
	})
	if err != nil {
		return "", fmt.Errorf("creating a key backup: %w", err)
	}
	return strconv.FormatInt(version, 10), nil
}

func checkBackupInfo(algorithm string, auth json.RawMessage) error {
	if algorithm == "" || len(algorithm) > 255 {
		return mautrix.MBadJSON.WithMessage("Missing backup algorithm")
	}
	if len(auth) > maxAuthData {
		return mautrix.MTooLarge.WithMessage("auth_data is too large")
	}
	if _, err := parseObject(auth); err != nil {
		return mautrix.MBadJSON.WithMessage("auth_data must be an object")
	}
	return nil
}

// CurrentBackup returns the newest version that was not deleted.
// spec: cs#get_matrixclientv3room_keysversion
func (k *Keys) CurrentBackup(ctx context.Context, user id.UserID) (Backup, error) {
	b, found, err := k.backupRow(ctx, selectNewest, user)
	if err != nil {
		return b, fmt.Errorf("reading a key backup: %w", err)
	}
	if !found {
		return b, errNoBackup
	}
	return b, nil
}

// GetBackup returns one version.
// spec: cs#get_matrixclientv3room_keysversionversion
func (k *Keys) GetBackup(ctx context.Context, user id.UserID, version string) (Backup, error) {
	b, found, err := k.findBackup(ctx, user, version)
	if err == nil && (!found || b.deleted) {
		err = mautrix.MNotFound.WithMessage("Unknown backup version")
	}
	return b, err
}

func (k *Keys) findBackup(ctx context.Context, user id.UserID, version string) (b Backup, found bool, err error) {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil || n <= 0 {
		return b, false, nil
	}
	b, found, err = k.backupRow(ctx, selectBackup, user, n)
	if err != nil {
		err = fmt.Errorf("reading a key backup: %w", err)
	}
	return b, found, err
}

// UpdateBackup replaces the auth data of a version; everything else must be as it is.
// spec: cs#put_matrixclientv3room_keysversionversion
func (k *Keys) UpdateBackup(ctx context.Context, user id.UserID, version, bodyVersion, algorithm string, auth json.RawMessage) error {
	if err := checkBackupInfo(algorithm, auth); err != nil {
		return err
	}
	if bodyVersion != "" && bodyVersion != version {
		return mautrix.MInvalidParam.WithMessage("The versions in path and body differ")
	}
	b, err := k.GetBackup(ctx, user, version)
	if err != nil {
		return err
	}
	if b.Algorithm != algorithm {
		return mautrix.MInvalidParam.WithMessage("Algorithm does not match")
	}
	if _, err := k.db.Exec(ctx, updateAuthData, user, b.Version, string(auth)); err != nil {
		return fmt.Errorf("updating a key backup: %w", err)
	}
	return nil
}

// DeleteBackup deletes a version with all its keys. A version that was deleted before stays deleted.
// spec: cs#delete_matrixclientv3room_keysversionversion
func (k *Keys) DeleteBackup(ctx context.Context, user id.UserID, version string) error {
	b, found, err := k.findBackup(ctx, user, version)
	if err != nil {
		return err
	}
	if !found {
		return mautrix.MNotFound.WithMessage("Unknown backup version")
	}
	if b.deleted {
		return nil
	}
	err = k.db.Tx(ctx, func(ctx context.Context) error {
		if _, err := k.db.Exec(ctx, markDeleted, user, b.Version); err != nil {
			return err
		}
		_, err := k.db.Exec(ctx, deleteAllOf, user, b.Version)
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting a key backup: %w", err)
	}
	return nil
}

// DeleteBackups removes everything a user has backed up, for an account that is erased.
func (k *Keys) DeleteBackups(ctx context.Context, user id.UserID) error {
	return k.db.Tx(ctx, func(ctx context.Context) error {
		for _, q := range []string{deleteBackups, deleteBackupKeys} {
			if _, err := k.db.Exec(ctx, q, user); err != nil {
				return fmt.Errorf("deleting key backups: %w", err)
			}
		}
		return nil
	})
}
