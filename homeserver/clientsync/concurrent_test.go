package clientsync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"
)

// Clients that poll while everybody writes at once end up with the same rooms, without an event lost or doubled.
func TestSync_AddsUpWhileManyWrite(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var users []id.UserID
		for i := range 4 {
			users = append(users, w.user(fmt.Sprint("u", i)))
		}
		rooms := []id.RoomID{w.create(users[0]), w.create(users[1])}
		for _, r := range rooms {
			for _, u := range users {
				_, _ = w.rooms.Join(w.ctx, joinInput(u, r))
			}
		}
		const plain = `{"room":{"timeline":{"limit":%d}}}`
		var models []*model
		for _, u := range users {
			models = append(models, newModel("plain", u, syncOptions{filter: plain, wait: 50 * time.Millisecond}, false),
				newModel("after", u, syncOptions{filter: plain, after: true, wait: 50 * time.Millisecond}, false))
		}
		ctx, stop := context.WithCancel(w.ctx)
		var writers, readers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				h := &history{w: w, rng: rand.New(rand.NewPCG(uint64(i), 1)), users: users, rooms: rooms, where: map[id.EventID]id.RoomID{}}
				for range 80 {
					h.step()
				}
			})
		}
		for i, m := range models {
			readers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 2))
				for ctx.Err() == nil {
					if err := m.sync(w, []int{1, 3, 50}[rng.IntN(3)]); err != nil {
						t.Errorf("%s of %s: %v", m.name, m.user, err)
						return
					}
				}
			})
		}
		writers.Wait()
		stop()
		readers.Wait()
		for _, m := range models {
			if err := m.sync(w, 50); err != nil {
				t.Error(err)
			}
			if err := m.check(w); err != nil {
				t.Errorf("%s of %s: %v", m.name, m.user, err)
			}
		}
	})
}
