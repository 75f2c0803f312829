package database

import (
	"fmt"
	"sync"

	"github.com/petermattis/goid"
)

// strict finds statements that run beside the transaction that their goroutine has open: on SQLite such a write would wait
// for itself, on PostgreSQL it would not see its own transaction. Only tests switch it on.
type strict struct{ open sync.Map }

func (s *strict) enter(db *DB) (leave func()) {
	if !db.opts.Strict {
		return func() {}
	}
	id := goid.Get()
	s.open.Store(id, struct{}{})
	return func() { s.open.Delete(id) }
}

func (s *strict) check(db *DB) error {
	if !db.opts.Strict {
		return nil
	}
	if _, open := s.open.Load(goid.Get()); open {
		return fmt.Errorf("database: used beside the transaction that this goroutine has open (give on the context of Tx), at %s", caller())
	}
	return nil
}
