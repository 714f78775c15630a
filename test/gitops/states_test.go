package gitops_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// state is one that a PayUToken can be in: how it comes to that, and how Flux and Argo CD are to read it.
type state struct {
	faults     []payutest.Fault // that its requests meet, one after the other
	given      func(w *world, name string)
	edit       lab.Edit
	then       func(w *world, name string) // once it is good
	conditions string
	kstatus    status.Status
	health     string // as Argo CD calls it
	message    string // a part of what Argo CD shows
}

// The names of states are those of the PayUTokens.
var states = map[string]state{
	"all-well": {conditions: good, kstatus: status.CurrentStatus, health: "Healthy", message: `"all-well" holds a valid token`},

	// There is no token, and a person must act.
	"client-refused":     refused("InvalidClient", payutest.Fault{Error: "invalid_client"}),
	"scope-refused":      refused("InvalidScope", payutest.Fault{Error: "invalid_scope"}),
	"grant-refused":      refused("UnauthorizedClient", payutest.Fault{Error: "unauthorized_client"}),
	"request-refused":    refused("InvalidRequest", payutest.Fault{Error: "invalid_request"}),
	"grant-type-refused": refused("UnsupportedGrantType", payutest.Fault{Error: "unsupported_grant_type"}),
	"scope-reduced":      refused("ScopeReduced", payutest.Fault{Grant: []string{"read_payment_links"}}),
	"no-credentials":     stuck("CredentialsNotFound", removeCredentials, nil),
	"no-such-key":        stuck("CredentialsNotFound", nil, idKey("id")),
	"credentials-empty":  stuck("CredentialsInvalid", emptyCredentials, nil),
	"target-foreign":     stuck("TargetConflict", foreignTarget, nil),
	"target-contended":   stuck("TargetConflict", elder, lab.Into("contended")),
	"template-wrong":     stuck("TemplateInvalid", nil, template("{{ .RefreshToken }}")),
	"target-refused": {then: immutable(lab.For("read_payment_links")), conditions: all("TargetWriteFailed", stalled),
		kstatus: status.FailedStatus, health: "Degraded", message: "The API server refuses"},

	"no-lifetime": {faults: []payutest.Fault{{Omit: []string{"expires_in"}}}, conditions: all("LifetimeUnknown", stalled),
		kstatus: status.FailedStatus, health: "Degraded", message: "set spec.assumedLifetime"},

	// There is no token, and it may still come.
	"rate-limited":  failing("RateLimited", payutest.Fault{Error: "rate_limit_exceeded"}),
	"server-error":  failing("ServerError", payutest.Fault{Status: 502, Body: "<html>"}),
	"unknown-error": failing("OAuthError", payutest.Fault{Error: "something_new"}),
	"unreachable":   failing("Unreachable", payutest.Fault{Break: payutest.BreakReset}),
	"odd-answer":    failing("InvalidResponse", payutest.Fault{Status: 200, Body: "<html>Sign in</html>"}),
	"never-let": {edit: suspend, conditions: all("Suspended"),
		kstatus: status.InProgressStatus, health: "Suspended", message: "spec.suspend"},

	// The token is good, and its successor does not come.
	"renewal-fails": {faults: later(payutest.Fault{Error: "server_error"}), then: edits(lab.Refresh("1")),
		conditions: "Ready=True/TokenValid Refreshed=False/ServerError",
		kstatus:    status.CurrentStatus, health: "Healthy", message: `holds a valid token; the last renewal failed: `},
	"renewal-refused": {faults: later(payutest.Fault{Error: "invalid_client"}), then: edits(lab.Refresh("1")),
		conditions: "Ready=True/TokenValid Refreshed=False/InvalidClient Stalled=True/InvalidClient",
		kstatus:    status.FailedStatus, health: "Degraded", message: "correct client_id"},
	"renewal-unwritable": {then: immutable(lab.Refresh("1")),
		conditions: "Ready=True/TokenValid Refreshed=False/TargetWriteFailed Stalled=True/TargetWriteFailed",
		kstatus:    status.FailedStatus, health: "Degraded", message: "The API server refuses"},
	"credentials-lost": {then: removeCredentials,
		conditions: "Ready=True/TokenValid Refreshed=False/CredentialsNotFound Stalled=True/CredentialsNotFound",
		kstatus:    status.FailedStatus, health: "Degraded", message: "does not exist"},
	"suspended": {then: edits(suspend), conditions: "Ready=True/TokenValid Refreshed=False/Suspended",
		kstatus: status.CurrentStatus, health: "Suspended", message: "spec.suspend"},
	"reused": {edit: inProduction, then: edits(lab.Refresh("1")), conditions: "Ready=True/TokenValid Refreshed=True/TokenReused",
		kstatus: status.CurrentStatus, health: "Healthy", message: `"reused" holds a valid token`},
	// The pods get it later: that is no failure of the PayUToken.
	"undelivered": {given: unfencedPod, edit: prompt, conditions: "Delivered=False/DeliveryUnfenced " + good,
		kstatus: status.CurrentStatus, health: "Healthy", message: `"undelivered" holds a valid token`},

	// The token has expired.
	"expired-failing": {faults: shortLived(payutest.Fault{Error: "server_error"}), conditions: all("ServerError"),
		kstatus: status.InProgressStatus, health: "Progressing", message: "server_error"},
	"expired-refused": {faults: shortLived(payutest.Fault{Error: "invalid_client"}), conditions: all("InvalidClient", stalled),
		kstatus: status.FailedStatus, health: "Degraded", message: "correct client_id"},
	"expired-awaited": {faults: shortLived(payutest.Fault{Hang: true}), conditions: "Ready=False/Pending Refreshed=True/Succeeded",
		kstatus: status.InProgressStatus, health: "Progressing", message: "is being requested"},
	"expired-suspended": {faults: []payutest.Fault{{Set: threeSeconds}}, then: edits(suspend), conditions: all("Suspended"),
		kstatus: status.InProgressStatus, health: "Suspended", message: "spec.suspend"},
	"expired-reused": {edit: inProduction, conditions: "Ready=False/TokenReused Refreshed=True/TokenReused",
		kstatus: status.InProgressStatus, health: "Progressing", message: "The token has expired"},
}

const stalled = true

// all returns the conditions that all give one reason.
func all(reason string, stalled ...bool) string {
	s := "Ready=False/" + reason + " Refreshed=False/" + reason
	if len(stalled) > 0 {
		s += " Stalled=True/" + reason
	}
	return s
}

func refused(reason string, f payutest.Fault) state {
	return state{faults: []payutest.Fault{f}, conditions: all(reason, stalled), kstatus: status.FailedStatus, health: "Degraded"}
}

func stuck(reason string, given func(*world, string), change lab.Edit) state {
	return state{given: given, edit: change, conditions: all(reason, stalled), kstatus: status.FailedStatus, health: "Degraded"}
}

func failing(reason string, f payutest.Fault) state {
	return state{faults: []payutest.Fault{f}, conditions: all(reason), kstatus: status.InProgressStatus, health: "Progressing"}
}

// later has all requests but the first meet a fault.
func later(f payutest.Fault) []payutest.Fault { return []payutest.Fault{{Times: 1}, f} }

// shortLived has the first token live for 3 seconds, and all further requests meet a fault.
func shortLived(f payutest.Fault) []payutest.Fault {
	return []payutest.Fault{{Times: 1, Set: threeSeconds}, f}
}

var threeSeconds = map[string]json.RawMessage{"expires_in": json.RawMessage("3")}

func edits(change lab.Edit) func(*world, string) {
	return func(w *world, name string) { w.Change(name, change) }
}

func removeCredentials(w *world, name string) {
	lab.Check(w, cluster.Client.Delete(w.Context(), w.secret(name+"-credentials")))
}

func emptyCredentials(w *world, name string) {
	secret := w.secret(name + "-credentials")
	secret.Data["client_secret"] = []byte("\n")
	lab.Check(w, cluster.Client.Update(w.Context(), secret))
}

func idKey(key v1alpha1.SecretKey) lab.Edit {
	return func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.ClientIDKey = key }
}

func template(text v1alpha1.DataTemplate) lab.Edit {
	return func(p *v1alpha1.PayUToken) {
		p.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"token": text}
	}
}

func prompt(p *v1alpha1.PayUToken) { p.Spec.Target.Delivery = v1alpha1.DeliveryPrompt }

// unfencedPod creates a pod that no policy keeps the operator from changing.
func unfencedPod(w *world, name string) {
	lab.Check(w, cluster.Client.Create(w.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: corev1.PodSpec{NodeName: "node", AutomountServiceAccountToken: ptr.To(false), Containers: []corev1.Container{{Name: "app", Image: "app"}}}}))
}

func foreignTarget(w *world, name string) { w.createSecret(name, map[string]string{"theirs": "1"}) }

// elder makes a PayUToken which, of the same second, counts as the older one for its name.
func elder(w *world, _ string) {
	w.credentials("elder")
	w.create("elder", lab.Into("contended"))
	w.await("elder", good)
}

// immutable has the API server refuse what the edit leads to.
func immutable(change lab.Edit) func(*world, string) {
	return func(w *world, name string) {
		secret := w.secret(name)
		secret.Immutable = ptr.To(true)
		lab.Check(w, cluster.Client.Update(w.Context(), secret))
		w.Change(name, change)
	}
}

// TestEveryState brings real PayUTokens into each state, and has Flux's library and Argo CD's Lua say what they see.
func TestEveryState(t *testing.T) {
	t.Parallel()
	w, argo := newWorld(t), newArgoCD(t)
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("states", func(t *testing.T) {
		for name, s := range states {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				u := s.reach(w.on(t), name)
				s.expect(t, argo, u)
				mu.Lock()
				defer mu.Unlock()
				for reason := range reasonsOf(u) {
					seen[reason] = true
				}
			})
		}
	})
	// An API server with RBAC that works cannot be had to refuse one Secret; controller.TestTroubleOfANewPayUTokenIsToldOf does it.
	seen[v1alpha1.ReasonCredentialsUnreadable] = true
	// The other reasons of Delivered are read as the one in the table. internal/controller comes to them.
	for _, reason := range []string{v1alpha1.ReasonPodsTold, v1alpha1.ReasonDeliveryForbidden, v1alpha1.ReasonDeliveryFailed} {
		seen[reason] = true
	}
	if unseen := slices.DeleteFunc(everyReason(t), func(reason string) bool { return seen[reason] }); len(unseen) > 0 && !t.Failed() {
		t.Errorf("no state has the reasons %v: add one to the table", unseen)
	}
}

// reach returns the PayUToken as it is once it has come to the state.
func (s state) reach(w *world, name string) *unstructured.Unstructured {
	w.Helper()
	w.credentials(name)
	for _, fault := range s.faults {
		fault.ClientID = w.client(name)
		w.payu.Inject(fault)
	}
	if s.given != nil {
		s.given(w, name)
	}
	if s.edit == nil {
		s.edit = func(*v1alpha1.PayUToken) {}
	}
	w.create(name, s.edit)
	if s.then != nil {
		w.await(name, good)
		s.then(w, name)
	}
	return w.await(name, s.conditions)
}

func (s state) expect(t *testing.T, argo *argoCD, u *unstructured.Unstructured) {
	t.Helper()
	expectReadyWhereObserved(t, u)
	if result := lab.Must(status.Compute(u))(t); result.Status != s.kstatus {
		t.Errorf("Flux sees %s (%s), want %s", result.Status, result.Message, s.kstatus)
	}
	health := argo.health(t, u)
	if health.Status != s.health || !strings.Contains(health.Message, s.message) || health.Message == "" {
		t.Errorf("Argo CD sees %s: %s\nwant %s: …%s…", health.Status, health.Message, s.health, s.message)
	}
	if message := stalledMessage(u); s.kstatus == status.FailedStatus && health.Message != message {
		t.Errorf("Argo CD says %q, the PayUToken %q", health.Message, message)
	}
}

// expectReadyWhereObserved holds what would otherwise mislead kstatus: without Ready it takes anything for current.
func expectReadyWhereObserved(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if observed == u.GetGeneration() && !strings.Contains(" "+conditions(u), " Ready=") {
		t.Errorf("generation %d is observed without a condition Ready: %s", observed, conditions(u))
	}
}

func stalledMessage(u *unstructured.Unstructured) string {
	for _, c := range conditionsOf(u) {
		if c.Type == v1alpha1.ConditionStalled {
			return c.Message
		}
	}
	return ""
}

func reasonsOf(u *unstructured.Unstructured) map[string]bool {
	reasons := map[string]bool{}
	for _, c := range conditionsOf(u) {
		reasons[c.Reason] = true
	}
	return reasons
}

// everyReason reads the reasons from their declarations, so that a new one cannot be forgotten here.
func everyReason(t *testing.T) []string {
	t.Helper()
	file := lab.Must(parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, 0))(t)
	reasons := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			reasons[lab.Must(strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value))(t)] = true
		}
		return true
	})
	if len(reasons) == 0 {
		t.Fatal("no reasons are declared in api/v1alpha1/conditions.go")
	}
	return slices.Sorted(maps.Keys(reasons))
}

// TestStories tells what Flux and Argo CD see as time passes, with no moment left out.
func TestStories(t *testing.T) {
	t.Parallel()
	w, argo := newWorld(t), newArgoCD(t)
	const (
		coming, there, stuck, going = "InProgress Progressing", "Current Healthy", "Failed Degraded", "Terminating Progressing"
	)
	for name, test := range map[string]struct {
		faults []payutest.Fault
		given  func(*world, string)
		tell   func(*story)
		want   []string
	}{
		"first-token": {tell: func(s *story) { s.comes(good) },
			want: []string{coming, there}},
		"first-token-after-trouble": {faults: []payutest.Fault{{Error: "server_error", Times: 1}},
			tell: func(s *story) { s.comes(all("ServerError")); s.comes(good) },
			want: []string{coming, there}},
		"renewal-after-trouble": {faults: []payutest.Fault{{Times: 1}, {Status: 503, Times: 1}},
			tell: func(s *story) {
				s.comes(good)
				s.Change(s.name, lab.Refresh("1"))
				s.comes("Ready=True/TokenValid Refreshed=False/ServerError")
				s.comes(good)
			},
			want: []string{coming, there}},
		"expiry-and-recovery": {faults: shortLived(payutest.Fault{Error: "server_error"}),
			tell: func(s *story) {
				s.comes(good)
				s.comes(all("ServerError"))
				s.payu.ClearFault(s.client(s.name))
				s.comes(good)
			},
			want: []string{coming, there, coming, there}},
		"spec-changes": {
			tell: func(s *story) {
				s.comes(good)
				s.Change(s.name, lab.For("read_payment_links"))
				s.observed(2)
			},
			want: []string{coming, there, coming, there}},
		"a-mistake-and-its-correction": {faults: []payutest.Fault{{Error: "invalid_scope", Times: 1}},
			tell: func(s *story) {
				s.comes(all("InvalidScope", stalled))
				s.Change(s.name, lab.For("read_payment_links"))
				s.comes(good)
			},
			want: []string{coming, stuck, coming, there}},
		"credentials-come-later": {given: removeCredentials,
			tell: func(s *story) {
				s.comes(all("CredentialsNotFound", stalled))
				s.createSecret(s.name+"-credentials", map[string]string{"client_id": s.client(s.name), "client_secret": lab.MerchantSecret})
				s.comes(good)
			},
			want: []string{coming, stuck, there}},
		"credentials-are-replaced": {
			tell: func(s *story) {
				s.comes(good)
				s.payu.PutClient(payutest.Client{ID: s.client(s.name), Secret: "another"})
				secret := s.secret(s.name + "-credentials")
				secret.Data["client_secret"] = []byte("another")
				lab.Check(s, cluster.Client.Update(s.Context(), secret))
				s.until("another credentialsVersion", func(u *unstructured.Unstructured) bool {
					version, _, _ := unstructured.NestedString(u.Object, "status", "credentialsVersion")
					return version == secret.ResourceVersion
				})
			},
			want: []string{coming, there}},
		"suspended-and-resumed": {
			tell: func(s *story) {
				s.comes(good)
				s.Change(s.name, suspend)
				s.observed(2)
				s.Change(s.name, resume)
				s.observed(3)
			},
			want: []string{coming, there, "InProgress Suspended", "Current Suspended", coming, there}},
		"deleted": {
			tell: func(s *story) {
				s.comes(good)
				s.Change(s.name, func(p *v1alpha1.PayUToken) { p.Finalizers = []string{"example.com/keep"} })
				lab.Check(s, cluster.Client.Delete(s.Context(), s.get(s.name)))
				s.until("deletion", func(u *unstructured.Unstructured) bool { return u.GetDeletionTimestamp() != nil })
				s.Change(s.name, func(p *v1alpha1.PayUToken) { p.Finalizers = nil })
			},
			want: []string{coming, there, going}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := w.on(t)
			w.credentials(name)
			for _, fault := range test.faults {
				fault.ClientID = w.client(name)
				w.payu.Inject(fault)
			}
			if test.given != nil {
				test.given(w, name)
			}
			s := w.follow(name)
			var seen []string
			s.seen = func(u *unstructured.Unstructured) {
				expectReadyWhereObserved(t, u)
				now := string(lab.Must(status.Compute(u))(t).Status) + " " + argo.health(t, u).Status
				if len(seen) == 0 || seen[len(seen)-1] != now {
					seen = append(seen, now)
				}
			}
			w.create(name)
			test.tell(s)
			if !slices.Equal(seen, test.want) {
				t.Errorf("Flux and Argo CD saw\n%q, want\n%q", seen, test.want)
			}
		})
	}
}

// comes waits for conditions.
func (s *story) comes(want string) {
	s.Helper()
	s.until(want, func(u *unstructured.Unstructured) bool { return conditions(u) == want })
}

// observed waits until the operator has done what a generation asks for.
func (s *story) observed(generation int64) {
	s.Helper()
	s.until("observedGeneration "+strconv.FormatInt(generation, 10), func(u *unstructured.Unstructured) bool {
		observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
		return observed == generation
	})
}

// secret returns a Secret, which must be there.
func (w *world) secret(name string) *corev1.Secret {
	w.Helper()
	secret := w.Secret(name)
	if secret == nil {
		w.Fatalf("there is no Secret %s", name)
	}
	return secret
}

// TestEveryCombination holds health.lua against kstatus where no operator gets to: whatever the status says, the two
// agree, but for what Argo CD calls suspended.
func TestEveryCombination(t *testing.T) {
	t.Parallel()
	argo := newArgoCD(t)
	agree := map[status.Status]string{status.CurrentStatus: "Healthy", status.InProgressStatus: "Progressing", status.FailedStatus: "Degraded"}
	counted := map[string]int{}
	for _, observed := range []int64{-1, 1, 2} {
		for _, ready := range []string{"", "True", "False", "Unknown"} {
			for _, refreshed := range []string{"", "True", "False"} {
				for _, stalled := range []string{"", "True", "False"} {
					for _, suspend := range []any{nil, false, true} {
						u := combined(observed, suspend, map[string]string{"Ready": ready, "Refreshed": refreshed, "Stalled": stalled})
						if observed == 2 && ready == "" && stalled != "True" {
							continue // see expectReadyWhereObserved
						}
						want := agree[lab.Must(status.Compute(u))(t).Status]
						if suspend == true {
							want = "Suspended"
						}
						got := argo.health(t, u)
						if got.Status != want || got.Message == "" {
							t.Fatalf("%s: Argo CD sees %q (%q), want %q", lab.Must(u.MarshalJSON())(t), got.Status, got.Message, want)
						}
						counted[got.Status]++
					}
				}
			}
		}
	}
	if len(counted) != 4 {
		t.Errorf("not every health was seen: %v", counted)
	}
}

func combined(observed int64, suspend any, conditions map[string]string) *unstructured.Unstructured {
	list := []any{}
	for _, kind := range slices.Sorted(maps.Keys(conditions)) {
		if conditions[kind] != "" {
			list = append(list, map[string]any{"type": kind, "status": conditions[kind], "reason": "Some", "message": "about " + kind})
		}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "links", "generation": int64(2)},
		"spec":     map[string]any{},
		"status":   map[string]any{"observedGeneration": observed, "conditions": list},
	}}
	u.SetGroupVersionKind(kind)
	if suspend != nil {
		unstructured.SetNestedField(u.Object, suspend, "spec", "suspend")
	}
	return u
}
