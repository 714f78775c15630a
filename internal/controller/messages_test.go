package controller

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden holds what a user reads after each mistake, by the name of the mistake.
const golden = "testdata/messages.txt"

// As PayU issues them.
var issuedID, issuedSecret = strings.Repeat("0123456789abcdef", 4), strings.Repeat("fedcba9876543210", 4)

func encoded(value string) string { return base64.StdEncoding.EncodeToString([]byte(value)) }

func templates(data map[string]v1alpha1.DataTemplate) edit {
	return func(t *v1alpha1.PayUToken) { t.Spec.Target.Template.Data = data }
}

func scopes(list ...v1alpha1.Scope) edit {
	return func(t *v1alpha1.PayUToken) { t.Spec.Scopes = list }
}

func readsFrom(secret v1alpha1.SecretName) edit {
	return func(t *v1alpha1.PayUToken) { t.Spec.CredentialsSecretRef.Name = secret }
}

// mistake is what goes wrong with a PayUToken "links" whose credentials are in the Secret "payu-credentials".
type mistake struct {
	config payutest.Config
	given  func(*world)
	edit   edit
	after  func(*world) // once it was ready
}

func written(id, secret string) mistake {
	return mistake{given: func(w *world) { w.credentials("payu-credentials", id, secret) }}
}

func answered(f payutest.Fault) mistake {
	return mistake{given: func(w *world) { w.payu.Inject(f) }}
}

var mistakes = map[string]mistake{
	"credentials: no Secret":   {edit: readsFrom("payu-credential")},
	"credentials: another key": {edit: func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.ClientIDKey = "clientId" }},
	"credentials: both keys are others": {edit: func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.ClientIDKey, p.Spec.CredentialsSecretRef.ClientSecretKey = "id", "secret"
	}},
	"credentials: one key named twice": {edit: func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.ClientSecretKey = "client_id" }},
	"credentials: a client secret in place of a key": {edit: func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.ClientSecretKey = v1alpha1.SecretKey(issuedSecret)
	}},
	"credentials: values that became keys": {given: func(w *world) {
		w.delete(named("payu-credentials"))
		w.apply(&corev1.Secret{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: "payu-credentials", Namespace: w.namespace},
			Data: map[string][]byte{issuedSecret: {}, issuedID: {}},
		})
	}},
	"credentials: a label with another value": {given: func(w *world) {
		secret := w.secret("payu-credentials")
		metav1.SetMetaDataLabel(&secret.ObjectMeta, v1alpha1.LabelCredentials, "yes")
		w.must(w.user.Update(w.ctx, secret))
		w.operator.RequireCredentialsLabel = true
		w.operator.prepare()
	}},
	"credentials: no Secret where a label is required": {given: func(w *world) {
		w.operator.RequireCredentialsLabel = true
		w.operator.prepare()
	}, edit: readsFrom("payu-credential")},
	"credentials: base64 that is wrapped":         written(encoded(issuedID + "\n")[:76]+"\n"+encoded(issuedID + "\n")[76:], issuedSecret),
	"credentials: swapped":                        {config: payutest.Config{Clients: []payutest.Client{{ID: issuedSecret, Secret: issuedID}}}},
	"scopes: of two products":                     {config: payutest.Config{Clients: []payutest.Client{{ID: issuedID, Secret: issuedSecret, Scopes: []string{"read_bills"}}}}, edit: scopes("create_payment_links", "fetch_child_merchants")},
	"template: only inside a function":            {edit: templates(map[string]v1alpha1.DataTemplate{"t": `{{ printf "Bearer %s" .AccessToken }}`})},
	"credentials: empty":                          written("", issuedSecret),
	"credentials: a line break inside":            written(issuedID, "fedc\nba98"),
	"credentials: a byte outside ASCII":           written(issuedID, "café"),
	"credentials: in quotes":                      written(`"`+issuedID+`"`, `'`+issuedSecret+`'`),
	"credentials: a blank at the end":             written(issuedID, issuedSecret+" "),
	"credentials: base64 twice":                   written(issuedID, encoded(issuedSecret+"\n")),
	"credentials: the same value twice":           written(issuedID, issuedID),
	"credentials: cut short":                      written(issuedID, issuedSecret[:40]),
	"credentials: unknown to PayU":                written(issuedSecret, issuedID),
	"credentials: those of something else":        written("merchant", "s3cret"),
	"credentials: a Secret of the operator's own": {given: func(w *world) { w.create("other"); w.run() }, edit: readsFrom("other")},
	"credentials: no label where one is required": {given: func(w *world) { w.operator.RequireCredentialsLabel = true; w.operator.prepare() }},
	"scopes: one misspelled":                      {edit: scopes("create_payment_link", "read_payment_links")},
	"scopes: a comma in one":                      {edit: scopes("create_payment_links,read_payment_links")},
	"scopes: not allowed for the client":          {config: payutest.Config{Clients: []payutest.Client{{ID: issuedID, Secret: issuedSecret, Scopes: []string{"read_bills"}}}}},
	"scopes: fewer granted":                       answered(payutest.Fault{Grant: []string{"read_payment_links"}}),
	"PayU: client not allowed":                    answered(payutest.Fault{Error: "unauthorized_client"}),
	"PayU: wrong endpoint":                        answered(payutest.Fault{Error: "unsupported_grant_type"}),
	"PayU: a page of a proxy":                     answered(payutest.Fault{Status: 200, Body: "<html>Sign in</html>"}),
	"PayU: down":                                  answered(payutest.Fault{Break: payutest.BreakReset}),
	"PayU: an error of its own":                   answered(payutest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}),
	"PayU: too many requests":                     answered(payutest.Fault{Error: "rate_limit_exceeded"}),
	"PayU: no lifetime":                           {config: payutest.Config{Omit: "expires_in"}},
	"target: of somebody else":                    {given: func(w *world) { w.apply(foreign(w, "links")) }},
	"target: of an older PayUToken":               {given: func(w *world) { w.create("elder", targeting("links")); w.run() }},
	"target: of a PayUToken that is gone": {given: func(w *world) {
		w.create("gone", targeting("links"), func(p *v1alpha1.PayUToken) { p.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain })
		w.run()
		w.delete(w.token("gone"))
	}},
	"target: another type": {after: func(w *world) {
		w.edit("links", func(p *v1alpha1.PayUToken) { p.Spec.Target.Template.Type = "example.com/token" })
	}},
	"target: immutable": {after: func(w *world) {
		secret := w.secret("links")
		secret.Immutable = ptr.To(true)
		w.must(w.user.Update(w.ctx, secret))
		w.edit("links", refresh("now"))
	}},
	"target: a label that Kubernetes refuses": {edit: func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Metadata.Labels = map[string]string{"team": "pay ments"}
	}},
	"target: an annotation that Kubernetes refuses": {edit: func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Metadata.Annotations = map[string]string{"owned by": "payments"}
	}},
	"template: one brace too few":        {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .AccessToken }"})},
	"template: PayU's own name":          {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ access_token }}"})},
	"template: a field in lower case":    {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .accessToken }}"})},
	"template: a misspelled field":       {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .AccesToken }}"})},
	"template: no dot":                   {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ AccessToken }}"})},
	"template: not closed":               {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .AccessToken"})},
	"template: of a shell":               {edit: templates(map[string]v1alpha1.DataTemplate{"t": "T=${access_token}"})},
	"template: without the token":        {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .Scope }}"})},
	"template: the token in a condition": {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ if .AccessToken }}{{ .AccessToken }}{{ end }}"})},
	"template: a function of Helm's":     {edit: templates(map[string]v1alpha1.DataTemplate{"t": "{{ .AccessToken | b64enc }}"})},
	"suspended":                          {edit: func(p *v1alpha1.PayUToken) { p.Spec.Suspend = true }},
}

// TestMessages makes each mistake on a real API server. What its user reads is judged by people: change the golden file with
// -update, and read it.
func TestMessages(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for name, m := range mistakes {
		got[name] = readAfter(t, m)
	}
	for name, edit := range refusedSpecs {
		got["API server: "+name] = "refused: " + readRefusal(t, edit)
	}
	if *update {
		var text strings.Builder
		for _, name := range slices.Sorted(maps.Keys(got)) {
			fmt.Fprintf(&text, "%s\n\t%s\n", name, got[name])
		}
		if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		name, want := lines[i], strings.TrimSpace(lines[i+1])
		if is := got[name]; is != want {
			t.Errorf("%s: got (go test -run TestMessages -update, if that is better)\n%s\nwant\n%s", name, is, want)
		}
	}
	if len(lines) != 2*len(got) {
		t.Errorf("%s has %d mistakes, and %d were made", golden, len(lines)/2, len(got))
	}
}

// readAfter makes a mistake and returns what the conditions say that are not well: all of them the same.
func readAfter(t *testing.T, m mistake) string {
	t.Helper()
	if m.config.Clients == nil {
		m.config.Clients = []payutest.Client{{ID: issuedID, Secret: issuedSecret}}
	}
	w := newWorld(t, m.config)
	w.credentials("payu-credentials", issuedID, issuedSecret)
	if m.given != nil {
		m.given(w)
	}
	if m.edit == nil {
		m.edit = func(*v1alpha1.PayUToken) {}
	}
	w.create("links", m.edit)
	w.run()
	if m.after != nil {
		m.after(w)
		w.pass(time.Minute)
		w.run()
	}
	w.expectPlainMessages("links")
	var kinds []string
	read := ""
	for _, c := range w.token("links").Status.Conditions {
		if c.Reason == v1alpha1.ReasonTokenValid || c.Reason == v1alpha1.ReasonSucceeded {
			continue
		}
		says := c.Reason + ": " + w.plain(c.Message)
		if read != "" && says != read {
			t.Errorf("one condition says %q, and another %q", read, says)
		}
		kinds, read = append(kinds, c.Type), says
		for _, value := range []string{issuedID[:16], issuedSecret[:16], encoded(issuedSecret)[:16]} {
			if strings.Contains(c.Message, value) {
				t.Errorf("the message gives away a part of the credentials: %s", c.Message)
			}
		}
	}
	return strings.Join(kinds, " ") + ": " + read
}

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// plain returns a message without what differs from run to run.
func (w *world) plain(message string) string {
	return address.ReplaceAllString(strings.ReplaceAll(message, w.namespace, "shop"), "payu.example")
}

// refusedSpecs are what the API server refuses by itself.
var refusedSpecs = map[string]string{
	"no scopes":                            `{scopes: []}`,
	"scopes: 17":                           `{scopes: [s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, s16, s17]}`,
	"scopes: a blank in one":               `{scopes: ["create_payment_links read_payment_links"]}`,
	"scopes: repeated":                     `{scopes: [read_bills, read_bills]}`,
	"environment in lower case":            `{environment: test}`,
	"renewalPercent 95":                    `{renewalPercent: 95}`,
	"the target is the credentials Secret": `{target: {name: payu-credentials}}`,
	"a name that no Secret can have":       `{target: {name: Links_1}}`,
	"a key that no Secret can have":        `{credentialsSecretRef: {name: payu-credentials, clientIDKey: "client id"}}`,
	"a type of Kubernetes' own":            `{target: {template: {type: kubernetes.io/tls}}}`,
	"a label of the operator's own":        `{target: {template: {metadata: {labels: {auth.payu.in/token-uid: x}}}}}`,
	"a template's key":                     `{target: {template: {data: {"a b": "{{ .AccessToken }}"}}}}`,
	"assumedLifetime in days":              `{assumedLifetime: 30d}`,
	"assumedLifetime 30s":                  `{assumedLifetime: 30s}`,
	"assumedLifetime of a year":            `{assumedLifetime: 8760h}`,
	"assumedLifetime without a unit":       `{assumedLifetime: "3600"}`,
	"assumedLifetime, a number":            `{assumedLifetime: 3600}`,
	"assumedLifetime beyond any":           `{assumedLifetime: 99999999999999999999h}`,
	"a field that does not exist":          `{credentialSecretRef: {name: x}}`,
}

// readRefusal returns what the API server says of a spec; it must refuse it.
func readRefusal(t *testing.T, change string) string {
	t.Helper()
	w := &world{tester: t, ctx: t.Context(), user: cluster.Client, namespace: "default"}
	spec := map[string]any{
		"environment": "Test", "credentialsSecretRef": map[string]any{"name": "payu-credentials"}, "scopes": []any{"read_payment_links"},
	}
	w.must(yaml.Unmarshal([]byte(change), &spec))
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "PayUToken", "metadata": map[string]any{"name": "links", "namespace": w.namespace}, "spec": spec,
	}}
	err := w.user.Create(w.ctx, obj, client.FieldValidation("Strict"))
	if err == nil {
		t.Errorf("the API server takes %s", change)
		w.delete(obj)
		return ""
	}
	if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Errorf("%s: %v", change, err)
	}
	return err.Error()
}
