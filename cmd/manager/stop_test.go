package main_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// renewalUnderWay leaves an operator with one request in flight at a PayU that revokes a token as soon as it gives the
// next, and that answers when the faults are cleared.
func renewalUnderWay(s *shop, args ...string) (*operator, *payutest.Running) {
	s.Helper()
	server := runPayU(s.T, payutest.Config{Mode: payutest.RevokePrevious})
	o := s.operate(server, args...)
	s.create("links")
	s.awaitReady("links")
	server.Inject(payutest.Fault{Hang: true})
	s.change("links", refresh("now"))
	check(s.T, server.Await(s.ctx, func(c payutest.Counters) bool { return c.InFlight == 1 }))
	return o, server
}

// expectLive checks that a Secret holds a token that PayU would accept.
func (s *shop) expectLive(server *payutest.Running, name string) {
	s.Helper()
	held := s.value(name)
	for _, issued := range server.Issued() {
		if issued.Token == held && issued.LiveAt(time.Now()) {
			return
		}
	}
	s.Errorf("Secret %s holds a token that PayU does not accept any more", name)
}

func TestATokenGivenWhileTheOperatorStopsIsWritten(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o, server := renewalUnderWay(s)
	before := s.value("links")
	o.signal(syscall.SIGTERM)
	o.awaitLog("Shutdown signal received, waiting for all workers to finish")
	server.ClearFaults()
	o.expectGoodEnd()
	if s.value("links") == before {
		t.Error("the new token was not written")
	}
	s.expectLive(server, "links")
	if total := server.Counters().Total(); total != 2 {
		t.Errorf("%d requests, want 2", total)
	}
}

func TestARequestThatIsNotAnsweredKeepsTheOperatorNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o, server := renewalUnderWay(s, "--token-request-timeout=1s")
	o.signal(syscall.SIGTERM)
	began := time.Now()
	o.expectGoodEnd()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	s.expectLive(server, "links")
}

// electing are the flags with which one of several replicas leads.
func (s *shop) electing() []string {
	return []string{"--leader-elect", "--leader-election-namespace=" + s.namespace}
}

// leaseTime is how long a leader counts as alive that no longer says so.
const leaseTime = 15 * time.Second

func TestAStandbyTakesOverWhenTheLeaderStops(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	leader, server := renewalUnderWay(s, s.electing()...)
	standby := s.operate(server, s.electing()...)
	leader.signal(syscall.SIGTERM)
	leader.awaitLog("Shutdown signal received, waiting for all workers to finish")
	if holder := s.holder(); holder == "" {
		t.Error("the Lease is given back while a request is under way")
	}
	server.ClearFaults()
	leader.expectGoodEnd()
	began := time.Now()
	s.expectLive(server, "links")
	s.create("later")
	s.awaitReady("later")
	took := time.Since(began)
	t.Logf("took over after %s", took.Round(time.Millisecond))
	if took > leaseTime/2 {
		t.Errorf("took over after %s, want at once", took)
	}
	standby.awaitLog("Successfully acquired lease")
	s.expectLive(server, "links")
}

func TestAStandbyTakesOverWhenTheLeaderDies(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := runPayU(t, payutest.Config{})
	leader := s.operate(server, s.electing()...)
	s.create("links")
	s.awaitReady("links")
	s.operate(server, s.electing()...)
	leader.signal(syscall.SIGKILL)
	<-leader.ended
	began := time.Now()
	s.create("later")
	s.awaitReady("later")
	t.Logf("took over after %s", time.Since(began).Round(time.Millisecond))
}

// TestALeaderThatSleptAsksNothing stops a leader for longer than its Lease lasts, as a suspended machine does, and has it
// wake up with work to do that the next leader is doing.
func TestALeaderThatSleptAsksNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := runPayU(t, payutest.Config{Mode: payutest.RevokePrevious})
	flags := append(s.electing(), "--token-request-timeout=1m") // so that the one request hangs for all of the test
	leader := s.operate(server, flags...)
	s.create("links")
	s.awaitReady("links")
	standby := s.operate(server, flags...)
	leader.signal(syscall.SIGSTOP)
	standby.awaitLog("Successfully acquired lease")
	server.Inject(payutest.Fault{Hang: true})
	s.change("links", refresh("now"))
	check(t, server.Await(s.ctx, func(c payutest.Counters) bool { return c.InFlight == 1 }))
	leader.signal(syscall.SIGCONT)
	leader.awaitEnd()
	for _, n := range server.Counters().MaxInFlight["merchant"] {
		if n != 1 {
			t.Errorf("%d requests at once, want one of the leader in office", n)
		}
	}
	server.ClearFaults()
	await(t, "the refresh is handled", func() bool { return s.token("links").Status.LastHandledRefreshAt == "now" })
	s.expectLive(server, "links")
}

// holder returns who has the Lease, empty if nobody.
func (s *shop) holder() string {
	s.Helper()
	return must(cluster.Kubectl(s.ctx, "get", "lease/payu-token-operator", "-n", s.namespace, "-o", "jsonpath={.spec.holderIdentity}"))(s.T)
}

// TestNoTokenOfABurstIsLost stops an operator whose workers cannot keep up with what PayU gives.
func TestNoTokenOfABurstIsLost(t *testing.T) {
	t.Parallel()
	const many = 24 // three times the workers
	s := newShop(t)
	server := payutest.Run(t, payutest.Config{Mode: payutest.RevokePrevious})
	name := func(i int) string { return "links-" + strconv.Itoa(i) }
	for i := range many {
		server.PutClient(payutest.Client{ID: name(i), Secret: merchantSecret})
		s.credentials("of-"+name(i), name(i), merchantSecret)
		s.create(name(i), credentialsOf(v1alpha1.SecretName("of-"+name(i))))
	}
	o := s.operate(server)
	before := map[string]string{}
	for i := range many {
		s.awaitReady(name(i))
		before[name(i)] = s.value(name(i))
	}
	server.Inject(payutest.Fault{Hang: true})
	for i := range many {
		s.change(name(i), refresh("now"))
	}
	check(t, server.Await(s.ctx, func(c payutest.Counters) bool { return c.InFlight == many }))
	server.ClearFaults()
	await(t, "one of the new tokens is written", func() bool {
		for i := range many {
			if s.value(name(i)) != before[name(i)] {
				return true
			}
		}
		return false
	})
	o.stop()
	for i := range many {
		s.expectLive(server, name(i))
	}
}
