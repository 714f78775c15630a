package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

const (
	// usualSync is the kubelet's syncFrequency where nobody sets it.
	usualSync = time.Minute
	// prompt is how long a workload may be without a live token where PayU gives none before, or ends the one in use.
	prompt = 2 * time.Second
	// shortLife has many renewals in little time; it is long enough for the quick requests at the end of a token that is reused.
	shortLife = 40 * time.Second
	// usualLife is longer than the kubelet takes, so that a workload without Prompt has a live token most of the time.
	usualLife = 180 * time.Second
)

// consumer is a PayUToken, and the pods that mount its Secret.
type consumer struct {
	name     string
	delivery v1alpha1.Delivery
	pods     int

	*shop
	tapes   []*tape
	written *writes
}

// deliveries are the scenarios of a kubelet that nobody has configured.
func deliveries(long bool) []scenario {
	list := []scenario{
		{name: "deliver, mode reuse", shop: "deliver-reuse", mode: payutest.Reuse, tokenLife: shortLife,
			consumers: append(single(v1alpha1.DeliveryPrompt, pick(long, 6, 3)), consumer{name: "shared", delivery: v1alpha1.DeliveryPrompt, pods: 20})},
		{name: "deliver, mode revoke-previous", shop: "deliver-revoke", mode: payutest.RevokePrevious, tokenLife: shortLife,
			consumers: append(single(v1alpha1.DeliveryPrompt, pick(long, 3, 2)), consumer{name: "shared", delivery: v1alpha1.DeliveryPrompt, pods: 20})},
		{name: "deliver, default mode", shop: "deliver-default", tokenLife: shortLife, consumers: single(v1alpha1.DeliveryPrompt, 1)},
	}
	if long {
		bothWays := append(single(v1alpha1.DeliveryPrompt, 2), single(v1alpha1.DeliveryEventual, 2)...)
		list = append(list,
			scenario{name: "deliver, mode reuse, 3 minutes", shop: "deliver-reuse-long", mode: payutest.Reuse, tokenLife: usualLife, consumers: slices.Clone(bothWays)},
			scenario{name: "deliver, mode revoke-previous, 3 minutes", shop: "deliver-revoke-long", mode: payutest.RevokePrevious, tokenLife: usualLife, consumers: slices.Clone(bothWays)})
	}
	return list
}

func pick(long bool, inLong, inShort int) int {
	if long {
		return inLong
	}
	return inShort
}

// single returns n consumers of one pod each.
func single(delivery v1alpha1.Delivery, n int) (list []consumer) {
	for i := range n {
		list = append(list, consumer{name: fmt.Sprintf("%s-%d", strings.ToLower(string(delivery)), i+1), delivery: delivery, pods: 1})
	}
	return list
}

// playDeliveries plays the scenarios of deliveries at the same time, with kubelets as nobody has configured them.
func (p *proof) playDeliveries(ctx context.Context, chosen []scenario) error {
	if p.setSync != nil {
		if err := p.setSync(ctx, usualSync); err != nil {
			return err
		}
	}
	p.sync = 0
	if err := p.measure(ctx); err != nil {
		return err
	}
	p.say("kubelets look at each pod every %s; deliveries are measured for %s", p.sync, p.measuring())
	if err := p.openAll(ctx, chosen); err != nil {
		return err
	}
	p.say("all shops are open: %d operators", len(p.shops))
	return inParallel(p.shops, func(s *shop) error {
		r, err := s.measureDeliveries(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.name = s.scenario.name
		p.note(r, err)
		return nil
	})
}

// measuring is how long deliveries are measured.
func (p *proof) measuring() time.Duration {
	if p.long {
		return 12 * time.Minute
	}
	return 100 * time.Second
}

// openConsumers creates the PayUTokens and their workloads.
func (s *shop) openConsumers(ctx context.Context) error {
	if err := s.createNamespace(ctx, s.namespace()); err != nil {
		return err
	}
	if err := inParallel(s.consumers(), func(c *consumer) error { return c.open(ctx) }); err != nil {
		return err
	}
	return s.startReader(ctx, s.consumers()[0].name)
}

const readerName = "reader"

// startReader starts the Go program of examples/readers on a Secret, and returns when its first call has ended.
func (s *shop) startReader(ctx context.Context, secret string) error {
	pod := s.pod(s.namespace(), readerName, nil, s.Images.Reader, map[string]corev1.VolumeSource{
		"/var/run/payu": {Secret: &corev1.SecretVolumeSource{SecretName: secret}},
		"/ca":           {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: caName}}},
	}, "/var/run/payu/"+v1alpha1.KeyAccessToken, s.url+"/resource?scope="+scope, "500ms")
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SSL_CERT_FILE", Value: "/ca/ca.crt"}}
	if err := s.client.Create(ctx, pod); err != nil {
		return err
	}
	return await(ctx, patience, "the reader's first call", func(ctx context.Context) (bool, error) {
		made, _, err := s.readersCalls(ctx) // an error while its container is being created
		return made > 0, err
	})
}

// readersCalls returns how many calls the reader has made, and how many of them have failed.
func (s *shop) readersCalls(ctx context.Context) (made, failed int, err error) {
	log, err := s.clientset.CoreV1().Pods(s.namespace()).GetLogs(readerName, &corev1.PodLogOptions{}).DoRaw(ctx)
	for line := range strings.Lines(string(log)) {
		if made++; strings.TrimSpace(line) != "200" {
			failed++
		}
	}
	return made, failed, err
}

func (s *shop) consumers() []*consumer {
	var list []*consumer
	for i := range s.scenario.consumers {
		s.scenario.consumers[i].shop = s
		list = append(list, &s.scenario.consumers[i])
	}
	return list
}

// open creates a PayUToken with a client of its own, and pods that use its token, and returns when their first calls have worked.
func (c *consumer) open(ctx context.Context) error {
	own := payutest.Client{ID: c.shop.shop + "-" + c.name, Secret: "s3cret", Scopes: []string{scope}}
	if err := c.admin.PutClient(ctx, own); err != nil {
		return err
	}
	credentials := c.name + "-credentials"
	if err := c.client.Create(ctx, &corev1.Secret{ObjectMeta: metaOf(c.namespace(), credentials),
		StringData: map[string]string{"client_id": own.ID, "client_secret": own.Secret}}); err != nil {
		return err
	}
	token := c.token(c.namespace(), c.name, v1alpha1.DeletionPolicyDelete)
	token.Spec.CredentialsSecretRef.Name = v1alpha1.SecretName(credentials)
	token.Spec.Target.Delivery = c.delivery
	if err := c.client.Create(ctx, token); err != nil {
		return err
	}
	if err := c.awaitReady(ctx, c.namespace(), c.name); err != nil {
		return err
	}
	var err error
	if c.written, err = c.watchSecret(ctx, c.name); err != nil {
		return err
	}
	for i := range c.pods {
		c.tapes = append(c.tapes, &tape{})
		if err := c.createWorkload(ctx, fmt.Sprintf("%s-%d", c.name, i), c.name, c.tapes[i]); err != nil {
			return err
		}
	}
	return inParallel(c.tapes, c.awaitFirstCall(ctx))
}

// measureDeliveries lets the workloads work, and then looks at each renewal of each.
func (s *shop) measureDeliveries(ctx context.Context) (row, error) {
	consumers := s.consumers()
	marks, err := markAll(ctx, consumers)
	if err != nil {
		return row{}, err
	}
	madeBefore, failedBefore, err := s.readersCalls(ctx) // while so many pods start, the machine may be busy
	if err != nil {
		return row{}, err
	}
	if err := until(ctx, time.Now().Add(s.measuring())); err != nil {
		return row{}, err
	}
	issued, err := s.issued(ctx)
	if err != nil {
		return row{}, err
	}
	var r row
	gaps := map[v1alpha1.Delivery][]gap{}
	for _, c := range consumers {
		own, list, err := c.measure(ctx, marks, issued)
		if err != nil {
			return r, err
		}
		own.Renewals += r.Renewals
		own.Calls, own.Refusals, own.Unanswered = own.Calls+r.Calls, own.Refusals+r.Refusals, own.Unanswered+r.Unanswered
		own.LongestGap = max(own.LongestGap, r.LongestGap)
		r.Summary = own
		gaps[c.delivery] = append(gaps[c.delivery], list...)
	}
	for _, delivery := range []v1alpha1.Delivery{v1alpha1.DeliveryPrompt, v1alpha1.DeliveryEventual} {
		r.notes = append(r.notes, notesOf(delivery, gaps[delivery])...)
	}
	r.broken = s.judgeDeliveries(r.Summary, gaps[v1alpha1.DeliveryPrompt])
	made, failed, err := s.readersCalls(ctx)
	made, failed = made-madeBefore, failed-failedBefore
	if r.notes = append(r.notes, fmt.Sprintf("the reader of examples/readers/go: %d calls, %d failed", made, failed)); failed > 0 || made == 0 {
		r.broken = append(r.broken, fmt.Sprintf("of %d calls of the reader of examples/readers/go %d failed", made, failed))
	}
	return r, err
}

// markAll returns the places of the last calls of now on all tapes.
func markAll(ctx context.Context, consumers []*consumer) (map[*tape]int, error) {
	marks := map[*tape]int{}
	for _, c := range consumers {
		for _, t := range c.tapes {
			var err error
			if marks[t], err = t.mark(ctx); err != nil {
				return nil, err
			}
		}
	}
	return marks, nil
}

// measure returns what the pods of a consumer saw, and the gap of each renewal: that of the pod that waited longest.
func (c *consumer) measure(ctx context.Context, marks map[*tape]int, issued map[string]payutest.Issued) (calls.Summary, []gap, error) {
	var sum calls.Summary
	worst := map[string]gap{}
	for i, t := range c.tapes {
		if err := t.update(ctx); err != nil {
			return sum, nil, err
		}
		list := t.since(marks[t])
		own := calls.Summarize(list)
		if i > 0 {
			own = sum.Add(own)
		}
		sum = own
		gaps, err := gapsOf(list, c.written, issued)
		if err != nil {
			return sum, nil, err
		}
		for token, g := range gaps {
			if g.whole() >= worst[token].whole() {
				worst[token] = g
			}
		}
	}
	return sum, slices.Collect(maps.Values(worst)), nil
}

// notesOf says how long workloads were without a live token.
func notesOf(delivery v1alpha1.Delivery, gaps []gap) []string {
	if len(gaps) == 0 {
		return nil
	}
	slices.SortFunc(gaps, func(a, b gap) int { return int(a.whole() - b.whole()) })
	var sum gap
	each := make([]string, len(gaps))
	for i, g := range gaps {
		sum = sum.plus(g)
		each[i] = fmt.Sprintf("%.2f", g.whole().Seconds())
	}
	n := time.Duration(len(gaps))
	return []string{
		fmt.Sprintf("%s: %d renewals, without a live token for %.2f s on average (%.2f s until PayU gave a new one, %.2f s until it was written, %.2f s until a workload had it), %.2f s for 95 of 100, %.2f s at most",
			delivery, len(gaps), (sum.whole() / n).Seconds(), (sum.asking / n).Seconds(), (sum.writing / n).Seconds(), (sum.delivery / n).Seconds(),
			gaps[(len(gaps)*95+99)/100-1].whole().Seconds(), gaps[len(gaps)-1].whole().Seconds()),
		fmt.Sprintf("%s, each, in seconds: %s", delivery, strings.Join(each, " ")),
	}
}

// judgeDeliveries judges what was promised of Prompt.
func (s *shop) judgeDeliveries(sum calls.Summary, gaps []gap) (broken []string) {
	if s.mode == "" && sum.Refusals > 0 {
		broken = append(broken, fmt.Sprintf("%d calls were refused", sum.Refusals))
	}
	if sum.Unanswered > 0 {
		broken = append(broken, fmt.Sprintf("%d calls had no token file or no answer, which proves nothing", sum.Unanswered))
	}
	late := slices.DeleteFunc(slices.Clone(gaps), func(g gap) bool { return g.whole() <= prompt })
	if len(late)*20 > len(gaps) && len(late) > 1 {
		broken = append(broken, fmt.Sprintf("after %d of %d renewals a workload was without a live token for more than %s", len(late), len(gaps), prompt))
	}
	if len(gaps) < len(s.scenario.consumers) {
		broken = append(broken, fmt.Sprintf("%d renewals were seen: %d are needed", len(gaps), len(s.scenario.consumers)))
	}
	return broken
}

// watchSecret notes when tokens appear in a Secret of the shop, until ctx ends.
func (s *shop) watchSecret(ctx context.Context, name string) (*writes, error) {
	w, err := s.client.Watch(ctx, &corev1.SecretList{}, client.InNamespace(s.namespace()), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return nil, err
	}
	seen := &writes{times: map[string]time.Time{}}
	go func() {
		for event := range w.ResultChan() {
			if secret, ok := event.Object.(*corev1.Secret); ok {
				seen.note(calls.Digest(string(secret.Data[v1alpha1.KeyAccessToken])))
			}
		}
	}()
	return seen, nil
}

// writes is when tokens appeared in a Secret.
type writes struct {
	mu    sync.Mutex
	times map[string]time.Time // by calls.Digest
}

func (w *writes) note(digest string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.times[digest]; !known {
		w.times[digest] = time.Now()
	}
}

func (w *writes) at(digest string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.times[digest]
	return at, ok
}
