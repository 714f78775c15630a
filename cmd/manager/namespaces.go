package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/payu-token-operator/payu-token-operator/internal/controller"
)

// namespaceInterval is how often each namespace of --watch-namespaces is checked.
const namespaceInterval = 30 * time.Second

// newNamespaces returns the cache of the namespaces and PayUTokens that the flags select.
func newNamespaces(config *rest.Config, o options) (*controller.Namespaces, error) {
	reviews, err := authorizationclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	selector, _ := labels.Parse(o.watchLabelSelector) // validated
	check := namespaceCheck{reviews: reviews.SelfSubjectAccessReviews(), namespaces: core.Namespaces()}
	return &controller.Namespaces{Names: slices.Compact(slices.Sorted(slices.Values(o.watchNamespaces))), Tokens: selector, Check: check.problem, Interval: namespaceInterval}, nil
}

// namespaceCheck checks whether the operator can work in a namespace.
type namespaceCheck struct {
	reviews    authorizationclient.SelfSubjectAccessReviewInterface
	namespaces corev1client.NamespaceInterface
}

// problem returns what is missing in a namespace. It returns nil if nothing is missing or the API server does not respond.
func (c namespaceCheck) problem(ctx context.Context, namespace string) error {
	if c.isGone(ctx, namespace) {
		return fmt.Errorf("namespace %q does not exist: create it, or remove it from --watch-namespaces", namespace)
	}
	err := checkAccess(ctx, c.reviews, workIn(namespace, "grant the rules of config/rbac/role.yaml there, or remove it from --watch-namespaces"))
	if lacks := (*lacking)(nil); errors.As(err, &lacks) {
		return lacks
	}
	return nil
}

// isGone reports whether a namespace certainly does not exist. The shipped roles do not allow to read that, but a Role is deleted
// together with its namespace, and then the permissions are missing.
func (c namespaceCheck) isGone(ctx context.Context, namespace string) bool {
	look := access{resource: "namespaces", namespace: namespace, name: namespace, verbs: []string{"get"}}
	if missing, err := look.missing(ctx, c.reviews); err != nil || len(missing) > 0 {
		return false
	}
	_, err := c.namespaces.Get(ctx, namespace, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}
