package media

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/id"
)

const (
	statePending = 0
	stateDone    = 1
)

// row is one file. Blob is empty while the upload is pending. Thumbnails are rows of table media_thumbnails.
type row struct {
	Origin, MediaID, UserID, Type, Name, Blob string
	Size, Created                             int64
	State                                     int
	Quarantined                               bool
}

const (
	mediaInsert = `INSERT INTO media (origin, media_id, user_id, content_type, upload_name, size, blob, created_ts, state, quarantined)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0) ON CONFLICT (origin, media_id) DO NOTHING`
	mediaSelect = `SELECT user_id, content_type, upload_name, size, blob, created_ts, state, quarantined FROM media WHERE origin = $1 AND media_id = $2`
	mediaFinish = `UPDATE media SET content_type = $3, upload_name = $4, size = $5, blob = $6, state = 1
		WHERE origin = $1 AND media_id = $2 AND state = 0`
	mediaPending = `SELECT COUNT(*) FROM media WHERE user_id = $1 AND state = 0 AND created_ts > $2`
	thumbInsert  = `INSERT INTO media_thumbnails (blob, width, height, method, animated, content_type, size, thumbnail_blob)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (blob, width, height, method, animated) DO NOTHING`
	thumbSelect = `SELECT content_type, size, thumbnail_blob FROM media_thumbnails
		WHERE blob = $1 AND width = $2 AND height = $3 AND method = $4 AND animated = $5`
)

func (m *Media) insert(ctx context.Context, r row) error {
	_, err := m.o.DB.Exec(ctx, mediaInsert, r.Origin, r.MediaID, r.UserID, r.Type, r.Name, r.Size, r.Blob, r.Created, r.State)
	if err != nil {
		return fmt.Errorf("insert media: %w", err)
	}
	return nil
}

func (m *Media) find(ctx context.Context, origin, mediaID string) (*row, error) {
	r := &row{Origin: origin, MediaID: mediaID}
	var quarantined int
	err := m.o.DB.QueryRow(ctx, mediaSelect, origin, mediaID).Scan(&r.UserID, &r.Type, &r.Name, &r.Size, &r.Blob, &r.Created, &r.State, &quarantined)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find media: %w", err)
	}
	r.Quarantined = quarantined != 0
	return r, nil
}

func (m *Media) finish(ctx context.Context, mediaID, contentType, name, blob string, size int64) (bool, error) {
	res, err := m.o.DB.Exec(ctx, mediaFinish, m.o.ServerName, mediaID, contentType, name, size, blob)
	if err != nil {
		return false, fmt.Errorf("finish media: %w", err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

func (m *Media) countPending(ctx context.Context, user id.UserID) (int, error) {
	var n int
	err := m.o.DB.QueryRow(ctx, mediaPending, string(user), now()-unusedLifetime.Milliseconds()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count pending media: %w", err)
	}
	return n, nil
}

type thumbRow struct {
	Type, Blob string
	Size       int64
}

func (m *Media) findThumb(ctx context.Context, blob string, s thumbSize) (*thumbRow, error) {
	var t thumbRow
	err := m.o.DB.QueryRow(ctx, thumbSelect, blob, s.Width, s.Height, s.Method, s.animated()).Scan(&t.Type, &t.Size, &t.Blob)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find thumbnail: %w", err)
	}
	return &t, nil
}

func (m *Media) insertThumb(ctx context.Context, blob string, s thumbSize, t thumbRow) error {
	_, err := m.o.DB.Exec(ctx, thumbInsert, blob, s.Width, s.Height, s.Method, s.animated(), t.Type, t.Size, t.Blob)
	if err != nil {
		return fmt.Errorf("insert thumbnail: %w", err)
	}
	return nil
}
