package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	fewestTokens   = 12
	namespaceCount = 8
	// conflictCount is how many PayUTokens name a target that is not theirs.
	conflictCount = 2
	foreignCount  = 3 // in each namespace, beside those in the way
)

// source is what PayU issues a token for. At PayU, all with the same source get the same kind of token.
type source struct{ client, scopes string }

// subject is a PayUToken and what is expected of it. Its target has its name.
type subject struct {
	types.NamespacedName
	client  string
	scopes  []string
	percent int32 // renewalPercent, 0 for the default
	// template is true if the Secret has one key of its own making instead of the default ones.
	template bool
	retain   bool
	// target is another name for the Secret; only a PayUToken in conflict has one.
	target string
	// conflict is true if the target is not the PayUToken's: it must get no token, and cost no request.
	conflict bool
	// steady is true in the environment whose tokens live for hours: one request must do for the whole run.
	steady bool
}

func (s subject) source() source { return source{s.client, payutest.ScopeSet(s.scopes)} }

func (s subject) credentials() types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: "credentials-" + s.client}
}

// population is all that is in the cluster for the operator, or in its way.
type population struct {
	namespaces []string
	subjects   []subject
	clients    map[string]payutest.Client // by ID, with the secret in force
	secrets    []string                   // every client secret that ever was
	foreign    map[types.NamespacedName]*corev1.Secret
	random     *rand.Rand
}

// newPopulation draws PayUTokens of all kinds: of ten, three share a source across namespaces, two share a client and its
// credentials but not the scopes, and the rest have clients of their own, one of them with tokens that live for hours.
func newPopulation(tokens int, random *rand.Rand) *population {
	p := &population{random: random, clients: map[string]payutest.Client{}, foreign: map[types.NamespacedName]*corev1.Secret{}}
	for n := range namespaceCount {
		p.namespaces = append(p.namespaces, fmt.Sprintf("team-%d", n))
	}
	for n := range tokens - conflictCount {
		p.subjects = append(p.subjects, p.draw(n))
	}
	p.addConflicts()
	p.addForeign()
	return p
}

func (p *population) draw(n int) subject {
	group, place := n/10, n%10
	s := subject{
		NamespacedName: types.NamespacedName{Namespace: p.namespace(n + group), Name: fmt.Sprintf("token-%03d", n)},
		template:       n%7 == 3, retain: n%5 == 1,
	}
	if n%3 == 0 {
		s.percent = 50
	}
	links := []string{"create_payment_links", "read_payment_links"}
	switch {
	case place < 3:
		s.Namespace, s.client, s.scopes = p.namespace(group+place), p.client("shared", group), links
		if place == 1 {
			s.scopes = []string{links[1], links[0]} // the same set
		}
	case place < 5:
		s.Namespace, s.client, s.scopes = p.namespace(group), p.client("twin", group), links[:place-2]
	case place < 9:
		s.client, s.scopes = p.client("own", n), []string{payutest.KnownScopes[p.random.IntN(len(payutest.KnownScopes))]}
	default:
		s.client, s.scopes, s.steady = p.client("steady", n), links, true
	}
	return s
}

func (p *population) namespace(n int) string { return p.namespaces[n%len(p.namespaces)] }

// client returns the ID of a client, which it makes if there is none yet.
func (p *population) client(kind string, n int) string {
	id := fmt.Sprintf("%s-%03d", kind, n)
	if _, known := p.clients[id]; !known {
		p.clients[id] = payutest.Client{ID: id, Secret: p.newSecret()}
	}
	return id
}

// newSecret returns a client secret with all that is odd in a form, in JSON and in a shell, but for its ends: those
// look the same however it is written.
func (p *population) newSecret() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	end := func() string {
		b := make([]byte, 24)
		for i := range b {
			b[i] = letters[p.random.IntN(len(letters))]
		}
		return string(b)
	}
	secret := end() + `+&%=<"\ ` + end()
	p.secrets = append(p.secrets, secret)
	return secret
}

// addConflicts adds a PayUToken whose target somebody else has made, and one whose target an older one has.
func (p *population) addConflicts() {
	first := p.subjects[0]
	name := func(name string) types.NamespacedName {
		return types.NamespacedName{Namespace: first.Namespace, Name: name}
	}
	scopes := []string{"read_payment_links"}
	p.subjects = append(p.subjects,
		subject{NamespacedName: name("unwelcome"), client: p.client("unwelcome", 0), scopes: scopes, conflict: true},
		subject{NamespacedName: name("zz-late"), target: first.Name, client: p.client("late", 0), scopes: scopes, conflict: true},
	)
	p.plant(name("unwelcome"))
}

func (p *population) addForeign() {
	for _, namespace := range p.namespaces {
		for n := range foreignCount {
			p.plant(types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("foreign-%d", n)})
		}
	}
}

// plantedLabel marks the Secrets that nobody may touch; credentials are changed by the test itself.
const plantedLabel = "planted"

// plant adds a Secret of somebody else.
func (p *population) plant(name types.NamespacedName) {
	p.foreign[name] = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: map[string]string{plantedLabel: "true"}},
		Data:       map[string][]byte{v1alpha1.KeyAccessToken: []byte("theirs")},
	}
}

// regular returns the PayUTokens that are to have a token.
func (p *population) regular() []subject { return p.subjects[:len(p.subjects)-conflictCount] }

// sources counts the different ones.
func (p *population) sources() int {
	all := map[source]bool{}
	for _, s := range p.regular() {
		all[s.source()] = true
	}
	return len(all)
}

// create brings everything into the cluster, the PayUTokens last.
func (p *population) create(ctx context.Context, c client.Client) error {
	for _, name := range p.namespaces {
		if err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	for _, secret := range p.foreign {
		if err := c.Create(ctx, secret); err != nil { // fills in the resourceVersion
			return err
		}
	}
	for _, secret := range p.credentials() {
		if err := c.Create(ctx, secret); err != nil {
			return err
		}
	}
	for _, s := range p.subjects {
		if err := c.Create(ctx, s.object()); err != nil {
			return err
		}
	}
	return nil
}

// credentials returns the credentials Secrets. Every other one ends in a line feed, as `echo` leaves it.
func (p *population) credentials() map[types.NamespacedName]*corev1.Secret {
	all := map[types.NamespacedName]*corev1.Secret{}
	for n, s := range p.subjects {
		value := p.clients[s.client].Secret
		if n%2 == 0 {
			value += "\n"
		}
		all[s.credentials()] = lab.NewCredentials(s.Namespace, s.credentials().Name, s.client, value)
	}
	return all
}

func (s subject) object() *v1alpha1.PayUToken {
	token := lab.NewToken(s.Namespace, s.Name, lab.With(s.credentials().Name), lab.For(s.scopes...), lab.Into(s.target))
	token.Spec.RenewalPercent = s.percent
	if s.steady {
		token.Spec.Environment = v1alpha1.EnvironmentProduction
	}
	if s.retain {
		token.Spec.Target.DeletionPolicy = v1alpha1.DeletionPolicyRetain
	}
	if s.template {
		token.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{templateKey: templatePrefix + "{{ .AccessToken }}\n"}
	}
	return token
}

const (
	templateKey    = "token.env"
	templatePrefix = "PAYU_TOKEN="
)

// tokenIn returns the access token that a target Secret holds, and what is wrong with the Secret, empty if nothing is.
func (s subject) tokenIn(secret *corev1.Secret) (token, flaw string) {
	if s.template {
		token, ok := strings.CutPrefix(string(secret.Data[templateKey]), templatePrefix)
		if token, end := strings.CutSuffix(token, "\n"); ok && end && token != "" && len(secret.Data) == 1 {
			return token, ""
		}
		return "", "its one key is not as the template says"
	}
	want := []string{v1alpha1.KeyAccessToken, v1alpha1.KeyExpiresAt, v1alpha1.KeyScope, v1alpha1.KeyTokenType}
	data := func(key string) string { return string(secret.Data[key]) }
	switch {
	case !slices.Equal(slices.Sorted(maps.Keys(secret.Data)), want):
		return "", "its keys are not the default ones"
	case data(v1alpha1.KeyAccessToken) == "":
		return "", "its access_token is empty"
	case payutest.ScopeSet(strings.Fields(data(v1alpha1.KeyScope))) != payutest.ScopeSet(s.scopes):
		return "", "its scope is not what was asked for"
	case data(v1alpha1.KeyTokenType) != "Bearer":
		return "", "its token_type is not Bearer"
	case data(v1alpha1.KeyExpiresAt) != secret.Annotations[v1alpha1.AnnotationExpiresAt]:
		return "", "its expires_at is another one in the data than in the annotation"
	}
	return data(v1alpha1.KeyAccessToken), ""
}
