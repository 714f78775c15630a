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
func (b *bench) population() []section {
	var stands []stand
	for _, n := range append([]int{0}, b.populations...) {
		b.Say("%d PayUTokens", n)
		stands = append(stands, b.standWith(n))
	}
	last := stands[len(stands)-1]
	return []section{curve(stands[1:]), b.memory(stands), b.restarts(stands[1:]), last.minute}
}

// standWith has an operator make n Secrets and restarts it. With the most PayUTokens it measures what they
// take while nothing happens but passes and renewals, too.
func (b *bench) standWith(n int) stand {
	s := stand{n: n}
	b.newCluster()
	namespace := lab.Must(b.cluster.Namespace(b.Context()))(b)
	b.createCredentials(namespace, n)
	s.made, s.worked = b.makeAll(namespace, n)
	m, restarted := b.restartWith(n)
	s.restart, s.apiserver, s.etcd = restarted, b.usageOf(children()["kube-apiserver"]), b.usageOf(children()["etcd"])
	if n < slices.Max(b.populations) {
		b.stop(m)
		return s
	}
	b.inputs.sizes = lab.Must(storedSizes(b.Context(), namespace))(b)
	// Over days an operator comes to know all credentials. An edit of their labels has it read them before the first renewal.
	b.touch(m, namespace, credentialsName, n)
	s.minute = b.steady(m, namespace, n)
	b.stop(m)
	b.bareSteadily(&s.minute, n)
	return s
}

// makeAll has a new operator make n Secrets, and looks at it when it rests.
func (b *bench) makeAll(namespace string, n int) (l load, u usage) {
	m := b.operator(b.account)
	defer b.stop(m)
	b.warm()
	if n > 0 {
		spread := b.spreadRenewals(n)
		l = b.timed(namespace, n, func() { b.createTokens(namespace, 0, n, ownClient) }, m)
		lab.Check(b, spread())
	}
	lab.Check(b, m.awaitReady(b.Context(), n))
	return l, b.atRest(m)
}

// spreadRenewals has PayU give n tokens, from now on until end is called, that live so long that their renewals are as evenly
// spread as those of PayUTokens that have been there for days. They begin when all is measured that is measured before.
func (b *bench) spreadRenewals(n int) (end func() error) {
	first, former := time.Now().Add(b.settling), b.tokenRequests()
	going, stop := context.WithCancel(b.Context())
	var failure error
	var spreading sync.WaitGroup
	spreading.Go(func() {
		for going.Err() == nil && failure == nil {
			counters, err := b.simulator.Counters(b.Context())
			due := first.Add(meanRenewal(usual) * time.Duration(counters.Total()-former) / time.Duration(n))
			failure = errors.Join(err, b.simulator.SetTokenTTL(b.Context(), lifeUntil(time.Until(due))))
			_ = lab.Pause(going, ageEvery)
		}
	})
	return func() error {
		stop()
		spreading.Wait()
		return errors.Join(failure, b.simulator.SetTokenTTL(b.Context(), usual))
	}
}

// lifeUntil returns how long a token is to live that is renewed, on average, after a time.
func lifeUntil(renewal time.Duration) time.Duration {
	return time.Duration(float64(renewal) * float64(usual) / float64(meanRenewal(usual))).Round(time.Second)
}

// atRest lets an operator rest, and returns what it holds then.
func (b *bench) atRest(m *manager) usage {
	lab.Check(b, lab.Pause(b.Context(), b.rest))
	return b.usageOf(m.PID())
}

// restartWith starts an operator that finds n PayUTokens with good Secrets.
func (b *bench) restartWith(n int) (m *manager, r restart) {
	log := lab.Must(openAudit(b.cluster.AuditLog))(b)
	defer log.file.Close()
	before, began := b.tokenRequests(), time.Now()
	m = b.operator(b.audited)
	r.ready = time.Since(began)
	lab.Check(b, m.awaitReady(b.Context(), n))
	r.complete = time.Since(began)
	lab.Check(b, m.awaitPasses(b.Context(), n))
	r.passed = time.Since(began)
	work, _, err := log.settle(b.Context())
	lab.Check(b, err)
	r.work, r.asked = work, b.tokenRequests()-before
	reading := time.Now()
	page := lab.Must(m.Scrape(b.Context()))(b)
	r.page, r.reading = len(page), time.Since(reading)
	r.usage = b.atRest(m)
	b.profileHeap(m, n)
	return m, r
}

// steady measures the CPU time of an operator with n PayUTokens whose tokens live as long as PayU's: with nothing to do, with
// the reading of its metrics, and with passes and renewals, which come by themselves.
func (b *bench) steady(m *manager, namespace string, n int) section {
	s := section{title: fmt.Sprintf("CPU time with %d PayUTokens", n), head: []string{"", "in", "passes", "renewals", "metrics read", "CPU time", "of a core"}}
	renewals := lab.Must(b.checkSchedule(b.Context(), namespace))(b)
	b.shareOfCore(m, &s, "nothing is due", b.minute, 0)
	metrics := b.shareOfCore(m, &s, "metrics", b.minute, scrapeEvery)
	b.Say("the first renewals are due at %s", renewals.Format(time.TimeOnly))
	lab.Check(b, lab.Pause(b.Context(), time.Until(renewals)))
	profiled := b.profileThese("steady", b.steadily, []*manager{m})
	work := b.shareOfCore(m, &s, "passes and renewals", b.steadily, 0)
	profiled()
	all := metrics + work
	b.inputs.cpu = all / float64(n)
	steady := fmt.Sprintf("CPU of %d PayUTokens with a 2 h life, steady", n)
	b.goal(steady+", with its metrics read twice a minute", "at most 4 % of a core", percent(all), all <= 0.04)
	s.note("Each PayUToken has a pass every %s, and a renewal every %s on average, as PayU's tokens live for %s: %d in %s. They come by themselves, and the first tokens live so long that renewals are spread evenly. The credentials were read before, as they are in an operator that has run for hours.",
		passEvery, meanRenewal(usual), usual, time.Duration(n)*b.steadily/meanRenewal(usual), lab.Shown(b.steadily))
	return s
}

// shareOfCore adds the CPU time that an operator takes in some time, in which its metrics are read at an interval.
func (b *bench) shareOfCore(m *manager, s *section, what string, lasts, readEvery time.Duration) float64 {
	before := b.countWork(m)
	var read int
	cpu, took := b.cpuOf(m.PID(), func() { read = lab.Must(m.readings(b.Context(), lasts, readEvery))(b) })
	after := b.countWork(m)
	share := float64(cpu) / float64(took)
	s.add(what, lab.Shown(took), after.passes-before.passes, after.renewals-before.renewals, read, cpu, percent(share))
	return share
}

// work is how often an operator has done something so far.
type work struct{ passes, renewals int }

func (b *bench) countWork(m *manager) work {
	return work{lab.Must(m.passes(b.Context()))(b), b.tokenRequests()}
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
		s.add(one.n, lab.Shown(one.made.took), each(one.made.took), each(one.made.cpu["manager"]), each(one.made.cpu["kube-apiserver"]), each(one.made.cpu["etcd"]))
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
		s.add(one.n, lab.Shown(r.ready), lab.Shown(r.complete), lab.Shown(r.passed), r.asked, r.work.total(), mebibytes(float64(r.page)), lab.Shown(r.reading))
	}
	last := stands[len(stands)-1]
	b.inputs.page = float64(last.restart.page) / float64(last.n)
	b.goal(fmt.Sprintf("restart with %d PayUTokens: token requests", last.n), "0", fmt.Sprint(last.restart.asked), last.restart.asked == 0)
	b.goal(fmt.Sprintf("restart with %d PayUTokens: all metrics true again", last.n), "30 s", lab.Shown(last.restart.complete), last.restart.complete <= 30*time.Second)
	s.note("From the start of the process. The metrics are complete when payu_token_ready is 1 for every PayUToken.")
	return s
}
