package manifests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestPromptDeliveryOnAnAPIServer installs config/prompt-delivery in each way that its comments name, and tries what the operator may do
// to pods. In an overlay with a prefix, kustomize gives the policy and its binding a namespace, since it does not know their scope: the
// API server ignores it.
func TestPromptDeliveryOnAnAPIServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a control plane")
	}
	c := lab.RunCluster(t)
	for _, name := range []string{"shop", "elsewhere"} {
		lab.Check(t, c.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		createPod(t, c, name)
	}
	for _, test := range []struct {
		name, namespace, account string
		overlay                  map[string]string // kustomizations, by their folders in config/
		inAll                    bool
	}{
		{"single namespaces", operator, operator, map[string]string{
			"mine":      "resources: [../namespaced, shop]\ncomponents: [../prompt-delivery/policy]\n",
			"mine/shop": "namespace: shop\nresources: [../../prompt-delivery/watched]\n",
		}, false},
		{"all namespaces", operator, operator, map[string]string{
			"mine": "resources: [../default]\ncomponents: [../prompt-delivery]\n",
		}, true},
		{"another namespace and a prefix", "payments-platform", "acme-" + operator, map[string]string{
			"mine": "namespace: payments-platform\nnamePrefix: acme-\nresources: [../default]\ncomponents: [../prompt-delivery]\n",
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			lab.Check(t, client.IgnoreAlreadyExists(c.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: test.namespace}})))
			folder := overlay(t, test.overlay)
			expectApplied(t, c, folder)
			user := lab.Must(c.AddServiceAccount(test.namespace, test.account))(t)
			expectFenced(t, user, "shop")
			if test.inAll {
				expectFenced(t, user, "elsewhere")
			} else if err := annotate(t, user, "elsewhere"); !apierrors.IsForbidden(err) {
				t.Errorf("it may patch pods of a namespace that it does not watch: %v", err)
			}
			expectHarmless(t, c, user, folder)
		})
	}
}

// overlay writes kustomizations into a copy of config/, and returns the folder of the one that is named mine.
func overlay(t *testing.T, kustomizations map[string]string) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	lab.Check(t, os.CopyFS(config, os.DirFS(filepath.Join(root, "config"))))
	for folder, content := range kustomizations {
		lab.Check(t, os.MkdirAll(filepath.Join(config, folder), 0o700))
		lab.Check(t, os.WriteFile(filepath.Join(config, folder, "kustomization.yaml"), []byte(content), 0o600))
	}
	return filepath.Join(config, "mine")
}

// TestNamesFollow has a kustomization of a user's own generate the credentials, and rename all that is in it.
func TestNamesFollow(t *testing.T) {
	t.Parallel()
	folder := overlay(t, map[string]string{"mine": "namePrefix: acme-\ncomponents: [../names]\nresources: [links.yaml]\n" +
		"secretGenerator: [{name: payu-credentials, literals: [client_id=a, client_secret=b]}]\n"})
	lab.Check(t, os.WriteFile(filepath.Join(folder, "links.yaml"), []byte(`
apiVersion: auth.payu.in/v1alpha1
kind: PayUToken
metadata: {name: links}
spec: {environment: Test, credentialsSecretRef: {name: payu-credentials}, scopes: [a], target: {name: links-token}}
`), 0o600))
	objects := lab.Kustomize(t, folder)
	token := find(t, objects, "PayUToken", "acme-links", "")
	name, _, _ := unstructured.NestedString(token.Object, "spec", "credentialsSecretRef", "name")
	if secrets := ofKind(objects, "Secret"); len(secrets) != 1 || secrets[0].GetName() != name || name == "acme-payu-credentials" {
		t.Errorf("the PayUToken names %q, and the Secrets are %v", name, secrets)
	}
}

// TestAlertsSeeARenamedService: what a prefix makes of the Service's name is not the job that the alerts select.
func TestAlertsSeeARenamedService(t *testing.T) {
	t.Parallel()
	monitor := find(t, lab.Kustomize(t, overlay(t, map[string]string{"mine": "namePrefix: acme-\nresources: [../prometheus]\n"})), "ServiceMonitor", "acme-"+operator, operator)
	endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	relabelings := fmt.Sprint(endpoints[0].(map[string]any)["relabelings"])
	if rules := string(lab.Must(os.ReadFile("../../config/prometheus/prometheusrule.yaml"))(t)); !strings.Contains(relabelings, "replacement:"+operator+"-metrics targetLabel:job") ||
		!strings.Contains(rules, `job="`+operator+`-metrics"`) {
		t.Errorf("the job that the alerts select is not the one that the ServiceMonitor sets: %s", relabelings)
	}
}

// annotate sets the annotation of the pod of a namespace, as the operator does.
func annotate(t *testing.T, user *lab.User, namespace string) error {
	t.Helper()
	return patch(t, user, namespace, fmt.Sprintf(`{"metadata": {"annotations": {"auth.payu.in/token-written-at": %q}}}`, time.Now().UTC().Format(time.RFC3339Nano)))
}

// label sets a label beside it, in a dry run: who manages more of a pod than the annotation is refused that, too.
func label(t *testing.T, user *lab.User, namespace string) error {
	t.Helper()
	return patch(t, user, namespace, `{"metadata": {"labels": {"other": "set"}, "annotations": {"auth.payu.in/token-written-at": "now"}}}`, client.DryRunAll)
}

func patch(t *testing.T, user *lab.User, namespace, content string, options ...client.PatchOption) error {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "app"}}
	return user.Client.Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, []byte(content)), append(options, client.FieldOwner(operator))...)
}

// expectFenced wants an account to be able to set the one annotation of a pod, and a policy to keep it from all else.
func expectFenced(t *testing.T, user *lab.User, namespace string) {
	t.Helper()
	await(t, "the policy", func() error {
		if err := label(t, user, namespace); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "may not change the labels") {
			return fmt.Errorf("a label is not refused by the policy: %w", err)
		}
		return nil
	})
	lab.Check(t, annotate(t, user, namespace))
}

// expectHarmless removes the ConfigMap that names the account: the fence is gone, and nobody else is kept from changing pods.
func expectHarmless(t *testing.T, c *lab.Cluster, user *lab.User, folder string) {
	t.Helper()
	objects := lab.Kustomize(t, folder)
	var account client.Object
	for _, object := range objects {
		if object.GetKind() == "ConfigMap" {
			account = object
		}
	}
	lab.Check(t, c.Client.Delete(t.Context(), account))
	await(t, "the fence to be gone", func() error { return label(t, user, "shop") })
	lab.Check(t, label(t, c.User, "shop"))
	lab.Check(t, annotate(t, c.User, "shop"))
}
