package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// shippedRules are those of the operator's own ClusterRole.
func shippedRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	return rulesOf(t, "role.yaml", "ClusterRole", "payu-token-operator")
}

func leaderElectionRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	return rulesOf(t, "leader_election.yaml", "Role", "payu-token-operator-leader-election")
}

func metricsRules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	return rulesOf(t, "metrics.yaml", "ClusterRole", "payu-token-operator-metrics-auth")
}

// rulesOf returns the rules of a role in a file of config/rbac.
func rulesOf(t *testing.T, file, kind, name string) []rbacv1.PolicyRule {
	t.Helper()
	f := lab.Must(os.Open(filepath.Join("..", "..", "config", "rbac", file)))(t)
	defer f.Close()
	documents := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var role rbacv1.ClusterRole // a Role has the same fields
		if err := documents.Decode(&role); err != nil {
			t.Fatalf("%s %s in %s: %v", kind, name, file, err)
		}
		if role.Kind == kind && role.Name == name {
			return role.Rules
		}
	}
}

// grant gives rules to a user in the shop's namespace, and waits until they hold.
func (s *shop) grant(user *lab.User, name string, rules []rbacv1.PolicyRule) {
	s.Helper()
	object := metav1.ObjectMeta{Namespace: s.Namespace, GenerateName: "granted-"}
	role := &rbacv1.Role{ObjectMeta: object, Rules: rules}
	lab.Check(s.T, cluster.Client.Create(s.Context(), role))
	lab.Check(s.T, cluster.Client.Create(s.Context(), &rbacv1.RoleBinding{
		ObjectMeta: object,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}},
	}))
	awaitPermission(s.T, user, s.Namespace, rules[0])
}

// awaitPermission waits until the API server has taken note of a rule that a user was given.
func awaitPermission(t *testing.T, user *lab.User, namespace string, rule rbacv1.PolicyRule) {
	t.Helper()
	resource, subresource, _ := strings.Cut(rule.Resources[0], "/")
	lab.AwaitTrue(t, "the user may "+rule.Verbs[0]+" "+rule.Resources[0], func() bool {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: resource, Subresource: subresource},
		}}
		lab.Check(t, user.Client.Create(t.Context(), review))
		return review.Status.Allowed
	})
}

// newUser returns somebody whom the API server knows and who may do nothing.
func newUser(t *testing.T, name string) *lab.User {
	t.Helper()
	return lab.Must(cluster.AddUser(name))(t)
}

// newServiceAccount returns the operator's ServiceAccount of a namespace, and its name to RBAC and in the audit log.
func newServiceAccount(t *testing.T, namespace string) (user *lab.User, name string) {
	t.Helper()
	user = lab.Must(cluster.AddServiceAccount(namespace, lab.OperatorName))(t)
	return user, "system:serviceaccount:" + namespace + ":" + lab.OperatorName
}
