package install_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/payu-token-operator/payu-token-operator/internal/testcluster"
)

// TestOnAnAPIServer installs the operator for one namespace, and then for all.
func TestOnAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	c := must(testcluster.Start())(t)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"shop", "elsewhere"} {
		check(t, c.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	for _, overlay := range []string{"namespaced", "default"} {
		t.Run(overlay, func(t *testing.T) {
			expectApplied(t, c, "config/"+overlay)
			expectPodAdmitted(t, c, "config/"+overlay)
			expectRights(t, c, overlay)
		})
	}
}

// expectApplied has the API server take all objects, strictly, and then see no difference to what it has: a GitOps
// tool finds nothing to do.
func expectApplied(t *testing.T, c *testcluster.Cluster, folder string) {
	t.Helper()
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(root, folder)
	}
	out := must(c.Kubectl(t.Context(), "apply", "--server-side", "--validate=strict", "-k", folder))(t)
	if got, want := strings.Count(out, " serverside-applied\n"), len(parse(t, must(c.Kubectl(t.Context(), "kustomize", folder))(t))); got != want {
		t.Errorf("of %d objects the API server took %d:\n%s", want, got, out)
	}
	if out, err := c.Kubectl(t.Context(), "diff", "--server-side", "-k", folder); err != nil {
		t.Errorf("what was applied differs from what is there: %v\n%s", err, out)
	}
}

// expectPodAdmitted makes a pod as the Deployment's ReplicaSet would, in a namespace of the strictest Pod Security, and
// one that Pod Security is there to refuse.
func expectPodAdmitted(t *testing.T, c *testcluster.Cluster, folder string) {
	t.Helper()
	objects := kustomize(t, folder)
	template, _, err := unstructured.NestedMap(find(t, objects, "Deployment", operator).Object, "spec", "template")
	check(t, err)
	var pod corev1.Pod
	check(t, runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod))
	pod.Namespace, pod.GenerateName = operator, "pod-"

	root := pod.DeepCopy()
	root.Spec.SecurityContext.RunAsNonRoot = nil
	if err := c.Client.Create(t.Context(), root); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		t.Errorf("the namespace %s does not enforce restricted Pod Security: %v", operator, err)
	}
	check(t, c.Client.Create(t.Context(), &pod))
}

// watched is what the operator may do in a namespace that it works in, elsewhere what it may do in any other: it asks who
// scrapes the metrics. own is what it may do in its own: there is the Lease, and the event that tells of a new leader.
var (
	elsewhere = []string{"create subjectaccessreviews.authorization.k8s.io", "create tokenreviews.authentication.k8s.io"}
	watched   = append([]string{
		"create secrets", "delete secrets", "get secrets", "list secrets", "patch secrets", "watch secrets",
		"get payutokens.auth.payu.in", "list payutokens.auth.payu.in", "watch payutokens.auth.payu.in", "patch payutokens/status.auth.payu.in",
		"create events.events.k8s.io",
	}, elsewhere...)
	own = []string{"get leases.coordination.k8s.io", "create leases.coordination.k8s.io", "update leases.coordination.k8s.io", "create events", "patch events"}
)

// rights are all that the operator may do, by overlay and namespace.
var rights = map[string]map[string][]string{
	"namespaced": {"shop": watched, "elsewhere": elsewhere, operator: slices.Concat(elsewhere, own)},
	"default":    {"shop": watched, "elsewhere": watched, operator: slices.Concat(watched, own)},
}

// expectRights wants the operator to have these rights and no other. What everybody may do does not count.
func expectRights(t *testing.T, c *testcluster.Cluster, overlay string) {
	t.Helper()
	user := must(c.AddServiceAccount(operator, operator))(t)
	anybody := must(c.AddServiceAccount("elsewhere", "anybody"))(t)
	// The API server takes a moment to know new roles.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for namespace, want := range rights[overlay] {
		var got []string
		wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
			common := rightsOf(t, anybody, namespace)
			got = slices.DeleteFunc(rightsOf(t, user, namespace), func(right string) bool { return slices.Contains(common, right) })
			return slices.Equal(got, slices.Sorted(slices.Values(want))), nil
		})
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
			t.Errorf("what the operator may do in the namespace %s (-ought to +may):\n%s", namespace, diff)
		}
	}
}

// rightsOf are what the API server lets a user do in a namespace, or beyond namespaces.
func rightsOf(t *testing.T, user *testcluster.User, namespace string) []string {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	check(t, user.Client.Create(t.Context(), review))
	if review.Status.Incomplete {
		t.Fatalf("the API server does not tell all rights: %s", review.Status.EvaluationError)
	}
	var all []string
	for _, rule := range review.Status.ResourceRules {
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					all = append(all, strings.TrimSuffix(verb+" "+resource+"."+group, "."))
				}
			}
		}
	}
	for _, rule := range review.Status.NonResourceRules {
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				all = append(all, verb+" "+path)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
