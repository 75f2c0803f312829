package federation

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/event"
)

const (
	keysSelect = `SELECT key_id, public_key, valid_until_ts, expired_ts FROM server_keys WHERE server = $1`
	keysUpsert = `INSERT INTO server_keys (server, key_id, public_key, valid_until_ts, expired_ts, fetched_ts) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (server, key_id) DO UPDATE SET public_key = excluded.public_key, valid_until_ts = excluded.valid_until_ts,
		expired_ts = excluded.expired_ts, fetched_ts = excluded.fetched_ts`
	documentUpsert = `INSERT INTO server_key_documents (server, json, fetched_ts) VALUES ($1, $2, $3)
		ON CONFLICT (server) DO UPDATE SET json = excluded.json, fetched_ts = excluded.fetched_ts`
	documentSelect = `SELECT json, fetched_ts FROM server_key_documents WHERE server = $1`
)

type keyRow struct {
	keyID string
	key   event.VerifyKey
}

func encodeKey(k ed25519.PublicKey) string { return base64.RawStdEncoding.EncodeToString(k) }

func (k *KeyRing) readKeys(ctx context.Context, server string) ([]keyRow, error) {
	return database.Rows(ctx, k.o.DB, func(s database.Scanner) (r keyRow, err error) {
		var key string
		if err = s.Scan(&r.keyID, &key, &r.key.ValidUntil, &r.key.Expired); err != nil {
			return r, err
		}
		raw, err := base64.RawStdEncoding.DecodeString(key)
		r.key.Key = raw
		return r, err
	}, keysSelect, server)
}

func (k *KeyRing) writeKeys(ctx context.Context, server string, rows []keyRow, doc json.RawMessage) error {
	now := time.Now().UnixMilli()
	err := k.o.DB.Tx(ctx, func(ctx context.Context) error {
		for _, r := range rows {
			if _, err := k.o.DB.Exec(ctx, keysUpsert, server, r.keyID, encodeKey(r.key.Key), r.key.ValidUntil, r.key.Expired, now); err != nil {
				return err
			}
		}
		_, err := k.o.DB.Exec(ctx, documentUpsert, server, string(doc), now)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep keys: %w", err)
	}
	return nil
}

// readDocument gives the newest document of a server and when (ms) it came; nil if there is none.
func (k *KeyRing) readDocument(ctx context.Context, server string) (doc json.RawMessage, fetched int64, err error) {
	var raw string
	err = k.o.DB.QueryRow(ctx, documentSelect, server).Scan(&raw, &fetched)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read key document: %w", err)
	}
	return json.RawMessage(raw), fetched, nil
}
