package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Budgets of one row, unless the row says otherwise.
const (
	memoryBudget    = 64 << 20
	cpuBudget       = 4 * time.Second // for all its tries, versions and oracles
	goroutineBudget = 300
	fileBudget      = 200
	outboundBudget  = 10 * time.Second
)

// vitals are what is measured of the process.
type vitals struct {
	failures   map[string]float64 // answers with 5xx, by route and status
	requests   float64            // answered ones
	goroutines float64
	files      float64
	rss, peak  int64 // bytes, 0 where the system does not tell
	cpu        time.Duration
}

func (w *world) vitals() vitals {
	v := vitals{failures: map[string]float64{}}
	res, err := http.Get("http://" + w.hs.admin + "/metrics")
	if err != nil {
		return v
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || line[0] == '#' {
			continue
		}
		if i := strings.LastIndex(line, " "); strings.Contains(name, "{") {
			name, value = line[:i], strings.TrimSpace(line[i+1:])
		}
		n, _ := strconv.ParseFloat(value, 64)
		if strings.HasPrefix(name, "hs_web_request_seconds_count") {
			v.requests += n
		}
		switch {
		case name == "go_goroutines":
			v.goroutines = n
		case name == "process_open_fds":
			v.files = n
		case strings.HasPrefix(name, "hs_web_request_seconds_count") && strings.Contains(name, `status="5`) &&
			!strings.Contains(name, `status="502`) && !strings.Contains(name, `status="504`): // those speak of others
			v.failures[name] = n
		case name == "hs_web_panics_total", name == "hs_stream_callback_panics_total":
			v.failures[name] = n
		}
	}
	v.rss, v.peak = w.memory()
	v.cpu = w.cpu()
	return v
}

func (w *world) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(w.hs.cmd.Process.Pid), file)
}

// memory is the resident set and its peak since the last resetPeak.
func (w *world) memory() (rss, peak int64) {
	b, _ := os.ReadFile(w.proc("status"))
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			rss = kb << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			peak = kb << 10
		}
	}
	return rss, peak
}

func (w *world) resetPeak() { _ = os.WriteFile(w.proc("clear_refs"), []byte("5"), 0o600) }

// cpu is the time that the process has used.
func (w *world) cpu() time.Duration {
	b, _ := os.ReadFile(w.proc("stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// begin measures before a row.
func (w *world) begin() vitals {
	w.resetPeak()
	return w.vitals()
}

// allIsWell checks after a row what must be true after every one.
func (w *world) allIsWell(t tb, row *row, before vitals, rooms ...*stage) {
	t.Helper()
	if !w.hs.running() {
		t.Fatalf("the server has ended: %v\n%s", w.hs.cmd.ProcessState, w.hs.tail())
	}
	w.checkLog(t)
	now := w.vitals()
	for what, n := range now.failures {
		if n > before.failures[what] && !row.allows(what) {
			t.Errorf("%v answers more of %s", n-before.failures[what], what)
		}
	}
	if extra := now.peak - before.rss; before.rss > 0 && extra > max(row.Memory<<20, memoryBudget) {
		t.Errorf("%d MiB more memory", extra>>20)
	}
	if used := now.cpu - before.cpu; used > max(time.Duration(row.CPU)*time.Second, cpuBudget) {
		t.Errorf("%v of processor time", used)
	}
	if now.goroutines > w.base.goroutines+goroutineBudget || now.files > w.base.files+fileBudget {
		t.Errorf("%v goroutines and %v files, %v and %v at first", now.goroutines, now.files, w.base.goroutines, w.base.files)
	}
	for _, s := range append(rooms, w.safe) {
		w.liveliness(t, s)
	}
}

// liveliness: somebody joins, writes, the others hear of it, also on a third server.
func (w *world) liveliness(t tb, s *stage) {
	t.Helper()
	r := w.bob.do("POST", csPath("join", s.id), obj{})
	if r.status != 200 {
		t.Errorf("afterwards nobody can join a room of version %s: %s", s.version, r)
		return
	}
	w.alice.catchUp(t)
	start := time.Now()
	r = w.bob.do("PUT", csPath("rooms", s.id, "send", "m.room.message", unique("t")), obj{"msgtype": "m.text", "body": "all is well"})
	if r.status != 200 {
		t.Errorf("afterwards nobody can write in a room of version %s: %s", s.version, r)
		return
	}
	eventID := text(r.body, "event_id")
	until(t, "the message comes by sync", func() bool { return bytes.Contains(w.alice.sync(t, 1000), []byte(eventID)) })
	if !w.friend.got(s.ff, eventID, outboundBudget) {
		t.Errorf("a third server did not get a message within %v (room version %s)", time.Since(start).Round(time.Second), s.version)
	}
	w.bob.do("POST", csPath("rooms", s.id, "leave"), obj{})
}

// sync makes one request and remembers the token.
func (p *person) sync(t tb, timeout int) []byte {
	t.Helper()
	q := url.Values{"timeout": {strconv.Itoa(timeout)}, "use_state_after": {"true"}}
	if p.since != "" {
		q.Set("since", p.since)
	}
	r := p.do("GET", csPath("sync")+"?"+q.Encode(), nil)
	if r.status != 200 {
		t.Fatalf("sync of %s: %s", p.user, r)
	}
	if p.since == "" || p.rooms == nil {
		p.rooms = fold{}
	}
	p.rooms.take(r.body)
	p.since = text(r.body, "next_batch")
	return r.raw
}

// catchUp syncs until there is nothing new.
func (p *person) catchUp(t tb) {
	t.Helper()
	for since := ""; since != p.since || since == ""; {
		since = p.since
		p.sync(t, 0)
	}
}

// checkLog looks at what the server wrote since the last time.
func (w *world) checkLog(t tb) {
	t.Helper()
	b, err := os.ReadFile(w.hs.log)
	must(t, err)
	fresh := b[w.seen:]
	w.seen = int64(len(b))
	for line := range strings.Lines(string(fresh)) {
		for _, bad := range []string{"panic", "DATA RACE", `"level":"fatal"`, `"level":"error"`, "goroutine 1 ["} {
			if strings.Contains(line, bad) {
				t.Errorf("log: %s", clip([]byte(strings.TrimSpace(line)), 600))
				break
			}
		}
	}
}

// halfWritten are queries that must find nothing.
var halfWritten = map[string]string{
	"an event has no room": `SELECT event_id FROM events WHERE room_nid NOT IN (SELECT room_nid FROM rooms)`,
	"events wait that nobody will look at": `SELECT event_id FROM staged_events
		WHERE (tries = 0 AND received_ts < unixepoch() * 1000 - 10000) OR due_ts < unixepoch() * 1000 - 90000`,
	"a room is in the table without an event": `SELECT room_id FROM rooms WHERE room_nid NOT IN (SELECT room_nid FROM events)`,
}
