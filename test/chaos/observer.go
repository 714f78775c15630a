package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	// retryPause is between attempts to reach the API server.
	retryPause = 200 * time.Millisecond
	// listPatience is how long the API server may take to answer.
	listPatience = 10 * time.Second
)

// sight is what a target Secret holds, from one moment to that of the next sight.
type sight struct {
	at      time.Time
	token   string
	flaw    string // what is wrong with the Secret, empty if nothing is
	gone    bool
	expires time.Time // by its annotation
}

// takeover is a manager becoming the leader.
type takeover struct {
	at     time.Time
	holder string
}

// observer watches the cluster on its own account, and keeps everything that it sees but the data of Secrets as evidence.
type observer struct {
	client   client.WithWatch
	evidence *evidence
	targets  map[types.NamespacedName]subject
	tokens   map[types.NamespacedName]subject

	mu        sync.Mutex
	foreign   map[types.NamespacedName]string  // resourceVersions, as first seen
	sights    map[types.NamespacedName][]sight // of the targets
	statuses  map[types.NamespacedName]*v1alpha1.PayUToken
	takeovers []takeover
	renewed   time.Time // when the leader last renewed its Lease
	writes    int       // of new tokens
	harms     []violation
}

func newObserver(c client.WithWatch, e *evidence, p *population) *observer {
	o := &observer{
		client: c, evidence: e, foreign: map[types.NamespacedName]string{},
		targets: map[types.NamespacedName]subject{}, tokens: map[types.NamespacedName]subject{},
		sights: map[types.NamespacedName][]sight{}, statuses: map[types.NamespacedName]*v1alpha1.PayUToken{},
	}
	for _, s := range p.subjects {
		o.tokens[s.NamespacedName] = s
		if !s.conflict {
			o.targets[s.NamespacedName] = s
		}
	}
	return o
}

// watch sees until ctx ends.
func (o *observer) watch(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { o.follow(ctx, &corev1.SecretList{}, o.seeSecret) })
	all.Go(func() { o.follow(ctx, &v1alpha1.PayUTokenList{}, o.seeToken) })
	all.Go(func() { o.follow(ctx, &coordinationv1.LeaseList{}, o.seeLease) })
	all.Go(func() { o.follow(ctx, &eventsv1.EventList{}, o.seeEvent) })
	all.Wait()
}

// view is an object as it was seen: by a watch as it happened, or in a list some time after.
type view struct {
	client.Object
	at     time.Time
	listed bool
	gone   bool
}

// follow shows every object of a kind, as it is and as it changes. After each loss of the watch it reads the list anew.
func (o *observer) follow(ctx context.Context, kind client.ObjectList, see func(view)) {
	known := map[types.NamespacedName]client.Object{}
	for ctx.Err() == nil {
		version, err := o.list(ctx, kind, known, see)
		if err == nil {
			o.watchFrom(ctx, kind, version, known, see)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}

// list shows what there is, and what is gone since known was filled.
func (o *observer) list(ctx context.Context, kind client.ObjectList, known map[types.NamespacedName]client.Object, see func(view)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	list := kind.DeepCopyObject().(client.ObjectList)
	if err := o.client.List(ctx, list); err != nil {
		return "", err
	}
	now, there := time.Now(), map[types.NamespacedName]bool{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object := item.(client.Object)
		name := client.ObjectKeyFromObject(object)
		there[name], known[name] = true, object
		see(view{Object: object, at: now, listed: true})
		return nil
	})
	for name, object := range known {
		if !there[name] {
			delete(known, name)
			see(view{Object: object, at: now, listed: true, gone: true})
		}
	}
	return list.GetResourceVersion(), err
}

// watchFrom shows changes until the API server ends the watch.
func (o *observer) watchFrom(ctx context.Context, kind client.ObjectList, version string, known map[types.NamespacedName]client.Object, see func(view)) {
	w, err := o.client.Watch(ctx, kind, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}})
	if err != nil {
		return
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		object, ok := event.Object.(client.Object)
		if event.Type == watch.Error || !ok {
			return
		}
		name, gone := client.ObjectKeyFromObject(object), event.Type == watch.Deleted
		known[name] = object
		if gone {
			delete(known, name)
		}
		see(view{Object: object, at: time.Now(), gone: gone})
	}
}

func (o *observer) seeSecret(v view) {
	secret := v.Object.(*corev1.Secret)
	o.evidence.add("secrets-without-data", secret.ObjectMeta)
	name := client.ObjectKeyFromObject(secret)
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ours := o.targets[name]; ours {
		o.note(name, sightOf(s, secret, v))
		return
	}
	if _, known := o.foreign[name]; !known {
		o.foreign[name] = secret.ResourceVersion
	}
	if v.gone || isApplied(secret) || secret.Labels[plantedLabel] != "" && o.foreign[name] != secret.ResourceVersion {
		o.harms = append(o.harms, violation{"a Secret of somebody else was touched", fmt.Sprintf("%s at %s, resourceVersion %s", name, clock(v.at), secret.ResourceVersion)})
	}
}

// note adds a sight if it tells something new.
func (o *observer) note(name types.NamespacedName, now sight) {
	seen := o.sights[name]
	if len(seen) > 0 {
		before := seen[len(seen)-1]
		if before.token == now.token && before.flaw == now.flaw && before.gone == now.gone {
			return
		}
	}
	if now.token != "" {
		o.writes++
	}
	o.sights[name] = append(seen, now)
}

func sightOf(s subject, secret *corev1.Secret, v view) sight {
	if v.gone {
		return sight{at: v.at, gone: true}
	}
	now := sight{at: v.at}
	if v.listed {
		now.at = writtenBefore(secret, v.at)
	}
	now.token, now.flaw = s.tokenIn(secret)
	var err error
	if now.expires, err = time.Parse(time.RFC3339, secret.Annotations[v1alpha1.AnnotationExpiresAt]); err != nil && now.flaw == "" {
		now.flaw = "its annotation expires-at is no time"
	}
	return now
}

// writtenBefore returns when the operator wrote a Secret that was found in a list, by the API server's word, which is
// in whole seconds: at the latest.
func writtenBefore(secret *corev1.Secret, seen time.Time) time.Time {
	for _, f := range secret.ManagedFields {
		if f.Manager == v1alpha1.ManagedBy && f.Time != nil && f.Time.Add(time.Second).Before(seen) {
			return f.Time.Add(time.Second)
		}
	}
	return seen
}

// isApplied reports whether the operator wrote to a Secret.
func isApplied(secret *corev1.Secret) bool {
	for _, f := range secret.ManagedFields {
		if f.Manager == v1alpha1.ManagedBy {
			return true
		}
	}
	return false
}

func (o *observer) seeToken(v view) {
	token := v.Object.(*v1alpha1.PayUToken)
	o.evidence.add("payutokens", token)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statuses[client.ObjectKeyFromObject(token)] = token
}

func (o *observer) seeLease(v view) {
	lease := v.Object.(*coordinationv1.Lease)
	o.evidence.add("leases", lease)
	if lease.Namespace != lab.OperatorName || lease.Spec.HolderIdentity == nil || lease.Spec.AcquireTime == nil {
		return
	}
	holder := *lease.Spec.HolderIdentity
	o.mu.Lock()
	defer o.mu.Unlock()
	if lease.Spec.RenewTime != nil {
		o.renewed = lease.Spec.RenewTime.Time
	}
	if n := len(o.takeovers); holder != "" && (n == 0 || o.takeovers[n-1].holder != holder) {
		o.takeovers = append(o.takeovers, takeover{lease.Spec.AcquireTime.Time, holder})
	}
}

func (o *observer) seeEvent(v view) { o.evidence.add("events", v.Object) }

// written counts the tokens that have appeared in Secrets.
func (o *observer) written() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writes
}

// pace is how long the first leader took to give every Secret its first token.
func (o *observer) pace() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.takeovers[0].at
	for _, seen := range o.sights {
		if seen[0].at.After(last) {
			last = seen[0].at
		}
	}
	return last.Sub(o.takeovers[0].at)
}

// leaseRenewed is when the leader last renewed its Lease.
func (o *observer) leaseRenewed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.renewed
}

// stale returns a target that got no new token since a moment, empty if there is none. Those are looked at that wanted
// says.
func (o *observer) stale(since time.Time, wanted func(subject) bool) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, s := range o.targets {
		if !s.steady && wanted(s) && !newest(o.sights[name]).at.After(since) {
			return name.String()
		}
	}
	return ""
}

func newest(seen []sight) sight {
	if len(seen) == 0 {
		return sight{}
	}
	return seen[len(seen)-1]
}

// trouble returns something that is not as it is when all is well, empty if all is.
func (o *observer) trouble(now time.Time) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	shared := map[source]string{}
	for name, s := range o.targets {
		last := newest(o.sights[name])
		if last.token == "" {
			return fmt.Sprintf("Secret %s holds no token", name)
		}
		if first := shared[s.source()]; first != "" && first != last.token {
			return fmt.Sprintf("Secret %s holds token %s since %s, another one of client %s holds %s", name, masked(last.token), clock(last.at), s.client, masked(first))
		}
		shared[s.source()] = last.token
		if age := now.Sub(last.at); !s.steady && age > s.renewalAge()+overdueGrace {
			return fmt.Sprintf("the token in Secret %s, due after %s, is %s old", name, lab.Shown(s.renewalAge()), lab.Shown(age))
		}
	}
	for name, s := range o.tokens {
		if problem := unhealthy(s, o.statuses[name]); problem != "" {
			return fmt.Sprintf("PayUToken %s: %s", name, problem)
		}
	}
	return ""
}

// unhealthy returns how a status is not as it is to be, empty if it is.
func unhealthy(s subject, token *v1alpha1.PayUToken) string {
	if token == nil {
		return "not seen"
	}
	if s.conflict {
		if c := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != v1alpha1.ReasonTargetConflict {
			return "not TargetConflict"
		}
		return ""
	}
	conditions := token.Status.Conditions
	switch {
	case token.Status.ObservedGeneration != token.Generation:
		return "not observed"
	case !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady):
		return "not Ready" + reasonOf(conditions, v1alpha1.ConditionReady)
	case !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionRefreshed):
		return "not Refreshed" + reasonOf(conditions, v1alpha1.ConditionRefreshed)
	case meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionStalled):
		return "Stalled" + reasonOf(conditions, v1alpha1.ConditionStalled)
	}
	return ""
}

func reasonOf(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return " (" + c.Reason + ")"
	}
	return ""
}

// failures returns how many attempts have failed in a row, of the PayUToken that has most.
func (o *observer) failures() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	var most int32
	for _, token := range o.statuses {
		most = max(most, token.Status.Failures)
	}
	return int(most)
}

// evidence is a folder of files to be searched, one JSON document a line.
type evidence struct {
	dir string

	mu    sync.Mutex
	files map[string]*os.File
	err   error
}

func newEvidence(dir string) (*evidence, error) {
	return &evidence{dir: dir, files: map[string]*os.File{}}, os.Mkdir(dir, 0o700)
}

// add notes a document. What goes wrong with it, close returns.
func (e *evidence) add(kind string, document any) {
	line, err := json.Marshal(document)
	e.write(kind+".jsonl", append(line, '\n'), err)
}

func (e *evidence) write(name string, content []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	file := e.files[name]
	if file == nil && err == nil {
		file, err = os.Create(filepath.Join(e.dir, name))
		e.files[name] = file
	}
	if err == nil {
		_, err = file.Write(content)
	}
	if err != nil && e.err == nil {
		e.err = err
	}
}

// log returns a file for the log of a process.
func (e *evidence) log(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(e.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (e *evidence) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, file := range e.files {
		if err := file.Close(); err != nil && e.err == nil {
			e.err = err
		}
		delete(e.files, name)
	}
	return e.err
}
