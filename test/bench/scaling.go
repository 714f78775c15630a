package main

import (
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
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
	page       float64       // bytes of the metrics for a PayUToken
	sizes      sizes
}

// sizes are what one object of a kind takes in etcd, in bytes.
type sizes struct{ token, secret, event float64 }

// needs reckons what PayUTokens in one cluster need, whose tokens live as long as PayU's.
func (i inputs) needs() section {
	between := meanRenewal(usual).Seconds()
	s := section{title: "Reckoned: what PayUTokens in one cluster need", head: []string{"PayUTokens", "renewals", "requests to the API server",
		"kube-apiserver, at most", "operator", "its memory", "objects in etcd", "metrics page", "all made anew in"}}
	events := min(1, time.Hour.Seconds()/between) // an Event lives for an hour
	for _, n := range []float64{1e3, 1e4, 1e5, 1e6} {
		s.add(fmt.Sprintf("%.0f", n), fmt.Sprintf("%.2f/s", n/between), fmt.Sprintf("%.1f/s", n/between*i.requests),
			fmt.Sprintf("%.2f cores", n/between*i.serverCPU.Seconds()), fmt.Sprintf("%.3f cores", n*i.cpu), mebibytes(i.idle+n*i.perToken),
			mebibytes(n*(i.sizes.token+i.sizes.secret+events*i.sizes.event)), mebibytes(n*i.page), lab.Shown(seconds(n/i.perSecond)))
	}
	s.note("From the figures above, for n PayUTokens of %s with a client each: renewals n / %.0f s; %s requests for each; %s of kube-apiserver for each, which is what a new PayUToken takes; %.1f µs of the operator for each PayUToken and second; %s + n × %s of memory, and %s for each Secret of others; %.0f bytes of etcd for the PayUToken, %.0f for its Secret and %.0f for an Event, which lives for an hour; %.0f bytes of metrics; %s made.",
		usual, between, short(i.requests), milliseconds(i.serverCPU), i.cpu*1e6, mebibytes(i.idle), kibibytes(i.perToken), kibibytes(i.perForeign),
		i.sizes.token, i.sizes.secret, i.sizes.event, i.page, rate(i.perSecond))
	return s
}

// limits reckons how many PayUTokens one operator can take, by what gives out first.
func (i inputs) limits() section {
	var start time.Time
	token := tokenAt(start, usual)
	first, last := renewAt(token, 1), renewAt(token, 0)
	width, reserve := last.Sub(first).Seconds(), token.ExpiresAt.Sub(last).Seconds()
	s := section{title: "Reckoned: what one operator can take", head: []string{"as long as", "PayUTokens", "reckoned so"}}
	for _, row := range []struct {
		what string
		n    float64
		how  string
	}{
		{"the first renewals of PayUTokens that were all made at once are done as they fall due",
			i.perSecond * width, fmt.Sprintf("%s × %.0f s", rate(i.perSecond), width)},
		{"the last of these renewals comes before its token is dead",
			i.perSecond * (width + reserve), fmt.Sprintf("%s × (%.0f s + %.0f s)", rate(i.perSecond), width, reserve)},
		{"1 GiB of memory is enough", (1<<30 - i.idle) / i.perToken, fmt.Sprintf("(1024 MiB - %s) / %s", mebibytes(i.idle), kibibytes(i.perToken))},
		{"one core is enough for it, on average", 1 / i.cpu, fmt.Sprintf("1 s / %.1f µs", i.cpu*1e6)},
		{"one core of kube-apiserver is enough for it, on average", meanRenewal(usual).Seconds() / i.serverCPU.Seconds(),
			fmt.Sprintf("%.0f s / %s", meanRenewal(usual).Seconds(), milliseconds(i.serverCPU))},
	} {
		s.add(row.what, fmt.Sprintf("%.0f", row.n), row.how)
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
