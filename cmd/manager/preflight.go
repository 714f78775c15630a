package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// access is a permission that the operator cannot work without.
type access struct {
	group, resource, subresource string
	namespace                    string // empty: all
	name                         string // empty: any
	verbs                        []string
	remedy                       string
}

// needs returns the access without which the operator does not start. Access to the namespaces of --watch-namespaces is checked while
// it runs: see namespaceCheck.
func needs(o options) []access {
	var list []access
	if len(o.watchNamespaces) == 0 {
		list = workIn("", "apply config/rbac, or set --watch-namespaces to the namespaces that have Roles")
	}
	if o.leaderElect {
		list = append(list, access{group: "coordination.k8s.io", resource: "leases", namespace: o.leaderElectionNamespace, name: o.leaderElectionID,
			remedy: "apply config/rbac/leader_election.yaml there, or set another namespace with --leader-election-namespace",
			verbs:  []string{"get", "create", "update"}})
	}
	return list
}

// workIn returns the access that the operator needs in a namespace. An empty name means all namespaces.
func workIn(namespace, remedy string) []access {
	return []access{
		{group: v1alpha1.GroupVersion.Group, resource: "payutokens", namespace: namespace, remedy: remedy,
			verbs: []string{"get", "list", "watch"}},
		{group: v1alpha1.GroupVersion.Group, resource: "payutokens", subresource: "status", namespace: namespace, remedy: remedy,
			verbs: []string{"patch"}},
		{resource: "secrets", namespace: namespace, remedy: remedy,
			verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
	}
}

// preflight checks, before anything starts, that the API server responds, has the CRD, and accepts the operator's credentials and
// permissions. Its error says in one line what is missing and where.
func preflight(ctx context.Context, config *rest.Config, o options) error {
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("API server %s: %w", config.Host, err)
	}
	_, err = server.ServerResourcesForGroupVersionWithContext(ctx, v1alpha1.GroupVersion.String())
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("API server %s does not know PayUTokens (%s): install the CRD, config/crd/bases/auth.payu.in_payutokens.yaml",
			config.Host, v1alpha1.GroupVersion)
	}
	if apierrors.IsUnauthorized(err) {
		return fmt.Errorf("API server %s does not accept the operator's credentials: correct the kubeconfig", config.Host)
	}
	if err != nil {
		return fmt.Errorf("API server %s does not respond: %w", config.Host, err)
	}
	reviews, err := authorizationclient.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("API server %s: %w", config.Host, err)
	}
	return checkAccess(ctx, reviews.SelfSubjectAccessReviews(), needs(o))
}

// checkAddresses checks that the addresses to serve on are free. The manager would report it late, among other messages.
func checkAddresses(ctx context.Context, o options) error {
	if err := checkAddress(ctx, o.pprofBindAddress); err != nil {
		return fmt.Errorf("--pprof-bind-address: %w", err)
	}
	if err := checkAddress(ctx, o.metricsBindAddress); err != nil {
		return fmt.Errorf("--metrics-bind-address: %w", err)
	}
	if err := checkAddress(ctx, o.healthProbeBindAddress); err != nil {
		return fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	return nil
}

func checkAddress(ctx context.Context, address string) error {
	if address == "0" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

func checkAccess(ctx context.Context, reviews authorizationclient.SelfSubjectAccessReviewInterface, list []access) error {
	for _, a := range list {
		missing, err := a.missing(ctx, reviews)
		if err != nil {
			return fmt.Errorf("checking the operator's permissions: %w", err)
		}
		if len(missing) > 0 {
			return &lacking{access: a, verbs: missing}
		}
	}
	return nil
}

// lacking is a permission that is missing.
type lacking struct {
	access
	verbs []string
}

// Error implements error.
func (l *lacking) Error() string {
	return fmt.Sprintf("no permission to %s %s %s: %s", strings.Join(l.verbs, ", "), l.access, where(l.namespace), l.remedy)
}

// missing returns the verbs that the operator is not allowed to use.
func (a access) missing(ctx context.Context, reviews authorizationclient.SelfSubjectAccessReviewInterface) ([]string, error) {
	var missing []string
	for _, verb := range a.verbs {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: a.namespace, Verb: verb, Group: a.group, Resource: a.resource, Subresource: a.subresource, Name: a.name,
			}}}
		answer, err := reviews.Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		if !answer.Status.Allowed {
			missing = append(missing, verb)
		}
	}
	return missing, nil
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
