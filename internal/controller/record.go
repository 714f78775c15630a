package controller

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// record is what this process remembers of a PayUToken beside its Secret, its status and its source. All of it may be
// lost.
type record struct {
	uid types.UID
	// refusal is the last write of the target that was refused, former that of the former target, and shape that of the
	// target's shape alone.
	refusal, former, shape attempt
	// fight is set while the operator does not undo what somebody else keeps changing. Its target is the name of the Secret.
	fight attempt
	// mark tells what was last written to the target, and repairs are the moments at which the same was written again.
	mark    mark
	repairs []time.Time
	// leftovers are keys of a former template that are still to be removed from the target.
	leftovers []string
	// before is the status with a back-off at PayU, while the credentials cannot be read: what shows that hides the back-off.
	before *v1alpha1.PayUTokenStatus
	// left are the targets that were written: if the name changes, they are former targets, until they are seen to be gone.
	left []string
	// looked is true once targets were looked for that a former process has left.
	looked bool
	// life is that of the last token of this PayUToken, 0 if there was none.
	life time.Duration
	// waitingSince is since when a token is missing without a failure.
	waitingSince time.Time
	// trouble is how often in a row a pass has failed because the API server did not answer, and retryAt when the next one is.
	trouble int
	retryAt time.Time
	// status is what this process has written last, until the cache shows it, and statusVersion the resourceVersion that it gave.
	status        *v1alpha1.PayUTokenStatus
	statusVersion string
}

// mark tells tokens, the specs that they were written for, and the Secrets that they were written to, apart.
type mark struct {
	token      payu.Digest
	generation int64
	secret     string
}

func (o observation) markOf(token payu.Token) mark {
	return mark{token: payu.DigestOf("mark", token.AccessToken, token.ExpiresAt.Format(time.RFC3339)), generation: o.obj.Generation, secret: o.desired.Name}
}

// attempt is a write that was refused.
type attempt struct {
	failure *failure
	// failures counts the refusals in a row.
	failures int
	at, next time.Time
	// generation, wish and target are what the write was made for, and on which version of the Secret (of a fight: on which
	// Secret): it is repeated at once when one of them changes.
	generation   int64
	wish, target string
}

const (
	mostRepairs  = 5
	repairWindow = 10 * time.Minute
	fightPause   = time.Hour
	// longestRetry is the longest wait before a pass is repeated for which the API server did not answer.
	longestRetry = 20 * time.Second
	// retryPause is how long a refused write rests even if the Secret has changed.
	retryPause = time.Second
)

// refused returns the attempt that follows, and was refused for a reason.
func (a attempt) refused(o *observation, f *failure) attempt {
	wait := (&payu.Error{Reason: payu.ServerError}).BackOff(a.failures+1, o.random)
	return attempt{
		failure: f, failures: a.failures + 1, at: o.now, next: o.now.Add(wait),
		generation: o.obj.Generation, wish: o.obj.RefreshRequest(), target: o.targetVersion(),
	}
}

// rests reports whether the write is not to be repeated yet.
func (a attempt) rests(o observation) bool {
	return a.failure != nil && !o.now.Before(a.at) && o.now.Before(a.until(o))
}

// until returns when the write may be repeated.
func (a attempt) until(o observation) time.Time {
	switch {
	case a.generation != o.obj.Generation, a.wish != o.obj.RefreshRequest():
		return a.at
	case a.target != o.targetVersion() && a.at.Add(retryPause).Before(a.next):
		return a.at.Add(retryPause)
	default:
		return a.next
	}
}

// noteTrouble has a pass repeated that has failed because the API server did not answer.
func (o *observation) noteTrouble(v verdict, f *failure) {
	if !(v.why.isTransient() || f.isTransient() || o.former.failed) {
		o.record.trouble, o.record.retryAt = 0, time.Time{}
		return
	}
	o.record.trouble++
	wait := min(time.Second<<min(o.record.trouble-1, 5), longestRetry)
	o.record.retryAt = o.now.Add(wait/2 + time.Duration(o.random*float64(wait/2)))
}

// isOverRepaired reports whether the target was repaired so often of late that takeRepair begins a pause.
func (rec *record) isOverRepaired(now time.Time) bool {
	for len(rec.repairs) > 0 && now.Sub(rec.repairs[0]) > repairWindow {
		rec.repairs = rec.repairs[1:]
	}
	return len(rec.repairs) >= mostRepairs
}

// takeRepair reports whether the target may be written once more with the token that it was to hold already. After too
// many such repairs somebody else keeps changing it, and two writers would fight for ever: then it begins a pause.
func (rec *record) takeRepair(o *observation) bool {
	if !rec.isOverRepaired(o.now) {
		return true
	}
	rec.repairs = nil
	rec.fight = attempt{
		at: o.now, next: o.now.Add(fightPause), generation: o.obj.Generation, wish: o.obj.RefreshRequest(), target: o.desired.Name,
		failure: stalled(v1alpha1.ReasonTargetConflict, "Another controller or user keeps changing Secret %q: "+
			"stop it, or name a different Secret in spec.target.name; until then only new tokens are written", o.desired.Name),
	}
	return false
}

// leave notes that a target was written.
func (rec *record) leave(name string) {
	if !slices.Contains(rec.left, name) {
		rec.left = append(slices.Clone(rec.left), name)
	}
}

// noteRepair keeps when the target was repaired. Another pass may have the former list.
func (rec *record) noteRepair(at time.Time) { rec.repairs = append(slices.Clone(rec.repairs), at) }

// fights reports whether changes of the target are not undone for the time being.
func (rec record) fights(o observation) bool {
	a := rec.fight
	return a.failure != nil && a.target == o.desired.Name && !o.now.Before(a.at) && o.now.Before(a.next) &&
		a.generation == o.obj.Generation && a.wish == o.obj.RefreshRequest()
}

// records holds the record of each PayUToken.
type records struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]record
}

func newRecords() *records { return &records{byName: map[types.NamespacedName]record{}} }

// of returns the record of a PayUToken, empty if there is none of its UID.
func (all *records) of(name types.NamespacedName, uid types.UID) record {
	all.mu.Lock()
	defer all.mu.Unlock()
	if rec := all.byName[name]; rec.uid == uid {
		return rec
	}
	return record{uid: uid}
}

// replaced reports whether the PayUToken that was known by a name was another one.
func (all *records) replaced(name types.NamespacedName, uid types.UID) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	rec, known := all.byName[name]
	return known && rec.uid != uid
}

func (all *records) put(name types.NamespacedName, rec record) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byName[name] = rec
}

// sawStatus reports whether a PayUToken is as this process' last write of its status left it.
func (all *records) sawStatus(obj *v1alpha1.PayUToken) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	name := client.ObjectKeyFromObject(obj)
	rec, known := all.byName[name]
	if !known || rec.statusVersion != obj.ResourceVersion {
		return false
	}
	rec.status = nil
	all.byName[name] = rec
	return true
}

// latest returns a PayUToken from the cache with the status that this process has written meanwhile, if it has: it would be
// written once more.
func (all *records) latest(obj *v1alpha1.PayUToken) *v1alpha1.PayUToken {
	rec := all.of(client.ObjectKeyFromObject(obj), obj.UID)
	if rec.status == nil {
		return obj
	}
	if order, err := resourceversion.CompareResourceVersion(obj.ResourceVersion, rec.statusVersion); err != nil || order >= 0 {
		return obj
	}
	latest := obj.DeepCopy()
	latest.Status = *rec.status
	return latest
}

func (all *records) forget(name types.NamespacedName) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byName, name)
}
