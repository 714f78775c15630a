package target

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// marks are what a Secret says of its owner.
type marks struct{ kind, owner, ownerUID, label, name string }

func (m marks) secret() *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}, Annotations: map[string]string{}}}
	if m.kind != "" {
		secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "auth.payu.in/v1alpha1", Kind: m.kind, Name: m.owner, UID: types.UID(m.ownerUID), Controller: ptr.To(true)}}
	}
	if m.label != "" {
		secret.Labels[v1alpha1.LabelTokenUID] = m.label
	}
	if m.name != "" {
		secret.Annotations[v1alpha1.AnnotationTokenName] = m.name
	}
	return secret
}

func claim(name string, age time.Duration) Claim {
	return Claim{Name: name, UID: types.UID("uid-" + name), Created: now.Add(-age)}
}

func TestOwner(t *testing.T) {
	a, b, c := claim("a", time.Minute), claim("b", time.Hour), claim("c", time.Hour)
	again := Claim{Name: "a", UID: "uid-a-again", Created: now}
	for name, test := range map[string]struct {
		secret *marks
		claims []Claim
		want   string
	}{
		"no Secret, no claim":               {want: ""},
		"no Secret, one claim":              {claims: []Claim{a}, want: "a"},
		"no Secret: the oldest":             {claims: []Claim{a, b}, want: "b"},
		"no Secret, same age: by name":      {claims: []Claim{c, a, b}, want: "b"},
		"owner":                             {&marks{"PayUToken", "a", "uid-a", "uid-a", "a"}, []Claim{b, a}, "a"},
		"owner, everything else edited":     {&marks{"PayUToken", "x", "uid-a", "uid-b", "b"}, []Claim{b, a}, "a"},
		"owner is gone, label":              {&marks{"PayUToken", "x", "uid-x", "uid-a", "b"}, []Claim{b, a}, "a"},
		"no owner, label":                   {&marks{label: "uid-a", name: "b"}, []Claim{b, a}, "a"},
		"only the name":                     {&marks{name: "a"}, []Claim{b, a}, "a"},
		"retained, owner created again":     {&marks{label: "uid-a", name: "a"}, []Claim{b, again}, "a"},
		"owned, owner created again":        {&marks{"PayUToken", "a", "uid-a", "uid-a", "a"}, []Claim{b, again}, "a"},
		"owner claims it no longer":         {&marks{"PayUToken", "a", "uid-a", "uid-a", "a"}, []Claim{b}, "a"},
		"retained, owner is gone":           {&marks{label: "uid-a", name: "a"}, []Claim{b}, "a"},
		"a foreign controller":              {&marks{"ExternalSecret", "a", "uid-x", "uid-a", "a"}, []Claim{a, b}, ""},
		"a foreign Secret":                  {&marks{}, []Claim{a, b}, ""},
		"a foreign Secret, nobody wants it": {&marks{}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var secret *corev1.Secret
			if test.secret != nil {
				secret = test.secret.secret()
			}
			if got := Owner(secret, test.claims); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestOfSeveralClaimantsAtMostOneOwnsASecret: each PayUToken works out the owner for itself, from claims in an order of
// its own, with its own claim perhaps twice. All must come to the same, and it must be what the Secret names if it names
// anything.
func TestOfSeveralClaimantsAtMostOneOwnsASecret(t *testing.T) {
	const seed = 20261122
	random := rand.New(rand.NewPCG(seed, seed))
	for round := range 20000 {
		claims, secret := someClaims(random), someSecret(random)
		want := Owner(secret, claims)
		owners := 0
		for _, c := range claims {
			view := append(shuffled(random, claims), c)
			got := Owner(secret, view)
			if got != want {
				t.Fatalf("round %d: %q for one, %q for another: Secret %v, claims %v", round, got, want, secret, claims)
			}
			if got == c.Name {
				owners++
			}
		}
		if owners > 1 || secret == nil && len(claims) > 0 && owners != 1 {
			t.Fatalf("round %d: %d owners: Secret %v, claims %v", round, owners, secret, claims)
		}
	}
}

// someClaims returns claims of one namespace: names and UIDs are each other's, and there may be none.
func someClaims(random *rand.Rand) (claims []Claim) {
	for _, name := range []string{"a", "b", "c", "d"} {
		if random.IntN(2) == 0 {
			uid := types.UID(fmt.Sprintf("uid-%s-%d", name, random.IntN(2)))
			claims = append(claims, Claim{Name: name, UID: uid, Created: now.Add(time.Duration(random.IntN(3)) * time.Second)})
		}
	}
	return claims
}

func someSecret(random *rand.Rand) *corev1.Secret {
	if random.IntN(4) == 0 {
		return nil
	}
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	uids := []string{"", "uid-a-0", "uid-a-1", "uid-b-0", "uid-b-1", "uid-c-0", "uid-x"}
	return marks{
		kind: pick("", "PayUToken", "PayUToken", "Deployment"), owner: pick("a", "b", "c", "x"), ownerUID: pick(uids...), label: pick(uids...),
		name: pick("", "a", "b", "c", "x"),
	}.secret()
}

func shuffled(random *rand.Rand, claims []Claim) []Claim {
	list := append([]Claim{}, claims...)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// TestAPayUTokenOfAnotherGroupIsAForeignOwner: a kind is one of its API group, and another group may have a PayUToken of the same
// name.
func TestAPayUTokenOfAnotherGroupIsAForeignOwner(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "payments.example.com/v1", Kind: "PayUToken", Name: "a", UID: "theirs", Controller: ptr.To(true)},
	}}}
	if owner := Owner(secret, []Claim{claim("a", 0)}); owner != "" {
		t.Errorf("the Secret of another controller is that of PayUToken %q", owner)
	}
}
