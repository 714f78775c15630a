package target

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Claim is a PayUToken that names a Secret as its target.
type Claim struct {
	Name    string
	UID     types.UID
	Created time.Time
}

// Owner returns the name of the PayUToken that a Secret belongs to: the one that it names or, if there is no Secret yet,
// the oldest claimant. It is empty if the Secret names none, or belongs to an object of another kind. The PayUToken may be no
// claimant, and may not exist.
func Owner(secret *corev1.Secret, claims []Claim) string {
	if secret == nil {
		return oldest(claims)
	}
	owner := metav1.GetControllerOf(secret)
	if owner != nil && !isPayUToken(*owner) {
		return ""
	}
	uids := []types.UID{types.UID(secret.Labels[v1alpha1.LabelTokenUID])}
	if owner != nil {
		uids = []types.UID{owner.UID, uids[0]}
	}
	for _, uid := range uids {
		if i := slices.IndexFunc(claims, func(c Claim) bool { return c.UID == uid }); i >= 0 {
			return claims[i].Name
		}
	}
	if owner != nil {
		return owner.Name
	}
	return secret.Annotations[v1alpha1.AnnotationTokenName]
}

// isPayUToken reports whether a reference is to a PayUToken, of whatever version.
func isPayUToken(owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == v1alpha1.GroupVersion.Group && owner.Kind == "PayUToken"
}

func oldest(claims []Claim) string {
	if len(claims) == 0 {
		return ""
	}
	return slices.MinFunc(claims, func(a, b Claim) int {
		if order := a.Created.Compare(b.Created); order != 0 {
			return order
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	}).Name
}
