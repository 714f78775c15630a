package controller

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// kept is what a version of the operator left on the API server, as a file in testdata holds it: upgrade is written by
// v0.1 (d516fb4), present by the version that brought seals of the form "2". Neither is ever written again: a change that
// makes a test here fail would cost each user a request to PayU for each source, and in revoke-previous mode a live token.
type kept struct {
	At                 time.Time            `json:"at"`
	CredentialsVersion string               `json:"credentialsVersion"`
	PayUTokens         []v1alpha1.PayUToken `json:"payUTokens"`
	Secrets            []corev1.Secret      `json:"secrets,omitempty"`
}

// withKept returns a world in which a file of testdata is what the last operator left, and a new operator starts.
func withKept(t *testing.T, file string, mode payutest.Mode) (*world, kept) {
	t.Helper()
	w := newWorld(t, payutest.Config{Mode: mode})
	state := w.load(file)
	w.restart()
	return w, state
}

// load writes what a file holds to the API server. UIDs and the version of the credentials become those of the world.
func (w *world) load(file string) (state kept) {
	w.Helper()
	text, err := os.ReadFile(file)
	w.must(err)
	w.must(yaml.UnmarshalStrict(text, &state))
	w.clock.SetTime(state.At)
	w.credentials("payu-credentials", "merchant", secretOne)
	version := w.secret("payu-credentials").ResourceVersion
	uids := map[types.UID]types.UID{}
	for _, was := range state.PayUTokens {
		obj := &v1alpha1.PayUToken{ObjectMeta: metav1.ObjectMeta{Name: was.Name, Namespace: w.namespace}, Spec: was.Spec}
		w.must(w.user.Create(w.ctx, obj))
		uids[was.UID] = obj.UID
		before := obj.DeepCopy()
		obj.Status = was.Status
		if obj.Status.CredentialsVersion == state.CredentialsVersion {
			obj.Status.CredentialsVersion = version
		}
		w.must(w.user.Status().Patch(w.ctx, obj, client.MergeFrom(before)))
	}
	for _, was := range state.Secrets {
		w.applyAsOperator(&was, uids)
	}
	return state
}

// applyAsOperator applies a Secret as the operator that wrote it did.
func (w *world) applyAsOperator(was *corev1.Secret, uids map[types.UID]types.UID) {
	w.Helper()
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: was.Name, Namespace: w.namespace, Labels: was.Labels, Annotations: was.Annotations},
		Data:       maps.Clone(was.Data),
		Type:       was.Type,
	}
	secret.Labels[v1alpha1.LabelTokenUID] = string(uids[types.UID(was.Labels[v1alpha1.LabelTokenUID])])
	for _, owner := range was.OwnerReferences {
		owner.UID = uids[owner.UID]
		secret.OwnerReferences = append(secret.OwnerReferences, owner)
	}
	whole, err := json.Marshal(secret)
	w.must(err)
	w.must(w.user.Patch(w.ctx, secret, client.RawPatch(types.ApplyPatchType, whole), client.FieldOwner(v1alpha1.ManagedBy), client.ForceOwnership))
}

// sealOf returns the seal of a Secret.
func (w *world) sealOf(name string) string {
	w.Helper()
	return w.secret(name).Annotations[v1alpha1.AnnotationSource]
}

// forKept runs a test for each file of testdata.
func forKept(t *testing.T, test func(t *testing.T, file string)) {
	for _, set := range []string{"upgrade", "present"} {
		files, err := filepath.Glob(filepath.Join("testdata", set, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no states of %s: %v", set, err)
		}
		for _, file := range files {
			t.Run(set+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) { test(t, file) })
		}
	}
}

var modes = []payutest.Mode{payutest.Default, payutest.Reuse, payutest.RevokePrevious}

func TestAnUpgradeAsksPayUNothing(t *testing.T) {
	t.Parallel()
	forKept(t, func(t *testing.T, file string) {
		for _, mode := range modes {
			t.Run(string(mode), func(t *testing.T) {
				t.Parallel()
				w, state := withKept(t, file, mode)
				w.run()
				w.expectKept(state)
				for _, was := range state.Secrets {
					w.expectResealed(&was)
				}
				w.events.take()
				versions := w.versions(state)
				w.run()
				w.pass(30 * time.Second)
				w.expectKept(state)
				w.expectRequests(0)
				w.expectEvents()
				if diff := cmp.Diff(versions, w.versions(state)); diff != "" {
					t.Errorf("a second pass has written again (-first +second):\n%s", diff)
				}
			})
		}
	})
}

// expectKept checks that all that had a live token has the same still, and that what failed fails as before.
func (w *world) expectKept(state kept) {
	w.Helper()
	for _, was := range state.PayUTokens {
		got, want := w.conditions(was.Name), shortOf(was.Status.Conditions)
		if was.Spec.Suspend && strings.HasPrefix(state.Secrets[0].Annotations[v1alpha1.AnnotationSource], "2.") { // it gets the other's token
			want = "Ready=True/TokenValid Refreshed=False/Suspended"
		}
		if got != want {
			w.Errorf("conditions of %s:\n got %s\nwant %s", was.Name, got, want)
		}
		status := w.token(was.Name).Status
		if diff := cmp.Diff(was.Status.ExpiresAt, status.ExpiresAt); diff != "" && !was.Spec.Suspend {
			w.Errorf("expiresAt of %s (-was +is):\n%s", was.Name, diff)
		}
		if status.Scope != was.Status.Scope && !was.Spec.Suspend {
			w.Errorf("scope of %s is %q, and was %q", was.Name, status.Scope, was.Status.Scope)
		}
	}
	for _, was := range state.Secrets {
		if diff := cmp.Diff(was.Data, w.secret(was.Name).Data); diff != "" {
			w.Errorf("the data of %s have changed:\n%s", was.Name, diff)
		}
	}
}

// expectResealed checks that a seal of the former form is replaced, and that what the present one proves stays.
func (w *world) expectResealed(was *corev1.Secret) {
	w.Helper()
	before, now := strings.Split(was.Annotations[v1alpha1.AnnotationSource], "."), strings.Split(w.sealOf(was.Name), ".")
	if len(now) != 4 || now[0] != "2" {
		w.Errorf("the seal of %s is %q", was.Name, w.sealOf(was.Name))
		return
	}
	if len(before) == len(now) {
		if diff := cmp.Diff(before[:3], now[:3]); diff != "" {
			w.Errorf("data and mac of %s are sealed differently:\n%s", was.Name, diff)
		}
	}
	for _, name := range []string{v1alpha1.AnnotationFetchedAt, v1alpha1.AnnotationExpiresAt, v1alpha1.AnnotationTokenName} {
		if got, want := w.secret(was.Name).Annotations[name], was.Annotations[name]; got != want {
			w.Errorf("annotation %s of %s is %q, and was %q", name, was.Name, got, want)
		}
	}
}

// versions returns the resourceVersions of all that is there.
func (w *world) versions(state kept) map[string]string {
	w.Helper()
	all := map[string]string{}
	for _, p := range state.PayUTokens {
		all["PayUToken "+p.Name] = w.token(p.Name).ResourceVersion
	}
	for _, s := range state.Secrets {
		all["Secret "+s.Name] = w.secret(s.Name).ResourceVersion
	}
	return all
}

func shortOf(conditions []metav1.Condition) string {
	short := map[string]string{}
	for _, c := range conditions {
		short[c.Type] = fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason)
	}
	return strings.TrimSpace(short[v1alpha1.ConditionReady] + " " + short[v1alpha1.ConditionRefreshed] + " " + short[v1alpha1.ConditionStalled])
}

// TestAnUpgradeWithoutTheCredentialsKeepsWhatIsThere: no seal is replaced that cannot be verified.
func TestAnUpgradeWithoutTheCredentialsKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	forKept(t, func(t *testing.T, file string) {
		t.Parallel()
		w, state := withKept(t, file, payutest.RevokePrevious)
		onRead(w, func(name string) error {
			if name == "payu-credentials" {
				return forbid(name, "no")
			}
			return nil
		})
		w.run()
		w.pass(30 * time.Second)
		w.expectRequests(0)
		for _, was := range state.PayUTokens {
			if metaReady(was.Status.Conditions) {
				w.expectConditions(was.Name, aliveStalledBy("CredentialsUnreadable"))
			}
		}
		for _, was := range state.Secrets {
			is := w.secret(was.Name)
			if diff := cmp.Diff(was.Data, is.Data); diff != "" {
				t.Errorf("the data of %s have changed:\n%s", was.Name, diff)
			}
			if former := strings.Count(was.Annotations[v1alpha1.AnnotationSource], ".") == 4; former {
				if diff := cmp.Diff(was.Annotations, is.Annotations); diff != "" {
					t.Errorf("the annotations of %s have changed:\n%s", was.Name, diff)
				}
			}
		}
	})
}

func metaReady(conditions []metav1.Condition) bool {
	return strings.HasPrefix(shortOf(conditions), "Ready=True")
}

// TestAnUpgradeDoesNotShortenABackOff: whoever was refused or told to wait waits as long as the status says, and is asked
// for then.
func TestAnUpgradeDoesNotShortenABackOff(t *testing.T) {
	t.Parallel()
	forKept(t, func(t *testing.T, file string) {
		t.Parallel()
		w, state := withKept(t, file, payutest.Default)
		next := state.PayUTokens[0].Status.NextAttemptAt
		if next == nil {
			t.Skip("nothing waits")
		}
		w.run()
		w.pass(next.Add(-time.Second).Sub(state.At))
		w.expectRequests(0)
		w.pass(3 * time.Second)
		w.expectRequests(1)
		w.expectConditions("links", good)
		w.expectLive("links")
	})
}

// TestAFormerSealServesItsOwnPayUTokenOnly: whoever has seen a former seal can forge one for other data. While the API
// server refuses the write that replaces it, its token is given to no other PayUToken.
func TestAFormerSealServesItsOwnPayUTokenOnly(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"another", "newcomer"} { // reconciled first, and last
		t.Run(other, func(t *testing.T) {
			t.Parallel()
			w, _ := withKept(t, "testdata/upgrade/default.yaml", payutest.Default)
			before := w.value("links")
			w.faults.set(nil, func(name string) error {
				if name == "links" {
					return forbid(name, "nobody may write it")
				}
				return nil
			})
			w.create(other)
			w.run()
			w.pass(30 * time.Second)
			w.expectRequests(1)
			w.expectLive(other)
			if w.value("links") != before || w.value(other) == before {
				t.Error("a token under a former seal was shared")
			}
			w.expectCondition("links", v1alpha1.ConditionReady, "True/TokenValid")
		})
	}
}

// TestAPlantedFormerSealIsNotShared: whoever may write one target Secret can make a seal of the former version for any data.
// It serves that Secret's own PayUToken, whose token he could replace anyway, and nobody else, also once it was replaced.
func TestAPlantedFormerSealIsNotShared(t *testing.T) {
	t.Parallel()
	w, _ := withKept(t, "testdata/upgrade/default.yaml", payutest.Default)
	const fetched, expires = "2026-11-22T09:09:59Z", "2036-11-22T09:09:59Z"
	w.change("links", func(s *corev1.Secret) {
		parts := strings.Split(s.Annotations[v1alpha1.AnnotationSource], ".")
		parts[4] = payu.DigestOf("data", fetched, expires, "access_token", "planted", "expires_at", string(s.Data["expires_at"]),
			"scope", string(s.Data["scope"]), "token_type", "Bearer").String()
		s.Data["access_token"] = []byte("planted")
		s.Annotations[v1alpha1.AnnotationFetchedAt], s.Annotations[v1alpha1.AnnotationExpiresAt] = fetched, expires
		s.Annotations[v1alpha1.AnnotationSource] = strings.Join(parts, ".")
	})
	w.run()
	if !strings.HasPrefix(w.secret("links").Annotations[v1alpha1.AnnotationSource], "2.") {
		t.Fatal("the test needs a seal that was replaced")
	}
	w.restart()
	w.create("sharer")
	w.run()
	w.pass(time.Minute)
	if w.value("sharer") == "planted" || w.value("sharer") == "" {
		t.Errorf("the sharer holds %q", w.value("sharer"))
	}
}
