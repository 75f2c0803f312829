package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/viaduc/viaduc/homeserver/database"
)

// ErrConflict says that the guard of a unit failed: somebody else was faster. Decide again and commit again.
var ErrConflict = errors.New("stream: the guarded row has changed")

// ErrBusy says that too many units wait.
var ErrBusy = errors.New("stream: too many units are waiting")

// Unit is what must be written together: rows by value, and the changes that they are.
type Unit struct {
	Guard   *Guard
	Writes  []Write
	Changes []Change
	// After is called after the commit, in commit order, before waiters wake. It must not block. first is the position of
	// Changes[0], or 0 if there are none.
	After func(first Pos)
}

// Write is a row.
type Write struct {
	Table *database.Table
	Row   []any
}

// PosOf as a value in the Row of a Write or Guard becomes the position of Changes[i].
type PosOf int

// OrderOf as a value in a Row becomes the place of Changes[i] in its room's history: its position shifted by OrderShift, so that
// older history found later fits between.
type OrderOf int

// OrderShift is how many bits of an order lie below the position.
const OrderShift = 20

// The database multiplies instead.
const _ = uint(database.Scale - 1<<OrderShift)
const _ = uint(1<<OrderShift - database.Scale)

// Guard lets a unit be written only if a row still has the version that the unit was decided on. Units of one group may follow
// each other: one expects what the other makes.
type Guard struct {
	Table  *GuardTable
	Key    any   // string or int64
	Expect int64 // 0 if the row does not exist yet
	Next   int64
	Row    []any // the new values of the other columns
}

// GuardTable describes a table with guarded rows.
type GuardTable struct {
	name, key, version string
	upsert             *database.Table
	insert             *database.Table
	load               string
	number             bool // the key is one
}

// NewGuardTable describes a table whose row of a key may be changed by units only, together with its version.
func NewGuardTable(name string, key database.Col, version string, columns ...database.Col) *GuardTable {
	all := append([]database.Col{key, database.Int(version)}, columns...)
	set := make([]string, 0, len(all))
	for _, c := range all[1:] {
		set = append(set, c.Name+" = excluded."+c.Name)
	}
	return &GuardTable{
		name: name, key: key.Name, version: version,
		upsert: database.NewTable(name, "ON CONFLICT ("+key.Name+") DO UPDATE SET "+strings.Join(set, ", "), all...),
		insert: database.NewTable(name, "", all...),
		load:   fmt.Sprintf("SELECT %s, %s FROM %s WHERE %[1]s IN LIST($1) ORDER BY %[1]s FOR UPDATE", key.Name, version, name),
		number: key.Kind == database.KindInt,
	}
}

// key brings the key of a guard into the form that load gives.
func (g *Guard) key() (any, error) {
	switch k := g.Key.(type) {
	case string:
		if !g.Table.number {
			return k, nil
		}
	case int64:
		if g.Table.number {
			return k, nil
		}
	case fmt.Stringer:
		if !g.Table.number {
			return k.String(), nil
		}
	}
	return nil, fmt.Errorf("stream: a key of %s cannot be %T", g.Table.name, g.Key)
}

// Pending is a unit on its way.
type Pending struct {
	unit  *Unit
	extra [][]Topic // the audience of the changes that have one
	first Pos
	err   error
	done  chan struct{}
}

// Wait returns when the unit is committed, or has failed. If ctx ends before, the unit may still be committed.
func (p *Pending) Wait(ctx context.Context) (first Pos, err error) {
	select {
	case <-p.done:
		return p.first, p.err
	default:
	}
	select {
	case <-p.done:
		return p.first, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Done is closed when Wait no longer waits.
func (p *Pending) Done() <-chan struct{} { return p.done }
