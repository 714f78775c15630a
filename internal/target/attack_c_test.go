package target

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestAPayUTokenOfAnotherGroupIsAForeignOwner: a kind is one of its API group, and another group may have a PayUToken of the same
// name.
func TestAPayUTokenOfAnotherGroupIsAForeignOwner(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "payments.example.com/v1", Kind: "PayUToken", Name: "a", UID: "theirs", Controller: ptr.To(true)},
	}}}
	if owner := Owner(secret, []Claim{claim("a", 0)}); owner != "" {
		t.Errorf("the Secret of another controller is that of PayUToken %q", owner)
	}
}
