package database_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// BenchmarkRead reads rows by their key: one at a time, 50 in one query, inside of a snapshot.
func BenchmarkRead(b *testing.B) {
	table := database.NewTable("things", "", database.Int("n"), database.Text("body"))
	dbtest.Both(b, func(name string, db *database.DB) {
		ctx := context.Background()
		if _, err := db.Exec(ctx, `CREATE TABLE things (n BIGINT PRIMARY KEY, body TEXT)`); err != nil {
			b.Fatal(err)
		}
		rows := make([][]any, 1000)
		keys := make([]int64, 50)
		for i := range rows {
			rows[i] = []any{i, fmt.Sprintf("%0600d", i)}
			keys[i%50] = int64(i)
		}
		if err := db.Insert(ctx, table, rows...); err != nil {
			b.Fatal(err)
		}
		one := func(b *testing.B, ctx context.Context) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				var body string
				if err := db.QueryRow(ctx, `SELECT body FROM things WHERE n = $1`, int64(i%1000)).Scan(&body); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(name+"/One", func(b *testing.B) { one(b, ctx) })
		cancellable, cancel := context.WithCancel(ctx)
		defer cancel()
		b.Run(name+"/OneCancellable", func(b *testing.B) { one(b, cancellable) })
		b.Run(name+"/OneInSnapshot", func(b *testing.B) {
			_ = db.Snapshot(cancellable, func(ctx context.Context) error {
				one(b, ctx)
				return nil
			})
		})
		b.Run(name+"/List50", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, err := database.Rows(ctx, db, database.Scan1[string], `SELECT body FROM things WHERE n IN LIST($1)`, database.List(keys))
				if err != nil || len(out) != 50 {
					b.Fatal(len(out), err)
				}
			}
		})
	})
}
