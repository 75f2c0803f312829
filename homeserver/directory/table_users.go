package directory

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

const (
	userUpsert = `INSERT INTO user_directory (user_id, display_name, avatar_url) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET display_name = excluded.display_name, avatar_url = excluded.avatar_url`
	userSame        = `SELECT COUNT(*) FROM user_directory WHERE user_id = $1 AND display_name = $2 AND avatar_url = $3`
	userDelete      = `DELETE FROM user_directory WHERE user_id = $1`
	userWordsDelete = `DELETE FROM user_directory_words WHERE user_id = $1`
	userWordInsert  = `INSERT INTO user_directory_words (word, user_id) VALUES ($1, $2) ON CONFLICT (word, user_id) DO NOTHING`
	userByWord      = `SELECT DISTINCT user_id FROM user_directory_words WHERE word >= $1 AND word < $2 LIMIT $3`
	userByWordOf    = `SELECT DISTINCT user_id FROM user_directory_words WHERE word >= $1 AND word < $2 AND user_id IN LIST($3)`
	userSelect      = `SELECT user_id, display_name, avatar_url FROM user_directory WHERE user_id IN LIST($1)`
)

func (d *Directory) putUser(ctx context.Context, u User) error {
	err := d.DB.Tx(ctx, func(ctx context.Context) error {
		var same int
		if err := d.DB.QueryRow(ctx, userSame, string(u.UserID), u.DisplayName, u.AvatarURL).Scan(&same); err != nil || same > 0 {
			return err
		}
		if _, err := d.DB.Exec(ctx, userUpsert, string(u.UserID), u.DisplayName, u.AvatarURL); err != nil {
			return err
		}
		if _, err := d.DB.Exec(ctx, userWordsDelete, string(u.UserID)); err != nil {
			return err
		}
		for _, w := range words(u.UserID, u.DisplayName) {
			if _, err := d.DB.Exec(ctx, userWordInsert, w, string(u.UserID)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("user directory: %w", err)
	}
	return nil
}

func (d *Directory) dropUser(ctx context.Context, user id.UserID) error {
	err := d.DB.Tx(ctx, func(ctx context.Context) error {
		if _, err := d.DB.Exec(ctx, userDelete, string(user)); err != nil {
			return err
		}
		_, err := d.DB.Exec(ctx, userWordsDelete, string(user))
		return err
	})
	if err != nil {
		return fmt.Errorf("user directory: %w", err)
	}
	return nil
}

// findUsers gives those who have a word with each of the prefixes.
func (d *Directory) findUsers(ctx context.Context, prefixes []string) ([]User, error) {
	scan := func(s database.Scanner) (u id.UserID, err error) { return u, s.Scan(&u) }
	const last = "\U0010FFFD"
	ids, err := database.Rows(ctx, d.DB, scan, userByWord, prefixes[0], prefixes[0]+last, maxCandidates)
	if err != nil {
		return nil, err
	}
	for _, p := range prefixes[1:] {
		if len(ids) == 0 {
			return nil, nil
		}
		if ids, err = database.Rows(ctx, d.DB, scan, userByWordOf, p, p+last, database.List(ids)); err != nil {
			return nil, err
		}
	}
	return database.Rows(ctx, d.DB, func(s database.Scanner) (u User, err error) {
		return u, s.Scan(&u.UserID, &u.DisplayName, &u.AvatarURL)
	}, userSelect, database.List(ids))
}
