package e2ee

import (
	"context"
	"database/sql"
	"errors"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/stream"
)

var tableOneTimeKeys = database.NewTable("one_time_keys", "",
	database.Text("owner"), database.Text("algorithm"), database.Int("seq"), database.Text("key_id"), database.Text("key"))

var tableFallbackKeys = database.NewTable("fallback_keys",
	"ON CONFLICT (owner, algorithm) DO UPDATE SET key_id = excluded.key_id, key = excluded.key, used = excluded.used",
	database.Text("owner"), database.Text("algorithm"), database.Text("key_id"), database.Text("key"), database.Int("used"))

var uploadGuard = stream.NewGuardTable("key_uploads", database.Text("owner"), "version")

const (
	selectStoredKeys = `SELECT algorithm, key_id, key FROM one_time_keys WHERE owner = $1 AND key_id IN LIST($2)`
	countKeys        = `SELECT algorithm, COUNT(*) FROM one_time_keys WHERE owner = $1 GROUP BY algorithm`
	selectFallback   = `SELECT algorithm, key_id, key, used FROM fallback_keys WHERE owner = $1`
	selectUploads    = `SELECT version FROM key_uploads WHERE owner = $1`
	deleteUploads    = `DELETE FROM key_uploads WHERE owner = $1`
	deleteKeys       = `DELETE FROM one_time_keys WHERE owner = $1`
	deleteFallback   = `DELETE FROM fallback_keys WHERE owner = $1`

	// takeKeys takes the oldest key of each owner. Two that run at the same time may choose the same key; then one of
	// them gets nothing, and asks again.
	takeKeys = `DELETE FROM one_time_keys WHERE (owner, algorithm, seq) IN (
		SELECT r.value, a.value, (SELECT MIN(k.seq) FROM one_time_keys k WHERE k.owner = r.value AND k.algorithm = a.value)
		FROM TEXTS($1) r, TEXTS($2) a) RETURNING owner, key_id, key`
	remainingOwners = `SELECT r.value FROM TEXTS($1) r WHERE EXISTS (
		SELECT 1 FROM one_time_keys k WHERE k.owner = r.value AND k.algorithm = $2)`
	useFallback = `UPDATE fallback_keys SET used = 1 WHERE algorithm = $2 AND owner IN LIST($1) RETURNING owner, key_id, key`
)

type takenKey struct{ Owner, KeyID, Key string }

func (k *Keys) takeRows(ctx context.Context, query string, owners []string, algorithm any) ([]takenKey, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r takenKey, err error) {
		err = s.Scan(&r.Owner, &r.KeyID, &r.Key)
		return r, err
	}, query, database.List(owners), algorithm)
}

func (k *Keys) ownersWithKeys(ctx context.Context, owners []string, algorithm string) ([]string, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (o string, err error) {
		err = s.Scan(&o)
		return o, err
	}, remainingOwners, database.List(owners), algorithm)
}

func (k *Keys) storedKeys(ctx context.Context, owner string, keyIDs []string) ([]oneTimeKey, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r oneTimeKey, err error) {
		err = s.Scan(&r.Algorithm, &r.KeyID, &r.Key)
		return r, err
	}, selectStoredKeys, owner, database.List(keyIDs))
}

type fallbackKey struct {
	oneTimeKey
	Used bool
}

func (k *Keys) fallbackKeys(ctx context.Context, owner string) ([]fallbackKey, error) {
	return database.Rows(ctx, k.db, func(s database.Scanner) (r fallbackKey, err error) {
		var used int64
		err = s.Scan(&r.Algorithm, &r.KeyID, &r.Key, &used)
		r.Used = used != 0
		return r, err
	}, selectFallback, owner)
}

func (k *Keys) countedKeys(ctx context.Context, owner string) (map[string]int, error) {
	type count struct {
		algorithm string
		n         int
	}
	rows, err := database.Rows(ctx, k.db, func(s database.Scanner) (r count, err error) {
		err = s.Scan(&r.algorithm, &r.n)
		return r, err
	}, countKeys, owner)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(rows))
	for _, r := range rows {
		counts[r.algorithm] = r.n
	}
	return counts, nil
}

// uploadsOf counts the uploads of a device.
func (k *Keys) uploadsOf(ctx context.Context, owner string) (n int64, err error) {
	err = k.db.QueryRow(ctx, selectUploads, owner).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}
