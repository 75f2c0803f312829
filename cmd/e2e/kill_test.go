package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// TestKill kills the server again and again while clients work. A client whose
// request was not answered makes the same request again. All that was acknowledged
// must be there after each kill, and once.
func TestKill(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		s := w.start("localhost")[0]
		h := newHavoc(t, s)
		h.begin()
		for n := range kills(t) {
			h.kill(n)
			h.check()
		}
		h.finish()
		w.invariants(s)
	})
}

func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("VIADUC_KILLS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// havoc is the load, and what it was told by the server.
type havoc struct {
	t    *testing.T
	s    *server
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
	gate sync.RWMutex // a step of a worker holds it shared; a check, alone

	room     string
	talkers  []*wire
	postman  *wire // sends to-device messages to the listener
	listener *wire
	keeper   *wire // uploads one-time keys
	claimer  *wire // claims them
	diarist  *wire // writes account data

	mu     sync.Mutex
	failed error
	ledger ledger
	heard  heard
}

// ledger is what the server acknowledged.
type ledger struct {
	events   map[string]string // event ID → its text
	state    map[string]int    // state key → newest value
	media    map[string]string // media path → its content
	members  map[string]bool   // users who joined
	letters  map[int]bool      // to-device messages
	uploaded int               // one-time keys
	claimed  map[string]bool   // one-time keys given out
	unheard  int               // claims whose answer did not come
	diary    int               // newest account data
}

// heard is what the listener got by sync.
type heard struct {
	since   string
	events  map[string]int
	letters map[int]int
}

func newHavoc(t *testing.T, s *server) *havoc {
	t.Helper()
	h := &havoc{t: t, s: s}
	h.ctx, h.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { h.stop(); h.work.Wait() })
	h.ledger = ledger{
		events: map[string]string{}, state: map[string]int{}, media: map[string]string{},
		members: map[string]bool{}, letters: map[int]bool{}, claimed: map[string]bool{},
	}
	h.heard = heard{events: map[string]int{}, letters: map[int]int{}}
	h.listener, h.postman = h.user("listener"), h.user("postman")
	h.keeper, h.claimer, h.diarist = h.user("keeper"), h.user("claimer"), h.user("diarist")
	var made struct {
		RoomID string `json:"room_id"`
	}
	must(t, h.listener.persist(h.ctx, http.MethodPost, path("createRoom"), map[string]any{
		"preset": "public_chat", "power_level_content_override": map[string]any{"state_default": 0, "events_default": 0},
	}, &made))
	h.room = made.RoomID
	for i := range 3 {
		talker := h.user(fmt.Sprintf("talker%d", i))
		must(t, talker.persist(h.ctx, http.MethodPost, path("join", h.room), map[string]any{}, nil))
		h.ledger.members[talker.user] = true
		h.talkers = append(h.talkers, talker)
	}
	return h
}

func (h *havoc) user(name string) *wire {
	h.t.Helper()
	c := h.s.wire()
	must(h.t, c.register(h.ctx, name))
	return c
}

// begin starts the workers.
func (h *havoc) begin() {
	for i, talker := range h.talkers {
		h.worker(func(n int) error { return h.talk(talker, i, n) })
	}
	h.worker(h.post)
	h.worker(h.keep)
	h.worker(h.claim)
	h.worker(h.write)
	h.worker(h.welcome)
	h.work.Go(func() {
		for h.ctx.Err() == nil {
			h.listen()
		}
	})
}

// worker does one step after the other until the end; an error is the test's.
func (h *havoc) worker(step func(n int) error) {
	h.work.Go(func() {
		for n := 1; h.ctx.Err() == nil; n++ {
			h.gate.RLock()
			err := step(n)
			h.gate.RUnlock()
			if err != nil && h.ctx.Err() == nil {
				h.mu.Lock()
				if h.failed == nil {
					h.failed = err
				}
				h.mu.Unlock()
				return
			}
		}
	})
}

func (h *havoc) note(fn func(l *ledger)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn(&h.ledger)
}

// kill lets the clients work for a moment, kills the server and starts it again;
// one in five kills hits a server that is just starting.
func (h *havoc) kill(n int) {
	time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
	h.s.kill()
	h.s.launch()
	if n%5 == 4 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		h.s.kill()
		h.s.launch()
	}
	h.s.ready()
}

// finish ends the load, and reads all once more, with a client that knows nothing.
func (h *havoc) finish() {
	h.t.Helper()
	h.gate.Lock()
	h.stop()
	h.gate.Unlock()
	h.work.Wait()
	h.ctx = context.Background()
	h.readAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.ledger
	h.t.Logf("acknowledged: %d events, %d to-device messages, %d keys (%d claimed), %d media, %d members, %d writings of account data",
		len(l.events), len(l.letters), l.uploaded, len(l.claimed), len(l.media), len(l.members), l.diary)
	if len(l.events) == 0 || len(l.letters) == 0 || l.uploaded == 0 || len(l.claimed) == 0 || l.diary == 0 {
		h.t.Error("there was no load")
	}
}

// invariants stops the server and looks into its database.
func (w *world) invariants(s *server) {
	w.t.Helper()
	s.stop()
	options := database.Options{URL: filepath.Join(s.data, "viaduc.db")}
	if w.postgres != "" {
		name, err := os.ReadFile(filepath.Join(s.data, "database.name"))
		must(w.t, err)
		options.URL = withDatabase(w.t, w.postgres, strings.TrimSpace(string(name)))
	}
	db, err := database.Open(context.Background(), options)
	must(w.t, err)
	defer db.Close()
	if err := dbtest.Invariants(context.Background(), db); err != nil {
		w.t.Error(err)
	}
}
