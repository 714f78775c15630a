package controller

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// said collects whatever the operator says outside of Secrets: log lines, events and the errors of passes.
type said struct {
	mu  sync.Mutex
	all []string
}

func (s *said) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

// Eventf makes said an events.EventRecorder.
func (s *said) Eventf(_, _ runtime.Object, kind, reason, action, note string, args ...any) {
	s.add(fmt.Sprint("event: ", kind, reason, action, fmt.Sprintf(note, args...)))
}

func listen(w *world) *said {
	s := &said{}
	w.ctx = log.IntoContext(w.ctx, funcr.New(func(prefix, args string) { s.add("log: " + prefix + args) }, funcr.Options{Verbosity: 4}))
	w.operator.Events = s
	return s
}

// forms returns what tokens look like when they are quoted, raw, encoded or rendered.
func forms(tokens []string) []string {
	var list []string
	for _, token := range tokens {
		rendered := "PAYU_TOKEN=" + token
		list = append(list, token, url.QueryEscape(rendered), hex.EncodeToString([]byte(token)))
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			list = append(list, encoding.EncodeToString([]byte(token)), encoding.EncodeToString([]byte(rendered)))
		}
	}
	return list
}

// betrays returns a part of a form that is in the text, empty if there is none.
func betrays(text string, forms []string) string {
	const part = 16
	for _, form := range forms {
		for i := range len(form) - part + 1 {
			if strings.Contains(text, form[i:i+part]) {
				return form[i : i+part]
			}
		}
	}
	return ""
}

func (s *said) expectNothingOf(t *testing.T, tokens []string) {
	t.Helper()
	all := forms(tokens)
	for _, text := range s.all {
		if part := betrays(text, all); part != "" {
			t.Errorf("a part of a token, %s, is in %.400s", part, text)
			return
		}
	}
}

// refusals are the ways in which words of a webhook arrive.
var refusals = map[string]func(words string) error{
	"forbidden": func(words string) error { return forbid("links", words) },
	"422": func(words string) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonInvalid, Code: 422, Message: words}}
	},
	"400":           func(words string) error { return apierrors.NewBadRequest(words) },
	"500":           func(words string) error { return apierrors.NewInternalError(errors.New(words)) },
	"503":           func(words string) error { return apierrors.NewServiceUnavailable(words) },
	"no API status": func(words string) error { return errors.New(words) },
}

// TestTheWordsOfAWebhookDoNotBetrayAToken has a webhook quote the old and the new token in each form, at the end of a long
// sentence and at its beginning.
func TestTheWordsOfAWebhookDoNotBetrayAToken(t *testing.T) { // faults 4, 5
	t.Parallel()
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{}, withData("token.env", "PAYU_TOKEN={{ .AccessToken }}"))
			said := listen(w)
			n := 0
			onWrite(w, func(_ *corev1.Secret, trial bool) error {
				if trial && len(w.payu.Issued()) < 2 {
					return nil
				}
				all := forms(w.everyToken())
				n++
				form := all[n%len(all)]
				return refusal(fmt.Sprintf("%s %s", strings.Repeat("x", 145*(n%3)), form))
			})
			w.tick(90 * time.Minute)
			for range 20 {
				_, err := w.look("links")
				await(w)
				said.add(fmt.Sprint("error: ", err))
				said.add("conditions: " + w.messages("links"))
				w.edit("links", refresh(fmt.Sprint(n)))
				w.tick(6 * time.Minute)
			}
			if n < 14 {
				t.Errorf("the webhook was asked %d times", n)
			}
			said.expectNothingOf(t, w.everyToken())
			w.expectCondition("links", v1alpha1.ConditionRefreshed, "False/TargetWriteFailed")
		})
	}
}

// TestTheWordsOfAWebhookDoNotBetrayATokenOfAFormerProcess has a new process, which sees the token in the Secret only.
func TestTheWordsOfAWebhookDoNotBetrayATokenOfAFormerProcess(t *testing.T) { // fault 5
	t.Parallel()
	w := withLinks(t, payutest.Config{}, withData("token.env", "PAYU_TOKEN={{ .AccessToken }}"))
	w.restart()
	said := listen(w)
	all := forms(w.everyToken())
	n := 0
	onWrite(w, func(*corev1.Secret, bool) error {
		n++
		return forbid("links", "the old object was "+all[n%len(all)])
	})
	w.tick(90 * time.Minute)
	for range len(all) {
		w.look("links")
		await(w)
		said.add(w.messages("links"))
		w.tick(10 * time.Minute)
	}
	said.expectNothingOf(t, w.everyToken())
	w.expectCondition("links", v1alpha1.ConditionRefreshed, "False/TargetWriteFailed")
}

// TestASecretThatTheOperatorWroteHoldsNoCredentials has somebody who may only create PayUTokens plant the credentials of
// another one.
func TestASecretThatTheOperatorWroteHoldsNoCredentials(t *testing.T) { // fault 7
	t.Parallel()
	for name, meanwhile := range map[string]func(*world){
		"at once":       func(*world) {},
		"a new process": (*world).restart,
		"retained": func(w *world) {
			w.edit("planter", withPolicy(v1alpha1.DeletionPolicyRetain))
			w.run()
			w.delete(w.token("planter"))
			w.reconcile("planter")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{Clients: []payutest.Client{{ID: "merchant", Secret: secretOne}, {ID: "attacker", Secret: "attackers"}}})
			w.credentials("test-credentials", "merchant", secretOne)
			w.create("planter", targeting("payu-credentials"), withCredentials("test-credentials"),
				withData("client_id", "attacker", "client_secret", "attackers", "token", "{{ .AccessToken }}"))
			w.run()
			w.expectConditions("planter", good)
			meanwhile(w)
			w.create("links")
			w.run()
			w.expectConditions("links", stalledBy("CredentialsInvalid"))
			w.pass(time.Hour)
			for _, request := range w.payu.Requests() {
				if request.ClientID == "attacker" {
					t.Error("PayU was asked with planted credentials")
					break
				}
			}
		})
	}
}

// TestACopiedSealOpensNothing has a tenant who has seen the seal of another Secret, but does not know its client secret, put
// each mixture of it and a seal of his own on his own Secret.
func TestACopiedSealOpensNothing(t *testing.T) { // fault 3
	t.Parallel()
	w := newWorld(t, payutest.Config{Mode: payutest.RevokePrevious, Clients: []payutest.Client{{ID: "merchant", Secret: secretOne}, {ID: "tenant", Secret: "his"}}})
	w.credentials("payu-credentials", "merchant", secretOne)
	w.credentials("his", "tenant", "his")
	w.create("links")
	w.run()
	w.tick(10 * time.Second) // his token is the later one
	w.create("tenants", withCredentials("his"))
	w.run()
	seen := strings.Split(w.secret("links").Annotations[v1alpha1.AnnotationSource], ".")
	own := strings.Split(w.secret("tenants").Annotations[v1alpha1.AnnotationSource], ".")
	for mixture := range 1 << len(own) {
		mixed := make([]string, len(own))
		for i := range own {
			mixed[i] = own[i]
			if mixture&(1<<i) != 0 {
				mixed[i] = seen[i]
			}
		}
		w.change("tenants", func(s *corev1.Secret) { s.Annotations[v1alpha1.AnnotationSource] = strings.Join(mixed, ".") })
		w.restart()
		w.reconcile("tenants")
		w.run()
		w.pass(30 * time.Second)
		if w.value("tenants") == w.value("links") {
			t.Fatalf("the tenant has the token: mixture %b", mixture)
		}
		if n := w.requestsOf("merchant"); n > 1 {
			t.Fatalf("the tenant had PayU asked for a token of merchant: mixture %b", mixture)
		}
	}
	w.expectLive("links")
}

// requestsOf counts the requests of one client.
func (w *world) requestsOf(clientID string) (n int) {
	for _, request := range w.payu.Requests() {
		if request.ClientID == clientID {
			n++
		}
	}
	return n
}

// TestATemplateSaysNothingOfTheToken: whether a template is good never depends on the token.
func TestATemplateSaysNothingOfTheToken(t *testing.T) { // fault 2
	t.Parallel()
	for text, want := range map[string]string{
		"{{ .AccessToken }}":                             good,
		"{{ urlquery .AccessToken }}":                    good,
		"{{ slice .Scope 0 8 }}":                         good,
		"{{ slice .ExpiresAt 0 10 }}":                    good,
		"{{ slice .AccessToken 0 8 }}":                   stalledBy("TemplateInvalid"),
		"{{ len .AccessToken }}":                         stalledBy("TemplateInvalid"),
		`{{ if .AccessToken }}yes{{ end }}`:              stalledBy("TemplateInvalid"),
		`{{ with .AccessToken }}{{ . }}{{ end }}`:        stalledBy("TemplateInvalid"),
		`{{ $t := .AccessToken }}{{ $t }}`:               stalledBy("TemplateInvalid"),
		`{{ if lt (print .AccessToken) "m" }}x{{ end }}`: stalledBy("TemplateInvalid"),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, payutest.Config{})
			w.credentials("payu-credentials", "merchant", secretOne)
			w.create("links", withData("token", "{{ .AccessToken }}", "more", text))
			w.run()
			w.expectConditions("links", want)
			if want != good {
				w.expectRequests(0)
			}
		})
	}
}

// TestATemplateWithoutTheTokenIsInvalid: such a Secret is Ready with nothing in it.
func TestATemplateWithoutTheTokenIsInvalid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"PAYU_TOKEN=", "{{ .TokenType }}", "{{ urlquery .AccessToken }}"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := withLinks(t, payutest.Config{})
			before := w.secret("links")
			w.edit("links", withData("token.env", text))
			w.run()
			w.expectConditions("links", stalledBy("TemplateInvalid"))
			if w.secret("links").ResourceVersion != before.ResourceVersion {
				t.Error("the live token was touched")
			}
			w.expectRequests(1)
		})
	}
}
