package room

import (
	"context"
	"database/sql"
	"fmt"
	"hash/maphash"

	"maunium.net/go/mautrix/id"

	"github.com/viaduc/viaduc/homeserver/database"
)

// flight is an event sent with a transaction ID, on its way to the database or there.
type flight struct {
	nid    int64
	id     id.EventID
	done   chan struct{} // nil: committed long ago
	failed bool          // set before done is closed
}

// land tells those who wait whether it was committed.
func (f *flight) land(ok bool) {
	f.failed = !ok
	close(f.done)
}

// txnCache knows which transaction IDs the devices that write into a room have used lately. It belongs to the holder of
// the room's queue, and to one reading of the room: after another replica wrote it is empty.
type txnCache struct {
	devices map[int64]*deviceTxns // by txnKey
}

// deviceTxns is complete for the newest ones: two generations, the older of which is given up when the newer is full.
type deviceTxns struct{ young, old map[uint64]*flight }

const (
	txnsRead    = 256 // newest transactions of a device read from the table
	txnsKept    = 512 // per generation
	devicesKept = 256
)

type txnRow struct {
	nid    int64
	evType string
	txn    string
	id     id.EventID
}

func scanTxn(s database.Scanner) (t txnRow, err error) {
	var txn sql.NullString
	err = s.Scan(&t.nid, &t.evType, &txn, &t.id)
	t.txn = txn.String
	return t, err
}

// txnHash keeps transactions of different endpoints apart. spec: cs#transaction-identifiers
func txnHash(evType, txn string) uint64 {
	if evType == typeRedaction {
		return maphash.String(seed, txn) + 1
	}
	return maphash.String(seed, txn)
}

// findTxn returns what was sent with a transaction ID, nil if nothing was.
func (r *Rooms) findTxn(ctx context.Context, e *roomEntry, user id.UserID, device id.DeviceID, evType, txn string) (*flight, error) {
	key := txnKey(e.nid, user, device)
	d := e.txns.devices[key]
	if d == nil {
		rows, err := database.Rows(r.fresh(ctx), r.db, scanTxn, sqlTransactions, key, string(user), string(device), txnsRead)
		if err != nil {
			return nil, fmt.Errorf("transactions: %w", err)
		}
		d = &deviceTxns{young: make(map[uint64]*flight, len(rows)+8)}
		for _, row := range rows {
			d.young[txnHash(row.evType, row.txn)] = &flight{nid: row.nid, id: row.id}
		}
		if e.txns.devices == nil || len(e.txns.devices) >= devicesKept {
			e.txns.devices = map[int64]*deviceTxns{}
		}
		e.txns.devices[key] = d
	}
	h := txnHash(evType, txn)
	f := d.young[h]
	if f == nil {
		f = d.old[h]
	}
	return f, nil
}

// takeOff notes that an event with a transaction ID is on its way.
func (b *batch) takeOff(s *Stored) {
	d := b.e.txns.devices[txnKey(b.nid, s.Sender(), s.DeviceID)]
	f := &flight{nid: s.NID, id: s.ID(), done: make(chan struct{})}
	b.flights = append(b.flights, f)
	if len(d.young) >= txnsKept {
		d.old, d.young = d.young, make(map[uint64]*flight, txnsKept)
	}
	d.young[txnHash(s.Type(), s.TxnID)] = f
}

// landed waits for an event on its way: its ID, or "" if it failed and may be tried again.
func (f *flight) landed(ctx context.Context) (id.EventID, error) {
	if f.done == nil {
		return f.id, nil
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if f.failed {
		return "", nil
	}
	return f.id, nil
}
