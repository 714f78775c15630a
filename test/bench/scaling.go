package main

import (
	"fmt"
	"time"
)

// inputs are the measured figures that docs/scaling.md reckons with.
type inputs struct {
	perSecond  float64       // new PayUTokens
	serverCPU  time.Duration // of kube-apiserver for a new PayUToken
	cpu        float64       // cores of the operator for a PayUToken, steady
	requests   float64       // to the API server for a renewal
	idle       float64       // bytes of the operator
	perToken   float64       // bytes of the operator
	perForeign float64       // bytes of the operator
	sizes      sizes
}

// sizes are what one object of a kind takes in etcd, in bytes.
type sizes struct{ token, secret, event float64 }

// scaled reckons what many PayUTokens in one cluster need, one client each.
func (i inputs) scaled() section {
	renewal := meanRenewal(usual).Seconds()
	s := section{title: "Reckoned from these figures: PayUTokens in one cluster, one client each", head: []string{"PayUTokens", "renewals", "requests to the API server",
		"CPU of kube-apiserver", "CPU of the operator", "memory of the operator", "in etcd", "made from nothing in"}}
	for _, n := range []float64{1e3, 1e4, 1e5, 1e6} {
		perSecond := n / renewal
		// An Event lives for an hour.
		etcd := n * (i.sizes.token + i.sizes.secret + i.sizes.event*min(1, time.Hour.Seconds()/renewal))
		s.add(fmt.Sprintf("%.0f", n), fmt.Sprintf("%.2f/s", perSecond), fmt.Sprintf("%.1f/s", perSecond*i.requests), cores(perSecond*i.serverCPU.Seconds()),
			cores(n*i.cpu), mebibytes(i.idle+n*i.perToken), mebibytes(etcd), shown(time.Duration(n/i.perSecond*float64(time.Second))))
	}
	s.note("A renewal each %s: n / %.0f s. Requests: %s for each renewal. CPU of kube-apiserver: at most %s for each renewal, what a new PayUToken takes. CPU of the operator: %.2f %% of a core for 10,000. Memory: %s + n × %s (and %s for each Secret of others). etcd: %.0f bytes for a PayUToken, %.0f for its Secret, %.0f for an Event of the last hour. From nothing: %s.",
		meanRenewal(usual), renewal, short(i.requests), milliseconds(i.serverCPU), i.cpu*1e6, mebibytes(i.idle), kibibytes(i.perToken), kibibytes(i.perForeign),
		i.sizes.token, i.sizes.secret, i.sizes.event, rate(i.perSecond))
	return s
}

func cores(n float64) string { return fmt.Sprintf("%.3f cores", n) }
