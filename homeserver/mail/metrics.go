package mail

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var metricSent = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "hs_mail_messages_total", Help: "E-mails, by outcome: sent, postponed, given_up.",
}, []string{"outcome"})
