package account_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/account"
	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

func BenchmarkAuthenticate_Cached(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	alice := w.register("alice")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.a.Authenticate(w.ctx, alice.token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIgnoredUsers_Cached(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	alice := w.register("alice")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.a.IgnoredUsers(w.ctx, alice.user); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetAccountData(b *testing.B) {
	dbtest.Both(b, func(name string, db *database.DB) {
		w := newWorld(b, db)
		alice := w.register("alice")
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					room := id.RoomID(fmt.Sprintf("!%d:hs1", i%50))
					if err := w.a.SetAccountData(w.ctx, alice.user, room, "m.test", json.RawMessage(`{"a":1}`)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	})
}

func FuzzLocalpart(f *testing.F) {
	for _, s := range []string{"alice", "a/b", "_x", "Ünï", "a:b", "", "\x00", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if account.ValidLocalpart(s) {
			if !account.ValidHistoricalLocalpart(s) {
				t.Fatalf("%q is of today's grammar but not of the old one", s)
			}
			if strings.ToLower(s) != s || strings.ContainsAny(s, ":@ \x00") {
				t.Fatalf("%q should not be valid", s)
			}
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{`{}`, `{"room":{"timeline":{"limit":10,"types":["*"]}}}`, `{"room":null}`, `[]`, `{"presence":{"senders":["@a:b"]}}`, `{"room":{"rooms":["!a"]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if account.ValidateFilter(raw) == nil && !json.Valid(raw) {
			t.Fatalf("%q was taken", raw)
		}
	})
}
