package room

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricEvents = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_room_events_total", Help: "Events written, of local and remote origin.",
	})
	metricConflicts = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_room_conflicts_total", Help: "Units decided again because another one was committed before.",
	})
	metricRefused = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_room_refused_total", Help: "Events of other servers that were dropped.",
	})
)
