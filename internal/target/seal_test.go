package target

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

var (
	now         = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	credentials = payu.Credentials{ClientID: "merchant-4711", ClientSecret: "483920"}
	key         = KeyFor("Test", credentials)
)

type edit func(*v1alpha1.PayUToken)

// payUToken returns a PayUToken as the API server defaults it.
func payUToken(edits ...edit) *v1alpha1.PayUToken {
	obj := &v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "links", UID: "uid-1"},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu", ClientIDKey: "client_id", ClientSecretKey: "client_secret"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
		},
	}
	for _, e := range edits {
		e(obj)
	}
	return obj
}

func withScopes(scopes ...v1alpha1.Scope) edit {
	return func(obj *v1alpha1.PayUToken) { obj.Spec.Scopes = scopes }
}

func withData(pairs ...string) edit {
	return func(obj *v1alpha1.PayUToken) {
		obj.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{}
		for i := 0; i < len(pairs); i += 2 {
			obj.Spec.Target.Template.Data[pairs[i]] = v1alpha1.DataTemplate(pairs[i+1])
		}
	}
}

func desired(t *testing.T, obj *v1alpha1.PayUToken) Desired {
	t.Helper()
	d, err := For(obj, obj.TargetName())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// token is what PayU gave.
func token(scope string) payu.Token {
	return payu.Token{
		AccessToken: strings.Repeat("daeec172", 8), Type: "Bearer", Scope: scope, FetchedAt: now, ExpiresAt: now.Add(2 * time.Hour),
	}
}

const asked = "create_payment_links read_payment_links"

// secretOf returns the Secret that the operator writes for a PayUToken.
func secretOf(t *testing.T, obj *v1alpha1.PayUToken, held payu.Token) *corev1.Secret {
	t.Helper()
	secret, err := desired(t, obj).Secret(held, key)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// proofOf returns what a seal of the PayUToken's is held against.
func proofOf(obj *v1alpha1.PayUToken, c payu.Credentials) *Proof {
	environment := string(obj.Spec.Environment)
	return &Proof{Key: KeyFor(environment, c), Source: payu.KeyFor(payu.ClientKey(environment, c), Scopes(obj)).Source}
}

func TestASecretIsReadBackAsItWasWritten(t *testing.T) {
	retain := func(obj *v1alpha1.PayUToken) { obj.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain }
	for name, obj := range map[string]*v1alpha1.PayUToken{
		"default": payUToken(),
		"retain":  payUToken(retain),
		"two keys": payUToken(withData("access_token", "{{ .AccessToken }}",
			"token.env", "PAYU_TOKEN={{ .AccessToken }}\nPAYU_SCOPE={{ .Scope }}\n")),
		"no scope": payUToken(withData("token.env", "PAYU_TOKEN={{ .AccessToken }}\n")),
		"metadata": payUToken(func(obj *v1alpha1.PayUToken) {
			obj.Spec.Target.Name = "links-token"
			obj.Spec.Target.Template.Type = "example.com/token"
			obj.Spec.Target.Template.Metadata.Labels = map[string]string{"team": "shop"}
			obj.Spec.Target.Template.Metadata.Annotations = map[string]string{"reloader": "on"}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			got := desired(t, obj).Read(secretOf(t, obj, token(asked)), proofOf(obj, credentials))
			want := Held{Token: token(asked), Whole: true, Proven: true, Plausible: true, InShape: true}
			if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)); diff != "" {
				t.Errorf("(-written +read):\n%s", diff)
			}
			if got.Token != want.Token {
				t.Error("another token was read back")
			}
		})
	}
}

// allTrue is what is true of a Secret as it was written.
const allTrue = "Whole Proven Plausible InShape"

// bindings are what is true of a Secret that was written for one PayUToken and is read for another, or with other credentials.
var bindings = map[string]struct {
	reader      edit
	credentials payu.Credentials
	granted     string
	want        string
}{
	"nothing changed":       {want: allTrue},
	"order of the scopes":   {reader: withScopes("read_payment_links", "create_payment_links"), want: allTrue},
	"more was granted":      {granted: "update_payment_links " + asked, want: allTrue},
	"a repeated scope":      {granted: asked + " read_payment_links", want: allTrue},
	"other client secret":   {credentials: payu.Credentials{ClientID: "merchant-4711", ClientSecret: "483921"}, want: "Whole Plausible InShape"},
	"other client ID":       {credentials: payu.Credentials{ClientID: "merchant-4712", ClientSecret: "483920"}, want: "Whole Plausible InShape"},
	"ID and secret joined":  {credentials: payu.Credentials{ClientID: "merchant-47114", ClientSecret: "83920"}, want: "Whole Plausible InShape"},
	"other environment":     {reader: func(obj *v1alpha1.PayUToken) { obj.Spec.Environment = v1alpha1.EnvironmentProduction }, want: "Whole Plausible InShape"},
	"fewer scopes":          {reader: withScopes("read_payment_links"), want: "Whole Plausible InShape"},
	"more scopes":           {reader: withScopes("create_payment_links", "read_payment_links", "update_payment_links"), want: "Whole InShape"},
	"a template":            {reader: withData("token.env", "{{ .AccessToken }}"), want: "Whole InShape"},
	"a template for a part": {reader: withData("access_token", "{{ .AccessToken }}"), want: "Whole Plausible InShape"},
	"another UID":           {reader: func(obj *v1alpha1.PayUToken) { obj.UID = "uid-2" }, want: "Whole Proven Plausible"},
	"another name": {reader: func(obj *v1alpha1.PayUToken) { obj.Name, obj.Spec.Target.Name = "other", "links" },
		want: "Whole Proven Plausible Edited"},
	"another type": {reader: func(obj *v1alpha1.PayUToken) { obj.Spec.Target.Template.Type = "example.com/token" },
		want: "Whole Proven Plausible"},
	"another key of the credentials": {reader: func(obj *v1alpha1.PayUToken) { obj.Spec.CredentialsSecretRef.ClientIDKey = "id" }, want: allTrue},
}

func TestWhatASealIsBoundTo(t *testing.T) {
	for name, test := range bindings {
		t.Run(name, func(t *testing.T) {
			if test.granted == "" {
				test.granted = asked
			}
			if test.credentials == (payu.Credentials{}) {
				test.credentials = credentials
			}
			secret, reader := secretOf(t, payUToken(), token(test.granted)), payUToken()
			if test.reader != nil {
				test.reader(reader)
			}
			if got := factsOf(desired(t, reader).Read(secret, proofOf(reader, test.credentials))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// factsOf returns what is true of a Secret.
func factsOf(h Held) string {
	var facts []string
	for _, fact := range []struct {
		name string
		is   bool
	}{{"Whole", h.Whole}, {"Proven", h.Proven}, {"Plausible", h.Plausible}, {"Former", h.OldSeal}, {"InShape", h.InShape}, {"Edited", h.Edited}} {
		if fact.is {
			facts = append(facts, fact.name)
		}
	}
	return strings.Join(facts, " ")
}

func TestTheScopeThatWasGrantedIsPartOfTheProof(t *testing.T) {
	const more = "update_payment_links " + asked
	hidden := payUToken(withData("token.env", "{{ .AccessToken }}"))
	secret := secretOf(t, hidden, token(more))
	read := func(status, granted string) Held {
		reader, proof := hidden.DeepCopy(), proofOf(hidden, credentials)
		reader.Status.Scope, proof.Granted = status, granted
		return desired(t, reader).Read(secret, proof)
	}
	for name, h := range map[string]Held{"status": read(more, ""), "source": read("", more), "both": read("other", more)} {
		if !h.Proven || h.Token.Scope != more {
			t.Errorf("the %s knows the scope: proven %t, scope %q", name, h.Proven, h.Token.Scope)
		}
	}
	if h := read("", ""); h.Proven || h.Token.Scope != asked {
		t.Errorf("nothing knows the scope: proven %t, scope %q", h.Proven, h.Token.Scope)
	}
	visible := secretOf(t, payUToken(), token(asked))
	visible.Data[v1alpha1.KeyScope] = []byte(more)
	reseal(visible, func(s *seal) { s.data = digestOfSecret(visible) })
	if desired(t, payUToken()).Read(visible, proofOf(payUToken(), credentials)).Proven {
		t.Error("a scope that was added to the data is proven")
	}
}

// reseal changes the seal of a Secret.
func reseal(secret *corev1.Secret, change func(*seal)) {
	s, _ := parseSeal(secret.Annotations[v1alpha1.AnnotationSource])
	change(&s)
	secret.Annotations[v1alpha1.AnnotationSource] = s.String()
}

// digestOfSecret is the data digest that fits what is in a Secret: everybody can work it out.
func digestOfSecret(secret *corev1.Secret) digest {
	return dataDigest(secret.Data, secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt])
}

func TestDamagedDataHoldNothing(t *testing.T) {
	for name, damage := range map[string]func(*corev1.Secret){
		"a value":          func(s *corev1.Secret) { s.Data[v1alpha1.KeyAccessToken] = []byte("x") },
		"an empty value":   func(s *corev1.Secret) { s.Data[v1alpha1.KeyAccessToken] = nil },
		"a key is gone":    func(s *corev1.Secret) { delete(s.Data, v1alpha1.KeyScope) },
		"values exchanged": func(s *corev1.Secret) { s.Data["scope"], s.Data["token_type"] = s.Data["token_type"], s.Data["scope"] },
		"later expiry":     func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationExpiresAt] = "2036-11-22T09:00:00Z" },
		"other fetch":      func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationFetchedAt] = "2026-11-22T08:59:59Z" },
		"no time":          func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationExpiresAt) },
		"no seal":          func(s *corev1.Secret) { delete(s.Annotations, v1alpha1.AnnotationSource) },
		"unreadable times": func(s *corev1.Secret) {
			s.Annotations[v1alpha1.AnnotationExpiresAt] = "soon"
			reseal(s, func(x *seal) { x.data = digestOfSecret(s) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			secret := secretOf(t, payUToken(), token(asked))
			damage(secret)
			h := desired(t, payUToken()).Read(secret, proofOf(payUToken(), credentials))
			if h.Whole || h.Proven || h.Plausible || h.Token != (payu.Token{}) {
				t.Errorf("it is %q, with a token: %t", factsOf(h), h.Token != payu.Token{})
			}
		})
	}
}

func TestKeysOfOthersDoNotDamage(t *testing.T) {
	secret := secretOf(t, payUToken(), token(asked))
	secret.Data["ca.crt"], secret.Labels["team"], secret.Annotations["note"] = []byte("x"), "shop", "x"
	if got := factsOf(desired(t, payUToken()).Read(secret, proofOf(payUToken(), credentials))); got != "Whole Proven Plausible InShape" {
		t.Error(got)
	}
}

// TestNoSealIsForgedWithoutTheKey has somebody who can read and write Secrets, but does not know the client secret, make
// seals for a token of their own: from parts of two seals that the operator made, and from digests that they work out.
func TestNoSealIsForgedWithoutTheKey(t *testing.T) {
	one, planted := secretOf(t, payUToken(), token(asked)), token(asked)
	planted.AccessToken = "planted"
	later := token(asked)
	later.FetchedAt, later.ExpiresAt, later.AccessToken = now.Add(time.Hour), now.Add(3*time.Hour), strings.Repeat("ab", 32)
	two := secretOf(t, payUToken(), later)
	wrong, err := desired(t, payUToken()).Secret(planted, KeyFor("Test", payu.Credentials{ClientID: "merchant-4711", ClientSecret: "a guess"}))
	if err != nil {
		t.Fatal(err)
	}
	zero := digest{}.String()
	parts := map[string]bool{"": true, "2": true, "3": true, zero: true, digestOfSecret(wrong).String(): true, digestOf().String(): true}
	for _, secret := range []*corev1.Secret{one, two, wrong} {
		for _, part := range strings.Split(secret.Annotations[v1alpha1.AnnotationSource], ".") {
			parts[part] = true
		}
	}
	tried := 0
	for a := range parts {
		for b := range parts {
			for c := range parts {
				for _, annotation := range []string{"2." + a + "." + b + "." + c, a + "." + b + "." + c, a + "." + b + "." + c + "." + zero + "." + a} {
					wrong.Annotations[v1alpha1.AnnotationSource] = annotation
					tried++
					if h := desired(t, payUToken()).Read(wrong, proofOf(payUToken(), credentials)); h.Proven {
						t.Fatalf("%s is believed", annotation)
					}
				}
			}
		}
	}
	t.Logf("%d seals", tried)
}

// TestAnAnnotationIsNoOracle tests guesses of a client secret, the true one among them, against a seal as whoever may read
// the annotations, the spec and the status can: the mac must not be one over the digest that stands beside it, nor over any
// other that is public. It covers the data, and so the token, which is as hard to guess as a key. With the data in hand a
// guess can be tested: whoever has them has the token already.
func TestAnAnnotationIsNoOracle(t *testing.T) {
	obj := payUToken()
	d, secret := desired(t, obj), secretOf(t, obj, token(asked))
	s, ok := parseSeal(secret.Annotations[v1alpha1.AnnotationSource])
	if !ok {
		t.Fatal("there is no seal")
	}
	fetched, expires := secret.Annotations[v1alpha1.AnnotationFetchedAt], secret.Annotations[v1alpha1.AnnotationExpiresAt]
	without := maps.Clone(secret.Data)
	delete(without, v1alpha1.KeyAccessToken)
	public := map[string]digest{
		"data": s.data, "shape": s.shape, "templates": d.templates, "nothing": {}, "the times": contentDigest(nil, fetched, expires),
		"the data but the token": contentDigest(without, fetched, expires),
	}
	tests := func(content digest) (found []string) {
		for guess := 483900; guess < 484000; guess++ {
			c := payu.Credentials{ClientID: credentials.ClientID, ClientSecret: fmt.Sprint(guess)}
			if KeyFor("Test", c).mac(content, statement{scopes: Scopes(obj), granted: asked, templates: d.templates}) == s.mac {
				found = append(found, c.ClientSecret)
			}
		}
		return found
	}
	for what, content := range public {
		if found := tests(content); found != nil {
			t.Errorf("with %s, the client secret is found: %s", what, found)
		}
	}
	if diff := cmp.Diff([]string{credentials.ClientSecret}, tests(contentDigest(secret.Data, fetched, expires))); diff != "" {
		t.Errorf("with the data, the test of a guess is not the one that the operator makes:\n%s", diff)
	}
	other, err := d.Secret(token(asked), KeyFor("Test", payu.Credentials{ClientID: "another", ClientSecret: "another"}))
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := parseSeal(other.Annotations[v1alpha1.AnnotationSource]); o.data != s.data || o.shape != s.shape || o.mac == s.mac {
		t.Error("the client shows in another part of the seal than the mac")
	}
}
