package main_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// renewalUnderWay leaves an operator with one request in flight at a PayU that revokes a token as soon as it gives the
// next, and that answers when the faults are cleared.
func renewalUnderWay(s *shop, args ...string) (*operator, *payutest.Running) {
	s.Helper()
	server := lab.RunPayU(s.T, payutest.Config{Mode: payutest.RevokePrevious})
	o := s.operate(server, args...)
	s.create("links")
	s.AwaitReady("links")
	server.Inject(payutest.Fault{Hang: true})
	s.Change("links", lab.Refresh("now"))
	lab.Check(s.T, server.Await(s.Context(), func(c payutest.Counters) bool { return c.InFlight == 1 }))
	return o, server
}

// expectLive checks that a Secret holds a token that PayU would accept.
func (s *shop) expectLive(server *payutest.Running, name string) {
	s.Helper()
	held := s.AccessToken(name)
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
	before := s.AccessToken("links")
	o.Signal(syscall.SIGTERM)
	o.AwaitLog("Shutdown signal received, waiting for all workers to finish")
	server.ClearFaults()
	o.ExpectGoodEnd()
	if s.AccessToken("links") == before {
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
	o.Signal(syscall.SIGTERM)
	began := time.Now()
	o.ExpectGoodEnd()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	s.expectLive(server, "links")
}

// electing are the flags with which one of several replicas leads.
func (s *shop) electing() []string {
	return []string{"--leader-elect", "--leader-election-namespace=" + s.Namespace}
}

// leaseTime is how long a leader counts as alive that no longer says so.
const leaseTime = 15 * time.Second

func TestAStandbyTakesOverWhenTheLeaderStops(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	leader, server := renewalUnderWay(s, s.electing()...)
	standby := s.operate(server, s.electing()...)
	leader.Signal(syscall.SIGTERM)
	leader.AwaitLog("Shutdown signal received, waiting for all workers to finish")
	if holder := s.holder(); holder == "" {
		t.Error("the Lease is given back while a request is under way")
	}
	server.ClearFaults()
	leader.ExpectGoodEnd()
	began := time.Now()
	s.expectLive(server, "links")
	s.create("later")
	s.AwaitReady("later")
	took := time.Since(began)
	t.Logf("took over after %s", took.Round(time.Millisecond))
	if took > leaseTime/2 {
		t.Errorf("took over after %s, want at once", took)
	}
	standby.AwaitLog("Successfully acquired lease")
	s.expectLive(server, "links")
}

func TestAStandbyTakesOverWhenTheLeaderDies(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := lab.RunPayU(t, payutest.Config{})
	leader := s.operate(server, s.electing()...)
	s.create("links")
	s.AwaitReady("links")
	s.operate(server, s.electing()...)
	leader.Signal(syscall.SIGKILL)
	<-leader.Ended()
	began := time.Now()
	s.create("later")
	s.AwaitReady("later")
	t.Logf("took over after %s", time.Since(began).Round(time.Millisecond))
}

// TestALeaderThatSleptAsksNothing stops a leader for longer than its Lease lasts, as a suspended machine does, and has it
// wake up with work to do that the next leader is doing.
func TestALeaderThatSleptAsksNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := lab.RunPayU(t, payutest.Config{Mode: payutest.RevokePrevious})
	flags := append(s.electing(), "--token-request-timeout=1m") // so that the one request hangs for all of the test
	leader := s.operate(server, flags...)
	s.create("links")
	s.AwaitReady("links")
	standby := s.operate(server, flags...)
	leader.Signal(syscall.SIGSTOP)
	standby.AwaitLog("Successfully acquired lease")
	server.Inject(payutest.Fault{Hang: true})
	s.Change("links", lab.Refresh("now"))
	lab.Check(t, server.Await(s.Context(), func(c payutest.Counters) bool { return c.InFlight == 1 }))
	leader.Signal(syscall.SIGCONT)
	leader.AwaitEnd()
	for _, n := range server.Counters().MaxInFlight["merchant"] {
		if n != 1 {
			t.Errorf("%d requests at once, want one of the leader in office", n)
		}
	}
	server.ClearFaults()
	lab.AwaitTrue(t, "the refresh is handled", func() bool { return s.Token("links").Status.LastHandledRefreshAt == "now" })
	s.expectLive(server, "links")
}

// holder returns who has the Lease, empty if nobody.
func (s *shop) holder() string {
	s.Helper()
	return lab.Must(cluster.Kubectl(s.Context(), "get", "lease/payu-token-operator", "-n", s.Namespace, "-o", "jsonpath={.spec.holderIdentity}"))(s.T)
}

// TestNoTokenOfABurstIsLost stops an operator whose workers cannot keep up with what PayU gives.
func TestNoTokenOfABurstIsLost(t *testing.T) {
	t.Parallel()
	const many = 24 // three times the workers
	s := newShop(t)
	server := payutest.Run(t, payutest.Config{Mode: payutest.RevokePrevious})
	name := func(i int) string { return "links-" + strconv.Itoa(i) }
	for i := range many {
		server.PutClient(payutest.Client{ID: name(i), Secret: lab.MerchantSecret})
		s.Credentials("of-"+name(i), name(i), lab.MerchantSecret)
		s.create(name(i), lab.With("of-"+name(i)))
	}
	o := s.operate(server)
	before := map[string]string{}
	for i := range many {
		s.AwaitReady(name(i))
		before[name(i)] = s.AccessToken(name(i))
	}
	server.Inject(payutest.Fault{Hang: true})
	for i := range many {
		s.Change(name(i), lab.Refresh("now"))
	}
	lab.Check(t, server.Await(s.Context(), func(c payutest.Counters) bool { return c.InFlight == many }))
	server.ClearFaults()
	lab.AwaitTrue(t, "one of the new tokens is written", func() bool {
		for i := range many {
			if s.AccessToken(name(i)) != before[name(i)] {
				return true
			}
		}
		return false
	})
	o.Stop()
	for i := range many {
		s.expectLive(server, name(i))
	}
}
