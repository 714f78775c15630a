package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// failover is how long nobody leads after the leader's sudden death, at most: the others look at the Lease every 2 s
	// to 4.4 s, and take it 15 s after they saw it change, so that two such pauses may come on top.
	failover = 24 * time.Second
	// renewDeadline is for how long a leader tries to renew a Lease that it lost, before it ends.
	renewDeadline = 10 * time.Second
	// startup is how long a manager takes until it works: its process, its look at the cluster, its caches.
	startup = 5 * time.Second
	// requestTimeout is the manager's --token-request-timeout.
	requestTimeout = 5 * time.Second
	// reuseBlindness is for how long a dying token that PayU gives again and again cannot be replaced: whole seconds make
	// the operator wait up to two seconds after its end.
	reuseBlindness = 3 * time.Second
	// retryAfter is what the token server asks for when it limits the rate.
	retryAfter = 3 * time.Second
)

// disturbance is a way to fail. do begins it and ends it; the caller waits for the recovery.
type disturbance struct {
	name string
	// usual is how long it takes, with recovery.
	usual time.Duration
	do    func(*chaos, context.Context, *phase) error
}

func disturbances() []disturbance {
	return []disturbance{
		{"leader killed", 24 * time.Second, (*chaos).killLeader},
		{"leader killed, revoke-previous", 28 * time.Second, (*chaos).killLeaderRevoking},
		{"leader stopped past its lease", 32 * time.Second, (*chaos).stopLeader},
		{"leader stopped, revoke-previous", 32 * time.Second, (*chaos).stopLeaderRevoking},
		{"leader ended (SIGTERM)", 5 * time.Second, (*chaos).endLeader},
		{"standby killed", 5 * time.Second, (*chaos).killStandby},
		{"API server restarted", 14 * time.Second, (*chaos).restartAPIServer},
		{"etcd stopped", 17 * time.Second, (*chaos).stopEtcd},
		{"token server cut", 14 * time.Second, (*chaos).cut},
		{"token server slow", 12 * time.Second, (*chaos).slow},
		{"mode revoke-previous", 15 * time.Second, (*chaos).revoke},
		{"mode reuse", 28 * time.Second, (*chaos).reuse},
		{"credentials rotated", 5 * time.Second, (*chaos).rotate},
	}
}

// phase is one disturbance as it happened, or a time without one.
type phase struct {
	name      string
	began     time.Time
	ended     time.Time // from then on nothing is wrong
	recovered time.Time // and from then on all is well

	// outage is for how long the operator may be unable to renew a token, lag how much of that may come after the end.
	outage, lag time.Duration
	// sudden is true if the life that a token has left when it is renewed does not help: it dies at that moment.
	sudden bool
	// overlap is true if two leaders may be at work, or a dead one's request still under way.
	overlap bool
	// lossy is true if tokens may be lost with a process.
	lossy bool
	// electing is true if a new leader ends the outage.
	electing bool
	// noAPI is true if the API server is away.
	noAPI bool
	// resumed is when a stopped leader was let go on, underWay how many of its requests arrived only then.
	resumed  time.Time
	underWay int
	// exits is true if managers may end by themselves.
	exits bool
	// refusals is how often PayU may refuse a source.
	refusals int
	// rotated are the clients whose secret changed.
	rotated map[string]bool
	// detail tells more, for the log.
	detail string
}

// killLeader kills the leader; the other one takes over when the Lease has run out.
func (c *chaos) killLeader(ctx context.Context, p *phase) error {
	p.outage, p.lag, p.refusals = failover, failover, 1
	p.overlap, p.lossy, p.electing = true, true, true
	leader, _, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	if p.detail, err = c.pickMoment(ctx); err != nil {
		return err
	}
	leader.end(syscall.SIGKILL)
	c.kills++
	return nil
}

// stopLeader stops the leader until the other one has taken over, and lets it go on: it wakes up as one who believes to
// lead.
func (c *chaos) stopLeader(ctx context.Context, p *phase) error {
	p.lag, p.refusals = renewDeadline+startup, 2
	p.overlap, p.lossy, p.electing, p.exits = true, true, true, true
	leader, other, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	if p.detail, err = c.pickMoment(ctx); err != nil {
		return err
	}
	stopped := time.Now()
	leader.pause()
	defer leader.resume()
	if err := c.await(ctx, 2*failover, "the standby takes over from a stopped leader", func() bool { return other.leads(ctx) }); err != nil {
		return err
	}
	err = lab.Pause(ctx, c.upTo(2*time.Second))
	p.resumed = time.Now()
	p.outage = p.resumed.Sub(stopped)
	c.stops++
	return err
}

// killLeaderRevoking kills the leader while each new token kills the one before.
func (c *chaos) killLeaderRevoking(ctx context.Context, p *phase) error {
	return c.whileRevoking(ctx, p, c.killLeader)
}

// stopLeaderRevoking stops the leader while each new token kills the one before.
func (c *chaos) stopLeaderRevoking(ctx context.Context, p *phase) error {
	return c.whileRevoking(ctx, p, c.stopLeader)
}

// whileRevoking does something in revoke-previous mode, and stays in it until all is well again.
func (c *chaos) whileRevoking(ctx context.Context, p *phase, do func(context.Context, *phase) error) error {
	if err := c.simulator.SetMode(ctx, payutest.RevokePrevious); err != nil {
		return err
	}
	err := do(ctx, p)
	p.sudden = true
	if err == nil {
		err = c.settle(ctx, p.lag+settleLimit+givingUp)
	}
	return errors.Join(err, c.simulator.SetMode(ctx, payutest.Default))
}

// endLeader has the leader end as a rolling update does: it finishes its work and gives the Lease back.
func (c *chaos) endLeader(ctx context.Context, p *phase) error {
	p.outage, p.lag = startup, startup+requestTimeout
	leader, _, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	if p.detail, err = c.pickMoment(ctx); err != nil {
		return err
	}
	leader.end(syscall.SIGTERM)
	c.ends++
	return nil
}

func (c *chaos) killStandby(ctx context.Context, p *phase) error {
	p.lag = startup
	_, standby, err := c.leadership(ctx)
	if err != nil {
		return err
	}
	if p.detail, err = c.pickMoment(ctx); err != nil {
		return err
	}
	standby.end(syscall.SIGKILL)
	c.kills++
	return nil
}

// restartAPIServer takes the API server away for longer than a Lease lasts: it ends as if it were updated.
func (c *chaos) restartAPIServer(ctx context.Context, p *phase) error {
	return c.withoutAPIServer(ctx, p, c.cluster.StopAPIServer, c.cluster.StartAPIServer)
}

// stopEtcd takes the storage away from under the API server, about as long as a Lease lasts.
func (c *chaos) stopEtcd(ctx context.Context, p *phase) error {
	return c.withoutAPIServer(ctx, p, c.cluster.StopEtcd, c.cluster.StartEtcd)
}

// withoutAPIServer has the operator be without an API server that works. What a failing write is to wait for grows with
// the outage, up to its length; a leader that loses its Lease ends, and another one has to wait for that Lease to run out.
func (c *chaos) withoutAPIServer(ctx context.Context, p *phase, stop, start func() error) error {
	p.overlap, p.lossy, p.exits, p.noAPI, p.refusals = true, true, true, true, 2
	if err := c.renewals(ctx, 1); err != nil {
		return err
	}
	began := time.Now()
	if err := stop(); err != nil {
		return err
	}
	err := lab.Pause(ctx, c.upTo(4*time.Second))
	if err := errors.Join(err, start()); err != nil {
		return err
	}
	away := time.Since(began)
	p.lag = max(away, failover) + startup
	p.outage = away + p.lag
	p.detail = fmt.Sprintf("away for %s", lab.Shown(away))
	c.restarts++
	return nil
}

// cuts are the ways in which the token server does not work.
var cuts = []struct {
	name  string
	fault payutest.Fault
}{
	{"connections are reset", payutest.Fault{Break: payutest.BreakReset}},
	{"connections are closed", payutest.Fault{Break: payutest.BreakClose}},
	{"answers are cut short", payutest.Fault{Break: payutest.BreakTruncate}},
	{"no answer", payutest.Fault{Hang: true}},
	{"a proxy answers with a page", payutest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}},
	{"server_error", payutest.Fault{Error: "server_error"}},
	{"rate limit", payutest.Fault{Error: "rate_limit_exceeded", Set: map[string]json.RawMessage{"retry_after": payutest.JSON(int(retryAfter.Seconds()))}}},
}

// cut has the token server answer no request with a token that arrives. The operator then backs off: by up to 1, 2, 4 ...
// seconds.
func (c *chaos) cut(ctx context.Context, p *phase) error {
	kind := cuts[c.random.IntN(len(cuts))]
	p.detail = kind.name
	if err := c.renewals(ctx, 1); err != nil {
		return err
	}
	began := time.Now()
	if err := c.simulator.Inject(ctx, kind.fault); err != nil {
		return err
	}
	err := lab.Pause(ctx, 5*time.Second+c.upTo(3*time.Second))
	if err := errors.Join(err, c.simulator.ClearFaults(ctx)); err != nil {
		return err
	}
	away := time.Since(began)
	p.refusals = mostFailures(away)
	p.lag = requestTimeout + time.Second<<max(c.observer.failures(), 1)
	p.outage = away + p.lag
	return nil
}

// mostFailures is how often a source may fail in a time, when the waits are drawn from up to 1, 2, 4 ... seconds: to need
// more has a chance of less than one in a million.
func mostFailures(away time.Duration) int { return int(math.Ceil(math.Log2(away.Seconds()+1))) + 8 }

// slow has the token server take its time, within the operator's patience.
func (c *chaos) slow(ctx context.Context, p *phase) error {
	latency := time.Second + c.upTo(2*time.Second)
	p.outage, p.lag, p.detail = 2*latency, 2*latency, fmt.Sprintf("%s for an answer", lab.Shown(latency))
	if err := c.renewals(ctx, 1); err != nil {
		return err
	}
	if err := c.simulator.SetLatency(ctx, latency); err != nil {
		return err
	}
	err := lab.Pause(ctx, 8*time.Second)
	return errors.Join(err, c.simulator.SetLatency(ctx, 0))
}

// revoke has every token renewed in revoke-previous mode: the token in a Secret is dead until the new one is written.
func (c *chaos) revoke(ctx context.Context, p *phase) error {
	p.sudden = true
	return c.inMode(ctx, payutest.RevokePrevious)
}

// reuse has every token die in reuse mode, where PayU gives no other one before.
func (c *chaos) reuse(ctx context.Context, p *phase) error {
	p.sudden, p.outage, p.lag = true, reuseBlindness, tokenLife/2+reuseBlindness
	return c.inMode(ctx, payutest.Reuse)
}

// inMode stays in a mode until every Secret has got a new token in it.
func (c *chaos) inMode(ctx context.Context, mode payutest.Mode) error {
	if err := c.simulator.SetMode(ctx, mode); err != nil {
		return err
	}
	since := time.Now()
	err := c.await(ctx, 2*tokenLife, "every Secret gets a new token in mode "+string(mode), func() bool {
		return c.observer.stale(since, func(subject) bool { return true }) == ""
	})
	return errors.Join(err, c.simulator.SetMode(ctx, payutest.Default))
}

// rotatedClients is how many clients get another secret at a time.
const rotatedClients = 8

// rotate changes client secrets, at PayU first and some time later in the credentials Secrets. What falls due between is
// refused, and waits for the new credentials, not for a quarter of an hour.
func (c *chaos) rotate(ctx context.Context, p *phase) error {
	p.refusals, p.rotated = 2, map[string]bool{}
	began := time.Now()
	clients := c.rotatable()
	c.random.Shuffle(len(clients), func(i, j int) { clients[i], clients[j] = clients[j], clients[i] })
	for _, id := range clients[:min(rotatedClients, len(clients))] {
		rotated := payutest.Client{ID: id, Secret: c.population.newSecret()}
		c.population.clients[id], p.rotated[id] = rotated, true
		if err := c.simulator.PutClient(ctx, rotated); err != nil {
			return err
		}
	}
	if err := lab.Pause(ctx, c.upTo(3*time.Second)); err != nil {
		return err
	}
	patched := time.Now()
	if err := c.patchCredentials(ctx, p.rotated); err != nil {
		return err
	}
	p.outage = time.Since(began)
	return c.await(ctx, settleLimit+givingUp, "every Secret of rotated credentials gets a new token", func() bool {
		return c.observer.stale(patched, func(s subject) bool { return p.rotated[s.client] }) == ""
	})
}

// rotatable returns the clients with tokens of seconds, in an order that the seed decides.
func (c *chaos) rotatable() []string {
	ids := map[string]bool{}
	for _, s := range c.population.regular() {
		if !s.steady {
			ids[s.client] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func (c *chaos) patchCredentials(ctx context.Context, rotated map[string]bool) error {
	done := map[types.NamespacedName]bool{}
	for _, s := range c.population.regular() {
		name := s.credentials()
		if !rotated[s.client] || done[name] {
			continue
		}
		done[name] = true
		secret := &corev1.Secret{}
		secret.Namespace, secret.Name = name.Namespace, name.Name
		patch, err := json.Marshal(map[string]any{"data": map[string][]byte{"client_secret": []byte(c.population.clients[s.client].Secret)}})
		if err != nil {
			return err
		}
		if err := c.client.Patch(ctx, secret, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return fmt.Errorf("rotating credentials: %w", err)
		}
	}
	return nil
}

// leadership returns who leads and who does not, once one does and both are ready.
func (c *chaos) leadership(ctx context.Context) (leader, standby *replica, err error) {
	err = c.await(ctx, 2*failover, "one manager leads and one stands by", func() bool {
		leader, standby = c.roles(ctx)
		return leader != nil
	})
	return leader, standby, err
}

// roles returns nothing unless both managers are ready and one of them leads.
func (c *chaos) roles(ctx context.Context) (leader, standby *replica) {
	a, b := c.replicas[0], c.replicas[1]
	if !a.ready(ctx) || !b.ready(ctx) {
		return nil, nil
	}
	switch aLeads, bLeads := a.leads(ctx), b.leads(ctx); {
	case aLeads && !bLeads:
		return a, b
	case bLeads && !aLeads:
		return b, a
	}
	return nil, nil
}

// pickMoment waits for a random moment, every other time one at which renewals are under way.
func (c *chaos) pickMoment(ctx context.Context) (detail string, err error) {
	if c.random.IntN(2) == 0 {
		return "at any moment", lab.Pause(ctx, c.upTo(3*time.Second))
	}
	n := 1 + c.random.IntN(20)
	return fmt.Sprintf("amid renewals, after %d", n), c.renewals(ctx, n)
}

// renewals waits until some tokens were renewed: mostly, more are under way then.
func (c *chaos) renewals(ctx context.Context, n int) error {
	enough := c.observer.written() + n
	return lab.AwaitEvery(ctx, time.Millisecond, tokenLife, "renewals", func(context.Context) error {
		return lab.So(c.observer.written() >= enough)
	})
}

func (c *chaos) upTo(most time.Duration) time.Duration {
	return time.Duration(c.random.Int64N(int64(most)))
}

// await waits until something is so, for so long at most.
func (c *chaos) await(ctx context.Context, limit time.Duration, promise string, so func() bool) error {
	return lab.AwaitEvery(ctx, 50*time.Millisecond, limit, promise, func(context.Context) error { return lab.So(so()) })
}
