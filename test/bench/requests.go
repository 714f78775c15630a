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
)

const (
	// brief is a life that is short enough to wait for its renewal, and long enough for all to be made meanwhile.
	brief = time.Minute
	// usual is the life of PayU's tokens.
	usual = 2 * time.Hour
	// alone is how many PayUTokens are created one at a time.
	alone = 4
	// noLimit is where there is no goal.
	noLimit = -1
	// renewal is what the count of a renewal's requests is called.
	renewal = "renewal"
)

// requests counts what the operator asks of the API server, by the API server's audit log.
func (b *bench) requests(ctx context.Context) (_ []section, err error) {
	s := section{title: "Requests to the API server", head: []string{"for each", "requests", "which"}}
	c, err := b.newCount(ctx, &s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	_, once, err := c.log.settle(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.createAlone(ctx); err != nil {
		return nil, err
	}
	if _, err := c.add(ctx, "new PayUToken, alone", alone); err != nil {
		return nil, err
	}
	for _, step := range []struct {
		what  string
		limit int
		cause func(context.Context) error
	}{
		{"new PayUToken, among many", 4, c.create},
		{renewal, 4, c.renew},
		{"idle pass", 0, func(ctx context.Context) error { return c.touch(ctx, c.manager, c.namespace, tokenName, c.n) }},
		{"PayUToken at a restart", 0, c.restart},
		{"renewal, the first after a restart", noLimit, c.refresh},
		{"edit of the credentials' labels", 0, func(ctx context.Context) error { return c.touch(ctx, c.manager, c.namespace, credentialsName, c.n) }},
		{"PayUToken at a restart after such an edit", 0, c.restart},
	} {
		if err := step.cause(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
		each, err := c.add(ctx, step.what, c.n)
		if err != nil {
			return nil, err
		}
		if step.limit != noLimit {
			b.goal("API requests for each "+step.what, atMost(step.limit), short(each), each <= float64(step.limit))
		}
		if step.what == renewal {
			b.inputs.requests = each
		}
	}
	s.note("Counted by the API server's audit log, over %d PayUTokens with credentials of their own each, beside their creation. A dry run asks the API server, before PayU is asked, whether the Secret may be written.", c.n)
	s.note("Not counted, since a process makes them once, whatever the number of PayUTokens: %s.", once.each(1))
	s.note("An idle pass is caused here by an edit of the target Secret that concerns nobody. The pass that a PayUToken gets every 10 minutes, and after a resync, is the same.")
	return []section{s}, nil
}

// count is an operator whose requests are counted, and its PayUTokens.
type count struct {
	*bench
	*section
	n         int
	namespace string
	log       *audit
	manager   *manager
	cleanups  []func() error
}

func (b *bench) newCount(ctx context.Context, s *section) (*count, error) {
	c := &count{bench: b, section: s, n: b.counted}
	log, err := openAudit(b.auditLog)
	if err != nil {
		return nil, err
	}
	var remove func() error
	if c.namespace, remove, err = b.namespace(ctx); err != nil {
		return nil, err
	}
	c.log, c.cleanups = log, []func() error{remove, log.file.Close}
	return c, b.createCredentials(ctx, c.namespace, c.n+alone)
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
			return c.client.Create(ctx, newToken(c.namespace, c.n+n, c.n+n))
		})
		if err := errors.Join(err, pause(ctx, quiet)); err != nil {
			return err
		}
	}
	return nil
}

// create creates PayUTokens, whose tokens are to be renewed soon.
func (c *count) create(ctx context.Context) error {
	if err := c.simulator.SetTokenTTL(ctx, brief); err != nil {
		return err
	}
	_, err := c.timed(ctx, c.namespace, c.n, func(ctx context.Context) error { return c.createTokens(ctx, c.namespace, 0, c.n) })
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
	_, err = secrets.await(ctx, c.n, false, 2*brief)
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
