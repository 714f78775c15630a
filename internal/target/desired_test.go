package target

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// formerSecretOf returns the Secret that v0.1 wrote for a PayUToken.
func formerSecretOf(t *testing.T, obj *v1alpha1.PayUToken, held payu.Token) *corev1.Secret {
	t.Helper()
	secret, d := secretOf(t, obj, held), desired(t, obj)
	list := []string{"data", rfc3339(held.FetchedAt), rfc3339(held.ExpiresAt)}
	data := map[string]string{}
	for name, value := range secret.Data {
		data[name] = string(value)
	}
	list = append(list, flatten("", data)[1:]...)
	secret.Annotations[v1alpha1.AnnotationSource] = strings.Join([]string{
		proofOf(obj, credentials).Source.String(), payu.DigestOf("version").String(), d.oldSpec(), payu.DigestOf("shape").String(),
		payu.DigestOf(list...).String(),
	}, ".")
	return secret
}

func TestAFormerSealIsRead(t *testing.T) {
	wrong := payu.Credentials{ClientID: "merchant-4711", ClientSecret: "other"}
	for name, test := range map[string]struct {
		damage      func(*corev1.Secret)
		credentials payu.Credentials
		reader      edit
		want        string
	}{
		"as it was":          {want: "Whole Proven Plausible Former"},
		"order of scopes":    {reader: withScopes("read_payment_links", "create_payment_links"), want: "Whole Proven Plausible Former"},
		"other credentials":  {credentials: wrong, want: "Whole Plausible Former InShape"},
		"fewer scopes":       {reader: withScopes("read_payment_links"), want: "Whole Former InShape"},
		"another template":   {reader: withData("access_token", "{{ .AccessToken }}"), want: "InShape"},
		"damaged":            {damage: func(s *corev1.Secret) { s.Data["scope"] = nil }, want: "InShape"},
		"a part is missing":  {damage: func(s *corev1.Secret) { cutSeal(s, 4) }, want: "InShape"},
		"a part is too many": {damage: func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationSource] += ".x" }, want: "InShape"},
	} {
		t.Run(name, func(t *testing.T) {
			secret, reader := formerSecretOf(t, payUToken(), token(asked)), payUToken()
			if test.damage != nil {
				test.damage(secret)
			}
			if test.reader != nil {
				test.reader(reader)
			}
			if test.credentials == (payu.Credentials{}) {
				test.credentials = credentials
			}
			if got := factsOf(desired(t, reader).Read(secret, proofOf(reader, test.credentials))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// cutSeal leaves so many parts of a seal.
func cutSeal(secret *corev1.Secret, parts int) {
	seal := secret.Annotations[v1alpha1.AnnotationSource]
	secret.Annotations[v1alpha1.AnnotationSource] = strings.Join(strings.Split(seal, ".")[:parts], ".")
}

func TestAFormerSealBecomesOneOfThisVersion(t *testing.T) {
	obj := payUToken()
	d, secret, proof := desired(t, obj), formerSecretOf(t, obj, token(asked)), proofOf(obj, credentials)
	resealed, written := d.Resealed(secret, d.Read(secret, proof), proof.Key), secretOf(t, obj, token(asked))
	resealed.Data = secret.Data
	if held := d.Read(resealed, proof); !held.Proven || !held.InShape || !held.OldSeal {
		t.Errorf("the replaced seal is read as %+v", held)
	}
	if held := d.Read(written, proof); held.OldSeal {
		t.Error("a seal that was written by this version counts as one of the former")
	}
	resealed.Annotations[v1alpha1.AnnotationSource] = written.Annotations[v1alpha1.AnnotationSource]
	if diff := cmp.Diff(written.ObjectMeta, resealed.ObjectMeta); diff != "" {
		t.Errorf("(-written now +resealed):\n%s", diff)
	}
	unread := d.Resealed(secret, d.Read(secret, nil), Key{})
	if got, want := unread.Annotations[v1alpha1.AnnotationSource], secret.Annotations[v1alpha1.AnnotationSource]; got != want {
		t.Errorf("without the credentials the seal became %s", got)
	}
}

// TestWithoutCredentialsASecretIsPlausible: what is plausible is never proven.
func TestWithoutCredentialsASecretIsPlausible(t *testing.T) {
	hidden := withData("token", "{{ .AccessToken }}")
	for name, test := range map[string]struct {
		writer, reader edit
		granted        string
		status         string
		want           bool
	}{
		"as it was":                       {want: true},
		"more was granted":                {granted: asked + " more", want: true},
		"less was granted":                {granted: "read_payment_links", want: false},
		"one scope is the end of another": {granted: asked + "_x", want: false},
		"a scope less is wanted":          {reader: withScopes("read_payment_links"), want: true},
		"a scope more is wanted":          {reader: withScopes("create_payment_links", "read_payment_links", "more"), want: false},
		"a key more is wanted":            {reader: withData("access_token", "{{ .AccessToken }}", "env", "{{ .Scope }}"), want: false},
		"a key less is wanted":            {reader: withData("access_token", "{{ .AccessToken }}"), want: true},
		"hidden scope, taken as asked":    {writer: hidden, reader: hidden, granted: "read_payment_links", want: true},
		"hidden scope, in the status":     {writer: hidden, reader: hidden, status: "read_payment_links", want: false},
	} {
		t.Run(name, func(t *testing.T) {
			writer, reader := payUToken(), payUToken(func(obj *v1alpha1.PayUToken) { obj.Status.Scope = test.status })
			for _, e := range []struct {
				obj *v1alpha1.PayUToken
				do  edit
			}{{writer, test.writer}, {reader, test.reader}} {
				if e.do != nil {
					e.do(e.obj)
				}
			}
			if test.granted == "" {
				test.granted = asked
			}
			h := desired(t, reader).Read(secretOf(t, writer, token(test.granted)), nil)
			if h.Plausible != test.want || h.Proven || !h.Whole {
				t.Errorf("got %q", factsOf(h))
			}
		})
	}
}

// TestEdited tells edits of others from a spec that was changed.
func TestEdited(t *testing.T) {
	shaped := payUToken(func(obj *v1alpha1.PayUToken) {
		obj.Spec.Target.Template.Metadata.Labels = map[string]string{"team": "shop"}
		obj.Spec.Target.Template.Metadata.Annotations = map[string]string{"reloader": "on"}
	})
	for name, change := range map[string]func(*corev1.Secret){
		"a label":            func(s *corev1.Secret) { s.Labels["team"] = "other" },
		"a label is gone":    func(s *corev1.Secret) { delete(s.Labels, "team") },
		"the UID":            func(s *corev1.Secret) { s.Labels[v1alpha1.LabelTokenUID] = "x" },
		"managed-by":         func(s *corev1.Secret) { delete(s.Labels, v1alpha1.LabelManagedBy) },
		"an annotation":      func(s *corev1.Secret) { s.Annotations["reloader"] = "off" },
		"the name":           func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationTokenName] = "x" },
		"the owner is gone":  func(s *corev1.Secret) { s.OwnerReferences = nil },
		"the owner is other": func(s *corev1.Secret) { s.OwnerReferences[0].UID = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			secret := secretOf(t, shaped, token(asked))
			change(secret)
			d := desired(t, shaped)
			if got := factsOf(d.Read(secret, proofOf(shaped, credentials))); got != "Whole Proven Plausible Edited" {
				t.Errorf("got %q", got)
			}
			if got := factsOf(d.Read(secret, nil)); got != "Whole Plausible Edited" {
				t.Errorf("without the credentials %q", got)
			}
		})
	}
	retain := shaped.DeepCopy()
	retain.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain
	secret := secretOf(t, shaped, token(asked))
	if got := factsOf(desired(t, retain).Read(secret, proofOf(retain, credentials))); got != "Whole Proven Plausible" {
		t.Errorf("with another policy %q", got)
	}
	d := desired(t, retain)
	resealed := d.Resealed(secret, d.Read(secret, nil), key)
	resealed.Data = secret.Data
	if got := factsOf(d.Read(resealed, proofOf(retain, credentials))); got != "Whole Proven Plausible InShape" {
		t.Errorf("put right, it is %q", got)
	}
}

// TestUnshaped: a Secret whose shape is refused stays known as one that is not as the spec asks, with a token as good.
func TestUnshaped(t *testing.T) {
	obj := payUToken(func(obj *v1alpha1.PayUToken) { obj.Spec.Target.Template.Type = "example.com/token" })
	renewed := token(asked)
	renewed.AccessToken = strings.Repeat("ef", 32)
	for name, live := range map[string]*corev1.Secret{
		"another shape before":  secretOf(t, payUToken(), token(asked)),
		"the same shape before": secretOf(t, obj, token(asked)),
		"a former seal before":  formerSecretOf(t, payUToken(), token(asked)),
		"no seal before":        {},
	} {
		t.Run(name, func(t *testing.T) {
			secret := secretOf(t, obj, renewed)
			secret.Annotations = desired(t, obj).Unshaped(live, secret)
			h := desired(t, obj).Read(secret, proofOf(obj, credentials))
			if got := factsOf(h); got != "Whole Proven Plausible" || h.Token != renewed {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestLeftovers(t *testing.T) {
	env := payUToken(withData("token.env", "T={{ .AccessToken }}", "access_token", "{{ .AccessToken }}"))
	before := secretOf(t, payUToken(), token(asked))
	now := secretOf(t, env, token(asked))
	for _, name := range []string{v1alpha1.KeyScope, v1alpha1.KeyTokenType, "ca.crt"} {
		now.Data[name] = []byte("x")
	}
	leftovers := func(before *corev1.Secret) []string {
		return slices.Sorted(slices.Values(desired(t, env).Leftovers(before, now)))
	}
	if diff := cmp.Diff([]string{v1alpha1.KeyScope, v1alpha1.KeyTokenType}, leftovers(before)); diff != "" {
		t.Errorf("keys of the former template that are there still (-want +got):\n%s", diff)
	}
	damaged := before.DeepCopy()
	damaged.Data["mine"] = []byte("x")
	for name, secret := range map[string]*corev1.Secret{"none": nil, "a foreign one": {Data: before.Data}, "a key of others": damaged} {
		if got := leftovers(secret); got != nil {
			t.Errorf("%s before: %q would be removed, which the operator did not write for sure", name, got)
		}
	}
}

func TestAPlaceholderHasTheFormOfAToken(t *testing.T) {
	at := now.Add(123 * time.Millisecond)
	got, want := Placeholder(payUToken(), at), token(asked)
	if len(got.AccessToken) != len(want.AccessToken) || strings.Trim(got.AccessToken, "0123456789abcdef") != "" || got.AccessToken == want.AccessToken {
		t.Errorf("it is %q", got.AccessToken)
	}
	if got.Type != want.Type || got.Scope != want.Scope || !got.ValidAt(at) || got.FromTheFuture(at) || got.FetchedAt != now {
		t.Errorf("type %q, scope %q, %v to %v", got.Type, got.Scope, got.FetchedAt, got.ExpiresAt)
	}
	for name, obj := range map[string]*v1alpha1.PayUToken{
		"default": payUToken(),
		"slices":  payUToken(withData("token", "{{ .AccessToken }}", "quoted", `{{ printf "%.8s" .AccessToken }}`)),
	} {
		secret, err := desired(t, obj).Secret(got, key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if secretOf(t, obj, want).Size() != secret.Size() {
			t.Errorf("%s: a trial with it is of another size than the write", name)
		}
	}
}

func TestABrokenTemplateIsAnErrorAndReadsAsAlways(t *testing.T) {
	broken := payUToken(withData("token", "no token"))
	d, err := For(broken, "links")
	if err == nil || !strings.HasPrefix(err.Error(), "spec.target.template.data: ") {
		t.Fatalf("got %v", err)
	}
	h := d.Read(secretOf(t, payUToken(), token(asked)), proofOf(broken, credentials))
	if got := factsOf(h); got != "Whole InShape" || h.Token.ExpiresAt != now.Add(2*time.Hour) {
		t.Errorf("got %q until %v", got, h.Token.ExpiresAt)
	}
	if h.Token.AccessToken != "" {
		t.Error("a token was read by a template that holds none")
	}
	if got := factsOf(d.Read(nil, nil)); got != "" {
		t.Errorf("no Secret is %q", got)
	}
}
