package stream

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	headPosition = promauto.NewGauge(prometheus.GaugeOpts{
		Name: "hs_stream_head_position", Help: "Newest position of the log known to this process.",
	})
	groupUnits = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "hs_stream_group_units", Help: "Units committed in one transaction.", Buckets: prometheus.ExponentialBuckets(1, 2, 10),
	})
	commitSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "hs_stream_commit_seconds", Help: "Time to commit and publish a group of units.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2.5, 12),
	})
	conflictsTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_stream_conflicts_total", Help: "Units whose guard failed, to be decided again.",
	})
	groupsSplit = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_stream_groups_split_total", Help: "Groups committed unit by unit because the rows of one could not be written.",
	})
	learntTotal = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_stream_learnt_changes_total", Help: "Changes of other replicas read from the log.",
	})
	callbackPanics = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_stream_callback_panics_total", Help: "Callbacks that panicked.",
	})
	followerLag = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hs_stream_follower_lag_positions", Help: "Positions between a follower and the head.",
	}, []string{"follower"})
	followerFailures = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_stream_follower_failures_total", Help: "Batches that a follower could not handle at once.",
	}, []string{"follower"})
)
