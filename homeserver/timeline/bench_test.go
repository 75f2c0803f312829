package timeline

import (
	"fmt"
	"testing"

	"github.com/viaduc/viaduc/homeserver/database/dbtest"
	"github.com/viaduc/viaduc/homeserver/web"
)

// A page of 100 messages, scrolling back.
func BenchmarkMessages_PageOf100(b *testing.B) {
	w := newWorld(b, dbtest.SQLite(b))
	u := w.user("u")
	r := w.create(u)
	for i := range 1000 {
		w.say(u, r, fmt.Sprint("message number ", i))
	}
	limit := 100
	who := web.Requester{UserID: u, DeviceID: "DEV"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.times.GetMessages(w.ctx, who, MessagesIn{RoomID: r, Dir: "b", Limit: &limit, From: "t600000000"}); err != nil {
			b.Fatal(err)
		}
	}
}
