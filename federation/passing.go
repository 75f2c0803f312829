package federation

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/ephemeral"
	"github.com/viaduc/viaduc/homeserver/stream"
)

// passingKey is a fact that is read at the moment of sending, so that many changes make one EDU. With it goes the position
// behind which it changed.
type passingKey struct {
	kind stream.Kind
	room id.RoomID
	user id.UserID
}

func nowMS() int64 { return time.Now().UnixMilli() }

// maxTogether bounds the users of one presence or receipts EDU.
const maxTogether = 200

// addPassing takes what passes by and reads its present value: one EDU for each who types, one for the presence of all, and
// as many for receipts as somebody has receipts in different threads of a room.
func (b *outgoing) addPassing(ctx context.Context) error {
	b.takePassing()
	var receipts []map[id.RoomID]map[string]map[id.UserID]receipt
	var presence []map[string]any
	for k, since := range b.passing {
		switch k.kind {
		case stream.Typing:
			if err := b.addTyping(ctx, k); err != nil {
				return err
			}
		case stream.Receipt:
			rs, err := b.w.o.f.Ephemeral.Public(ctx, k.room, k.user)
			if err != nil {
				return err
			}
			receipts = addReceipts(receipts, rs, since)
		case stream.Presence:
			p, err := b.w.o.f.Ephemeral.OwnPresence(ctx, k.user)
			if err != nil {
				return err
			}
			presence = append(presence, presenceContent(k.user, p))
		}
	}
	if len(presence) > 0 {
		if err := b.addContent("m.presence", map[string]any{"push": presence}); err != nil {
			return err
		}
	}
	for _, content := range receipts[:min(len(receipts), max(b.edusLeft(), 0))] {
		if err := b.addContent("m.receipt", content); err != nil {
			return err
		}
	}
	return nil
}

// takePassing takes as many facts as have room: who types needs an EDU each, the others share two.
func (b *outgoing) takePassing() {
	b.w.o.mu.Lock()
	defer b.w.o.mu.Unlock()
	b.passing = map[passingKey]stream.Pos{}
	typing, others := b.edusLeft()-2, 0
	for k, since := range b.w.pending {
		if k.kind == stream.Typing && typing <= 0 && len(b.passing) > 0 || k.kind != stream.Typing && others >= maxTogether {
			b.more |= workPassing
			continue
		}
		if k.kind == stream.Typing {
			typing--
		} else {
			others++
		}
		b.passing[k] = since
		delete(b.w.pending, k)
	}
}

// putBack keeps facts for the next transaction. Whoever typed may have stopped by then.
func (w *worker) putBack(facts map[passingKey]stream.Pos) {
	w.o.mu.Lock()
	defer w.o.mu.Unlock()
	for k, since := range facts {
		if old, ok := w.pending[k]; ok {
			since = min(since, old)
		}
		if k.kind != stream.Typing && len(w.pending) < maxPassing {
			w.pending[k] = since
			w.todo |= workPassing
		}
	}
}

func (b *outgoing) addContent(kind string, content any) error {
	raw, err := json.Marshal(content)
	if err == nil {
		b.addEDU(kind, raw)
		b.took(len(raw))
	}
	return err
}

func (b *outgoing) addTyping(ctx context.Context, k passingKey) error {
	on, err := b.w.o.f.Ephemeral.IsTyping(ctx, k.room, k.user)
	if err != nil {
		return err
	}
	return b.addContent("m.typing", map[string]any{"room_id": k.room, "user_id": k.user, "typing": on})
}

// receipt is a receipt as other servers get it.
type receipt struct {
	EventIDs []id.EventID `json:"event_ids"`
	Data     receiptData  `json:"data"`
}

type receiptData struct {
	Time     int64  `json:"ts"`
	ThreadID string `json:"thread_id,omitempty"`
}

// addReceipts adds the receipts set behind a position. The form has room for one of each user in each room.
func addReceipts(edus []map[id.RoomID]map[string]map[id.UserID]receipt, rs []ephemeral.Receipt, since stream.Pos) []map[id.RoomID]map[string]map[id.UserID]receipt {
	n := 0
	for _, r := range slices.SortedFunc(slices.Values(rs), func(a, b ephemeral.Receipt) int { return int(a.Pos - b.Pos) }) {
		if r.Pos <= since {
			continue
		}
		if n == len(edus) {
			edus = append(edus, map[id.RoomID]map[string]map[id.UserID]receipt{})
		}
		types := edus[n][r.RoomID]
		if types == nil {
			types = map[string]map[id.UserID]receipt{r.Type: {}}
			edus[n][r.RoomID] = types
		}
		types[r.Type][r.UserID] = receipt{[]id.EventID{r.EventID}, receiptData{r.Time, r.ThreadID}}
		n++
	}
	return edus
}

func presenceContent(user id.UserID, p ephemeral.Presence) map[string]any {
	c := maps.Clone(p.Content())
	c["user_id"] = user
	if _, ok := c["last_active_ago"]; !ok {
		c["last_active_ago"] = 0
	}
	return c
}
