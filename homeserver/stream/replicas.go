package stream

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/viaduc/viaduc/homeserver/database"
)

// channel is where replicas tell each other how far the log is.
const channel = "viaduc_stream"

// Replicas say every now and then that they are there, so that one that is alone need not tell every commit.
const (
	hereEvery  = 5 * time.Second
	aloneAfter = 4 * hereEvery
)

// notifyLoop tells other replicas how far this one is, after the fact and not more often than a message can be sent. A message
// that is lost costs the others a poll.
func (s *Stream) notifyLoop(ctx context.Context) {
	here := time.NewTicker(hereEvery)
	defer here.Stop()
	told := Pos(-1)
	for {
		head := s.Head()
		select {
		case <-ctx.Done():
			return
		case <-here.C:
		case <-s.greet:
		case <-s.notify:
			if head = s.Head(); head <= told || time.Now().UnixMilli()-s.heard.Load() > aloneAfter.Milliseconds() {
				continue
			}
		}
		if err := s.db.Notify(ctx, channel, s.db.Owner()+" "+strconv.FormatInt(int64(head), 10)); err == nil {
			told = head
		}
	}
}

// listenLoop hears what other replicas tell.
func (s *Stream) listenLoop(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.db.Listen(ctx, channel, func() {
			kick(s.behind)
			// The others begin to tell when they hear of this one.
			_ = s.db.Notify(ctx, channel, s.db.Owner()+" "+strconv.FormatInt(int64(s.Head()), 10))
		}, s.hear)
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Listening for other replicas failed")
			pause(ctx, s.opts.Poll)
		}
	}
}

// hear takes a message; "" stands for messages that may have been lost.
func (s *Stream) hear(message string) {
	owner, pos, _ := strings.Cut(message, " ")
	if owner == s.db.Owner() {
		return
	}
	if now := time.Now().UnixMilli(); message != "" && now-s.heard.Swap(now) > aloneAfter.Milliseconds() {
		kick(s.greet)
	}
	if n, err := strconv.ParseInt(pos, 10, 64); err != nil || Pos(n) > s.Head() {
		kick(s.behind)
	}
}

// learnLoop reads what other replicas have written, when told so and every few seconds.
func (s *Stream) learnLoop(ctx context.Context) {
	tick := time.NewTicker(s.opts.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.behind:
		case <-tick.C:
			if !s.db.Replicated() && len(s.behind) == 0 {
				continue // nobody else writes
			}
		}
		if err := s.learn(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Reading the log failed")
			pause(ctx, 100*time.Millisecond)
			kick(s.behind)
		}
	}
}

// preloadRows bounds what is read into memory at the start.
const preloadRows = 10_000

// preload fills the tail with the newest part of the log, so that clients that come back after a restart need no SQL.
func (s *Stream) preload(ctx context.Context) {
	s.order.Lock()
	defer s.order.Unlock()
	t := &s.tail
	head := s.Head()
	if t.start != head+1 || head == 0 {
		return
	}
	n := min(preloadRows, t.cap)
	rows, err := database.Rows(ctx, s.db, scanChange, newestQuery, max(head-2*n, 0), head, n)
	if err != nil || len(rows) == 0 {
		return // it is only slower without
	}
	entries := make([]entry, len(rows))
	for i := range rows {
		entries[len(rows)-1-i].Change = rows[i]
	}
	if s.audience != 0 {
		for i := range entries {
			entries[i].extra = s.extra(ctx, &entries[i].Change)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.topics) > 0 {
		return // somebody waits already, knowing less
	}
	t.start = entries[0].Pos
	if len(rows) < int(n) {
		t.start = max(head-2*n, 0) + 1
	}
	t.start = max(t.start, head-t.cap+1)
	t.push(entries, head)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
