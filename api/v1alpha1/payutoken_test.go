package v1alpha1_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// cluster is a real API server: only that one runs the rules of the CRD.
var cluster *lab.Cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if cluster, err = lab.StartCluster(); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	return m.Run(), nil
}

// manifest is a PayUToken that says only what it must.
const manifest = `
apiVersion: auth.payu.in/v1alpha1
kind: PayUToken
metadata:
  name: payment-links
spec:
  environment: Test
  credentialsSecretRef:
    name: payu-credentials
  scopes: [create_payment_links, read_payment_links]
`

// edits are fields of a manifest and their values in YAML. The value "" removes a field.
type edits map[string]string

func TestRefused(t *testing.T) {
	const (
		scopeHelp  = "write each scope as an item of its own, for example [create_payment_links, read_payment_links]"
		nameHelp   = "begins and ends with a letter or digit, for example payu-credentials"
		targetHelp = "spec.target.name: Invalid value: the target Secret must not be the credentials Secret: " +
			"set spec.target.name"
		typeHelp       = "use Opaque, or a type of your own such as example.com/payu-token"
		labelHelp      = "labels auth.payu.in/… and app.kubernetes.io/managed-by are the operator's own: use other names"
		annotationHelp = "annotations auth.payu.in/… are the operator's own: use other names"

		credentials = "spec.credentialsSecretRef"
		template    = "spec.target.template"
	)
	for name, test := range map[string]struct {
		changes edits
		want    string // what the user reads
	}{
		"no spec":                  {edits{"spec": ""}, "spec: Required value"},
		"no scopes":                {edits{"spec.scopes": ""}, "spec.scopes: Required value"},
		"an empty list of scopes":  {edits{"spec.scopes": "[]"}, "spec.scopes in body should have at least 1 items"},
		"17 scopes":                {edits{"spec.scopes": scopes(17)}, "spec.scopes: Too many: 17: must have at most 16 items"},
		"a scope twice":            {edits{"spec.scopes": "[a, b, a]"}, "spec.scopes: Invalid value: a scope is repeated: write each one once"},
		"the last of 16 twice":     {edits{"spec.scopes": strings.Replace(scopes(16), "s15", "s16", 1)}, "a scope is repeated: write each one once"},
		"an empty scope":           {edits{"spec.scopes": "['']"}, "spec.scopes[0] in body should be at least 1 chars long"},
		"a very long scope":        {edits{"spec.scopes": "[" + strings.Repeat("a", 129) + "]"}, "may not be more than 128 bytes"},
		"two scopes in one string": {edits{"spec.scopes": "[a b]"}, scopeHelp},
		"scopes as a string":       {edits{"spec.scopes": "a b"}, "spec.scopes in body must be of type array"},

		"no environment":                     {edits{"spec.environment": ""}, "spec.environment: Required value"},
		"an environment by its PayU name":    {edits{"spec.environment": "UAT"}, `supported values: "Test", "Production"`},
		"an environment in lower case":       {edits{"spec.environment": "test"}, `supported values: "Test", "Production"`},
		"renewalPercent 0":                   {edits{"spec.renewalPercent": "0"}, "should be greater than or equal to 10"},
		"renewalPercent 9":                   {edits{"spec.renewalPercent": "9"}, "should be greater than or equal to 10"},
		"renewalPercent 91":                  {edits{"spec.renewalPercent": "91"}, "should be less than or equal to 90"},
		"renewalPercent 67.5":                {edits{"spec.renewalPercent": "67.5"}, "must be of type int32"},
		"renewalPercent with a percent sign": {edits{"spec.renewalPercent": "67%"}, "must be of type integer"},

		"no credentials":                  {edits{credentials: ""}, "spec.credentialsSecretRef: Required value"},
		"credentials without a name":      {edits{credentials + ".name": ""}, "spec.credentialsSecretRef.name: Required value"},
		"credentials of an empty name":    {edits{credentials + ".name": "''"}, nameHelp},
		"credentials named in upper case": {edits{credentials + ".name": "PayU"}, nameHelp},
		"credentials' key with a space":   {edits{credentials + ".clientIDKey": "client id"}, "for example client_id"},

		"a target named with a slash":                {edits{"spec.target.name": "shop/token"}, nameHelp},
		"a target that is the credentials":           {edits{"spec.target.name": "payu-credentials"}, targetHelp},
		"no target, and credentials of its default":  {edits{credentials + ".name": "payment-links"}, targetHelp},
		"a nameless target, and credentials of that": {edits{credentials + ".name": "payment-links", "spec.target": "{}"}, targetHelp},
		"an unknown deletionPolicy":                  {edits{"spec.target.deletionPolicy": "Keep"}, `supported values: "Delete", "Retain"`},

		"type kubernetes.io/tls":             {edits{template + ".type": "kubernetes.io/tls"}, typeHelp},
		"type service-account-token":         {edits{template + ".type": "kubernetes.io/service-account-token"}, typeHelp},
		"type bootstrap.kubernetes.io/token": {edits{template + ".type": "bootstrap.kubernetes.io/token"}, typeHelp},
		"an empty type":                      {edits{template + ".type": "''"}, "should be at least 1 chars long"},
		"a template without keys":            {edits{template + ".data": "{}"}, "should have at least 1 properties"},
		"a template key with a slash":        {edits{template + ".data": "{a/b: x}"}, "for example token.env"},
		"a template value that is no string": {edits{template + ".data": "{a: 1}"}, "must be of type string"},
		"the label that marks our Secrets":   {edits{template + ".metadata.labels": "{app.kubernetes.io/managed-by: me}"}, labelHelp},
		"a label auth.payu.in/…":             {edits{template + ".metadata.labels": "{auth.payu.in/token-uid: x}"}, labelHelp},
		"an annotation auth.payu.in/…":       {edits{template + ".metadata.annotations": "{auth.payu.in/mine: x}"}, annotationHelp},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, "creating", create(t, newNamespace(t), test.changes), test.want)
			wantRefusal(t, "updating", update(t, test.changes), test.want)
		})
	}
}

func TestAccepted(t *testing.T) {
	for name, changes := range map[string]edits{
		"only what is required": {},
		"one scope":             {"spec.scopes": "[a]"},
		"three scopes":          {"spec.scopes": "[a, b, c]"},
		"16 scopes":             {"spec.scopes": scopes(16)},
		"16 long scopes":        {"spec.scopes": strings.ReplaceAll(scopes(16), "s", strings.Repeat("s", 126))},
		"scopes that differ in case and in a comma, since RFC 6749 allows both": {"spec.scopes": "[a, A, 'a,']"},
		"a long scope":                   {"spec.scopes": "[" + strings.Repeat("a", 128) + "]"},
		"Production":                     {"spec.environment": "Production"},
		"renewalPercent 10":              {"spec.renewalPercent": "10"},
		"renewalPercent 90":              {"spec.renewalPercent": "90"},
		"suspend":                        {"spec.suspend": "true"},
		"a target that says nothing":     {"spec.target": "{}"},
		"a target of the default's name": {"spec.target.name": "payment-links"},
		"credentials of the PayUToken's name and another target": {
			"spec.credentialsSecretRef.name": "payment-links", "spec.target.name": "payment-links-token"},
		"Retain":                   {"spec.target.deletionPolicy": "Retain"},
		"type Opaque":              {"spec.target.template.type": "Opaque"},
		"a type of the user's own": {"spec.target.template.type": "example.com/payu-token"},
		"a type that only looks like Kubernetes'": {"spec.target.template.type": "my.kubernetes.io.example.com/x"},
		"a template": {"spec.target.template.data": `{token.env: "PAYU_TOKEN={{ .AccessToken }}", ".hidden": ""}`},
		"labels and annotations": {
			"spec.target.template.metadata.labels":      "{app.kubernetes.io/name: shop, team: payments}",
			"spec.target.template.metadata.annotations": "{example.com/auth.payu.in: x}"},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, "creating", create(t, newNamespace(t), changes))
			check(t, "updating", update(t, changes))
		})
	}
}

// scopes is a list of n scopes in YAML.
func scopes(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("s%d", i+1))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// A scope that was removed in Git is removed from the cluster, whichever field manager wrote it.
func TestAppliedScopesReplaceThoseOfOthers(t *testing.T) {
	namespace := newNamespace(t)
	check(t, "creating as kubectl does", create(t, namespace, nil, client.FieldOwner("kubectl-client-side-apply")))
	file := filepath.Join(t.TempDir(), "payutoken.yaml")
	fewer := strings.Replace(manifest, "[create_payment_links, read_payment_links]", "[read_payment_links]", 1)
	check(t, "writing a manifest", os.WriteFile(file, []byte(fewer), 0o600))
	out, err := cluster.Kubectl(t.Context(), "apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-n", namespace, "-f", file)
	check(t, "applying "+out, err)
	left, _, err := unstructured.NestedStringSlice(read(t, namespace), "spec", "scopes")
	check(t, "reading scopes", err)
	if want := []string{"read_payment_links"}; !slices.Equal(left, want) {
		t.Errorf("scopes %q, want %q", left, want)
	}
}

// RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
func TestCharactersOfAScope(t *testing.T) {
	namespace := newNamespace(t)
	for char := range rune(0x100) {
		allowed := char == 0x21 || 0x23 <= char && char <= 0x5B || 0x5D <= char && char <= 0x7E
		for _, format := range []string{`["\u%04x"]`, `["a\u%04x"]`} {
			scopes := fmt.Sprintf(format, char)
			err := create(t, namespace, edits{"spec.scopes": scopes}, client.DryRunAll)
			if (err == nil) != allowed || err != nil && !apierrors.IsInvalid(err) {
				t.Errorf("scopes %s: allowed by RFC 6749: %t; answer: %v", scopes, allowed, err)
			}
		}
	}
}

// What Kubernetes says of a name of a Secret and of a key in it, the CRD says too: a PayUToken that is accepted
// does not fail later for its names.
func TestNamesAndKeysAreThoseOfKubernetes(t *testing.T) {
	candidates := []string{
		"a", "0", "a.b", "a-b", "a--b", "0.9", "a_b", "A", "Ab", "a b", "ä", "a/b", "a,b", "a\n", "-", ".", "..", "...", "_",
		"-a", "a-", ".a", "a.", "..a", ".-a", "a..b", "a.-b", "a-.b", strings.Repeat("a", 253), strings.Repeat("a", 254),
	}
	for field, rule := range map[string]func(string) []string{
		"spec.credentialsSecretRef.name":            validation.IsDNS1123Subdomain,
		"spec.target.name":                          validation.IsDNS1123Subdomain,
		"metadata.name":                             validation.IsDNS1123Subdomain,
		"spec.credentialsSecretRef.clientIDKey":     validation.IsConfigMapKey,
		"spec.credentialsSecretRef.clientSecretKey": validation.IsConfigMapKey,
		"spec.target.template.data":                 validation.IsConfigMapKey,
	} {
		namespace := newNamespace(t)
		for _, candidate := range candidates {
			value := fmt.Sprintf("%q", candidate)
			if field == "spec.target.template.data" {
				value = fmt.Sprintf("{%q: x}", candidate)
			}
			err := create(t, namespace, edits{field: value}, client.DryRunAll)
			if problems := rule(candidate); (err == nil) != (len(problems) == 0) {
				t.Errorf("%s = %q: Kubernetes: %q; the CRD: %v", field, candidate, problems, err)
			}
		}
	}
}

func TestTargetNameCannotBeTakenFromUnderTheCredentials(t *testing.T) {
	object := parse(t, edits{"metadata.name": "payu-credentials", "spec.target.name": "payment-links-token"})
	object.SetNamespace(newNamespace(t))
	check(t, "creating a PayUToken of the credentials' name", cluster.Client.Create(t.Context(), object))
	unstructured.RemoveNestedField(object.Object, "spec", "target", "name")
	wantRefusal(t, "removing its target name", cluster.Client.Update(t.Context(), object), "set spec.target.name")
}

// The default name of the target is compared after the API server made the name.
func TestGeneratedName(t *testing.T) {
	changes := edits{"metadata": "{generateName: payment-}", "spec.credentialsSecretRef.name": "payment"}
	check(t, "generating a name", create(t, newNamespace(t), changes))
}

// The credentials are of the PayUToken's own namespace: no field says otherwise.
func TestNoOtherNamespace(t *testing.T) {
	changes := edits{"spec.credentialsSecretRef.namespace": "kube-system", "spec.target.namespace": "kube-system"}
	err := create(t, newNamespace(t), changes, client.FieldValidation(metav1.FieldValidationStrict))
	for field := range changes {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("unknown field %q", field)) {
			t.Errorf("creating with %s: %v", field, err)
		}
	}
	namespace := newNamespace(t)
	check(t, "creating without validation of fields", create(t, namespace, changes))
	if spec := read(t, namespace)["spec"]; strings.Contains(fmt.Sprint(spec), "kube-system") {
		t.Errorf("another namespace was kept: %v", spec)
	}
}

func TestDefaults(t *testing.T) {
	for name, test := range map[string]struct{ given, defaults edits }{
		"of a spec": {nil, nil},
		"of a target": {
			edits{"spec.target": "{}"},
			edits{"spec.target": "{deletionPolicy: Delete, delivery: Eventual}"}},
		"of a template": {
			edits{"spec.target.template": "{}"},
			edits{"spec.target": "{deletionPolicy: Delete, delivery: Eventual, template: {type: Opaque}}"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := parse(t, edits{
				"spec.credentialsSecretRef.clientIDKey":     "client_id",
				"spec.credentialsSecretRef.clientSecretKey": "client_secret",
				"spec.renewalPercent":                       "67",
			})
			edit(t, want, test.defaults)
			namespace := newNamespace(t)
			check(t, "creating", create(t, namespace, test.given))
			if diff := cmp.Diff(want.Object["spec"], read(t, namespace)["spec"]); diff != "" {
				t.Errorf("spec -want +got\n%s", diff)
			}
		})
	}
}

// The Go types write what the manifest says: nothing that is left out reaches the API server as an empty value.
func TestGoTypes(t *testing.T) {
	token := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: newNamespace(t), Name: "payment-links"},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials"},
			Scopes:               []v1alpha1.Scope{"create_payment_links"},
		},
	}
	check(t, "creating", cluster.Client.Create(t.Context(), token, client.FieldValidation(metav1.FieldValidationStrict)))
	if token.Spec.RenewalPercent != 67 || token.Spec.CredentialsSecretRef.ClientIDKey != "client_id" {
		t.Errorf("no defaults in %+v", token.Spec)
	}
	if name := token.TargetName(); name != "payment-links" {
		t.Errorf("the default target is named %q", name)
	}
	token.Spec.Target.Name = "payment-links-token"
	token.Annotations = map[string]string{v1alpha1.AnnotationRefreshRequestedAt: "now"}
	check(t, "updating", cluster.Client.Update(t.Context(), token))
	if name := token.TargetName(); name != "payment-links-token" || token.RefreshRequest() != "now" {
		t.Errorf("the target is named %q, the request for a refresh is %q", name, token.RefreshRequest())
	}
	if policy := token.Spec.Target.DeletionPolicy; policy != v1alpha1.DeletionPolicyDelete {
		t.Errorf("the deletion policy of a target is %q", policy)
	}
}

func TestNewObjectIsNotTakenForDone(t *testing.T) {
	object := parse(t, edits{"status": "{observedGeneration: 1, scope: forged}"})
	object.SetNamespace(newNamespace(t))
	check(t, "creating", cluster.Client.Create(t.Context(), object))
	want := map[string]any{"observedGeneration": int64(-1)}
	if diff := cmp.Diff(any(want), object.Object["status"]); diff != "" {
		t.Errorf("status when created, -want +got\n%s", diff)
	}
	if diff := cmp.Diff(any(want), read(t, object.GetNamespace())["status"]); diff != "" {
		t.Errorf("status when read, -want +got\n%s", diff)
	}
}

func TestStatusIsWrittenThroughItsSubresourceOnly(t *testing.T) {
	token := created(t)
	token.Status.Scope = "forged"
	check(t, "updating the object", cluster.Client.Update(t.Context(), token))
	if token.Status.Scope != "" {
		t.Errorf("an update of the object wrote status.scope = %q", token.Status.Scope)
	}
	token.Status.Scope, token.Spec.Suspend = "granted", true
	check(t, "updating the status", cluster.Client.Status().Update(t.Context(), token))
	if token.Status.Scope != "granted" || token.Spec.Suspend || token.Generation != 1 {
		t.Errorf("an update of the status wrote status.scope = %q, spec.suspend = %t, generation %d",
			token.Status.Scope, token.Spec.Suspend, token.Generation)
	}
	token.Spec.Suspend = true
	check(t, "updating the spec", cluster.Client.Update(t.Context(), token))
	if token.Status.Scope != "granted" || token.Generation != 2 {
		t.Errorf("an update of the spec left status.scope = %q, generation %d", token.Status.Scope, token.Generation)
	}
}

func TestColumns(t *testing.T) {
	token := created(t)
	expires := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	renew := metav1.NewTime(time.Date(2026, 1, 2, 2, 24, 31, 0, time.UTC))
	token.Status.SecretName, token.Status.ExpiresAt, token.Status.RenewAt = "payment-links-token", &expires, &renew
	meta.SetStatusCondition(&token.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonTokenValid, Message: "It is valid"})
	meta.SetStatusCondition(&token.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionRefreshed, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUnreachable, Message: "PayU is down"})
	check(t, "updating the status", cluster.Client.Status().Update(t.Context(), token))

	for _, name := range []string{"payutokens", "payutoken", "payutok", "payu"} {
		out, err := cluster.Kubectl(t.Context(), "get", name, "-n", token.Namespace)
		check(t, "listing by the name "+name, err)
		cells := strings.Fields(out)
		want := strings.Fields(`NAME READY REASON REFRESHED ENVIRONMENT SECRET EXPIRES AGE
			payment-links True TokenValid False Test payment-links-token 2026-01-02T03:04:05Z`)
		if len(cells) != len(want)+1 || !slices.Equal(cells[:len(want)], want) { // the last one is the age
			t.Errorf("kubectl get %s:\n%s", name, out)
		}
	}

	out, err := cluster.Kubectl(t.Context(), "get", "payutokens", "-o", "wide", "-n", token.Namespace)
	check(t, "listing all columns", err)
	for _, want := range []string{"AGE RENEWAL SCOPES MESSAGE\n", ` 2026-01-02T02:24:31Z ["create_payment_links","read_payment_links"] PayU is down` + "\n"} {
		if line := regexp.MustCompile(` +`).ReplaceAllString(out, " "); !strings.Contains(line, want) {
			t.Errorf("no %q in kubectl get -o wide:\n%s", want, out)
		}
	}
}

func TestExplain(t *testing.T) {
	documented := []string{"1 to 16"}
	for _, product := range payu.Products {
		documented = append(append(documented, product.Name+": "), product.Scopes...)
	}
	for field, want := range map[string][]string{
		"payutok":                             {v1alpha1.AnnotationRefreshRequestedAt},
		"payutoken.spec.scopes":               documented,
		"payutoken.spec.suspend":              {"set it to false to resume", "causes no request to PayU"},
		"payutoken.spec.target":               {"by default the name of the PayUToken", "Delete (the default)"},
		"payutoken.spec.renewalPercent":       {"by default 67"},
		"payutoken.spec.credentialsSecretRef": {"by default client_id.", "by default client_secret.", "(LF or CRLF)"},
		"payutoken.spec.target.template.type": {"by default Opaque"},
		"payutoken.spec.target.template.data": {"by a bare {{ .AccessToken }}"},
	} {
		out := strings.Join(strings.Fields(explain(t, field)), " ") // kubectl breaks lines
		for _, word := range want {
			if !strings.Contains(out, word) {
				t.Errorf("kubectl explain %s: no %q in\n%s", field, word, out)
			}
		}
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	check(t, "reading the CRD", cluster.Client.Get(t.Context(), client.ObjectKey{Name: "payutokens.auth.payu.in"}, crd))
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	check(t, "reading its versions", err)
	schema, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
	check(t, "reading its schema", err)
	if fields := wantDescriptions(t, schema, "PayUToken"); fields < 30 {
		t.Errorf("only %d fields were checked", fields)
	}
}

// wantDescriptions walks a schema and counts its fields.
func wantDescriptions(t *testing.T, schema map[string]any, path string) (fields int) {
	if text, _ := schema["description"].(string); text == "" && path != "PayUToken.metadata" { // Kubernetes describes it
		t.Errorf("%s has no description", path)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		fields += 1 + wantDescriptions(t, property.(map[string]any), path+"."+name)
	}
	if items, ok := schema["items"].(map[string]any); ok {
		fields += wantDescriptions(t, items, path+"[]")
	}
	return fields
}

// explain waits for the API server to publish the schema, which takes it a moment.
func explain(t *testing.T, field string) (out string) {
	t.Helper()
	var err error
	published := func(ctx context.Context) (bool, error) {
		out, err = cluster.Kubectl(ctx, "explain", field)
		return err == nil, nil
	}
	_ = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 30*time.Second, true, published)
	check(t, "explaining "+field, err)
	return out
}

func newNamespace(t *testing.T) string {
	t.Helper()
	namespace, err := cluster.Namespace(t.Context())
	check(t, "making a namespace", err)
	return namespace
}

// create creates the manifest with edits.
func create(t *testing.T, namespace string, changes edits, options ...client.CreateOption) error {
	t.Helper()
	object := parse(t, changes)
	object.SetNamespace(namespace)
	return cluster.Client.Create(t.Context(), object, options...)
}

// update creates the manifest as it is and then edits it.
func update(t *testing.T, changes edits) error {
	t.Helper()
	object := parse(t, nil)
	object.SetNamespace(newNamespace(t))
	check(t, "creating what the test updates", cluster.Client.Create(t.Context(), object))
	edit(t, object, changes)
	return cluster.Client.Update(t.Context(), object)
}

// created creates the manifest and returns it as a Go type.
func created(t *testing.T) *v1alpha1.PayUToken {
	t.Helper()
	token := &v1alpha1.PayUToken{}
	key := client.ObjectKey{Namespace: newNamespace(t), Name: "payment-links"}
	check(t, "creating", create(t, key.Namespace, nil))
	check(t, "reading", cluster.Client.Get(t.Context(), key, token))
	return token
}

// read returns what the API server stores.
func read(t *testing.T, namespace string) map[string]any {
	t.Helper()
	object := parse(t, nil)
	key := client.ObjectKey{Namespace: namespace, Name: object.GetName()}
	check(t, "reading", cluster.Client.Get(t.Context(), key, object))
	return object.Object
}

func parse(t *testing.T, changes edits) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{Object: value(t, manifest).(map[string]any)}
	edit(t, object, changes)
	return object
}

func edit(t *testing.T, object *unstructured.Unstructured, changes edits) {
	t.Helper()
	for field, text := range changes {
		path := strings.Split(field, ".")
		if text == "" {
			unstructured.RemoveNestedField(object.Object, path...)
			continue
		}
		check(t, "setting "+field, unstructured.SetNestedField(object.Object, value(t, text), path...))
	}
}

// value is what YAML says.
func value(t *testing.T, text string) any {
	t.Helper()
	var value any
	check(t, "parsing "+text, yaml.Unmarshal([]byte(text), &value))
	return value
}

func wantRefusal(t *testing.T, what string, err error, want string) {
	t.Helper()
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v\nwant a refusal that says: %s", what, err, want)
	}
}

func check(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
