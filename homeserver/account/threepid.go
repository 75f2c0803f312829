package account

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	upsertThreepid = `INSERT INTO threepids (medium, address, user_id, validated_at, added_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (medium, address) DO UPDATE SET user_id = excluded.user_id, validated_at = excluded.validated_at, added_at = excluded.added_at`
	selectThreepids     = `SELECT medium, address, validated_at, added_at FROM threepids WHERE user_id = $1 ORDER BY medium, address`
	selectThreepidOwner = `SELECT user_id FROM threepids WHERE medium = $1 AND address = $2`
	deleteThreepid      = `DELETE FROM threepids WHERE user_id = $1 AND medium = $2 AND address = $3`
	deleteUserThreepids = `DELETE FROM threepids WHERE user_id = $1`
)

// Threepid is an address that belongs to a user, as the operator or an identity provider says.
type Threepid struct {
	Medium      string `json:"medium"`
	Address     string `json:"address"`
	ValidatedAt int64  `json:"validated_at"`
	AddedAt     int64  `json:"added_at"`
}

// Threepids lists the addresses of a user.
func (a *Accounts) Threepids(ctx context.Context, user id.UserID) ([]Threepid, error) {
	list, err := database.Rows(ctx, a.db, func(row database.Scanner) (t Threepid, err error) {
		err = row.Scan(&t.Medium, &t.Address, &t.ValidatedAt, &t.AddedAt)
		return t, err
	}, selectThreepids, user)
	return list, doing("listing addresses", err)
}

// ThreepidOwner gives the user who has an address, or "".
func (a *Accounts) ThreepidOwner(ctx context.Context, medium, address string) (user id.UserID, err error) {
	address = canonicalAddress(medium, address)
	if !plain(medium, maxType) || !plain(address, maxType) {
		return "", nil
	}
	err = a.db.QueryRow(ctx, selectThreepidOwner, medium, address).Scan(&user)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return user, doing("looking for an address", err)
}

// SetThreepid gives an address to a user, taking it from whoever had it.
func (a *Accounts) SetThreepid(ctx context.Context, user id.UserID, medium, address string) error {
	address = canonicalAddress(medium, address)
	if medium != "email" && medium != "msisdn" || address == "" || !plain(address, maxType) {
		return mautrix.MInvalidParam.WithMessage("Not an address")
	}
	now := a.now().UnixMilli()
	_, err := a.db.Exec(ctx, upsertThreepid, medium, address, user, now, now)
	return doing("writing an address", err)
}

// DeleteThreepid takes an address from a user. It is no error if it was not theirs.
func (a *Accounts) DeleteThreepid(ctx context.Context, user id.UserID, medium, address string) error {
	address = canonicalAddress(medium, address)
	if !plain(medium, maxType) || !plain(address, maxType) {
		return nil
	}
	_, err := a.db.Exec(ctx, deleteThreepid, user, medium, address)
	return doing("deleting an address", err)
}

// canonicalAddress is the one form of an address.
//
// spec: appendices#3pid-types
func canonicalAddress(medium, address string) string {
	if medium == "email" {
		return strings.ToLower(address)
	}
	return address
}
