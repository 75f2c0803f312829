package stateres

import (
	"maunium.net/go/mautrix/id"
)

// graph is a part of the graph of auth events, as identifiers. Nodes are numbered in the order in which they are found.
type graph struct {
	index map[id.EventID]int32
	ids   []id.EventID
	auth  [][]int32 // nil until the node was expanded
	open  []bool    // expanded
}

func newGraph() *graph { return &graph{index: map[id.EventID]int32{}} }

func (g *graph) len() int { return len(g.ids) }

// add gives the number of the event.
func (g *graph) add(eventID id.EventID) int32 {
	if n, known := g.index[eventID]; known {
		return n
	}
	n := int32(len(g.ids))
	g.index[eventID] = n
	g.ids = append(g.ids, eventID)
	g.auth = append(g.auth, nil)
	g.open = append(g.open, false)
	return n
}

// connect says what the event's auth events are.
func (g *graph) connect(n int32, auth []id.EventID) {
	if g.open[n] {
		return
	}
	g.open[n] = true
	edges := make([]int32, 0, len(auth))
	for _, eventID := range auth {
		edges = append(edges, g.add(eventID))
	}
	g.auth[n] = edges
}

// reach marks everything that can be reached from the starts over expanded nodes, the starts included, and calls fn for
// what was not marked before.
func (g *graph) reach(starts []int32, marked []bool, fn func(int32)) {
	var stack []int32
	visit := func(n int32) {
		if !marked[n] {
			marked[n] = true
			fn(n)
			stack = append(stack, n)
		}
	}
	for _, n := range starts {
		visit(n)
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, next := range g.auth[n] {
			visit(next)
		}
	}
}

// between are the nodes below the bound that lie on a way from one of the ends to another, the ends included.
func (g *graph) between(ends []int32, bound int) []bool {
	up := make([][]int32, bound)
	for n := range bound {
		for _, next := range g.auth[n] {
			if int(next) < bound {
				up[next] = append(up[next], int32(n))
			}
		}
	}
	onWay, stack := make([]bool, bound), append([]int32(nil), ends...)
	for _, n := range ends {
		onWay[n] = true
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, over := range up[n] {
			if !onWay[over] {
				onWay[over] = true
				stack = append(stack, over)
			}
		}
	}
	return onWay
}

// expand walks down from the starts. look is called for a batch of nodes and says what their auth events are; stop ends the
// walk early.
func (g *graph) expand(starts []int32, look func([]int32) error, stop func() bool) error {
	queued := make(map[int32]struct{}, len(starts))
	frontier := make([]int32, 0, len(starts))
	push := func(n int32) {
		if _, was := queued[n]; !was {
			queued[n] = struct{}{}
			frontier = append(frontier, n)
		}
	}
	for _, n := range starts {
		push(n)
	}
	for len(frontier) > 0 && !stop() {
		if g.len() > MaxWalk {
			return ErrTooLarge
		}
		wave := frontier[:min(batch, len(frontier))]
		frontier = frontier[len(wave):]
		if err := look(wave); err != nil {
			return err
		}
		for _, n := range wave {
			for _, next := range g.auth[n] {
				push(next)
			}
		}
	}
	return nil
}
