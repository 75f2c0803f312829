package room

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/viaduc/viaduc/homeserver/database"
)

const sqlStateChain = `
	WITH RECURSIVE chain (id, parent, pending, entries, far) AS (
		SELECT id, parent, pending, entries, 0 FROM state_snapshots WHERE id = $1
		UNION ALL
		SELECT s.id, s.parent, s.pending, s.entries, c.far + 1 FROM state_snapshots s JOIN chain c ON s.id = c.parent
	)
	SELECT id, parent, pending, entries FROM chain ORDER BY far`

const sqlStateEntries = `SELECT nid, event_id, type, state_key FROM events WHERE nid IN LIST($1)`

func newSnapshotTable() *database.Table {
	return database.NewTable("state_snapshots", "", database.Int("id"), database.NullInt("parent"), database.Int("pending"), database.Text("entries"))
}

type chainRow struct {
	id, pending int64
	parent      sql.NullInt64
	nids        []int64
}

func scanChainRow(s database.Scanner) (c chainRow, err error) {
	var entries string
	if err = s.Scan(&c.id, &c.parent, &c.pending, &entries); err != nil {
		return c, err
	}
	c.nids, err = parseNIDs(entries)
	return c, err
}

type stateEntry struct {
	ref Ref
	key stateKey
}

func scanStateEntry(s database.Scanner) (e stateEntry, err error) {
	var key sql.NullString
	err = s.Scan(&e.ref.NID, &e.ref.EventID, &e.key.Type, &key)
	e.key.StateKey = key.String
	return e, err
}

// stateByID returns a state from memory or from its chain of rows.
func (r *Rooms) stateByID(ctx context.Context, sid int64) (*State, error) {
	if s, ok := r.states.get(sid); ok {
		return s, nil
	}
	if s, ok := r.pending.state(sid); ok {
		return s, nil
	}
	ctx = r.fresh(ctx)
	chain, err := database.Rows(ctx, r.db, scanChainRow, sqlStateChain, sid)
	if err != nil {
		return nil, fmt.Errorf("state %d: %w", sid, err)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("state %d is not stored", sid)
	}
	var base *State
	last := len(chain) - 1
	for i := 1; i < len(chain); i++ { // the nearest known ancestor saves the rest
		if s, ok := r.states.get(chain[i].id); ok {
			base, last = s, i-1
			break
		}
	}
	s, err := r.replay(ctx, base, chain[:last+1])
	if err != nil {
		return nil, fmt.Errorf("state %d: %w", sid, err)
	}
	r.states.put(s.id, s, stateCost(s, base != nil))
	return s, nil
}

// replay applies rows (newest first) on a state.
func (r *Rooms) replay(ctx context.Context, base *State, rows []chainRow) (*State, error) {
	var all []int64
	for _, row := range rows {
		for _, n := range row.nids {
			all = append(all, max(n, -n))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	entries, err := database.Rows(ctx, r.db, scanStateEntry, sqlStateEntries, database.List(all))
	if err != nil {
		return nil, err
	}
	if len(entries) != len(all) {
		return nil, fmt.Errorf("%d of %d events are missing", len(all)-len(entries), len(all))
	}
	byNID := make(map[int64]stateEntry, len(entries))
	for _, e := range entries {
		byNID[e.ref.NID] = e
	}
	out := &State{id: rows[0].id, pending: rows[0].pending, r: r}
	if base == nil {
		out.m = sumRows(rows, byNID)
		return out, nil
	}
	out.m = base.m
	for _, row := range slices.Backward(rows) {
		for _, n := range row.nids {
			if n < 0 {
				out.m = out.m.remove(byNID[-n].key)
			} else {
				out.m = out.m.set(byNID[n].key, byNID[n].ref)
			}
		}
	}
	return out, nil
}

// sumRows is the state that rows (newest first) make from nothing.
func sumRows(rows []chainRow, byNID map[int64]stateEntry) tree[stateKey, Ref] {
	sum := make(map[stateKey]Ref, len(byNID))
	for _, row := range slices.Backward(rows) {
		for _, n := range row.nids {
			if n < 0 {
				delete(sum, byNID[-n].key)
			} else {
				sum[byNID[n].key] = byNID[n].ref
			}
		}
	}
	sorted := make([]entry[stateKey, Ref], 0, len(sum))
	for k, ref := range sum {
		sorted = append(sorted, entry[stateKey, Ref]{k, ref})
	}
	slices.SortFunc(sorted, func(a, b entry[stateKey, Ref]) int { return a.key.compare(b.key) })
	return buildTree(sorted)
}

// stateCost is the memory charged for a state: most of one that was derived from another is shared.
func stateCost(s *State, derived bool) int64 {
	if derived {
		return 3 << 10
	}
	return 512 + 250*int64(s.m.len())
}

func formatNIDs(nids []int64) string {
	b := make([]byte, 0, 2+8*len(nids))
	b = append(b, '[')
	for i, n := range nids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(append(b, ']'))
}

func parseNIDs(s string) ([]int64, error) {
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	out := make([]int64, 0, 1+len(s)/6)
	for s != "" {
		var part string
		part, s, _ = strings.Cut(s, ",")
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list of events: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}
