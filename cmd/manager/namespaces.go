package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/payu-token-operator/payu-token-operator/internal/controller"
)

// namespaceInterval is how long a namespace that has come back may have to wait, and rights that are gone may go unseen.
const namespaceInterval = 30 * time.Second

// newNamespaces returns the cache of what the flags have the operator watch.
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
	return &controller.Namespaces{Names: o.watchNamespaces, Tokens: selector, Check: check.problem, Interval: namespaceInterval}, nil
}

// namespaceCheck finds out whether the operator can work in a namespace.
type namespaceCheck struct {
	reviews    authorizationclient.SelfSubjectAccessReviewInterface
	namespaces corev1client.NamespaceInterface
}

// problem returns what is wrong with a namespace, nil if nothing is or the API server does not say.
func (c namespaceCheck) problem(ctx context.Context, namespace string) error {
	if c.isGone(ctx, namespace) {
		return fmt.Errorf("there is no namespace %q: create it, or remove it from --watch-namespaces", namespace)
	}
	err := checkAccess(ctx, c.reviews, workIn(namespace, "grant the rules of config/rbac/role.yaml there, or remove it from --watch-namespaces"))
	if lacks := (*lacking)(nil); errors.As(err, &lacks) {
		return lacks
	}
	return nil
}

// isGone reports whether a namespace certainly does not exist. The shipped roles do not let the operator see that, but where
// Roles grant its rights they are gone together with the namespace.
func (c namespaceCheck) isGone(ctx context.Context, namespace string) bool {
	look := access{resource: "namespaces", namespace: namespace, name: namespace, verbs: []string{"get"}}
	if missing, err := look.missing(ctx, c.reviews); err != nil || len(missing) > 0 {
		return false
	}
	_, err := c.namespaces.Get(ctx, namespace, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}
