package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
)

// check waits until all that was begun is done, with the load held back, and
// compares the server with the ledger.
func (h *havoc) check() {
	h.t.Helper()
	h.gate.Lock()
	defer h.gate.Unlock()
	h.mu.Lock()
	err := h.failed
	h.mu.Unlock()
	if err != nil {
		h.t.Fatalf("%v\n%s", err, h.s.tail())
	}
	h.checkHeard()
	h.checkState()
	h.checkKeys()
	h.checkDiary()
	h.checkMembers()
}

// checkHeard waits until the listener has all events and letters, each once.
func (h *havoc) checkHeard() {
	h.t.Helper()
	until(h.t, "the listener has heard all", func() (bool, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		missing := 0
		for evt := range h.ledger.events {
			if h.heard.events[evt] == 0 {
				missing++
			}
		}
		for n := range h.ledger.letters {
			if h.heard.letters[n] == 0 {
				missing++
			}
		}
		if h.failed != nil {
			return missing == 0, h.failed
		}
		return missing == 0, fmt.Errorf("%d missing", missing)
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for evt, times := range h.heard.events {
		if times != 1 {
			h.t.Errorf("event %s came %d times", evt, times)
		}
	}
	for n, times := range h.heard.letters {
		if times != 1 {
			h.t.Errorf("to-device message %d came %d times", n, times)
		}
		if !h.ledger.letters[n] {
			h.t.Errorf("to-device message %d came and was not sent", n)
		}
	}
}

type counter struct {
	N int `json:"n"`
}

func (h *havoc) checkState() {
	h.t.Helper()
	for key, want := range h.ledger.state {
		var got counter
		must(h.t, h.listener.persist(h.ctx, http.MethodGet, path("rooms", h.room, "state", "x.state", key), nil, &got))
		if got.N != want {
			h.t.Errorf("state %s is %d, not %d", key, got.N, want)
		}
	}
}

func (h *havoc) checkKeys() {
	h.t.Helper()
	var got struct {
		Counts map[string]int `json:"one_time_key_counts"`
	}
	must(h.t, h.keeper.persist(h.ctx, http.MethodPost, path("keys", "upload"), map[string]any{}, &got))
	count, most := got.Counts["signed_curve25519"], h.ledger.uploaded-len(h.ledger.claimed)
	if count > most || count < most-h.ledger.unheard {
		h.t.Errorf("%d keys are left; %d were uploaded, %d claimed, and %d claims were not answered", count, h.ledger.uploaded, len(h.ledger.claimed), h.ledger.unheard)
	}
	var seen syncAnswer
	must(h.t, h.keeper.persist(h.ctx, http.MethodGet, path("sync")+"?timeout=0", nil, &seen))
	if seen.KeyCount["signed_curve25519"] != count {
		h.t.Errorf("sync counts %d keys, the upload %d", seen.KeyCount["signed_curve25519"], count)
	}
}

func (h *havoc) checkDiary() {
	h.t.Helper()
	var got counter
	must(h.t, h.diarist.persist(h.ctx, http.MethodGet, path("user", h.diarist.user, "account_data", "x.diary"), nil, &got))
	if got.N != h.ledger.diary {
		h.t.Errorf("account data is %d, not %d", got.N, h.ledger.diary)
	}
	var seen syncAnswer
	must(h.t, h.diarist.persist(h.ctx, http.MethodGet, path("sync")+"?timeout=0", nil, &seen))
	i := len(seen.AccountData.Events) - 1
	for ; i >= 0 && seen.AccountData.Events[i].Type != "x.diary"; i-- {
	}
	if i < 0 || seen.AccountData.Events[i].Content.N != h.ledger.diary {
		h.t.Errorf("account data by sync: %+v, not %d", seen.AccountData.Events, h.ledger.diary)
	}
}

func (h *havoc) checkMembers() {
	h.t.Helper()
	var got struct {
		Joined map[string]struct{} `json:"joined"`
	}
	must(h.t, h.listener.persist(h.ctx, http.MethodGet, path("rooms", h.room, "joined_members"), nil, &got))
	for user := range h.ledger.members {
		if _, ok := got.Joined[user]; !ok {
			h.t.Errorf("%s joined, and is no member", user)
		}
	}
}

// readAll reads the whole history both ways: every acknowledged message is there
// once, no text stands twice, no join is doubled, and both ways tell the same.
func (h *havoc) readAll() {
	h.t.Helper()
	back, forth := history(h.t, h.listener, h.room, "b"), history(h.t, h.listener, h.room, "f")
	slices.Reverse(back)
	if a, b := eventIDs(back), eventIDs(forth); !slices.Equal(a, b) {
		h.t.Errorf("history backwards has %d events, forwards %d, or in another order", len(a), len(b))
	}
	where := map[string]int{}
	texts := map[string]int{}
	joins := map[string]int{}
	for _, evt := range forth {
		where[evt.ID]++
		if evt.Type == "m.room.message" {
			texts[evt.Content.Body]++
		}
		if evt.Type == "m.room.member" && evt.Content.Membership == "join" {
			joins[*evt.StateKey]++
		}
	}
	expectOnce(h.t, "event", where)
	expectOnce(h.t, "text", texts)
	expectOnce(h.t, "join of", joins)
	for evt, text := range h.ledger.events {
		if where[evt] != 1 {
			h.t.Errorf("message %q (%s) is lost", text, evt)
		}
	}
	if len(texts) != len(h.ledger.events) {
		h.t.Errorf("there are %d messages, %d were acknowledged", len(texts), len(h.ledger.events))
	}
	for file, want := range h.ledger.media {
		var got []byte
		if err := h.listener.persist(h.ctx, http.MethodGet, file, nil, &got); err != nil || string(got) != want {
			h.t.Errorf("%s has %d bytes, not %d (%v)", file, len(got), len(want), err)
		}
	}
}

func expectOnce(t *testing.T, what string, counts map[string]int) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] != 1 {
			t.Errorf("%s %s stands %d times", what, name, counts[name])
		}
	}
}

func eventIDs(events []roomEvent) (out []string) {
	for _, evt := range events {
		out = append(out, evt.ID)
	}
	return out
}

// history reads a room from one end to the other.
func history(t *testing.T, c *wire, room, dir string) (out []roomEvent) {
	t.Helper()
	from := ""
	for {
		q := url.Values{"dir": {dir}, "limit": {strconv.Itoa(700)}}
		if from != "" {
			q.Set("from", from)
		}
		var page struct {
			Chunk []roomEvent `json:"chunk"`
			End   string      `json:"end"`
		}
		must(t, c.persist(t.Context(), http.MethodGet, path("rooms", room, "messages")+"?"+q.Encode(), nil, &page))
		out = append(out, page.Chunk...)
		if page.End == "" || page.End == from {
			return out
		}
		from = page.End
	}
}

func withDatabase(t testing.TB, server, name string) string {
	t.Helper()
	u, err := url.Parse(server)
	must(t, err)
	u.Path = "/" + name
	return u.String()
}
