package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

const (
	// passEvery is how often the operator looks at a PayUToken of which nothing is due.
	passEvery = 10 * time.Minute
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
		b.say("%d PayUTokens", n)
		one, err := b.standWith(ctx, n)
		if err != nil {
			return nil, err
		}
		stands = append(stands, one)
	}
	last := stands[len(stands)-1]
	return []section{curve(stands[1:]), b.memory(stands), b.restarts(stands[1:]), last.minute}, nil
}

// standWith has an operator make n Secrets and restarts it. With the most PayUTokens it measures a minute, too.
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
		s.minute, err = b.steady(ctx, m, namespace, n)
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
		l, err = b.timed(ctx, namespace, n, func(ctx context.Context) error { return b.createTokens(ctx, namespace, 0, n) }, m)
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

// atRest lets an operator rest, and returns what it holds then.
func (b *bench) atRest(ctx context.Context, m *manager) (usage, error) {
	if err := pause(ctx, b.rest); err != nil {
		return usage{}, err
	}
	return usageOf(m.PID())
}

// restartWith starts an operator that finds n PayUTokens with good Secrets.
func (b *bench) restartWith(ctx context.Context, n int) (m *manager, r restart, err error) {
	log, err := openAudit(b.auditLog)
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
	r.ready = time.Since(began)
	if err := m.awaitReady(ctx, n); err != nil {
		return m, r, err
	}
	r.complete = time.Since(began)
	if err := m.awaitPasses(ctx, n); err != nil {
		return m, r, err
	}
	r.passed = time.Since(began)
	if r.work, _, err = log.settle(ctx); err != nil {
		return m, r, err
	}
	after, err := b.tokenRequests(ctx)
	if err != nil {
		return m, r, err
	}
	r.asked = after - before
	began = time.Now()
	page, err := fetch(ctx, "http://"+m.metrics+"/metrics")
	if err != nil {
		return m, r, err
	}
	r.page, r.reading = len(page), time.Since(began)
	if r.usage, err = b.atRest(ctx, m); err == nil {
		b.profileHeap(ctx, m, n)
	}
	return m, r, err
}

// steady measures the CPU time of an operator with n PayUTokens whose tokens live as long as PayU's: with nothing to do, with
// the reading of its metrics, and with the passes and renewals that come in the same time on average, too. The passes
// come by themselves.
func (b *bench) steady(ctx context.Context, m *manager, namespace string, n int) (section, error) {
	s := section{title: fmt.Sprintf("CPU time with %d PayUTokens", n), head: []string{"", "in", "passes", "renewals", "metrics read", "CPU time", "of a core"}}
	if err := b.checkSchedule(ctx, namespace); err != nil {
		return s, err
	}
	renewEvery := meanRenewal(usual) / time.Duration(n)
	for _, row := range []struct {
		what             string
		lasts            time.Duration
		renewal, reading time.Duration
	}{
		{"nothing is due", b.minute, 0, 0},
		{"metrics", b.minute, 0, scrapeEvery},
		{"passes, renewals, metrics", b.steadily, renewEvery, scrapeEvery},
	} {
		passes, err := m.passes(ctx)
		if err != nil {
			return s, err
		}
		asked, err := b.tokenRequests(ctx)
		if err != nil {
			return s, err
		}
		before, err := usageOf(m.PID())
		if err != nil {
			return s, err
		}
		began := time.Now()
		profiled := func() {}
		if row.renewal > 0 {
			profiled = b.profileThese(ctx, "steady", []*manager{m})
		}
		read, err := b.play(ctx, m, namespace, n, row.lasts, row.renewal, row.reading)
		if err != nil {
			return s, err
		}
		took := time.Since(began)
		after, err := usageOf(m.PID())
		if err != nil {
			return s, err
		}
		morePasses, err1 := m.passes(ctx)
		moreAsked, err2 := b.tokenRequests(ctx)
		if err := errors.Join(err1, err2); err != nil {
			return s, err
		}
		profiled()
		share := float64(after.cpu-before.cpu) / float64(took)
		s.add(row.what, row.lasts, morePasses-passes, moreAsked-asked, read, after.cpu-before.cpu, fmt.Sprintf("%.2f %%", 100*share))
		if row.renewal > 0 {
			b.inputs.cpu = share / float64(n)
			b.goal(fmt.Sprintf("CPU of %d PayUTokens with a 2 h life, steady", n), "under 1 % of a core", fmt.Sprintf("%.2f %%", 100*share), share < 0.01)
			s.note("Then %s are resident.", mebibytes(after.resident))
		}
	}
	s.note("Each PayUToken has a pass every %s by itself, if nothing else happens. On average, %d PayUTokens have a renewal every %s, as each token of %s is renewed after %s. Here refresh annotations cause them, one PayUToken after the other at that rate, with passes of their own.",
		passEvery, n, renewEvery.Round(time.Millisecond/10), usual, meanRenewal(usual))
	return s, nil
}

// play causes renewals and readings of the metrics at intervals, none where the interval is 0.
func (b *bench) play(ctx context.Context, m *manager, namespace string, n int, lasts, renewal, reading time.Duration) (read int, err error) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	renewals, readings := ticks(renewal), ticks(reading)
	for i := 0; ; {
		select {
		case <-renewals:
			err = b.refresh(ctx, namespace, i, time.Now().Format(time.RFC3339Nano))
			i = (i + 1) % n
		case <-readings:
			_, err = m.scrape(ctx)
			read++
		case <-ctx.Done():
			return read, nil
		}
		if err != nil && ctx.Err() == nil {
			return read, err
		}
	}
}

func ticks(interval time.Duration) <-chan time.Time {
	if interval == 0 {
		return nil
	}
	return time.Tick(interval)
}

// checkSchedule sees to it that the operator renews when the simulation of a day says.
func (b *bench) checkSchedule(ctx context.Context, namespace string) error {
	var list v1alpha1.PayUTokenList
	if err := b.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		status := list.Items[i].Status
		if status.RenewAt == nil {
			return fmt.Errorf("PayUToken %q has no renewAt", list.Items[i].Name)
		}
		token := payu.Token{FetchedAt: status.FetchedAt.UTC(), ExpiresAt: status.ExpiresAt.UTC()}
		if want := renewAt(token, spread(string(list.Items[i].UID))); !status.RenewAt.Time.Equal(want) {
			return fmt.Errorf("PayUToken %q is to be renewed at %s, and not at %s as the simulation of a day has it", list.Items[i].Name, status.RenewAt, want)
		}
	}
	return nil
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
	b.goal("resident memory, idle", "at most 45 MiB", mebibytes(stands[0].restart.usage.resident), stands[0].restart.usage.resident <= 45<<20)
	b.goal("resident memory for each PayUToken", "at most 8 KiB", kibibytes(each), each <= 8<<10)
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
	b.goal(fmt.Sprintf("restart with %d PayUTokens: all metrics true again", last.n), "15 s", shown(last.restart.complete), last.restart.complete <= 15*time.Second)
	s.note("From the start of the process. The metrics are complete when payu_token_ready is 1 for every PayUToken.")
	return s
}
