package e2ee

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricClaimed = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_e2ee_keys_claimed_total", Help: "Keys of own devices given out: one-time keys, and fallback keys of devices that ran out.",
	}, []string{"kind"})
	metricToDevice = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_e2ee_to_device_messages_total", Help: "To-device messages put into the inboxes of own devices.",
	})
	metricLists = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "hs_e2ee_device_lists_fetched_total", Help: "Device lists of remote users asked for, by result.",
	}, []string{"result"})
)
