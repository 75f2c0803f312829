package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// talk sends a message; now and then it sets state or uploads a file instead.
func (h *havoc) talk(c *wire, who, n int) error {
	text := fmt.Sprintf("%d/%d", who, n)
	switch {
	case n%16 == 0:
		return h.upload(c, text)
	case n%10 == 0:
		return h.setState(c, strconv.Itoa(who), n)
	}
	var sent struct {
		EventID string `json:"event_id"`
	}
	err := c.persist(h.ctx, http.MethodPut, path("rooms", h.room, "send", "m.room.message", "t"+strconv.Itoa(n)),
		map[string]string{"msgtype": "m.text", "body": text}, &sent)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	h.note(func(l *ledger) { l.events[sent.EventID] = text })
	return nil
}

func (h *havoc) setState(c *wire, key string, n int) error {
	if err := c.persist(h.ctx, http.MethodPut, path("rooms", h.room, "state", "x.state", key), map[string]int{"n": n}, nil); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	h.note(func(l *ledger) { l.state[key] = n })
	return nil
}

func (h *havoc) upload(c *wire, text string) error {
	content := strings.Repeat(text+"\n", 200)
	var up struct {
		URI string `json:"content_uri"`
	}
	if err := c.persist(h.ctx, http.MethodPost, "/_matrix/media/v3/upload?filename=x.txt", []byte(content), &up); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	h.note(func(l *ledger) {
		l.media["/_matrix/client/v1/media/download/"+strings.TrimPrefix(up.URI, "mxc://")] = content
	})
	return nil
}

// post sends the listener a to-device message.
func (h *havoc) post(n int) error {
	body := map[string]any{"messages": map[string]any{h.listener.user: map[string]any{h.listener.device: map[string]int{"n": n}}}}
	if err := h.postman.persist(h.ctx, http.MethodPut, path("sendToDevice", "x.letter", "l"+strconv.Itoa(n)), body, nil); err != nil {
		return fmt.Errorf("to-device: %w", err)
	}
	h.note(func(l *ledger) { l.letters[n] = true })
	return nil
}

// keysAtOnce are uploaded at a time; with keysKept, that is enough, as for a client.
const keysAtOnce, keysKept = 4, 300

// keep uploads one-time keys; the same ones if it is in doubt.
func (h *havoc) keep(n int) error {
	enough := false
	h.note(func(l *ledger) { enough = l.uploaded-len(l.claimed) > keysKept })
	if enough {
		sleep(h.ctx, 10*time.Millisecond)
		return nil
	}
	keys := map[string]any{}
	for i := range keysAtOnce {
		keys[fmt.Sprintf("signed_curve25519:K%d_%d", n, i)] = map[string]any{
			"key":        unpadded(fmt.Appendf(nil, "%032d", n*keysAtOnce+i)),
			"signatures": map[string]any{h.keeper.user: map[string]string{"ed25519:" + h.keeper.device: unpadded(make([]byte, 64))}},
		}
	}
	if err := h.keeper.persist(h.ctx, http.MethodPost, path("keys", "upload"), map[string]any{"one_time_keys": keys}, nil); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	h.note(func(l *ledger) { l.uploaded += keysAtOnce })
	return nil
}

// claim takes a one-time key, and does not try again: an answer that did not come may have cost a key.
func (h *havoc) claim(int) error {
	var out struct {
		Keys map[string]map[string]map[string]json.RawMessage `json:"one_time_keys"`
	}
	ctx, cancel := context.WithTimeout(h.ctx, 15*time.Second)
	defer cancel()
	err := h.claimer.once(ctx, http.MethodPost, path("keys", "claim"),
		map[string]any{"one_time_keys": map[string]any{h.keeper.user: map[string]string{h.keeper.device: "signed_curve25519"}}}, &out)
	if _, isAnswer := err.(*refused); isAnswer {
		return fmt.Errorf("claim: %w", err)
	}
	if err != nil {
		h.note(func(l *ledger) { l.unheard++ })
		sleep(h.ctx, 20*time.Millisecond)
		return nil
	}
	for name := range out.Keys[h.keeper.user][h.keeper.device] {
		twice := false
		h.note(func(l *ledger) { twice = l.claimed[name]; l.claimed[name] = true })
		if twice {
			return fmt.Errorf("the key %s was given out twice", name)
		}
	}
	sleep(h.ctx, 5*time.Millisecond)
	return nil
}

// write writes account data.
func (h *havoc) write(n int) error {
	if err := h.diarist.persist(h.ctx, http.MethodPut, path("user", h.diarist.user, "account_data", "x.diary"), map[string]int{"n": n}, nil); err != nil {
		return fmt.Errorf("account data: %w", err)
	}
	h.note(func(l *ledger) { l.diary = n })
	return nil
}

// welcome makes an account, which joins.
func (h *havoc) welcome(n int) error {
	c := h.s.wire()
	defer c.http.CloseIdleConnections()
	if err := c.register(h.ctx, "newcomer"+strconv.Itoa(n)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if err := c.persist(h.ctx, http.MethodPost, path("join", h.room), map[string]any{}, nil); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	h.note(func(l *ledger) { l.members[c.user] = true })
	sleep(h.ctx, 50*time.Millisecond)
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// syncAnswer is what the listener reads of /sync.
type syncAnswer struct {
	Next     string         `json:"next_batch"`
	KeyCount map[string]int `json:"device_one_time_keys_count"`
	ToDevice struct {
		Events []struct {
			Content struct {
				N int `json:"n"`
			} `json:"content"`
		} `json:"events"`
	} `json:"to_device"`
	Rooms struct {
		Join map[string]struct {
			Timeline struct {
				Events  []roomEvent `json:"events"`
				Limited bool        `json:"limited"`
			} `json:"timeline"`
		} `json:"join"`
	} `json:"rooms"`
	AccountData struct {
		Events []struct {
			Type    string `json:"type"`
			Content struct {
				N int `json:"n"`
			} `json:"content"`
		} `json:"events"`
	} `json:"account_data"`
}

type roomEvent struct {
	ID       string  `json:"event_id"`
	Type     string  `json:"type"`
	StateKey *string `json:"state_key"`
	Content  struct {
		Body       string `json:"body"`
		Membership string `json:"membership"`
	} `json:"content"`
}

const wholeTimeline = `{"room":{"timeline":{"limit":5000}}}`

// listen does one sync. It goes on from where the last answer ended.
func (h *havoc) listen() {
	h.mu.Lock()
	since := h.heard.since
	h.mu.Unlock()
	var got syncAnswer
	q := url.Values{"timeout": {"1000"}, "filter": {wholeTimeline}}
	if since != "" {
		q.Set("since", since)
	}
	ctx, cancel := context.WithTimeout(h.ctx, 20*time.Second)
	defer cancel()
	err := h.listener.once(ctx, http.MethodGet, path("sync")+"?"+q.Encode(), nil, &got)
	if err != nil {
		if no, isAnswer := err.(*refused); isAnswer {
			h.fail(fmt.Errorf("sync from %q: %w", since, no))
		}
		sleep(h.ctx, 10*time.Millisecond)
		return
	}
	joined := h.joined(got)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.since = got.Next
	for _, evt := range joined.Events {
		h.heard.events[evt.ID]++
	}
	for _, evt := range got.ToDevice.Events {
		h.heard.letters[evt.Content.N]++
	}
	if joined.Limited && since != "" && h.failed == nil {
		h.failed = fmt.Errorf("sync from %q leaves events out: %d events", since, len(joined.Events))
	}
}

func (h *havoc) joined(got syncAnswer) (out struct {
	Events  []roomEvent `json:"events"`
	Limited bool        `json:"limited"`
}) {
	return got.Rooms.Join[h.room].Timeline
}

func (h *havoc) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed == nil && h.ctx.Err() == nil {
		h.failed = err
	}
}
