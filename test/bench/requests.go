package main

import (
	"context"
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
	cause func()
}

// requests counts what the operator asks of the API server, by the API server's audit log.
func (b *bench) requests() []section {
	return []section{b.countWith(false), b.countWith(true)}
}

// countWith counts with credentials of each PayUToken's own, or with one credentials Secret for all.
func (b *bench) countWith(shared bool) section {
	s := section{title: "Requests to the API server", head: []string{"for each", "requests", "which"}}
	if shared {
		s.title = "Requests to the API server, of PayUTokens that share their token"
	}
	c := b.newCount(&s, shared)
	defer c.close()
	c.start()
	_, once, err := c.log.settle(c.Context())
	lab.Check(c, err)
	steps := c.ownSteps()
	if shared {
		steps = c.sharedSteps()
	}
	for _, step := range steps {
		c.take(step)
	}
	s.note("Counted by the API server's audit log, over %d PayUTokens, beside their creation. A dry run asks the API server, before PayU is asked, whether the Secret may be written.", c.n)
	s.note("Not counted, since a process makes them once, whatever the number of PayUTokens: %s.", once.each(1))
	if !shared {
		s.note("An idle pass is caused here by an edit of the target Secret that concerns nobody. The pass that a PayUToken gets every 10 minutes, and after a resync, is the same.")
	}
	return s
}

func (c *count) ownSteps() []step {
	return []step{
		{"new PayUToken, alone", 5, alone, c.createAlone},
		{"new PayUToken, among many", 5, c.n, c.create},
		{renewal, 5, c.n, c.renew},
		{"idle pass", 0, c.n, func() { c.touch(c.manager, c.namespaceName, tokenName, c.n) }},
		{"PayUToken at a restart", 1, c.n, c.restart},
		{"renewal, the first after a restart", 5, c.n, c.refresh},
		{"edit of the credentials' labels", 1, c.n, func() { c.touch(c.manager, c.namespaceName, credentialsName, c.n) }},
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
func (c *count) take(step step) {
	step.cause()
	each := c.add(step.what, step.n)
	most := float64(step.limit)
	if c.shared {
		most += fewRequests / float64(step.n)
	}
	c.goal("API requests for each "+step.what, atMost(step.limit), short(each), each <= most)
	if step.what == renewal {
		c.inputs.requests = each
	}
}

// count is an operator whose requests are counted, and its PayUTokens.
type count struct {
	*bench
	*section
	n       int
	shared  bool          // one credentials Secret is that of all
	brief   time.Duration // a life that is short enough to wait for its renewal, and long enough for all to be made meanwhile
	log     *audit
	manager *manager

	namespaceName string
	remove        func()
}

func (b *bench) newCount(s *section, shared bool) *count {
	c := &count{bench: b, section: s, n: b.counted, shared: shared, brief: max(brief, time.Duration(b.counted)*60*time.Millisecond)}
	c.log = lab.Must(openAudit(b.cluster.AuditLog))(b)
	c.namespaceName, c.remove = b.namespace()
	secrets := c.n + alone
	if shared {
		secrets = 1
	}
	c.createCredentials(c.namespaceName, secrets)
	return c
}

// close ends the operator first: it would write anew what is removed.
func (c *count) close() {
	c.stop(c.manager)
	c.remove()
	lab.Check(c, c.log.file.Close())
}

// start starts the operator. Its margin is for tokens of minutes.
func (c *count) start() { c.manager = c.operator(c.audited, "--propagation-margin=1s") }

// add waits until the operator is idle, and adds what it has asked for since the last time for each of n PayUTokens.
func (c *count) add(what string, n int) (each float64) {
	work, _, err := c.log.settle(c.Context())
	lab.Check(c, err)
	each = float64(work.total()) / float64(n)
	c.section.add(what, short(each), work.each(n))
	return each
}

// createAlone creates PayUTokens that are alone: nothing is to be done before or after.
func (c *count) createAlone() {
	for n := range alone {
		c.timed(c.namespaceName, 1, func() { c.createTokens(c.namespaceName, c.n+n, c.n+n+1, ownClient) })
		lab.Check(c, lab.Pause(c.Context(), quiet))
	}
}

// create creates PayUTokens, whose tokens are to be renewed soon.
func (c *count) create() {
	c.setLife(c.brief)
	clientOf := ownClient
	if c.shared {
		clientOf = sharedClient
	}
	c.timed(c.namespaceName, c.n, func() { c.createTokens(c.namespaceName, 0, c.n, clientOf) })
	c.setLife(usual)
}

// awaitRenewals waits until every Secret has changed, after what may be the cause.
func (c *count) awaitRenewals(cause func(ctx context.Context, n int) error) {
	secrets := c.watchSecrets(c.namespaceName)
	defer secrets.stop()
	lab.Check(c, each(c.Context(), workers, c.n, cause))
	lab.Must(secrets.await(c.Context(), c.n, false, 2*c.brief))(c)
}

// renew waits until every token was renewed because it was due.
func (c *count) renew() {
	c.awaitRenewals(func(context.Context, int) error { return nil })
}

// refresh has every token renewed by its annotation.
func (c *count) refresh() {
	c.awaitRenewals(func(ctx context.Context, n int) error { return c.bench.refresh(ctx, c.namespaceName, n, "now") })
}

// restart ends the operator and starts it again.
func (c *count) restart() {
	c.stop(c.manager)
	c.start()
	lab.Check(c, c.manager.awaitPasses(c.Context(), c.n))
}

// touch has an operator look at n PayUTokens, by an edit that means nothing to it of the Secrets that are named so.
func (b *bench) touch(m *manager, namespace string, name func(int) string, n int) {
	before := lab.Must(m.passes(b.Context()))(b)
	lab.Check(b, each(b.Context(), workers, n, func(ctx context.Context, i int) error { return b.label(ctx, namespace, name(i)) }))
	lab.Check(b, m.awaitPasses(b.Context(), before+n))
}

// label gives a label with a new value to a Secret.
func (b *bench) label(ctx context.Context, namespace, name string) error {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := fmt.Sprintf(`{"metadata":{"labels":{"touched":"%d"}}}`, time.Now().UnixNano())
	return b.client.Patch(ctx, secret, client.RawPatch(types.MergePatchType, []byte(patch)))
}
