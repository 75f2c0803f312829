package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	publishedInsert = `INSERT INTO published_rooms (room_id, network) VALUES ($1, $2) ON CONFLICT (room_id, network) DO NOTHING`
	publishedDelete = `DELETE FROM published_rooms WHERE room_id = $1 AND network = $2`
	publishedPurge  = `DELETE FROM published_rooms WHERE room_id = $1`
	publishedFind   = `SELECT 1 FROM published_rooms WHERE room_id = $1 AND network = ''`
	publishedList   = `SELECT room_id FROM published_rooms WHERE network = $1 LIMIT $2`
	publishedAll    = `SELECT DISTINCT room_id FROM published_rooms LIMIT $1`
)

func (d *Directory) setPublished(ctx context.Context, roomID id.RoomID, network string, on bool) error {
	q := publishedDelete
	if on {
		q = publishedInsert
	}
	if _, err := d.DB.Exec(ctx, q, string(roomID), network); err != nil {
		return fmt.Errorf("publish room: %w", err)
	}
	return nil
}

// forgetRoom takes a purged room out of all lists.
func (d *Directory) forgetRoom(ctx context.Context, roomID id.RoomID) error {
	if _, err := d.DB.Exec(ctx, publishedPurge, string(roomID)); err != nil {
		return fmt.Errorf("unpublish room: %w", err)
	}
	return nil
}

func (d *Directory) isPublished(ctx context.Context, roomID id.RoomID) (bool, error) {
	var one int
	err := d.DB.QueryRow(ctx, publishedFind, string(roomID)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (d *Directory) listPublished(ctx context.Context, network string, all bool) ([]id.RoomID, error) {
	scan := func(s database.Scanner) (r id.RoomID, err error) { return r, s.Scan(&r) }
	if all {
		return database.Rows(ctx, d.DB, scan, publishedAll, maxPublished)
	}
	return database.Rows(ctx, d.DB, scan, publishedList, network, maxPublished)
}
