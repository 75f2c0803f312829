package push

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/room"
	"github.com/viaduc/viaduc/homeserver/stream"
)

const (
	worthSaving = 100 // events looked at
	saveEvery   = 20 * time.Second
	maxUnsaved  = 5000
)

// checkpoints are cells on their way into the table. They only save work: losing one costs looking at events again.
type checkpoints struct {
	mu   sync.Mutex
	rows map[cellKey][]any
}

type cellKey struct {
	user id.UserID
	room id.RoomID
}

func (c *checkpoints) init() { c.rows = map[cellKey][]any{} }

// savedCell is a cell as it is stored.
type savedCell struct {
	From   room.Order                `json:"from"`
	Read   room.Order                `json:"read,omitempty"`
	Items  []savedItem               `json:"items,omitempty"`
	Floors map[id.EventID]room.Order `json:"floors,omitempty"`
}

type savedItem struct {
	Order     room.Order `json:"o"`
	Thread    id.EventID `json:"t,omitempty"`
	Highlight bool       `json:"h,omitempty"`
}

// keep puts a cell aside to be saved if it was much work. The caller holds the person's mu.
func (p *Push) keep(u *person, roomID id.RoomID, c *cell) {
	if c.work < worthSaving {
		return
	}
	s := savedCell{From: c.from, Read: c.read, Floors: c.floors}
	for _, it := range c.items {
		s.Items = append(s.Items, savedItem{it.order, it.thread, it.highlight})
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return
	}
	k := cellKey{u.user, roomID}
	p.unsaved.mu.Lock()
	defer p.unsaved.mu.Unlock()
	if _, there := p.unsaved.rows[k]; there || len(p.unsaved.rows) < maxUnsaved {
		p.unsaved.rows[k] = []any{string(u.user), string(roomID), int64(c.upTo), u.judge.key, string(raw)}
		c.work = 0
	}
}

// saveLoop writes now and then, and at the end.
func (p *Push) saveLoop(ctx context.Context) {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		if err := p.Save(last); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("Saving unread counts failed")
		}
		cancel()
	}
}

// Save writes the cells that were put aside.
func (p *Push) Save(ctx context.Context) error {
	p.unsaved.mu.Lock()
	rows := make([][]any, 0, len(p.unsaved.rows))
	for _, row := range p.unsaved.rows {
		rows = append(rows, row)
	}
	p.unsaved.rows = map[cellKey][]any{}
	p.unsaved.mu.Unlock()
	return p.writeCells(ctx, rows)
}

// loadCells takes cells from the table, as far as they hold. The caller holds u.mu.
func (p *Push) loadCells(ctx context.Context, u *person, rooms []id.RoomID) error {
	if len(rooms) == 0 {
		return nil
	}
	rows, err := p.readCells(ctx, u.user, rooms)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.key != u.judge.key {
			continue
		}
		c := &cell{mark: p.marks.get(row.room, p.stream.Head()), upTo: row.pos}
		c.redacted = c.mark.redacted.Load()
		var s savedCell
		if err := json.Unmarshal([]byte(row.cell), &s); err != nil {
			return fmt.Errorf("stored unread counts: %w", err)
		}
		c.from, c.read, c.floors = s.From, s.Read, s.Floors
		for _, it := range s.Items {
			c.items = append(c.items, item{it.Order, it.Thread, it.Highlight})
		}
		if len(c.items) > 0 {
			if err := p.dropRedactedSince(ctx, row.room, c); err != nil {
				return err
			}
		}
		u.cells[row.room] = c
	}
	return nil
}

// dropRedactedSince drops what was redacted after a cell was stored.
func (p *Push) dropRedactedSince(ctx context.Context, roomID id.RoomID, c *cell) error {
	changes, err := p.stream.Changes(ctx, c.upTo, p.stream.Head(), stream.Kinds(stream.Redaction), []stream.Topic{stream.RoomTopic(roomID)})
	if err != nil {
		return fmt.Errorf("redactions since %d: %w", c.upTo, err)
	}
	list := make([]id.EventID, len(changes))
	for i, ch := range changes {
		list[i] = id.EventID(ch.Ref)
	}
	return p.dropRedacted(ctx, c, list)
}
