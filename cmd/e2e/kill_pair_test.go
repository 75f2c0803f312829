package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestKillFederation kills two servers in turn while people on both talk in one
// room and send each other to-device messages. In the end both servers have all
// that either acknowledged, once.
func TestKillFederation(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		w.start("localhost", "127.0.0.1")
		p := newPair(t, w)
		p.begin()
		for n := range kills(t) {
			s := w.servers[n%2]
			time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
			s.kill()
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			s.launch()
			s.ready()
		}
		p.finish()
		for _, s := range w.servers {
			w.invariants(s)
		}
	})
}

// pair is one person on each of two servers.
type pair struct {
	t    *testing.T
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
	room string
	ends [2]*pairEnd

	mu     sync.Mutex
	failed error
	events map[string]string // acknowledged: event ID → text
}

type pairEnd struct {
	*wire
	sent    map[int]bool // to-device messages that were acknowledged
	since   string
	events  map[string]int
	letters map[int]int
}

func newPair(t *testing.T, w *world) *pair {
	t.Helper()
	p := &pair{t: t, events: map[string]string{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { p.stop(); p.work.Wait() })
	for i, s := range w.servers {
		p.ends[i] = &pairEnd{wire: s.wire(), sent: map[int]bool{}, events: map[string]int{}, letters: map[int]int{}}
		must(t, p.ends[i].register(p.ctx, "person"+strconv.Itoa(i)))
	}
	a, b := p.ends[0], p.ends[1]
	var made struct {
		RoomID string `json:"room_id"`
	}
	must(t, a.persist(p.ctx, http.MethodPost, path("createRoom"), map[string]any{"preset": "public_chat"}, &made))
	p.room = made.RoomID
	must(t, b.persist(p.ctx, http.MethodPost, path("join", p.room)+"?server_name="+url.QueryEscape(a.s.name), map[string]any{}, nil))
	return p
}

// begin: each talks, writes letters, and listens.
func (p *pair) begin() {
	for i, end := range p.ends {
		other := p.ends[1-i]
		p.work.Go(func() { p.talk(i, end) })
		p.work.Go(func() { p.post(end, other) })
	}
}

func (p *pair) fail(err error) {
	if err != nil && p.ctx.Err() == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.failed == nil {
			p.failed = err
		}
	}
}

func (p *pair) talk(who int, end *pairEnd) {
	for n := 1; p.ctx.Err() == nil; n++ {
		var sent struct {
			EventID string `json:"event_id"`
		}
		text := fmt.Sprintf("%d/%d", who, n)
		err := end.persist(p.ctx, http.MethodPut, path("rooms", p.room, "send", "m.room.message", "t"+strconv.Itoa(n)),
			map[string]string{"msgtype": "m.text", "body": text}, &sent)
		if err != nil {
			p.fail(fmt.Errorf("send: %w", err))
			return
		}
		p.mu.Lock()
		p.events[sent.EventID] = text
		p.mu.Unlock()
		sleep(p.ctx, 3*time.Millisecond)
	}
}

func (p *pair) post(end, other *pairEnd) {
	for n := 1; p.ctx.Err() == nil; n++ {
		err := end.persist(p.ctx, http.MethodPut, path("sendToDevice", "x.letter", "l"+strconv.Itoa(n)),
			map[string]any{"messages": map[string]any{other.user: map[string]any{other.device: map[string]int{"n": n}}}}, nil)
		if err != nil {
			p.fail(fmt.Errorf("to-device: %w", err))
			return
		}
		p.mu.Lock()
		end.sent[n] = true
		p.mu.Unlock()
		sleep(p.ctx, 7*time.Millisecond)
	}
}

// finish ends the talk and compares both servers with what was acknowledged. What
// was in flight at the end may or may not be there.
func (p *pair) finish() {
	p.t.Helper()
	p.stop()
	p.work.Wait()
	p.ctx = context.Background()
	if p.failed != nil {
		p.t.Fatal(p.failed)
	}
	p.t.Logf("acknowledged: %d events, %d and %d to-device messages", len(p.events), len(p.ends[0].sent), len(p.ends[1].sent))
	if len(p.events) == 0 || len(p.ends[0].sent) == 0 || len(p.ends[1].sent) == 0 {
		p.t.Error("there was no load")
	}
	for i, end := range p.ends {
		p.hearAll(end, p.ends[1-i].sent)
	}
	for i, end := range p.ends {
		p.readAll(i, end)
	}
}

// hearAll syncs until all has come.
func (p *pair) hearAll(end *pairEnd, letters map[int]bool) {
	p.t.Helper()
	until(p.t, end.user+" hears all", func() (bool, error) {
		if err := p.listen(end); err != nil {
			return false, err
		}
		missing := 0
		for n := range letters {
			if end.letters[n] == 0 {
				missing++
			}
		}
		lost := 0
		if missing == 0 {
			lost = p.lost(end)
		}
		return missing == 0 && lost == 0, fmt.Errorf("%d letters and %d events are missing", missing, lost)
	})
	for n, times := range end.letters {
		if times != 1 {
			p.t.Errorf("to-device message %d came %d times to %s", n, times, end.user)
		}
	}
	for evt, times := range end.events {
		if times != 1 {
			p.t.Errorf("event %s came %d times to %s", evt, times, end.user)
		}
	}
}

func (p *pair) listen(end *pairEnd) error {
	var got syncAnswer
	q := url.Values{"timeout": {"0"}, "filter": {wholeTimeline}}
	if end.since != "" {
		q.Set("since", end.since)
	}
	err := end.persist(p.ctx, http.MethodGet, path("sync")+"?"+q.Encode(), nil, &got)
	var no *refused
	if errors.As(err, &no) {
		p.t.Fatalf("sync of %s: %v", end.user, err)
	}
	if err != nil {
		return err
	}
	end.since = got.Next
	for _, evt := range got.Rooms.Join[p.room].Timeline.Events {
		end.events[evt.ID]++
	}
	for _, evt := range got.ToDevice.Events {
		end.letters[evt.Content.N]++
	}
	return nil
}

// lost counts acknowledged events that are not in the server's history. Reading it
// to its beginning makes the server fetch what it missed.
func (p *pair) lost(end *pairEnd) (lost int) {
	where := map[string]bool{}
	for _, evt := range history(p.t, end.wire, p.room, "b") {
		where[evt.ID] = true
	}
	for evt := range p.events {
		if !where[evt] {
			lost++
		}
	}
	return lost
}

// readAll demands each event and each text once.
func (p *pair) readAll(i int, end *pairEnd) {
	p.t.Helper()
	where, texts := map[string]int{}, map[string]int{}
	for _, evt := range history(p.t, end.wire, p.room, "b") {
		where[evt.ID]++
		if evt.Type == "m.room.message" {
			texts[evt.Content.Body]++
		}
	}
	expectOnce(p.t, fmt.Sprintf("on server %d: event", i), where)
	expectOnce(p.t, fmt.Sprintf("on server %d: text", i), texts)
	for evt, text := range p.events {
		if where[evt] != 1 {
			p.t.Errorf("on server %d: message %q (%s) stands %d times", i, text, evt, where[evt])
		}
	}
}
