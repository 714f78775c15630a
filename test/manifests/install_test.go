package manifests_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestKustomizeOnAnAPIServer installs the operator for one namespace, and then for all.
func TestKustomizeOnAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	c := lab.RunCluster(t)
	for _, name := range []string{"shop", "elsewhere"} {
		lab.Check(t, c.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	for _, overlay := range []string{"namespaced", "default"} {
		t.Run(overlay, func(t *testing.T) {
			expectApplied(t, c, "config/"+overlay)
			expectPodAdmitted(t, c, "config/"+overlay)
			expectExactRights(t, c, overlay)
		})
	}
}

// expectApplied has the API server take all objects, strictly, and then see no difference to what it has: a GitOps
// tool finds nothing to do.
func expectApplied(t *testing.T, c *lab.Cluster, folder string) {
	t.Helper()
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(root, folder)
	}
	out := lab.Must(c.Kubectl(t.Context(), "apply", "--server-side", "--validate=strict", "-k", folder))(t)
	if got, want := strings.Count(out, " serverside-applied\n"), len(lab.Objects(t, lab.Must(c.Kubectl(t.Context(), "kustomize", folder))(t))); got != want {
		t.Errorf("of %d objects the API server took %d:\n%s", want, got, out)
	}
	if out, err := c.Kubectl(t.Context(), "diff", "--server-side", "-k", folder); err != nil {
		t.Errorf("what was applied differs from what is there: %v\n%s", err, out)
	}
}

// expectPodAdmitted makes a pod as the Deployment's ReplicaSet would, in a namespace of the strictest Pod Security, and
// one that Pod Security is there to refuse.
func expectPodAdmitted(t *testing.T, c *lab.Cluster, folder string) {
	t.Helper()
	objects := lab.Kustomize(t, folder)
	pod := podOf(t, find(t, objects, "Deployment", operator, operator))
	root := pod.DeepCopy()
	root.Spec.SecurityContext.RunAsNonRoot = nil
	if err := c.Client.Create(t.Context(), root); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		t.Errorf("the namespace %s does not enforce restricted Pod Security: %v", operator, err)
	}
	lab.Check(t, c.Client.Create(t.Context(), pod))
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

// expectExactRights wants the operator to have these rights and no other. What everybody may do does not count.
func expectExactRights(t *testing.T, c *lab.Cluster, overlay string) {
	t.Helper()
	user := lab.Must(c.AddServiceAccount(operator, operator))(t)
	anybody := lab.Must(c.AddServiceAccount("elsewhere", "anybody"))(t)
	for namespace, want := range rights[overlay] {
		await(t, "the operator's rights in the namespace "+namespace, func() error {
			common := rightsOf(t, anybody, namespace)
			got := slices.DeleteFunc(rightsOf(t, user, namespace), func(right string) bool { return slices.Contains(common, right) })
			diff := cmp.Diff(slices.Sorted(slices.Values(want)), got)
			return lab.Unless(diff == "", "what it may do (-ought to +may):\n%s", diff)
		})
	}
}

// rightsOf are what the API server lets a user do in a namespace, or beyond namespaces.
func rightsOf(t *testing.T, user *lab.User, namespace string) []string {
	t.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	lab.Check(t, user.Client.Create(t.Context(), review))
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
