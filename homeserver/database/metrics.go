package database

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	transactionSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name:    "hs_database_transaction_seconds",
		Help:    "Time from the start to the end of the commit of writing transactions.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2.5, 12),
	})
	rollbacksTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_database_rollbacks_total", Help: "Writing transactions that were not committed.",
	})
	repeatsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_database_repeats_total", Help: "Transactions that ran again because they lost against another one.",
	})
	waitSeconds = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_database_wait_seconds_total", Help: "Time spent waiting for a connection to write with.",
	})
	rowsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_database_rows_inserted_total", Help: "Rows given to Insert.",
	})
)

// Stats are numbers since Open.
type Stats struct {
	Transactions int64         // committed
	Rollbacks    int64         // not committed
	Repeats      int64         // run again after losing against another one
	Waits        int64         // how often a connection to write with had to be waited for
	WaitTime     time.Duration // and how long in all
	Rows         int64         // given to Insert
	OpenReads    int           // connections for reads that are open
	BusyReads    int           // and in use
	Statements   int           // kept prepared for reads
}

type counters struct {
	transactions, rollbacks, repeats, waits, waitTime, rows atomic.Int64
}

func (c *counters) committed(d time.Duration) {
	c.transactions.Add(1)
	transactionSeconds.Observe(d.Seconds())
}

func (c *counters) rolledBack() {
	c.rollbacks.Add(1)
	rollbacksTotal.Inc()
}

func (c *counters) repeated() {
	c.repeats.Add(1)
	repeatsTotal.Inc()
}

func (c *counters) waited(d time.Duration) {
	c.waits.Add(1)
	c.waitTime.Add(int64(d))
	waitSeconds.Add(d.Seconds())
}

func (c *counters) inserted(n int) {
	c.rows.Add(int64(n))
	rowsTotal.Add(float64(n))
}

// Stats tells how busy the database is.
func (db *DB) Stats() Stats {
	c, pool := &db.stats, db.read.sql.Stats()
	db.read.mu.RLock()
	n := len(db.read.all)
	db.read.mu.RUnlock()
	return Stats{
		Transactions: c.transactions.Load(), Rollbacks: c.rollbacks.Load(), Repeats: c.repeats.Load(),
		Waits: c.waits.Load(), WaitTime: time.Duration(c.waitTime.Load()), Rows: c.rows.Load(),
		OpenReads: pool.OpenConnections, BusyReads: pool.InUse, Statements: n,
	}
}
