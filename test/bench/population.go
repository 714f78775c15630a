package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// passEvery is how often the operator looks at a PayUToken of which nothing is due.
	passEvery = 10 * time.Minute
	// ageEvery is how often the life of first tokens changes.
	ageEvery = 200 * time.Millisecond
	// scrapeEvery is how often Prometheus reads the metrics, usually.
	scrapeEvery = 30 * time.Second
)

// stand is what was measured with n PayUTokens.
type stand struct {
	n               int
	made            load
	worked          usage // of the operator that fetched all tokens
	restart         restart
	apiserver, etcd usage
	minute          section
}

// restart is what was measured of an operator that found n PayUTokens.
type restart struct {
	ready, complete, passed time.Duration
	page                    int           // bytes of the metrics
	reading                 time.Duration // to read them
	asked                   int           // requests to PayU
	work                    calls
	usage                   usage
}

// population measures operators with few and with many PayUTokens, each with an API server of its own.
func (b *bench) population(ctx context.Context) ([]section, error) {
	var stands []stand
	for _, n := range append([]int{0}, b.populations...) {
		b.Say("%d PayUTokens", n)
		one, err := b.standWith(ctx, n)
		if err != nil {
			return nil, err
		}
		stands = append(stands, one)
	}
	last := stands[len(stands)-1]
	return []section{curve(stands[1:]), b.memory(stands), b.restarts(stands[1:]), last.minute}, nil
}

// standWith has an operator make n Secrets and restarts it. With the most PayUTokens it measures what they
// take while nothing happens but passes and renewals, too.
func (b *bench) standWith(ctx context.Context, n int) (s stand, err error) {
	s.n = n
	if err := b.newCluster(ctx); err != nil {
		return s, err
	}
	namespace, err := b.cluster.Namespace(ctx)
	if err != nil {
		return s, err
	}
	if err := b.createCredentials(ctx, namespace, n); err != nil {
		return s, err
	}
	if s.made, s.worked, err = b.makeAll(ctx, namespace, n); err != nil {
		return s, err
	}
	m, restarted, err := b.restartWith(ctx, n)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(stop(m.Process), err) }()
	s.restart = restarted
	for name, u := range map[string]*usage{"kube-apiserver": &s.apiserver, "etcd": &s.etcd} {
		if *u, err = usageOf(children()[name]); err != nil {
			return s, err
		}
	}
	if n == slices.Max(b.populations) {
		if b.inputs.sizes, err = storedSizes(ctx, namespace); err != nil {
			return s, err
		}
		// Over days an operator comes to know all credentials. An edit of their labels has it read them before the first renewal.
		if err = b.touch(ctx, m, namespace, credentialsName, n); err != nil {
			return s, err
		}
		if s.minute, err = b.steady(ctx, m, namespace, n); err != nil {
			return s, err
		}
		err = errors.Join(stop(m.Process), b.bareSteadily(ctx, &s.minute, n))
	}
	return s, err
}

// makeAll has a new operator make n Secrets, and looks at it when it rests.
func (b *bench) makeAll(ctx context.Context, namespace string, n int) (l load, u usage, err error) {
	m, err := b.operator(ctx, b.account)
	if err != nil {
		return l, u, err
	}
	defer func() { err = errors.Join(stop(m.Process), err) }()
	if err := b.warm(ctx); err != nil {
		return l, u, err
	}
	if n > 0 {
		spread := b.spreadRenewals(ctx, n)
		l, err = b.timed(ctx, namespace, n, func(ctx context.Context) error { return b.createTokens(ctx, namespace, 0, n, ownClient) }, m)
		err = errors.Join(err, spread())
	}
	if err == nil {
		err = m.awaitReady(ctx, n)
	}
	if err != nil {
		return l, u, err
	}
	u, err = b.atRest(ctx, m)
	return l, u, err
}

// spreadRenewals has PayU give n tokens, from now on until end is called, that live so long that their renewals are as evenly
// spread as those of PayUTokens that have been there for days. They begin when all is measured that is measured before.
func (b *bench) spreadRenewals(ctx context.Context, n int) (end func() error) {
	first := time.Now().Add(b.settling)
	former, failure := b.tokenRequests(ctx)
	going, stop := context.WithCancel(ctx)
	var spreading sync.WaitGroup
	spreading.Go(func() {
		for going.Err() == nil && failure == nil {
			var asked int
			if asked, failure = b.tokenRequests(ctx); failure == nil {
				due := first.Add(meanRenewal(usual) * time.Duration(asked-former) / time.Duration(n))
				failure = b.simulator.SetTokenTTL(ctx, lifeUntil(time.Until(due)))
			}
			_ = lab.Pause(going, ageEvery)
		}
	})
	return func() error {
		stop()
		spreading.Wait()
		return errors.Join(failure, b.simulator.SetTokenTTL(ctx, usual))
	}
}

// lifeUntil returns how long a token is to live that is renewed, on average, after a time.
func lifeUntil(renewal time.Duration) time.Duration {
	return time.Duration(float64(renewal) * float64(usual) / float64(meanRenewal(usual))).Round(time.Second)
}

// atRest lets an operator rest, and returns what it holds then.
func (b *bench) atRest(ctx context.Context, m *manager) (usage, error) {
	if err := lab.Pause(ctx, b.rest); err != nil {
		return usage{}, err
	}
	return usageOf(m.PID())
}

// restartWith starts an operator that finds n PayUTokens with good Secrets.
func (b *bench) restartWith(ctx context.Context, n int) (m *manager, r restart, err error) {
	log, err := openAudit(b.cluster.AuditLog)
	if err != nil {
		return nil, r, err
	}
	defer log.file.Close()
	before, err := b.tokenRequests(ctx)
	if err != nil {
		return nil, r, err
	}
	began := time.Now()
	if m, err = b.operator(ctx, b.audited); err != nil {
		return nil, r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop(m.Process))
		}
	}()
	if err := r.follow(ctx, m, n, began); err != nil {
		return m, r, err
	}
	if r.work, _, err = log.settle(ctx); err != nil {
		return m, r, err
	}
	after, err := b.tokenRequests(ctx)
	if err != nil {
		return m, r, err
	}
	r.asked = after - before
	if r.usage, err = b.atRest(ctx, m); err == nil {
		b.profileHeap(ctx, m, n)
	}
	return m, r, err
}

// follow measures when an operator that is ready has come how far, and the page of its metrics.
func (r *restart) follow(ctx context.Context, m *manager, n int, began time.Time) error {
	r.ready = time.Since(began)
	if err := m.awaitReady(ctx, n); err != nil {
		return err
	}
	r.complete = time.Since(began)
	if err := m.awaitPasses(ctx, n); err != nil {
		return err
	}
	r.passed = time.Since(began)
	reading := time.Now()
	page, err := m.Scrape(ctx)
	r.page, r.reading = len(page), time.Since(reading)
	return err
}

// steady measures the CPU time of an operator with n PayUTokens whose tokens live as long as PayU's: with nothing to do, with
// the reading of its metrics, and with passes and renewals, which come by themselves.
func (b *bench) steady(ctx context.Context, m *manager, namespace string, n int) (section, error) {
	s := section{title: fmt.Sprintf("CPU time with %d PayUTokens", n), head: []string{"", "in", "passes", "renewals", "metrics read", "CPU time", "of a core"}}
	renewals, err := b.checkSchedule(ctx, namespace)
	if err != nil {
		return s, err
	}
	if _, err := b.shareOfCore(ctx, m, &s, "nothing is due", b.minute, 0); err != nil {
		return s, err
	}
	metrics, err := b.shareOfCore(ctx, m, &s, "metrics", b.minute, scrapeEvery)
	if err != nil {
		return s, err
	}
	b.Say("the first renewals are due at %s", renewals.Format(time.TimeOnly))
	if err := lab.Pause(ctx, time.Until(renewals)); err != nil {
		return s, err
	}
	profiled := b.profileThese(ctx, "steady", b.steadily, []*manager{m})
	work, err := b.shareOfCore(ctx, m, &s, "passes and renewals", b.steadily, 0)
	if err != nil {
		return s, err
	}
	profiled()
	all := metrics + work
	b.inputs.cpu = all / float64(n)
	steady := fmt.Sprintf("CPU of %d PayUTokens with a 2 h life, steady", n)
	b.goal(steady+", with its metrics read twice a minute", "at most 4 % of a core", percent(all), all <= 0.04)
	s.note("Each PayUToken has a pass every %s, and a renewal every %s on average, as PayU's tokens live for %s: %d in %s. They come by themselves, and the first tokens live so long that renewals are spread evenly. The credentials were read before, as they are in an operator that has run for hours.",
		passEvery, meanRenewal(usual), usual, time.Duration(n)*b.steadily/meanRenewal(usual), shown(b.steadily))
	return s, nil
}

// shareOfCore adds the CPU time that an operator takes in some time, in which its metrics are read at an interval.
func (b *bench) shareOfCore(ctx context.Context, m *manager, s *section, what string, lasts, readEvery time.Duration) (float64, error) {
	before, err := b.countWork(ctx, m)
	if err != nil {
		return 0, err
	}
	var read int
	cpu, took, err := cpuOf(m.PID(), func() (err error) {
		read, err = m.readings(ctx, lasts, readEvery)
		return err
	})
	if err != nil {
		return 0, err
	}
	after, err := b.countWork(ctx, m)
	share := float64(cpu) / float64(took)
	s.add(what, shown(took), after.passes-before.passes, after.renewals-before.renewals, read, cpu, percent(share))
	return share, err
}

// work is how often an operator has done something so far.
type work struct{ passes, renewals int }

func (b *bench) countWork(ctx context.Context, m *manager) (w work, err error) {
	var err1, err2 error
	w.passes, err1 = m.passes(ctx)
	w.renewals, err2 = b.tokenRequests(ctx)
	return w, errors.Join(err1, err2)
}

// checkSchedule sees to it that the operator renews when the simulation of a day says, and returns when it begins to.
func (b *bench) checkSchedule(ctx context.Context, namespace string) (first time.Time, err error) {
	var list v1alpha1.PayUTokenList
	if err := b.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return first, err
	}
	for i := range list.Items {
		status := list.Items[i].Status
		if status.RenewAt == nil {
			return first, fmt.Errorf("PayUToken %q has no renewAt", list.Items[i].Name)
		}
		token := payu.Token{FetchedAt: status.FetchedAt.UTC(), ExpiresAt: status.ExpiresAt.UTC()}
		want := renewAt(token, spread(string(list.Items[i].UID))).Truncate(time.Second) // half of a life may end in half a second
		if !status.RenewAt.Time.Equal(want) {
			return first, fmt.Errorf("PayUToken %q is to be renewed at %s, and not at %s as the simulation of a day has it", list.Items[i].Name, status.RenewAt, want)
		}
		if first.IsZero() || want.Before(first) {
			first = want
		}
	}
	return first, nil
}

func curve(stands []stand) section {
	s := section{title: "Few and many PayUTokens", head: []string{"PayUTokens", "made in", "each", "CPU time of the operator, each", "of kube-apiserver", "of etcd"}}
	for _, one := range stands {
		each := func(d time.Duration) string { return milliseconds(d / time.Duration(one.n)) }
		s.add(one.n, shown(one.made.took), each(one.made.took), each(one.made.cpu["manager"]), each(one.made.cpu["kube-apiserver"]), each(one.made.cpu["etcd"]))
	}
	return s
}

func (b *bench) memory(stands []stand) section {
	s := section{title: "Resident memory", head: []string{"PayUTokens", "after all were made", "its peak", "after a restart", "its peak", "kube-apiserver", "etcd"}}
	var worked, restarted []point
	for _, one := range stands {
		s.add(one.n, mebibytes(one.worked.resident), mebibytes(one.worked.most), mebibytes(one.restart.usage.resident), mebibytes(one.restart.usage.most),
			mebibytes(one.apiserver.resident), mebibytes(one.etcd.resident))
		worked = append(worked, point{float64(one.n), one.worked.resident})
		restarted = append(restarted, point{float64(one.n), one.restart.usage.resident})
	}
	each := max(fit(worked).slope, fit(restarted).slope)
	b.inputs.idle, b.inputs.perToken = stands[0].worked.resident, each
	s.note("By least squares: %s for each PayUToken after all were made, %s after a restart.", kibibytes(fit(worked).slope), kibibytes(fit(restarted).slope))
	b.goal("resident memory, idle", "at most 50 MiB", mebibytes(stands[0].restart.usage.resident), stands[0].restart.usage.resident <= 50<<20)
	b.goal("resident memory for each PayUToken", "at most 12 KiB", kibibytes(each), each <= 12<<10)
	return s
}

func (b *bench) restarts(stands []stand) section {
	s := section{title: "Restart", head: []string{"PayUTokens", "ready after", "metrics complete after", "all looked at after", "requests to PayU", "requests to the API server for PayUTokens", "size of the metrics", "read in"}}
	for _, one := range stands {
		r := one.restart
		s.add(one.n, shown(r.ready), shown(r.complete), shown(r.passed), r.asked, r.work.total(), mebibytes(float64(r.page)), shown(r.reading))
	}
	last := stands[len(stands)-1]
	b.inputs.page = float64(last.restart.page) / float64(last.n)
	b.goal(fmt.Sprintf("restart with %d PayUTokens: token requests", last.n), "0", fmt.Sprint(last.restart.asked), last.restart.asked == 0)
	b.goal(fmt.Sprintf("restart with %d PayUTokens: all metrics true again", last.n), "30 s", shown(last.restart.complete), last.restart.complete <= 30*time.Second)
	s.note("From the start of the process. The metrics are complete when payu_token_ready is 1 for every PayUToken.")
	return s
}
