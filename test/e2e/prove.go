package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// renewals is how many a workload has to see in each scenario.
	renewals = 4
	// slack is what half of a token's life has to do for beside the kubelet: a new leader, a wait before PayU is asked again.
	slack = 20 * time.Second
	// longSlack is that where the API server is away: all who watch it wait before they try again.
	longSlack = 36 * time.Second
	// tooLong ends a run that hangs.
	tooLong = time.Hour
	// parting is how long it may take to leave, on a cluster that may not answer any more.
	parting = 5 * time.Minute
)

// proof is one run.
type proof struct {
	options
	kit
	*cluster
	dir       string
	say       func(string, ...any)
	authority *authority
	sync      time.Duration // how often the kubelets look at each pod
	entered   bool          // what is of a run in this cluster is of this one
	shops     []*shop

	mu   sync.Mutex
	rows []row
}

// prove runs all scenarios on a cluster, and judges.
func prove(ctx context.Context, o options, k kit, c *cluster, dir string, say func(string, ...any)) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tooLong, fmt.Errorf("it hangs: not done after %s", tooLong))
	defer cancel()
	p := &proof{options: o, kit: k, cluster: c, dir: dir, say: say}
	if k.Programs == "" { // the cluster goes on
		defer func() { err = errors.Join(err, p.leave(ctx)) }()
	}
	if err = p.run(ctx); err == nil {
		err = p.report(os.Stdout)
	}
	if err != nil && p.entered && !errors.Is(err, lab.ErrInterrupted) {
		err = errors.Join(err, p.keepEvidence(ctx))
	}
	if o.keep && ctx.Err() == nil {
		say("all stays as it is until Ctrl-C, with KUBECONFIG=%s%s", c.kubeconfig, p.entrance())
		<-ctx.Done()
	}
	return err
}

// leave deletes all that the run has made in a cluster, also if it was interrupted.
func (p *proof) leave(ctx context.Context) error {
	if !p.entered {
		return nil
	}
	p.say("deleting all that was made")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
	defer cancel()
	return p.clear(ctx)
}

// entrance is how to get to a cluster that runs in a sandbox.
func (p *proof) entrance() string {
	if p.Programs == "" {
		return ""
	}
	return fmt.Sprintf("; a shell in there: nsenter --all --target=$(pgrep --full --newest inside=%s)", p.dir)
}

// run sets up and plays the scenarios: first those that concern one shop only, all at once, then those that concern
// all of them, one after another.
func (p *proof) run(ctx context.Context) error {
	chosen, deliveries := p.chosen(), p.chosenDeliveries()
	if len(chosen)+len(deliveries) == 0 {
		return fmt.Errorf("--only=%q: no scenario has such a name", p.only)
	}
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if len(chosen) > 0 {
		if err := p.playAll(ctx, chosen); err != nil {
			return err
		}
	}
	if len(chosen) > 0 && len(deliveries) > 0 {
		if err := p.startOver(ctx); err != nil {
			return err
		}
	}
	if len(deliveries) > 0 {
		return p.playDeliveries(ctx, deliveries)
	}
	return nil
}

// playAll plays all scenarios but deliveries.
func (p *proof) playAll(ctx context.Context, chosen []scenario) error {
	if err := p.openAll(ctx, chosen); err != nil {
		return err
	}
	p.say("all shops are open: %d operators, and as many simulators and workloads", len(p.shops))
	if err := p.plantNobodys(ctx); err != nil {
		return err
	}
	if err := p.playEach(ctx); err != nil {
		return err
	}
	p.check("no operator restarts by itself", "none had, before the API server did, but for the leader that was killed", p.checkRestarts(ctx, operators, "leader"))
	for _, s := range p.commonScenarios() {
		if err := p.playOnAll(ctx, s); err != nil {
			return err
		}
	}
	p.check("shards keep to their own", fmt.Sprintf("%d operators asked only their own PayU, and a PayUToken of no shard is untouched", len(p.shops)),
		errors.Join(p.checkShards(ctx), p.checkNobodys(ctx)))
	whole := p.checkRestarts(ctx, payu)
	for _, s := range p.shops {
		whole = errors.Join(whole, p.checkRestarts(ctx, s.namespace()))
	}
	p.check("the count is whole", "no workload and no simulator was restarted", whole)
	p.check("nor was any workload refused between the scenarios", "those of the last two modes and the proof apart", p.checkBetween())
	return context.Cause(ctx)
}

// prepare brings in the images and what all shops share.
func (p *proof) prepare(ctx context.Context) error {
	if err := p.measure(ctx); err != nil {
		return err
	}
	p.say("kubelets look at each pod every %s, so tokens are to live for %s, or %s where the API server restarts", p.sync, p.life(slack), p.life(longSlack))
	for _, i := range p.Images.all() {
		if err := p.load(ctx, i); err != nil {
			return fmt.Errorf("loading image %s: %w", i.Name, err)
		}
	}
	return p.startOver(ctx)
}

// startOver deletes what there is, also what a run has left that was killed, and creates what all shops share.
func (p *proof) startOver(ctx context.Context) error {
	if err := p.clear(ctx); err != nil {
		return err
	}
	p.entered, p.shops = true, nil
	var err error
	if p.authority, err = newAuthority(); err != nil {
		return err
	}
	for _, namespace := range []string{operators, payu} {
		if err := p.createNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	return nil
}

// measure asks the kubelets how often they look at each pod.
func (p *proof) measure(ctx context.Context) error {
	nodes, err := p.clientset.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range nodes.Items {
		content, err := p.clientset.CoreV1().RESTClient().Get().Resource("nodes").Name(n.Name).SubResource("proxy").Suffix("configz").DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("asking the kubelet of node %s for its configuration: %w", n.Name, err)
		}
		var config struct {
			Kubelet struct {
				SyncFrequency metav1.Duration `json:"syncFrequency"`
			} `json:"kubeletconfig"`
		}
		if err := json.Unmarshal(content, &config); err != nil {
			return err
		}
		p.sync = max(p.sync, config.Kubelet.SyncFrequency.Duration)
	}
	return nil
}

// life is how long tokens are to live. They are renewed when half of it is left.
func (p *proof) life(slack time.Duration) time.Duration {
	return 2 * (p.delivery() + slack).Round(time.Second)
}

// delivery is how long a kubelet takes at most, by its rules, to bring a new token into a mounted file: it looks at a pod
// after up to one and a half times its frequency, and looks whose turn it is once a second.
func (p *proof) delivery() time.Duration { return p.sync*3/2 + time.Second }

// createNamespace creates a namespace of the strictest Pod Security, with the authority of the simulators, and returns when
// pods are admitted to it: on a new node, the ServiceAccount that they need may come seconds later.
func (p *proof) createNamespace(ctx context.Context, name string) error {
	labels := map[string]string{runLabel: "true", "pod-security.kubernetes.io/enforce": "restricted"}
	if err := p.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}); err != nil {
		return err
	}
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: caName}, Data: map[string]string{"ca.crt": p.authority.pem()}}
	if err := p.client.Create(ctx, ca); err != nil {
		return err
	}
	return await(ctx, patience, fmt.Sprintf("namespace %s has its default ServiceAccount", name), func(ctx context.Context) (bool, error) {
		err := p.client.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{})
		return err == nil, err
	})
}

// openAll opens the shops. The first one brings the CRD.
func (p *proof) openAll(ctx context.Context, chosen []scenario) error {
	for _, each := range chosen {
		life := (p.life(slack) / time.Duration(max(1, each.divisor))).Round(time.Second)
		if each.tokenLife != 0 {
			life = each.tokenLife
		}
		p.shops = append(p.shops, &shop{proof: p, scenario: each, life: life, image: p.Images.Operator})
	}
	p.shops[0].firstCRD = true
	if err := p.shops[0].open(ctx); err != nil {
		return err
	}
	return inParallel(p.shops[1:], func(s *shop) error { return s.open(ctx) })
}

// inParallel does something with all, and returns all errors.
func inParallel[T any](all []T, do func(T) error) error {
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for n, each := range all {
		group.Go(func() { errs[n] = do(each) })
	}
	group.Wait()
	return errors.Join(errs...)
}
