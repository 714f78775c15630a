package controller

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// references knows which PayUTokens name a Secret, as target or as credentials. An index of the cache would, too, but takes
// a fifth of all the memory for a PayUToken (docs/performance.md).
type references struct {
	mu sync.Mutex
	to map[types.NamespacedName][]string // the names of PayUTokens, by the Secret's
	// targets are the PayUTokens that claim a Secret as their target, by its name.
	targets map[types.NamespacedName][]target.Claim
}

func newReferences() *references {
	return &references{to: map[types.NamespacedName][]string{}, targets: map[types.NamespacedName][]target.Claim{}}
}

// replace takes up what a PayUToken names now, instead of what it named before. Either is nil if there is no such PayUToken.
func (r *references) replace(was, is *v1alpha1.PayUToken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range secretsOf(was) {
		rest := slices.DeleteFunc(r.to[secret], func(name string) bool { return name == was.Name })
		if len(rest) == 0 {
			delete(r.to, secret)
		} else {
			r.to[secret] = rest
		}
	}
	for _, secret := range secretsOf(is) {
		r.to[secret] = append(r.to[secret], is.Name)
	}
	r.claim(was, is)
}

// claim takes up what a PayUToken claims now. One that is being deleted claims nothing.
func (r *references) claim(was, is *v1alpha1.PayUToken) {
	if was != nil {
		key := targetKey(was)
		rest := slices.DeleteFunc(r.targets[key], func(c target.Claim) bool { return c.Name == was.Name })
		if r.targets[key] = rest; len(rest) == 0 {
			delete(r.targets, key)
		}
	}
	if is != nil && is.DeletionTimestamp.IsZero() {
		r.targets[targetKey(is)] = append(r.targets[targetKey(is)], claimOf(is))
	}
}

// claims returns who claims a Secret as target.
func (r *references) claims(secret types.NamespacedName) []target.Claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.targets[secret])
}

func claimOf(obj *v1alpha1.PayUToken) target.Claim {
	return target.Claim{Name: obj.Name, UID: obj.UID, Created: obj.CreationTimestamp.Time}
}

func targetKey(obj *v1alpha1.PayUToken) types.NamespacedName {
	return types.NamespacedName{Namespace: obj.Namespace, Name: obj.TargetName()}
}

// tokensOf returns the names of the PayUTokens that name a Secret, in no order. They are in the Secret's namespace.
func (r *references) tokensOf(secret types.NamespacedName) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.to[secret])
}

// secretsOf returns the Secrets that a PayUToken names.
func secretsOf(obj *v1alpha1.PayUToken) []types.NamespacedName {
	if obj == nil {
		return nil
	}
	return []types.NamespacedName{targetKey(obj), credentialsKey(obj)}
}
