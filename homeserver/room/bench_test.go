package room

import (
	"fmt"
	"sync/atomic"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

func benchmark(b *testing.B, run func(b *testing.B, w *world)) {
	dbtest.Both(b, func(name string, db *database.DB) {
		b.Run(name, func(b *testing.B) { run(b, start(b, db)) })
	})
}

func BenchmarkSend(b *testing.B) {
	benchmark(b, func(b *testing.B, w *world) {
		roomID := w.public()
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			in := SendInput{RoomID: roomID, Sender: alice, DeviceID: "D", TxnID: fmt.Sprint(n), Type: "m.room.message", Content: message("hello")}
			if _, err := w.Send(w.ctx, in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSendParallel has 16 senders, all in one room or each in another.
func BenchmarkSendParallel(b *testing.B) {
	for _, rooms := range []int{1, 16} {
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			benchmark(b, func(b *testing.B, w *world) {
				ids := make([]id.RoomID, rooms)
				for i := range ids {
					ids[i] = w.public()
				}
				b.ReportAllocs()
				b.SetParallelism(8)
				var next atomic.Int64
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					me := int(next.Add(1))
					for n := 0; pb.Next(); n++ {
						in := SendInput{RoomID: ids[me%rooms], Sender: alice, DeviceID: id.DeviceID(fmt.Sprint(me)), TxnID: fmt.Sprint(n),
							Type: "m.room.message", Content: message("hello")}
						if _, err := w.Send(w.ctx, in); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		})
	}
}

// BenchmarkJoin joins and leaves rooms that have so many members already: the cost must be the same.
func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{100, 2000, 10000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			benchmark(b, func(b *testing.B, w *world) {
				roomID := w.public()
				crowd(b, w, roomID, members)
				if _, err := w.JoinedMembers(w.ctx, roomID); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n++
					user := id.UserID(fmt.Sprintf("@late%d:here.test", n))
					if _, err := w.Join(w.ctx, JoinInput{User: user, RoomIDOrAlias: string(roomID)}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func crowd(b *testing.B, w *world, roomID id.RoomID, members int) {
	b.Helper()
	errs := make(chan error, 50)
	for worker := range 50 {
		go func() {
			for i := worker; i < members; i += 50 {
				user := id.UserID(fmt.Sprintf("@m%d:here.test", i))
				if _, err := w.Join(w.ctx, JoinInput{User: user, RoomIDOrAlias: string(roomID)}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 50 {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReload reads a room of many members after everything in memory was dropped.
func BenchmarkReload(b *testing.B) {
	benchmark(b, func(b *testing.B, w *world) {
		roomID := w.public()
		crowd(b, w, roomID, 10000)
		b.ReportAllocs()
		for b.Loop() {
			w.states.clear()
			e := w.use(roomID)
			e.outdated(0)
			w.release(e)
			if s, err := w.State(w.ctx, roomID); err != nil || s.Len() < 10000 {
				b.Fatal(err)
			}
		}
	})
}
