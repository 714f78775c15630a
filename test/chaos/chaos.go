package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// fullRound is how long a run takes in which every disturbance comes once.
	fullRound = 4 * time.Minute
	// calmTime is how long nothing happens, at the start and at the end.
	calmTime = 8 * time.Second
	// patience is how long to wait for what takes a moment.
	patience = 30 * time.Second
	// settleLimit is how long it may take until all is well once nothing keeps the operator any more, beside its work.
	settleLimit = 10 * time.Second
	// slowest is how long a new leader may take to give every Secret a token, for the tokens to live long enough.
	slowest = tokenLife / 3
	// givingUp is how long to wait beyond a limit that was passed, so that a violation does not end the run.
	givingUp = time.Minute
	// overdueGrace is how late a renewal may be while all is well.
	overdueGrace = 3 * time.Second
)

// renewalAge is how old a token gets before it is renewed, at most.
func (s subject) renewalAge() time.Duration {
	percent := time.Duration(67)
	if s.percent != 0 {
		percent = time.Duration(s.percent)
	}
	return tokenLife / 100 * percent
}

// chaos is one run.
type chaos struct {
	options
	*lab.Run
	end    context.CancelCauseFunc
	random *rand.Rand

	private    string // credentials
	evidence   *evidence
	population *population
	cluster    *lab.Cluster
	account    *lab.User // the operator's
	client     client.WithWatch
	simulator  *lab.Simulator // tokens of seconds
	production *lab.Simulator // tokens of hours
	replicas   []*replica
	halt       func() error // ends the managers
	observer   *observer
	blind      func() // ends the observer
	books      *books

	pace   time.Duration // how long a new leader takes to give every Secret a token
	over   time.Time     // when the managers were ended for good
	phases []*phase
	harms  []violation

	kills, stops, ends, restarts int
}

func newChaos(ctx context.Context, o options, end context.CancelCauseFunc) (*chaos, error) {
	run, err := lab.NewRun(ctx, "payu-chaos")
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.seed, o.seed))
	c := &chaos{options: o, Run: run, end: end, random: random, books: newBooks(), population: newPopulation(o.tokens, random)}
	c.private = filepath.Join(c.Dir, "private")
	if err := os.Mkdir(c.private, 0o700); err != nil {
		return nil, err
	}
	c.evidence, err = newEvidence(filepath.Join(c.Dir, "evidence"))
	return c, err
}

// run sets up, disturbs, and judges.
func (c *chaos) run(ctx context.Context) error {
	c.Say("seed %d, %d PayUTokens of %d sources, %s", c.seed, len(c.population.subjects), c.population.sources(), c.duration)
	for _, step := range []func(context.Context) error{
		c.startCluster, c.startSimulators, c.populate, c.startObserver, c.startManagers, c.disturb, c.finish,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return c.report()
}

func (c *chaos) startCluster(ctx context.Context) error {
	var err error
	if c.cluster, err = lab.StartCluster(); err != nil {
		return err
	}
	c.Later(c.cluster.Stop)
	c.client = c.cluster.Client
	c.account, err = c.cluster.Install(ctx)
	return err
}

func (c *chaos) startSimulators(ctx context.Context) error {
	var err error
	if c.simulator, err = c.startSimulator(ctx, "simulator", tokenLife); err != nil {
		return err
	}
	c.production, err = c.startSimulator(ctx, "simulator-production", steadyLife)
	return err
}

func (c *chaos) startSimulator(ctx context.Context, name string, life time.Duration) (*lab.Simulator, error) {
	log, err := c.evidence.log(name)
	if err != nil {
		return nil, err
	}
	clients := slices.Collect(maps.Values(c.population.clients))
	s, err := lab.StartSimulator(ctx, log, c.private, clients, "--token-ttl="+life.String())
	if s != nil {
		c.Later(func() error { return s.Stop(lab.Grace) })
	}
	return s, errors.Join(err, log.Close())
}

func (c *chaos) startObserver(ctx context.Context) error {
	c.observer = newObserver(c.client, c.evidence, c.population)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		c.observer.watch(ctx)
		close(done)
	}()
	c.blind = func() {
		cancel()
		<-done
	}
	c.Later(func() error {
		c.blind()
		return nil
	})
	return nil
}

// startManagers starts two managers, and waits until all PayUTokens are Ready for the first time.
func (c *chaos) startManagers(ctx context.Context) error {
	err := c.play(ctx, disturbance{"start", 0, func(c *chaos, ctx context.Context, p *phase) error {
		p.lag = patience
		return c.launchManagers(ctx)
	}})
	if err != nil {
		return err
	}
	if c.pace = c.observer.pace(); c.pace > slowest {
		return fmt.Errorf("the operator took %s to fetch all tokens, so that those of %s would die before it comes round: the machine is too slow, or too busy, for --tokens=%d",
			lab.Shown(c.pace), tokenLife, c.tokens)
	}
	c.Say("a new leader serves all in %s: with that, a delay may be %s longer than its cause", lab.Shown(c.pace), lab.Shown(toleranceAt(c.pace)))
	return nil
}

// launchManagers launches them as the ServiceAccount that config/rbac speaks of. --propagation-margin is for tokens of
// hours: it would have those of seconds renewed at half of their life, all alike.
func (c *chaos) launchManagers(ctx context.Context) error {
	cas, err := c.bundle()
	if err != nil {
		return err
	}
	supervised, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.halt = func() error { return c.haltManagers(cancel) }
	c.Later(c.halt)
	for _, name := range []string{"manager-a", "manager-b"} {
		log, err := c.evidence.log(name)
		if err != nil {
			return err
		}
		r := &replica{name: name, kubeconfig: c.account.Kubeconfig, log: log, operator: &lab.Operator{}, fail: c.end, done: make(chan struct{}), args: []string{
			"--test-base-url=" + c.simulator.URL, "--production-base-url=" + c.production.URL,
			"--ca-file=" + cas, "--propagation-margin=5s", "--token-request-timeout=" + requestTimeout.String(),
			"--leader-elect", "--leader-election-namespace=" + lab.OperatorName, "--log-level=debug",
		}}
		c.replicas = append(c.replicas, r)
		go r.supervise(supervised)
	}
	_, _, err = c.leadership(ctx)
	return err
}

// bundle writes the certificates of both simulators into one file.
func (c *chaos) bundle() (string, error) {
	file := filepath.Join(c.private, "ca.pem")
	var all []byte
	for _, s := range []*lab.Simulator{c.simulator, c.production} {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return "", err
		}
		all = append(all, pem...)
	}
	return file, os.WriteFile(file, all, 0o600)
}

func (c *chaos) haltManagers(cancel func()) error {
	cancel()
	var errs []error
	for _, r := range c.replicas {
		<-r.done
		errs = append(errs, r.stopErr)
		r.stopErr = nil
	}
	return errors.Join(errs...)
}

// populate brings in the PayUTokens and what they need.
func (c *chaos) populate(ctx context.Context) error {
	ctx, cancel := lab.Within(ctx, 2*patience, "the PayUTokens are created")
	defer cancel()
	return c.population.create(ctx, c.client)
}

// disturb plays disturbances until the time is up, with calm at both ends. Each comes once before any comes twice; in a
// run that is too short for all, what does not fit is left out.
func (c *chaos) disturb(ctx context.Context) error {
	deadline := time.Now().Add(c.duration)
	if err := c.calm(ctx); err != nil {
		return err
	}
	for round := 0; ; round++ {
		played := 0
		for _, d := range c.shuffled(round) {
			whole := round == 0 && c.duration >= fullRound && c.only == ""
			if !whole && time.Until(deadline) < d.usual+calmTime {
				continue
			}
			if err := c.play(ctx, d); err != nil {
				return err
			}
			played++
		}
		if played == 0 {
			break
		}
	}
	return c.calm(ctx)
}

// shuffled returns the disturbances in random order; the first one of all is the kill of the leader.
func (c *chaos) shuffled(round int) []disturbance {
	all := disturbances()
	if c.only != "" {
		all = slices.DeleteFunc(all, func(d disturbance) bool { return !strings.Contains(d.name, c.only) })
	}
	rest := all
	if round == 0 && len(all) > 0 {
		rest = all[1:]
	}
	c.random.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return all
}

func (c *chaos) calm(ctx context.Context) error {
	return c.play(ctx, disturbance{calmName, 0, func(_ *chaos, ctx context.Context, _ *phase) error { return lab.Pause(ctx, calmTime) }})
}

// play has a disturbance happen, and waits until all is well again.
func (c *chaos) play(ctx context.Context, d disturbance) error {
	p := &phase{name: d.name, began: time.Now()}
	c.phases = append(c.phases, p)
	err := d.do(c, ctx, p)
	p.ended = time.Now()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if err := c.recover(ctx, p); err != nil {
		return err
	}
	c.Say("%s%s; all well again after %s", p.name, parenthesized(p.detail), lab.Shown(p.recovered.Sub(p.ended)))
	c.scrape(ctx)
	return c.readBooks(ctx, p)
}

// recover waits until all is well. To take longer than the disturbance explains is a violation.
func (c *chaos) recover(ctx context.Context, p *phase) error {
	err := c.settle(ctx, p.lag+settleLimit+toleranceAt(c.pace))
	if err != nil && ctx.Err() == nil {
		c.harm("not all well soon enough", "%s: %s", p.name, lab.OneLine(err))
		err = c.settle(ctx, givingUp)
	}
	p.recovered = time.Now()
	return err
}

// settle waits until every Secret has a token that is not overdue, every PayUToken is Ready, one manager leads and one
// stands by.
func (c *chaos) settle(ctx context.Context, limit time.Duration) error {
	since := time.Now()
	return lab.AwaitEvery(ctx, 50*time.Millisecond, limit, "all is well", func(ctx context.Context) error {
		if trouble := c.observer.trouble(time.Now()); trouble != "" {
			return errors.New(trouble)
		}
		if !c.observer.leaseRenewed().After(since) {
			return errors.New("the Lease is not renewed")
		}
		switch leader, _ := c.roles(ctx); {
		case leader == nil:
			return errors.New("there are not one leader and one standby")
		case !leader.idle(ctx):
			return errors.New("the leader has not reconciled every PayUToken yet")
		}
		return nil
	})
}

// scrape keeps the metrics pages as evidence.
func (c *chaos) scrape(ctx context.Context) {
	for _, r := range c.replicas {
		c.evidence.write("metrics-"+r.name+".txt", []byte(r.scrape(ctx)), nil)
	}
}

// readBooks reads what the simulators know, and sees that there were not too many requests at once.
func (c *chaos) readBooks(ctx context.Context, p *phase) error {
	ctx, cancel := lab.Within(ctx, patience, "the simulators show their books")
	defer cancel()
	for _, s := range []*lab.Simulator{c.simulator, c.production} {
		before := map[source]int{}
		for from, n := range c.books.inFlight {
			before[from] = n
		}
		if err := c.books.update(ctx, s); err != nil {
			return err
		}
		for from, n := range c.books.inFlight {
			if n > max(before[from], 1) && !p.overlap && !p.rotated[from.client] {
				c.harm("several requests at once", "%s: %d of client %s for %q", p.name, n, from.client, from.scopes)
			}
		}
	}
	return nil
}

// finish ends the managers, keeps what is left as evidence, and compares the Secrets of others with what they were.
func (c *chaos) finish(ctx context.Context) error {
	c.over = time.Now()
	if err := c.halt(); err != nil {
		c.harm("a manager did not stop", "%s", lab.OneLine(err))
	}
	ctx, cancel := lab.Within(ctx, patience, "the API server shows what is left")
	defer cancel()
	var maps corev1.ConfigMapList
	if err := c.client.List(ctx, &maps); err != nil {
		return err
	}
	c.evidence.add("configmaps", maps)
	for name, planted := range c.population.foreign {
		now := &corev1.Secret{}
		if err := c.client.Get(ctx, name, now); err != nil || now.ResourceVersion != planted.ResourceVersion {
			c.harm("a Secret of somebody else was touched", "%s at the end (%v)", name, err)
		}
	}
	for _, s := range []*lab.Simulator{c.simulator, c.production} {
		if err := c.books.update(ctx, s); err != nil {
			return err
		}
	}
	c.blind()
	c.harms = append(c.harms, c.observer.harms...)
	return nil
}

func (c *chaos) harm(promise, format string, args ...any) {
	c.harms = append(c.harms, violation{promise, fmt.Sprintf(format, args...)})
}

func parenthesized(detail string) string {
	if detail == "" {
		return ""
	}
	return " (" + detail + ")"
}

// close stops and removes everything, but for the evidence if it is wanted or may explain a violation. It returns the
// error of the run and its own.
func (c *chaos) close(failure error) error {
	errs := []error{c.Clean(failure), c.evidence.close(), os.RemoveAll(c.private)}
	if c.keepLogs || failure != nil && !errors.Is(failure, lab.ErrInterrupted) {
		fmt.Println("Logs and all that was searched:", c.evidence.dir)
	} else {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}
