package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// brief is a life that is short enough to wait for its renewal, and long enough for all to be made meanwhile.
	brief = time.Minute
	// usual is the life of PayU's tokens.
	usual = 2 * time.Hour
	// alone is how many PayUTokens are created one at a time.
	alone = 4
	// fewRequests are those of the one of all sharers that asks PayU.
	fewRequests = 3
	// renewal is what the count of a renewal's requests is called.
	renewal = "renewal"
)

// step is something that costs requests.
type step struct {
	what  string
	limit int // for each PayUToken
	n     int // PayUTokens
	cause func(context.Context) error
}

// requests counts what the operator asks of the API server, by the API server's audit log.
func (b *bench) requests(ctx context.Context) ([]section, error) {
	own, err := b.countWith(ctx, false)
	if err != nil {
		return nil, err
	}
	shared, err := b.countWith(ctx, true)
	return []section{own, shared}, err
}

// countWith counts with credentials of each PayUToken's own, or with one credentials Secret for all.
func (b *bench) countWith(ctx context.Context, shared bool) (_ section, err error) {
	s := section{title: "Requests to the API server", head: []string{"for each", "requests", "which"}}
	if shared {
		s.title = "Requests to the API server, of PayUTokens that share their token"
	}
	c, err := b.newCount(ctx, &s, shared)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.start(ctx); err != nil {
		return s, err
	}
	_, once, err := c.log.settle(ctx)
	if err != nil {
		return s, err
	}
	steps := c.ownSteps()
	if shared {
		steps = c.sharedSteps()
	}
	for _, step := range steps {
		if err := c.take(ctx, step); err != nil {
			return s, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	s.note("Counted by the API server's audit log, over %d PayUTokens, beside their creation. A dry run asks the API server, before PayU is asked, whether the Secret may be written.", c.n)
	s.note("Not counted, since a process makes them once, whatever the number of PayUTokens: %s.", once.each(1))
	if !shared {
		s.note("An idle pass is caused here by an edit of the target Secret that concerns nobody. The pass that a PayUToken gets every 10 minutes, and after a resync, is the same.")
	}
	return s, nil
}

func (c *count) ownSteps() []step {
	return []step{
		{"new PayUToken, alone", 5, alone, c.createAlone},
		{"new PayUToken, among many", 5, c.n, c.create},
		{renewal, 5, c.n, c.renew},
		{"idle pass", 0, c.n, func(ctx context.Context) error { return c.touch(ctx, c.manager, c.namespace, tokenName, c.n) }},
		{"PayUToken at a restart", 1, c.n, c.restart},
		{"renewal, the first after a restart", 5, c.n, c.refresh},
		{"edit of the credentials' labels", 1, c.n, func(ctx context.Context) error { return c.touch(ctx, c.manager, c.namespace, credentialsName, c.n) }},
		{"PayUToken at a restart after such an edit", 1, c.n, c.restart},
	}
}

func (c *count) sharedSteps() []step {
	return []step{
		{"new sharer, among many", 5, c.n, c.create},
		{"sharer's renewal", 3, c.n, c.renew},
		{"sharer at a restart", 0, c.n, c.restart},
	}
}

// take takes a step, and says what it cost. Of sharers, one in all reads the credentials and tries the target before PayU is asked.
func (c *count) take(ctx context.Context, step step) error {
	if err := step.cause(ctx); err != nil {
		return err
	}
	each, err := c.add(ctx, step.what, step.n)
	if err != nil {
		return err
	}
	most := float64(step.limit)
	if c.shared {
		most += fewRequests / float64(step.n)
	}
	c.goal("API requests for each "+step.what, atMost(step.limit), short(each), each <= most)
	if step.what == renewal {
		c.inputs.requests = each
	}
	return nil
}

// count is an operator whose requests are counted, and its PayUTokens.
type count struct {
	*bench
	*section
	n         int
	shared    bool          // one credentials Secret is that of all
	brief     time.Duration // a life that is short enough to wait for its renewal, and long enough for all to be made meanwhile
	namespace string
	log       *audit
	manager   *manager
	cleanups  []func() error
}

func (b *bench) newCount(ctx context.Context, s *section, shared bool) (*count, error) {
	c := &count{bench: b, section: s, n: b.counted, shared: shared, brief: max(brief, time.Duration(b.counted)*60*time.Millisecond)}
	log, err := openAudit(b.cluster.AuditLog)
	if err != nil {
		return nil, err
	}
	var remove func() error
	if c.namespace, remove, err = b.namespace(ctx); err != nil {
		return nil, err
	}
	c.log, c.cleanups = log, []func() error{remove, log.file.Close}
	secrets := c.n + alone
	if shared {
		secrets = 1
	}
	return c, b.createCredentials(ctx, c.namespace, secrets)
}

// close ends the operator first: it would write anew what is removed.
func (c *count) close() error {
	var errs []error
	if c.manager != nil {
		errs = append(errs, stop(c.manager.Process))
	}
	for _, cleanup := range c.cleanups {
		errs = append(errs, cleanup())
	}
	return errors.Join(errs...)
}

// start starts the operator. Its margin is for tokens of minutes.
func (c *count) start(ctx context.Context) (err error) {
	c.manager, err = c.operator(ctx, c.audited, "--propagation-margin=1s")
	return err
}

// add waits until the operator is idle, and adds what it has asked for since the last time for each of n PayUTokens.
func (c *count) add(ctx context.Context, what string, n int) (each float64, err error) {
	work, _, err := c.log.settle(ctx)
	each = float64(work.total()) / float64(n)
	c.section.add(what, short(each), work.each(n))
	return each, err
}

// createAlone creates PayUTokens that are alone: nothing is to be done before or after.
func (c *count) createAlone(ctx context.Context) error {
	for n := range alone {
		_, err := c.timed(ctx, c.namespace, 1, func(ctx context.Context) error {
			return c.createTokens(ctx, c.namespace, c.n+n, c.n+n+1, ownClient)
		})
		if err := errors.Join(err, lab.Pause(ctx, quiet)); err != nil {
			return err
		}
	}
	return nil
}

// create creates PayUTokens, whose tokens are to be renewed soon.
func (c *count) create(ctx context.Context) error {
	if err := c.simulator.SetTokenTTL(ctx, c.brief); err != nil {
		return err
	}
	clientOf := ownClient
	if c.shared {
		clientOf = sharedClient
	}
	_, err := c.timed(ctx, c.namespace, c.n, func(ctx context.Context) error {
		return c.createTokens(ctx, c.namespace, 0, c.n, clientOf)
	})
	return errors.Join(err, c.simulator.SetTokenTTL(ctx, usual))
}

// awaitRenewals waits until every Secret has changed, after what may be the cause.
func (c *count) awaitRenewals(ctx context.Context, cause func(ctx context.Context, n int) error) error {
	secrets, err := c.watchSecrets(ctx, c.namespace)
	if err != nil {
		return err
	}
	defer secrets.stop()
	if err := each(ctx, workers, c.n, cause); err != nil {
		return err
	}
	_, err = secrets.await(ctx, c.n, false, 2*c.brief)
	return err
}

// renew waits until every token was renewed because it was due.
func (c *count) renew(ctx context.Context) error {
	return c.awaitRenewals(ctx, func(context.Context, int) error { return nil })
}

// refresh has every token renewed by its annotation.
func (c *count) refresh(ctx context.Context) error {
	return c.awaitRenewals(ctx, func(ctx context.Context, n int) error { return c.bench.refresh(ctx, c.namespace, n, "now") })
}

// restart ends the operator and starts it again.
func (c *count) restart(ctx context.Context) error {
	stopped := c.manager
	c.manager = nil
	if err := stop(stopped.Process); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	return c.manager.awaitPasses(ctx, c.n)
}

// touch has an operator look at n PayUTokens, by an edit that means nothing to it of the Secrets that are named so.
func (b *bench) touch(ctx context.Context, m *manager, namespace string, name func(int) string, n int) error {
	before, err := m.passes(ctx)
	if err != nil {
		return err
	}
	err = each(ctx, workers, n, func(ctx context.Context, i int) error { return b.label(ctx, namespace, name(i)) })
	if err != nil {
		return err
	}
	return m.awaitPasses(ctx, before+n)
}

// label gives a label with a new value to a Secret.
func (b *bench) label(ctx context.Context, namespace, name string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"touched":"%d"}}}`, time.Now().UnixNano())
	return b.client.Patch(ctx, secret, client.RawPatch(types.MergePatchType, []byte(patch)))
}
