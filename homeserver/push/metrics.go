package push

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricQueued = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_push_queued_total", Help: "Notifications queued for push gateways.",
	})
	metricSent = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_push_requests_total", Help: "Requests to push gateways, by outcome.",
	}, []string{"outcome"})
)
