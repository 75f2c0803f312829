package room

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	sqlAlias        = `SELECT room_id, creator FROM aliases WHERE alias = $1`
	sqlAliasInsert  = `INSERT INTO aliases (alias, room_id, creator, ts) VALUES ($1, $2, $3, $4) ON CONFLICT (alias) DO NOTHING`
	sqlAliasDelete  = `DELETE FROM aliases WHERE alias = $1`
	sqlAliasesOf    = `SELECT alias FROM aliases WHERE room_id = $1 ORDER BY alias`
	sqlAliasesMoved = `UPDATE aliases SET room_id = $2 WHERE room_id = $1`
)

type aliasRow struct {
	room    id.RoomID
	creator id.UserID
}

// readAlias fails with M_NOT_FOUND if the alias does not exist.
func (r *Rooms) readAlias(ctx context.Context, alias id.RoomAlias) (a aliasRow, err error) {
	err = r.db.QueryRow(ctx, sqlAlias, string(alias)).Scan(&a.room, &a.creator)
	if errors.Is(err, sql.ErrNoRows) {
		return a, errAliasNotFound
	}
	if err != nil {
		return a, fmt.Errorf("alias: %w", err)
	}
	return a, nil
}

// insertAlias says false if the alias is taken.
func (r *Rooms) insertAlias(ctx context.Context, alias id.RoomAlias, roomID id.RoomID, creator id.UserID) (bool, error) {
	res, err := r.db.Exec(ctx, sqlAliasInsert, string(alias), string(roomID), string(creator), r.now())
	if err != nil {
		return false, fmt.Errorf("new alias: %w", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// Aliases lists the aliases of a room that this server keeps.
func (r *Rooms) Aliases(ctx context.Context, roomID id.RoomID) ([]id.RoomAlias, error) {
	scan := func(s database.Scanner) (a id.RoomAlias, err error) { return a, s.Scan(&a) }
	list, err := database.Rows(ctx, r.db, scan, sqlAliasesOf, string(roomID))
	if err != nil {
		return nil, fmt.Errorf("aliases of %s: %w", roomID, err)
	}
	return list, nil
}
