package federation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/event/auth"
)

const (
	// roomBatch bounds events given to a room at one time; roomWorkers the rooms worked on at one time. Most of them wait for
	// other servers if they take long.
	roomBatch   = 100
	roomWorkers = 48
	// receiveTimeout bounds what one room does for the events of one server, who may answer slowly on purpose.
	receiveTimeout = 5 * time.Minute
	// adoptAfter is how long staged events may lie before another replica takes them.
	adoptAfter = time.Minute
	// An event that could not be judged is tried again after a pause that doubles, as long as keptFor if keys are missing or
	// time ran out, otherwise moreTries times.
	retryFirst = 10 * time.Second
	retryLast  = 10 * time.Minute
	keptFor    = time.Hour
	moreTries  = 3
	sweepRooms = 10 * time.Second
)

// staging is what inbound needs to process staged events: one worker a room.
type staging struct {
	busy  map[id.RoomID]bool // rooms with a worker; true: look once more before ending
	slots chan struct{}
	ctx   context.Context // of run; nil: not running
	wg    sync.WaitGroup
	rooms receiver
}

func newStaging(rooms receiver) staging {
	return staging{busy: map[id.RoomID]bool{}, slots: make(chan struct{}, roomWorkers), rooms: rooms}
}

// run processes staged rooms until ctx ends: those woken by a transaction, and by a sweep those that wait for another try, and
// those that a crash or another replica left.
func (in *inbound) run(ctx context.Context) {
	in.mu.Lock()
	in.ctx = ctx
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		in.ctx = nil
		in.mu.Unlock()
		in.wg.Wait()
	}()
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	for due := time.Now().Add(adoptAfter); ; due = time.Now() { // at first all
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			rooms, err := in.stagedRooms(ctx, due.UnixMilli())
			if err != nil && ctx.Err() == nil {
				zerolog.Ctx(ctx).Warn().Err(err).Msg("sweep of staged events")
			}
			for _, r := range rooms {
				in.start(r)
			}
			sweep.Reset(sweepRooms)
		}
	}
}

// start gives a room a worker unless it has one.
func (in *inbound) start(r id.RoomID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, working := in.busy[r]; working {
		in.busy[r] = true
		return
	}
	if in.ctx == nil {
		return // the first sweep finds it
	}
	in.busy[r] = false
	ctx := in.ctx
	in.wg.Go(func() { in.work(ctx, r) })
}

func (in *inbound) work(ctx context.Context, r id.RoomID) {
	select {
	case in.slots <- struct{}{}:
		defer func() { <-in.slots }()
	case <-ctx.Done():
	}
	for {
		n := 0
		var err error
		if ctx.Err() == nil {
			n, err = in.drain(ctx, r)
		}
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("room_id", string(r)).Msg("staged events wait")
		}
		in.mu.Lock()
		again := in.busy[r]
		if ctx.Err() != nil || err != nil || (n == 0 && !again) {
			delete(in.busy, r)
			in.mu.Unlock()
			return
		}
		in.busy[r] = false
		in.mu.Unlock()
	}
}

// drain hands the oldest staged events of a room over. They leave the table once the room has judged them.
func (in *inbound) drain(ctx context.Context, r id.RoomID) (int, error) {
	staged, err := in.takeStaged(ctx, r, time.Now())
	if err != nil || len(staged) == 0 {
		return 0, err
	}
	b := &stagedBatch{in: in, room: r}
	if err := b.read(ctx, staged); err != nil {
		return 0, err
	}
	for _, origin := range b.origins {
		if err := b.hand(ctx, origin); err != nil {
			return 0, err
		}
	}
	if err := in.dropStaged(ctx, b.done); err != nil {
		return 0, err
	}
	for origin, n := range b.counts {
		in.count(origin, -n)
	}
	return len(staged), in.postpone(ctx, b.later)
}

// stagedBatch is some of a room's staged events on their way.
type stagedBatch struct {
	in      *inbound
	room    id.RoomID
	events  map[string][]*stagedEvent // by origin
	origins []string                  // in the order of their first event
	done    []int64
	counts  map[string]int
	later   []*stagedEvent
}

// read parses the events. Those of a room that is gone, and those that make no sense any more, are done with.
func (b *stagedBatch) read(ctx context.Context, staged []*stagedEvent) error {
	b.events, b.counts = map[string][]*stagedEvent{}, map[string]int{}
	info, err := b.in.rooms.Info(ctx, b.room)
	if err != nil && !isNotFound(err) {
		return err
	}
	gone := err != nil
	for _, s := range staged {
		if !gone {
			s.ev, err = event.ParseUntrusted(info.Version, s.raw)
		}
		if gone || err != nil {
			b.finish(s)
			continue
		}
		if b.events[s.origin] == nil {
			b.origins = append(b.origins, s.origin)
		}
		b.events[s.origin] = append(b.events[s.origin], s)
	}
	return nil
}

func (b *stagedBatch) finish(s *stagedEvent) {
	b.done = append(b.done, s.nid)
	b.counts[s.origin]++
}

// hand gives the events of one server to the room.
func (b *stagedBatch) hand(ctx context.Context, origin string) error {
	list := b.events[origin]
	evs := make([]*event.Event, len(list))
	for i, s := range list {
		evs[i] = s.ev
	}
	limited, cancel := context.WithTimeout(ctx, receiveTimeout)
	defer cancel()
	results := b.in.rooms.Receive(limited, origin, b.room, evs)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, s := range list {
		err := results[s.ev.ID()]
		if err != nil && s.mayWait(err, time.Now()) {
			b.later = append(b.later, s)
			continue
		}
		if err != nil {
			zerolog.Ctx(ctx).Info().Str("server", origin).Str("room_id", string(b.room)).Str("event_id", string(s.ev.ID())).Err(err).Msg("event not taken")
		}
		b.finish(s)
	}
	return nil
}

// mayWait says whether an event that was not taken is worth another try.
func (s *stagedEvent) mayWait(err error, now time.Time) bool {
	var rule *auth.Error
	switch {
	case errors.Is(err, event.ErrKeysMissing), errors.Is(err, context.DeadlineExceeded):
		return now.UnixMilli()-s.received < keptFor.Milliseconds()
	case refusal(err), errors.As(err, &rule):
		return false
	}
	return s.tries < moreTries
}
