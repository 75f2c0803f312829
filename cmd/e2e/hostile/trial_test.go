package hostile

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pduTrial is a good event with something wrong.
type pduTrial struct {
	Name     string            `yaml:"name"`
	Versions []string          `yaml:"versions"` // only these, among those of the row
	Type     string            `yaml:"type"`     // m.room.message if not given
	StateKey *string           `yaml:"state_key"`
	By       string            `yaml:"by"`      // user (default) or boss
	Content  string            `yaml:"content"` // JSON
	Set      map[string]string `yaml:"set"`     // path → JSON text, before hashing and signing
	Drop     []string          `yaml:"drop"`    // paths taken out before hashing and signing
	After    map[string]string `yaml:"after"`   // path → JSON text, after signing
	Without  []string          `yaml:"without"` // paths taken out after signing
	// Expect: accepted, refused (nobody sees it), dropped (refused, and not stored), redacted.
	Expect string `yaml:"expect"`
	Status int    `yaml:"status"` // of the transaction, 200 if not given
	// Signed: what stands in the signed form of the request for a text in its body, where the event itself has no
	// canonical form.
	Signed map[string]string `yaml:"signed"`
}

// pdus tries the events of a row, each between good ones.
func (t *trial) pdus() {
	for _, p := range t.row.PDU {
		if len(p.Versions) > 0 && !slices.Contains(p.Versions, t.v) {
			continue
		}
		t.onePDU(p)
	}
}

// fill puts the names of this world into a text.
func (t *trial) fill(s string, more ...string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	pairs := append([]string{"{alice}", t.alice.user, "{bob}", t.w.bob.user, "{hs}", t.w.hs.name, "{m}", t.m.name, "{friend}", t.w.friend.name,
		"{mallory}", t.m.user("mallory"), "{boss}", t.m.user("boss"), "{pal}", t.w.friend.user("pal"), "{txn}", unique("t"), "{v}", t.v,
		"{device}", t.alice.device}, more...)
	s = strings.NewReplacer(pairs...).Replace(s)
	return repeats.ReplaceAllStringFunc(s, func(m string) string {
		x := repeats.FindStringSubmatch(m)
		n, _ := strconv.Atoi(x[2])
		return strings.Repeat(x[1], n)
	})
}

// repeats: {x*1000} is a thousand x.
var repeats = regexp.MustCompile(`\{([^{}*]+)\*(\d+)\}`)

func (t *trial) onePDU(p pduTrial) {
	t.Helper()
	s := t.stage()
	marker := unique("mark")
	ev := t.build(s, p, marker)
	bad := encode(ev)
	good := s.fr.proto(s.boss, "m.room.message", nil, obj{"body": "good", "msgtype": "m.text"})
	t.m.seal(t.v, good)
	r := t.m.transact(t, []any{raw(bad), good}, nil, func(c *call) {
		for from, to := range p.Signed {
			c.signedBody = bytes.ReplaceAll(c.signedBody, []byte(from), []byte(to))
		}
	})
	if want := max(p.Status, 0); want != 0 && want != 200 {
		if r.status != want {
			t.Errorf("%s: the transaction was answered %s", p.Name, r)
		}
		return
	}
	if r.status != 200 {
		t.Errorf("%s: the transaction was answered %s", p.Name, r)
		return
	}
	goodID := idOf(t.v, good)
	if text(r.body, "pdus", goodID, "error") != "" {
		t.Errorf("%s: a good event was refused: %s", p.Name, r)
	}
	until(t, p.Name+": the good event beside it is there", func() bool { return t.alice.sees(s.id, goodID) })
	s.fr.add(good)
	t.judge(s, p, ev, marker)
}

// judge compares what became of an event with what should.
func (t *trial) judge(s *stage, p pduTrial, ev obj, marker string) {
	t.Helper()
	eventID := safeID(t.v, ev)
	switch p.Expect {
	case "accepted":
		until(t, p.Name+": the event is accepted", func() bool { return t.alice.sees(s.id, eventID) })
		if got := t.alice.do("GET", csPath("rooms", s.id, "event", eventID), nil); !bytes.Contains(got.raw, []byte(marker)) {
			t.Errorf("%s: the event has lost its content: %s", p.Name, got)
		}
		s.fr.add(ev)
	case "redacted":
		until(t, p.Name+": the redacted event is there", func() bool { return t.alice.sees(s.id, eventID) })
		if got := t.alice.do("GET", csPath("rooms", s.id, "event", eventID), nil); bytes.Contains(got.raw, []byte(marker)) {
			t.Errorf("%s: the event was not redacted: %s", p.Name, got)
		}
	case "refused", "dropped":
		t.fence(s)
		t.absent(p.Name, s, eventID, marker)
		if p.Expect == "dropped" && eventID != "" {
			if r := t.m.call(t, "GET", fedPath("v1", "event", eventID), nil); r.status == 200 {
				t.Errorf("%s: the event was stored: %s", p.Name, r)
			}
		}
	default:
		t.Fatalf("%s: what is to be expected?", p.Name)
	}
}

// safeID is "" for what has no ID.
func safeID(version string, ev obj) (eventID string) {
	defer func() { _ = recover() }()
	return idOf(version, ev)
}

// fence waits until everything sent before is judged: a room's events are taken in order.
func (t *trial) fence(s *stage) {
	t.Helper()
	ev := s.fr.say(s.boss, "m.room.message", nil, obj{"body": "fence", "msgtype": "m.text"})
	t.deliver(s, ev)
	eventID := idOf(s.version, ev)
	until(t, "a good event after it is there", func() bool { return t.alice.sees(s.id, eventID) })
}

// deliver sends events of a room, which are in no way strange to the transaction.
func (t *trial) deliver(s *stage, evs ...obj) reply {
	t.Helper()
	l := make([]any, len(evs))
	for i, e := range evs {
		l[i] = e
	}
	r := t.m.transact(t, l, nil)
	if r.status != 200 {
		t.Errorf("a transaction was answered %s", r)
	}
	return r
}

// accepted waits for an event.
func (t *trial) accepted(s *stage, ev obj) {
	t.Helper()
	eventID := idOf(s.version, ev)
	until(t, "an event is accepted", func() bool { return t.alice.sees(s.id, eventID) })
}

// absent demands that clients see nothing of an event.
func (t *trial) absent(name string, s *stage, eventID, marker string) {
	t.Helper()
	if eventID != "" && t.alice.sees(s.id, eventID) {
		t.Errorf("%s: clients see the event %s", name, eventID)
	}
	page := t.alice.do("GET", csPath("rooms", s.id, "messages")+"?dir=b&limit=50", nil)
	state := t.alice.do("GET", csPath("rooms", s.id, "state"), nil)
	if page.status != 200 || state.status != 200 {
		t.Errorf("%s: the room cannot be read: %s, %s", name, page, state)
	}
	for _, part := range []string{eventID, marker} {
		if part != "" && bytes.Contains(page.raw, []byte(part)) {
			t.Errorf("%s: clients see the event in the history", name)
		}
		if part != "" && bytes.Contains(state.raw, []byte(part)) {
			t.Errorf("%s: the event is in the state", name)
		}
	}
}

// build makes the event of a trial.
func (t *trial) build(s *stage, p pduTrial, marker string) obj {
	t.Helper()
	more := []string{"{marker}", marker, "{room}", s.id, "{create}", s.fr.stateID("m.room.create", ""), "{levels}", s.fr.stateID("m.room.power_levels", ""),
		"{own}", s.fr.stateID("m.room.member", s.user), "{rules}", s.fr.stateID("m.room.join_rules", ""), "{end}", s.fr.endsNow()[0]}
	sender := s.user
	if p.By == "boss" {
		sender = s.boss
		more = append(more, "{own}", s.fr.stateID("m.room.member", s.boss))
	}
	kind := t.fill(p.Type)
	if kind == "" {
		kind = "m.room.message"
	}
	content := obj{"body": marker, "msgtype": "m.text"}
	if p.Content != "" {
		if content = decodeObj([]byte(t.fill(p.Content, more...))); content == nil {
			t.Fatalf("%s: the content is no JSON", p.Name)
		}
		content["marker"] = marker
	}
	sk := p.StateKey
	if sk != nil {
		sk = ptr(t.fill(*sk, more...))
	}
	ev := s.fr.proto(sender, kind, sk, content)
	for _, k := range slices.Sorted(maps.Keys(p.Set)) {
		put(ev, k, raw(t.fill(p.Set[k], more...)))
	}
	for _, k := range p.Drop {
		cut(ev, k)
	}
	plain(ev)
	t.m.seal(t.v, ev)
	for _, k := range slices.Sorted(maps.Keys(p.After)) {
		put(ev, k, raw(t.fill(p.After[k], more...)))
	}
	for _, k := range p.Without {
		cut(ev, k)
	}
	return ev
}

// plain turns raw texts that redaction looks at into values.
func plain(ev obj) {
	for _, k := range []string{"type", "state_key", "content", "sender", "room_id", "event_id"} {
		if r, ok := ev[k].(raw); ok {
			if v := decode([]byte(r)); v != nil && bytes.Equal(encode(v), []byte(r)) {
				ev[k] = v
			}
		}
	}
}

// put sets what a path of keys with dots names; a backslash before a dot makes it part of a key.
func put(o obj, path string, v any) {
	keys := split(path)
	for _, k := range keys[:len(keys)-1] {
		next, ok := o[k].(obj)
		if !ok {
			next = obj{}
			o[k] = next
		}
		o = next
	}
	o[keys[len(keys)-1]] = v
}

func cut(o obj, path string) {
	keys := split(path)
	for _, k := range keys[:len(keys)-1] {
		o, _ = o[k].(obj)
	}
	delete(o, keys[len(keys)-1])
}

func split(path string) []string {
	var keys []string
	for k := range strings.SplitSeq(strings.ReplaceAll(path, `\.`, "\x00"), ".") {
		keys = append(keys, strings.ReplaceAll(k, "\x00", "."))
	}
	return keys
}

// httpTrial is a request and the answers that are allowed.
type httpTrial struct {
	Name string `yaml:"name"`
	// As: mallory and friend are servers (signed requests), stranger is a server in no room; alice, bob and nobody are clients.
	As     string            `yaml:"as"`
	Do     string            `yaml:"do"` // method and path; {room} and the like are escaped
	Body   string            `yaml:"body"`
	Header map[string]string `yaml:"header"`
	Status []int             `yaml:"status"`
	Code   string            `yaml:"code"` // errcodes that are allowed, by spaces
	Has    string            `yaml:"has"`  // text that the answer must have
	Not    string            `yaml:"not"`  // text that it must not have
}

// requests tries the requests of a row.
func (t *trial) requests() {
	for _, h := range t.row.HTTP {
		t.oneRequest(h)
	}
}

func (t *trial) oneRequest(h httpTrial) {
	t.Helper()
	name := h.Name
	if name == "" {
		name = h.Do
	}
	var pairs, escaped []string
	if strings.Contains(h.Do+h.Body, "{room}") || strings.Contains(h.Do+h.Body, "{event}") || strings.Contains(h.Do+h.Body, "{create}") {
		s := t.stage()
		pairs = []string{"{room}", s.id, "{event}", s.fr.endsNow()[0], "{create}", s.fr.stateID("m.room.create", "")}
	}
	for i, x := range pairs {
		if i%2 == 1 {
			x = url.PathEscape(x)
		}
		escaped = append(escaped, x)
	}
	escaped = append(escaped, "{alice}", url.PathEscape(t.alice.user), "{mallory}", url.PathEscape(t.m.user("mallory")), "{boss}", url.PathEscape(t.m.user("boss")))
	method, uri, _ := strings.Cut(h.Do, " ")
	uri = strings.NewReplacer(escaped...).Replace(uri)
	uri = t.fill(uri)
	var body []byte
	if h.Body != "" {
		body = []byte(t.fill(h.Body, pairs...))
	}
	r := t.ask(h, method, uri, body)
	t.compare(name, h, r)
}

func (t *trial) compare(name string, h httpTrial, r reply) {
	t.Helper()
	if len(name) > 150 {
		name = name[:150]
	}
	if !slices.Contains(h.Status, r.status) {
		t.Errorf("%s: %s, expected %v", name, r, h.Status)
		return
	}
	if h.Code != "" && r.status != 200 && !slices.Contains(strings.Fields(h.Code), r.code) {
		t.Errorf("%s: %s, expected %s", name, r, h.Code)
	}
	if h.Has != "" && !bytes.Contains(r.raw, []byte(t.fill(h.Has))) || h.Not != "" && bytes.Contains(r.raw, []byte(t.fill(h.Not))) {
		t.Errorf("%s: %s", name, r)
	}
}

func (t *trial) ask(h httpTrial, method, uri string, body []byte) reply {
	t.Helper()
	var in any
	if body != nil {
		in = body
	}
	header := func(req http.Header) {
		for k, v := range h.Header {
			req.Set(k, t.fill(v))
		}
	}
	switch h.As {
	case "mallory", "friend":
		f := t.m
		if h.As == "friend" {
			f = t.w.friend
		}
		return f.call(t, method, uri, in, func(c *call) {
			if len(h.Header) > 0 {
				c.more = http.Header{}
				header(c.more)
			}
		})
	case "stranger":
		return t.w.stranger().call(t, method, uri, in)
	case "nobody":
		return (&person{w: t.w}).do(method, uri, in, func(r *http.Request) { header(r.Header) })
	case "bob":
		return t.w.bob.do(method, uri, in, func(r *http.Request) { header(r.Header) })
	case "alice", "":
		return t.alice.do(method, uri, in, func(r *http.Request) { header(r.Header) })
	}
	t.Fatal(fmt.Sprint("who is ", h.As))
	return reply{}
}

// typing lists who types in a room, as alice sees it.
func (t *trial) typing(s *stage) []string {
	t.Helper()
	filter := url.QueryEscape(`{"room":{"rooms":["` + s.id + `"]}}`)
	o := t.alice.ok(t, "GET", csPath("sync")+"?filter="+filter, nil)
	for _, x := range list(o, "rooms", "join", s.id, "ephemeral", "events") {
		if text(x, "type") == "m.typing" {
			return refIDs(at(x, "content", "user_ids"))
		}
	}
	return nil
}
