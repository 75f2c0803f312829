package account

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricLogins = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_account_logins_total", Help: "Attempts to log in, by type and result.",
	}, []string{"type", "result"})
	metricRegistrations = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_account_registrations_total", Help: "Accounts made, by kind.",
	}, []string{"kind"})
	metricTokenMisses = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_account_token_cache_misses_total", Help: "Access tokens that had to be read from the database.",
	})
	metricHash = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "hs_account_password_hash_seconds", Help: "Time to compute one password hash.",
		Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1},
	})
)

func observeHash(start time.Time) { metricHash.Observe(time.Since(start).Seconds()) }
