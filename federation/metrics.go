package federation

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricSent         = promauto.NewCounter(prometheus.CounterOpts{Name: "hs_federation_transactions_sent_total", Help: "Transactions that other servers have taken."})
	metricSendFailures = promauto.NewCounter(prometheus.CounterOpts{Name: "hs_federation_send_failures_total", Help: "Transactions that could not be delivered."})
	metricReceived     = promauto.NewCounter(prometheus.CounterOpts{Name: "hs_federation_events_received_total", Help: "Events in transactions of other servers, before they are judged."})
	metricPostponed    = promauto.NewCounter(prometheus.CounterOpts{Name: "hs_federation_events_postponed_total", Help: "Received events that wait for another try."})
)
