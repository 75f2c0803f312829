package web

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	metricRequests = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "hs_web_request_seconds",
		Help:    "Time of answering a request, by route and status. Long polls wait on purpose.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
	}, []string{"method", "route", "status"})
	metricPanics = promauto.NewCounter(prometheus.CounterOpts{
		Name: "hs_web_panics_total",
		Help: "Panics in handlers. Each is a mistake of ours.",
	})
)

// routeMetrics keeps the series of one route at hand.
type routeMetrics struct {
	route string
	mu    sync.RWMutex
	by    map[int]prometheus.Observer
}

// observe counts a request; those without a route count under one name.
func (rt *route) observe(method string, status int, took time.Duration) {
	if rt == nil {
		if status == 204 {
			return
		}
		metricRequests.WithLabelValues("", "unknown", strconv.Itoa(status)).Observe(took.Seconds())
		return
	}
	m := &rt.metrics
	m.mu.RLock()
	o := m.by[status]
	m.mu.RUnlock()
	if o == nil {
		m.mu.Lock()
		if m.by == nil {
			m.by = make(map[int]prometheus.Observer)
		}
		o = metricRequests.WithLabelValues(rt.Method, m.route, strconv.Itoa(status))
		m.by[status] = o
		m.mu.Unlock()
	}
	o.Observe(took.Seconds())
}
