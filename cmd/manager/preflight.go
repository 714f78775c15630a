package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// access is something that the operator cannot work without.
type access struct {
	group, resource, subresource string
	verbs                        []string
}

var needed = []access{
	{v1alpha1.GroupVersion.Group, "payutokens", "", []string{"list", "watch"}},
	{v1alpha1.GroupVersion.Group, "payutokens", "status", []string{"patch"}},
	{"", "secrets", "", []string{"get", "list", "watch", "create", "patch", "delete"}},
}

// preflight finds out, before anything starts, whether the cluster answers, has the CRD, and lets the operator do
// its work. Its error says in one line what is missing and where.
func preflight(ctx context.Context, config *rest.Config, o options) error {
	config = rest.CopyConfig(config)
	config.Timeout = 15 * time.Second
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("API server %s: %w", config.Host, err)
	}
	_, err = server.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("API server %s does not know PayUTokens (%s): install the CRD, config/crd/bases/auth.payu.in_payutokens.yaml",
			config.Host, v1alpha1.GroupVersion)
	}
	if err != nil {
		return fmt.Errorf("API server %s does not answer: %w", config.Host, err)
	}
	reviews, err := authorizationclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("API server %s: %w", config.Host, err)
	}
	return checkAccess(ctx, reviews.SelfSubjectAccessReviews(), o)
}

func checkAccess(ctx context.Context, reviews authorizationclient.SelfSubjectAccessReviewInterface, o options) error {
	namespaces := o.watchNamespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, namespace := range namespaces {
		for _, a := range needed {
			if err := a.check(ctx, reviews, namespace); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a access) check(ctx context.Context, reviews authorizationclient.SelfSubjectAccessReviewInterface, namespace string) error {
	var missing []string
	for _, verb := range a.verbs {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: a.group, Resource: a.resource, Subresource: a.subresource,
			}}}
		answer, err := reviews.Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("asking the API server for the operator's permissions: %w", err)
		}
		if !answer.Status.Allowed {
			missing = append(missing, verb)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("no permission to %s %s %s: apply config/rbac, or name the namespaces that Roles exist for with --watch-namespaces",
		strings.Join(missing, ", "), a, where(namespace))
}

func (a access) String() string {
	name := a.resource
	if a.subresource != "" {
		name += "/" + a.subresource
	}
	if a.group != "" {
		name += "." + a.group
	}
	return name
}

func where(namespace string) string {
	if namespace == "" {
		return "in all namespaces"
	}
	return fmt.Sprintf("in namespace %q", namespace)
}
