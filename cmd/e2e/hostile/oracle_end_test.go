package hostile

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/viaduc/viaduc/homeserver/database"
	"github.com/viaduc/viaduc/homeserver/database/dbtest"
)

// quiet is what may be left of goroutines and files when all attacks are over.
const (
	quietGoroutines = 80
	quietFiles      = 100
	// settling is how long events that could not be judged at once may wait for another try: 10, 20 and 40 seconds, and the
	// sweep that finds them.
	settling = 2 * time.Minute
)

// end looks at the server after all rows, stops it, and looks at what it left.
func (w *world) end() {
	t := w.t
	t.Helper()
	if !w.hs.running() {
		return
	}
	w.settle()
	w.alice.foldedRight(t)
	w.quiet()
	w.stop()
	w.checkLog(t)
	db, err := database.Open(context.Background(), database.Options{URL: w.databaseURL(), MaxConns: 2, ReadConns: 2, CacheMB: 8})
	must(t, err)
	defer db.Close()
	if err := dbtest.Invariants(context.Background(), db); err != nil {
		t.Errorf("the database is not whole: %v", err)
	}
	for what, query := range halfWritten {
		found, err := database.Rows(context.Background(), db, database.Scan1[string], query)
		must(t, err)
		if len(found) > 0 {
			t.Errorf("%s: %.5q", what, found)
		}
	}
	w.graphs(db)
}

// databaseURL is the database of the server under test.
func (w *world) databaseURL() string {
	server := os.Getenv("VIADUC_HOSTILE_DB")
	if server == "" {
		return filepath.Join(w.hs.data, "viaduc.db")
	}
	name, err := os.ReadFile(filepath.Join(w.hs.data, "database.name"))
	must(w.t, err)
	u, err := url.Parse(server)
	must(w.t, err)
	u.Path = "/" + strings.TrimSpace(string(name))
	return u.String()
}

// settle waits until every event that came in was judged; in the full run also until those that were tried again are done
// with. What may wait for longer are events whose keys cannot be had.
func (w *world) settle() {
	t := w.t
	t.Helper()
	driver, source := "postgres", w.databaseURL()
	if os.Getenv("VIADUC_HOSTILE_DB") == "" {
		driver, source = "sqlite", "file:"+source+"?mode=ro&_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, source)
	must(t, err)
	defer db.Close()
	count := func(query string) (n int) {
		must(t, db.QueryRow(query).Scan(&n))
		return n
	}
	until(t, "every event that came in is judged", func() bool { return count(`SELECT count(*) FROM staged_events WHERE tries = 0`) == 0 })
	if !full {
		return
	}
	start := time.Now()
	for count(`SELECT count(*) FROM staged_events WHERE tries < 3`) > 0 {
		if time.Since(start) > settling {
			t.Errorf("%d events still wait for another try", count(`SELECT count(*) FROM staged_events WHERE tries < 3`))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// quiet waits until what the attacks took is given back.
func (w *world) quiet() {
	t := w.t
	t.Helper()
	deadline := time.Now().Add(2 * patience)
	w.hs.http.CloseIdleConnections()
	for {
		now := w.vitals()
		if now.goroutines <= w.base.goroutines+quietGoroutines && now.files <= w.base.files+quietFiles {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("when all is over there are %v goroutines and %v files, %v and %v at first", now.goroutines, now.files, w.base.goroutines, w.base.files)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// fold keeps what a client knows of its rooms by increments alone.
type fold map[string]map[key]string

// take applies an answer of /sync with use_state_after.
func (f fold) take(o obj) {
	joined, _ := at(o, "rooms", "join").(obj)
	for room, in := range joined {
		if f[room] == nil {
			f[room] = map[key]string{}
		}
		for _, x := range list(in, "state_after", "events") {
			ev, _ := x.(obj)
			if k, ok := keyOf(ev); ok {
				f[room][k] = text(ev, "event_id")
			}
		}
	}
	left, _ := at(o, "rooms", "leave").(obj)
	for room := range left {
		delete(f, room)
	}
}

// foldedRight compares what the increments said with what the server says now, room by room.
func (p *person) foldedRight(t tb) {
	t.Helper()
	p.catchUp(t)
	joined := refIDs(p.ok(t, "GET", csPath("joined_rooms"), nil)["joined_rooms"])
	if a, b := slices.Sorted(slices.Values(joined)), slices.Sorted(maps.Keys(p.rooms)); !slices.Equal(a, b) {
		t.Errorf("increments of sync tell of %d rooms, the server of %d", len(b), len(a))
	}
	for _, room := range joined {
		r := p.do("GET", csPath("rooms", room, "state"), nil)
		state, _ := decode(r.raw).([]any)
		if r.status != 200 || len(state) == 0 {
			t.Errorf("the state of %s: %s", room, r)
			continue
		}
		now := map[key]string{}
		for _, x := range state {
			if k, ok := keyOf(x.(obj)); ok {
				now[k] = text(x, "event_id")
			}
		}
		if !maps.Equal(now, p.rooms[room]) {
			t.Errorf("increments of sync give another state of %s than the server has:%s", room, difference(p.rooms[room], now))
		}
	}
}

func difference(a, b map[key]string) string {
	var out strings.Builder
	for k, e := range a {
		if b[k] != e {
			fmt.Fprintf(&out, "\n  %s %q: %s by increments, %q now", k.kind, k.sk, e, b[k])
		}
	}
	for k, e := range b {
		if _, ok := a[k]; !ok {
			fmt.Fprintf(&out, "\n  %s %q: not by increments, %s now", k.kind, k.sk, e)
		}
	}
	return out.String()
}

// Flags of the table of events.
const (
	rejected   = 1
	softFailed = 2
	outlier    = 4
	historic   = 8
)

// graphs checks every room's events: the ends of the history are what nobody follows, places in the log and in the history
// grow together, and memberships are those of the current state.
func (w *world) graphs(db *database.DB) {
	t := w.t
	t.Helper()
	ctx := context.Background()
	rooms, err := database.Rows(ctx, db, func(s database.Scanner) (r roomRow, err error) {
		return r, s.Scan(&r.nid, &r.id, &r.version, &r.ends, &r.state)
	}, `SELECT room_nid, room_id, room_version, extremities, state_id FROM rooms`)
	must(t, err)
	for _, r := range rooms {
		evs, err := database.Rows(ctx, db, func(s database.Scanner) (e eventRow, err error) {
			return e, s.Scan(&e.id, &e.pos, &e.ord, &e.flags, &e.json)
		}, `SELECT event_id, coalesce(pos, 0), coalesce(ord, 0), flags, json FROM events WHERE room_nid = $1 ORDER BY coalesce(pos, 0), ord`, r.nid)
		must(t, err)
		r.check(t, evs)
	}
	if len(rooms) == 0 {
		t.Error("there are no rooms in the database")
	}
}

type roomRow struct {
	nid, state        int64
	id, version, ends string
}

type eventRow struct {
	id, json        string
	pos, ord, flags int64
}

func (r roomRow) check(t tb, evs []eventRow) {
	t.Helper()
	leaves, before := map[string]bool{}, int64(0)
	inside := false
	for _, e := range evs {
		if e.flags&(rejected|softFailed|outlier|historic) != 0 || e.pos == 0 {
			continue
		}
		inside = true
		if e.ord == 0 || e.ord <= before {
			t.Errorf("%s: the event %s has place %d in the history, the one before it in the log %d", r.id, e.id, e.ord, before)
		}
		before = e.ord
		leaves[e.id] = true
	}
	for _, e := range evs {
		if e.flags&(rejected|softFailed|outlier|historic) == 0 && e.pos != 0 {
			for _, prev := range refIDs(decodeObj([]byte(e.json))["prev_events"]) {
				delete(leaves, prev)
			}
		}
	}
	var list [][]any
	_ = json.Unmarshal([]byte(r.ends), &list)
	ends := map[string]bool{}
	for _, x := range list {
		ends[x[1].(string)] = true
	}
	if inside && !maps.Equal(ends, leaves) {
		t.Errorf("%s (version %s): the ends of the history are %v, the room says %v", r.id, r.version, slices.Sorted(maps.Keys(leaves)), slices.Sorted(maps.Keys(ends)))
	}
}
