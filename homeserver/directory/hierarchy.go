package directory

import (
	"context"
	"encoding/json"
	"errors"
	"sort"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/event"
	"github.com/viaduc/viaduc/homeserver/room"
)

const (
	maxChildren    = 1000 // of one space
	maxHierarchy   = 2000 // rooms of one walk
	hierarchyPage  = 50
	hierarchyAsks  = 60 // questions to other servers in one walk
	hierarchyWait  = 10 * time.Second
	maxVia         = 3 // servers asked for one room
	maxOrderLength = 50
)

// Node is a room of a hierarchy.
type Node struct {
	Summary
	ChildrenState []json.RawMessage `json:"children_state"`
}

// remoteNode is another server's answer.
type remoteNode struct {
	Room         Node        `json:"room"`
	Children     []Node      `json:"children"`
	Inaccessible []id.RoomID `json:"inaccessible_children"`
}

func readChild(ev *room.Stored) (child, bool) {
	c := child{RoomID: id.RoomID(*ev.StateKey()), Time: ev.Timestamp()}
	event.Items(ev.Field("via"), func(v json.RawMessage) bool {
		var s string
		if json.Unmarshal(v, &s) == nil && s != "" {
			c.Via = append(c.Via, s)
		}
		return len(c.Via) < 20
	})
	if len(c.Via) == 0 || !event.ValidRoomID(string(c.RoomID)) {
		return c, false
	}
	c.Order, _ = ev.FieldString("order")
	if !validOrder(c.Order) {
		c.Order = ""
	}
	c.Suggested = string(ev.Field("suggested")) == "true"
	stripped := event.StrippedState(ev.Event)
	c.Stripped = append(append(stripped[:len(stripped)-1:len(stripped)-1], `,"origin_server_ts":`...), strconv.FormatInt(c.Time, 10)...)
	c.Stripped = append(c.Stripped, '}')
	return c, true
}

// validOrder: spec: cs#ordering-of-children-within-a-space
func validOrder(s string) bool {
	if len(s) > maxOrderLength {
		return false
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

func sortChildren(cs []child) {
	sort.Slice(cs, func(i, j int) bool {
		a, b := cs[i], cs[j]
		if (a.Order == "") != (b.Order == "") {
			return a.Order != ""
		}
		if a.Order != b.Order {
			return a.Order < b.Order
		}
		if a.Time != b.Time {
			return a.Time < b.Time
		}
		return a.RoomID < b.RoomID
	})
}

func (l look) node(suggestedOnly bool) Node {
	n := Node{Summary: l.Summary, ChildrenState: []json.RawMessage{}}
	for _, c := range l.children {
		if len(n.ChildrenState) < maxChildren && (!suggestedOnly || c.Suggested) {
			n.ChildrenState = append(n.ChildrenState, c.Stripped)
		}
	}
	return n
}

// HierarchyQuery asks for the rooms of a space.
type HierarchyQuery struct {
	RoomID        id.RoomID
	SuggestedOnly bool
	Limit         int
	MaxDepth      int // -1: no limit
	From          string
}

type stop struct {
	roomID id.RoomID
	via    []string
	depth  int
	remote *Node // known from the answer for its parent
}

// walk is one pass over a space, depth first. It is deterministic, so a page token is the number of rooms before it.
type walk struct {
	d    *Directory
	user id.UserID
	q    HierarchyQuery
	seen map[id.RoomID]bool
	todo []stop
	out  []Node
	asks int
	over time.Time
}

// Hierarchy walks over a space (spec: cs#get_matrixclientv1roomsroomidhierarchy).
func (d *Directory) Hierarchy(ctx context.Context, user id.UserID, q HierarchyQuery) ([]Node, string, error) {
	skip, err := readFrom(q)
	if err != nil {
		return nil, "", err
	}
	if q.Limit <= 0 || q.Limit > hierarchyPage {
		q.Limit = hierarchyPage
	}
	l, err := d.lookOf(ctx, q.RoomID)
	if err != nil {
		return nil, "", mautrix.MForbidden.WithMessage("You are not allowed to view this space")
	}
	if ok, err := d.accessible(ctx, l, user); err != nil || !ok {
		return nil, "", errors.Join(err, mautrix.MForbidden.WithMessage("You are not allowed to view this space"))
	}
	w := &walk{d: d, user: user, q: q, seen: map[id.RoomID]bool{}, todo: []stop{{roomID: q.RoomID}}, over: time.Now().Add(hierarchyWait)}
	for len(w.todo) > 0 && len(w.out) < skip+q.Limit && len(w.seen) < maxHierarchy {
		next := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		if w.seen[next.roomID] {
			continue
		}
		w.seen[next.roomID] = true
		if err := w.visit(ctx, next); err != nil {
			return nil, "", err
		}
	}
	token := ""
	if w.more() && len(w.out) == skip+q.Limit {
		token = makeFrom(q, len(w.out))
	}
	return w.out[min(skip, len(w.out)):], token, nil
}

func (w *walk) more() bool {
	for _, s := range w.todo {
		if !w.seen[s.roomID] {
			return true
		}
	}
	return false
}

// The token holds the parameters that must not change between pages.
func makeFrom(q HierarchyQuery, n int) string {
	return "h" + strconv.Itoa(n) + "_" + strconv.FormatBool(q.SuggestedOnly) + "_" + strconv.Itoa(q.MaxDepth)
}

func readFrom(q HierarchyQuery) (int, error) {
	if q.From == "" {
		return 0, nil
	}
	n, rest, ok := strings.Cut(strings.TrimPrefix(q.From, "h"), "_")
	skip, err := strconv.Atoi(n)
	if !ok || err != nil || skip < 0 || skip > maxHierarchy || rest != strconv.FormatBool(q.SuggestedOnly)+"_"+strconv.Itoa(q.MaxDepth) {
		return 0, mautrix.MInvalidParam.WithMessage("from does not belong to this request")
	}
	return skip, nil
}

func (w *walk) visit(ctx context.Context, s stop) error {
	l, err := w.d.lookOf(ctx, s.roomID)
	if err == nil && l.Joined > 0 {
		ok, err := w.d.accessible(ctx, l, w.user)
		if err != nil || !ok {
			return err
		}
		w.out = append(w.out, l.node(w.q.SuggestedOnly))
		w.push(l.children, s.depth, nil)
		return nil
	}
	return w.visitRemote(ctx, s)
}

// push puts children on the stack so that the first comes off first.
func (w *walk) push(cs []child, depth int, known map[id.RoomID]*Node) {
	if w.q.MaxDepth >= 0 && depth >= w.q.MaxDepth {
		return
	}
	for i := min(len(cs), maxChildren) - 1; i >= 0; i-- {
		if c := cs[i]; !w.q.SuggestedOnly || c.Suggested {
			w.todo = append(w.todo, stop{roomID: c.RoomID, via: c.Via, depth: depth + 1, remote: known[c.RoomID]})
		}
	}
}

// visitRemote asks for a room that this server is not in. A server that fails leaves the room out.
func (w *walk) visitRemote(ctx context.Context, s stop) error {
	node, known := s.remote, map[id.RoomID]*Node(nil)
	needsChildren := node == nil || (node.RoomType == "m.space" && (w.q.MaxDepth < 0 || s.depth < w.q.MaxDepth))
	if needsChildren && w.asks < hierarchyAsks && time.Now().Before(w.over) {
		w.asks++
		answer, err := w.d.askHierarchy(ctx, s.roomID, s.via, w.q.SuggestedOnly)
		if err == nil {
			node, known = &answer.Room, map[id.RoomID]*Node{}
			for i := range answer.Children {
				known[answer.Children[i].RoomID] = &answer.Children[i]
			}
		}
	}
	if node == nil {
		return nil
	}
	ok, err := w.d.accessible(ctx, look{Summary: node.Summary}, w.user)
	if err != nil || !ok {
		return err
	}
	children := childrenOf(node)
	node.ChildrenState = append([]json.RawMessage{}, node.ChildrenState[:min(len(node.ChildrenState), maxChildren)]...)
	w.out = append(w.out, *node)
	w.push(children, s.depth, known)
	return nil
}

func childrenOf(n *Node) []child {
	var cs []child
	for _, raw := range n.ChildrenState {
		var e struct {
			Type     string `json:"type"`
			StateKey string `json:"state_key"`
			Content  struct {
				Via       []string `json:"via"`
				Order     any      `json:"order"`
				Suggested any      `json:"suggested"`
			} `json:"content"`
			Time int64 `json:"origin_server_ts"`
		}
		if json.Unmarshal(raw, &e) != nil || e.Type != "m.space.child" || len(e.Content.Via) == 0 || len(cs) >= maxChildren {
			continue
		}
		c := child{RoomID: id.RoomID(e.StateKey), Via: e.Content.Via, Suggested: e.Content.Suggested == true, Time: e.Time}
		if o, ok := e.Content.Order.(string); ok && validOrder(o) {
			c.Order = o
		}
		cs = append(cs, c)
	}
	sortChildren(cs)
	return cs
}

func (d *Directory) askHierarchy(ctx context.Context, roomID id.RoomID, via []string, suggestedOnly bool) (*remoteNode, error) {
	if d.Remote == nil {
		return nil, errNoRoom
	}
	ctx, cancel := context.WithTimeout(ctx, hierarchyWait)
	defer cancel()
	if s := roomID.String(); len(via) == 0 && strings.Contains(s, ":") {
		via = []string{s[strings.Index(s, ":")+1:]}
	}
	err := error(errNoRoom)
	for i, server := range via {
		if i == maxVia {
			break
		}
		if server == d.ServerName || !event.ValidServerName(server) {
			continue
		}
		var raw json.RawMessage
		if raw, err = d.Remote.Hierarchy(ctx, server, roomID, suggestedOnly); err != nil {
			continue
		}
		n := new(remoteNode)
		if err = json.Unmarshal(raw, n); err == nil && n.Room.RoomID == roomID {
			return n, nil
		}
		err = errNoRoom
	}
	return nil, err
}

// FederationHierarchy answers another server: a room, its children, and which of them it may not see.
func (d *Directory) FederationHierarchy(ctx context.Context, server string, roomID id.RoomID, suggestedOnly bool) (any, error) {
	l, err := d.lookOf(ctx, roomID)
	if err != nil || l.Joined == 0 {
		return nil, errNoRoom
	}
	if ok, err := d.accessibleTo(ctx, l, server); err != nil || !ok {
		return nil, errors.Join(err, errNoRoom)
	}
	out := remoteNode{Room: l.node(suggestedOnly), Children: []Node{}, Inaccessible: []id.RoomID{}}
	for _, c := range l.children {
		if suggestedOnly && !c.Suggested || len(out.Children) >= hierarchyPage {
			continue
		}
		cl, err := d.lookOf(ctx, c.RoomID)
		if err != nil || cl.Joined == 0 {
			continue // not ours to tell
		}
		ok, err := d.accessibleTo(ctx, cl, server)
		if err != nil {
			return nil, err
		}
		if !ok {
			out.Inaccessible = append(out.Inaccessible, c.RoomID)
			continue
		}
		n := cl.node(suggestedOnly)
		if cl.RoomType == "m.space" {
			n.ChildrenState = []json.RawMessage{} // asked for by its own call
		}
		out.Children = append(out.Children, n)
	}
	return out, nil
}
