package e2ee

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// cpu reports the processor time of this process per operation; that of a database server is not in it.
func cpu(b *testing.B, ops int, fn func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	b.ResetTimer()
	fn()
	b.StopTimer()
	b.ReportMetric(float64(used()-before)/1e3/float64(ops), "cpu-µs/op")
}

func benchBoth(b *testing.B, run func(b *testing.B, w *world)) {
	dbtest.Both(b, func(name string, db *database.DB) {
		b.Run(name, func(b *testing.B) { run(b, newWorld(b, db)) })
	})
}

func BenchmarkUpload50(b *testing.B) {
	benchBoth(b, func(b *testing.B, w *world) {
		ups := make([]Upload, b.N)
		for i := range ups {
			ups[i] = Upload{OneTimeKeys: oneTimeKeys(0, 50)}
		}
		cpu(b, b.N, func() {
			for i := range b.N {
				w.upload(id.UserID(fmt.Sprintf("@u%d:here", i)), "DEV", ups[i])
			}
		})
	})
}

func benchClaim(b *testing.B, devices int) {
	benchBoth(b, func(b *testing.B, w *world) {
		want := Wanted{}
		rounds := 0
		fill := func() {
			for i := range devices {
				user := id.UserID(fmt.Sprintf("@u%d:here", i))
				w.upload(user, "DEV", Upload{OneTimeKeys: oneTimeKeys(rounds*1000, rounds*1000+1000)})
				want[user] = map[id.DeviceID]string{"DEV": "signed_curve25519"}
			}
			rounds++
		}
		fill()
		n := min(b.N, 900)
		cpu(b, n, func() {
			for range n {
				if got, _, err := w.keys.ClaimKeys(w.ctx, want, 0); err != nil || len(got) != devices {
					b.Fatal(len(got), err)
				}
			}
		})
	})
}

func BenchmarkClaim1(b *testing.B)  { benchClaim(b, 1) }
func BenchmarkClaim50(b *testing.B) { benchClaim(b, 50) }

func BenchmarkSendToDevice50(b *testing.B) {
	benchBoth(b, func(b *testing.B, w *world) {
		body := json.RawMessage(`{"algorithm":"m.olm.v1.curve25519-aes-sha2","ciphertext":{"x":{"type":1,"body":"` + strings.Repeat("x", 900) + `"}}}`)
		messages := Messages{}
		for i := range 50 {
			user := id.UserID(fmt.Sprintf("@u%d:here", i))
			w.device(user, "DEV", "")
			messages[user] = map[id.DeviceID]json.RawMessage{"DEV": body}
		}
		cpu(b, b.N*50, func() {
			for i := range b.N {
				if err := w.keys.SendToDevice(w.ctx, alice, "A", "m.room.encrypted", fmt.Sprint(i), messages); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkQuery500(b *testing.B) {
	benchBoth(b, func(b *testing.B, w *world) {
		asked := Asked{}
		for i := range 500 {
			user := id.UserID(fmt.Sprintf("@u%d:here", i))
			w.device(user, "DEV", "phone")
			w.upload(user, "DEV", Upload{DeviceKeys: newSigner(b).deviceKeys(b, user, "DEV")})
			asked[user] = nil
		}
		cpu(b, b.N, func() {
			for range b.N {
				a, err := w.keys.QueryKeys(w.ctx, alice, asked, 0)
				if err != nil || len(a.Encode()) < 500*200 {
					b.Fatal(err)
				}
			}
		})
	})
}

func BenchmarkKeyCounts(b *testing.B) {
	benchBoth(b, func(b *testing.B, w *world) {
		w.upload(alice, "A", Upload{OneTimeKeys: oneTimeKeys(0, 50)})
		cpu(b, b.N, func() {
			for range b.N {
				if _, _, err := w.keys.KeyCounts(w.ctx, alice, "A"); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
