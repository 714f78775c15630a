package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/internal/target"
)

// TestModel lets the operator live through random histories on a real API server, with a PayU over TLS and a clock
// that is stepped, and checks after every step, and whenever something happens while time goes by, what must always
// hold. A history that fails is shrunk by rapid and kept in testdata/rapid, where it is tried again first.
func TestModel(t *testing.T) {
	t.Parallel()
	base := newWorld(t, payutest.Config{Clients: []payutest.Client{{ID: "unused", Secret: "unused"}}})
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(base, rt)
		rt.Repeat(rapid.StateMachineActions(m))
		m.recover()
	})
}

// model is one history: the world, and what is known of it beyond what the API server and PayU tell.
type model struct {
	*world
	t *rapid.T

	secrets map[string]string            // the client secret that PayU has for each client
	known   map[string]map[string]string // credentials Secret -> what the user wrote into it
	alive   map[types.UID]alive          // what the target of each PayUToken held when last looked at
	foreign map[string]string            // foreign Secret -> resourceVersion
	damaged map[string]bool              // targets that a user has changed since the operator last wrote them
	lost    bool                         // PayU has made a token whose answer was lost, or a clock was set back
	mode    payutest.Mode
	reused  bool // the mode was Reuse: then there are quick requests at the end of a token
	counter int
	quiet   bool // no fault, default mode, and no user has done anything since
	asked   *asked
}

var (
	clients = []string{"alpha", "beta"}
	names   = []string{"a", "b", "c"}
	targets = []v1alpha1.SecretName{"", "t1", "t2"}
	sets    = [][]v1alpha1.Scope{
		{"create_payment_links"}, {"create_payment_links", "read_payment_links"}, {"read_payment_links", "create_payment_links"},
	}
	lives = []time.Duration{20 * time.Second, 5 * time.Minute, 20 * time.Minute, 2 * time.Hour}
)

type alive struct{ target, token string }

func newModel(base *world, t *rapid.T) *model {
	w := *base
	w.tester = t
	m := &model{world: &w, t: t, secrets: map[string]string{}, known: map[string]map[string]string{}, alive: map[types.UID]alive{},
		foreign: map[string]string{}, damaged: map[string]bool{}}
	w.payu.ClearFaults()
	w.payu.Reset()
	w.payu.SetMode(payutest.Default)
	w.payu.SetTokenTTL(rapid.SampledFrom(lives).Draw(t, "life"))
	w.faults.set(nil, nil)
	w.after = m.observe
	w.reset()
	m.listen()
	for _, id := range clients {
		m.rotate(id)
		m.writeCredentials(id, id, m.secrets[id])
	}
	m.create("a", m.drawSpec)
	m.settle()
	return m
}

func (m *model) rotate(id string) {
	m.counter++
	m.secrets[id] = fmt.Sprintf("%s-secret+%%&=/%d", id, m.counter)
	m.payu.PutClient(payutest.Client{ID: id, Secret: m.secrets[id]})
}

func (m *model) writeCredentials(name, id, secret string) {
	m.known[name] = map[string]string{"client_id": id, "client_secret": secret}
	m.credentials(name, id, secret)
}

// settle has the operator look at everything, and then checks what must always hold.
func (m *model) settle() {
	m.run()
	m.observe()
}

// ---- what happens

func (m *model) drawSpec(p *v1alpha1.PayUToken) {
	p.Spec.CredentialsSecretRef.Name = v1alpha1.SecretName(rapid.SampledFrom(clients).Draw(m.t, "credentials"))
	p.Spec.Scopes = rapid.SampledFrom(sets).Draw(m.t, "scopes")
	p.Spec.Target.Name = rapid.SampledFrom(targets).Draw(m.t, "target")
	p.Spec.RenewalPercent = rapid.Int32Range(10, 90).Draw(m.t, "percent")
	p.Spec.Target.DeletionPolicy = rapid.SampledFrom([]v1alpha1.DeletionPolicy{"Delete", "Retain"}).Draw(m.t, "policy")
}

func (m *model) drawToken(label string) *v1alpha1.PayUToken {
	all := m.tokens()
	if len(all) == 0 {
		m.t.Skip("no PayUToken")
	}
	return &all[rapid.IntRange(0, len(all)-1).Draw(m.t, label)]
}

// drawTarget returns a Secret that the operator wrote.
func (m *model) drawTarget() *corev1.Secret {
	token := m.drawToken("target of")
	secret := m.secret(token.TargetName())
	if secret == nil || m.foreign[secret.Name] != "" {
		m.t.Skip("no target Secret")
	}
	return secret
}

func (m *model) CreateToken(t *rapid.T) {
	m.t = t
	name := rapid.SampledFrom(names).Draw(t, "name")
	if slices.ContainsFunc(m.tokens(), func(p v1alpha1.PayUToken) bool { return p.Name == name }) {
		t.Skip("exists")
	}
	m.create(name, m.drawSpec)
	m.userActs()
}

func (m *model) DeleteToken(t *rapid.T) {
	m.t = t
	token := m.drawToken("delete")
	m.world.delete(token)
	m.reconcile(token.Name)
	m.collectGarbage(token)
	m.userActs()
}

// collectGarbage does what Kubernetes' garbage collector does, which does not run here.
func (m *model) collectGarbage(owner *v1alpha1.PayUToken) {
	for _, name := range []string{"a", "b", "c", "t1", "t2"} {
		if s := m.secret(name); s != nil && len(s.OwnerReferences) > 0 && s.OwnerReferences[0].UID == owner.UID {
			m.world.delete(s)
		}
	}
}

func (m *model) EditSpec(t *rapid.T) {
	m.t = t
	m.edit(m.drawToken("edit").Name, m.drawSpec)
	m.userActs()
}

func (m *model) Suspend(t *rapid.T) {
	m.t = t
	m.edit(m.drawToken("suspend").Name, func(p *v1alpha1.PayUToken) { p.Spec.Suspend = !p.Spec.Suspend })
	m.userActs()
}

func (m *model) Refresh(t *rapid.T) {
	m.t = t
	m.counter++
	m.edit(m.drawToken("refresh").Name, refresh(fmt.Sprint(m.counter)))
	m.userActs()
}

func (m *model) EditCredentials(t *rapid.T) {
	m.t = t
	name := rapid.SampledFrom(clients).Draw(t, "credentials")
	switch rapid.SampledFrom([]string{"right", "other client", "wrong", "invalid", "deleted", "metadata"}).Draw(t, "become") {
	case "right":
		m.writeCredentials(name, name, m.secrets[name])
	case "other client":
		other := rapid.SampledFrom(clients).Draw(t, "client")
		m.writeCredentials(name, other, m.secrets[other])
	case "wrong":
		m.writeCredentials(name, name, "wrong")
	case "invalid":
		m.writeCredentials(name, name, "two\nlines")
	case "deleted":
		delete(m.known, name)
		m.world.delete(named(name))
	case "metadata":
		if secret := m.secret(name); secret != nil {
			secret.Labels = map[string]string{"touched": fmt.Sprint(m.counter)}
			m.must(m.user.Update(m.ctx, secret))
		}
	}
	m.userActs()
}

func (m *model) RotateClientAtPayU(t *rapid.T) {
	m.t = t
	m.rotate(rapid.SampledFrom(clients).Draw(t, "client"))
	m.userActs()
}

func (m *model) DamageTarget(t *rapid.T) {
	m.t = t
	secret := m.drawTarget()
	manager := client.FieldOwner(rapid.SampledFrom([]string{"kubectl-edit", "velero"}).Draw(t, "manager"))
	switch rapid.SampledFrom([]string{"edit", "empty", "labels", "annotations", "owner", "a key of theirs", "delete"}).Draw(t, "damage") {
	case "edit":
		secret.Data = map[string][]byte{"access_token": []byte("forged")}
	case "empty":
		secret.Data = nil
	case "labels":
		secret.Labels = nil
	case "annotations":
		secret.Annotations = nil
		if len(secret.OwnerReferences) == 0 {
			m.t.Skip("that would make a foreign Secret of it")
		}
	case "owner":
		secret.OwnerReferences = nil
	case "a key of theirs":
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data["theirs"] = []byte("x")
	case "delete":
		m.world.delete(secret)
		m.damaged[secret.Name] = true
		m.userActs()
		return
	}
	m.must(m.user.Update(m.ctx, secret, manager))
	m.damaged[secret.Name] = true
	m.userActs()
}

func (m *model) PlantForeignSecret(t *rapid.T) {
	m.t = t
	name := rapid.SampledFrom([]string{"t1", "t2"}).Draw(t, "name")
	if m.secret(name) != nil {
		t.Skip("exists")
	}
	m.apply(foreign(m.world, name))
	m.foreign[name] = m.secret(name).ResourceVersion
	m.userActs()
}

func (m *model) RemoveForeignSecret(t *rapid.T) {
	m.t = t
	for name := range m.foreign {
		delete(m.foreign, name)
		m.world.delete(named(name))
	}
	m.userActs()
}

func (m *model) Restart(t *rapid.T) {
	m.t = t
	m.restart()
	m.listen()
	m.quiet = false
	m.settle()
}

func (m *model) TimePasses(t *rapid.T) {
	m.t = t
	d := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute, time.Hour, 3 * time.Hour}).Draw(t, "time")
	before, failing := m.requests(), !m.healthy()
	m.quiet = !failing && m.mode == payutest.Default
	m.pass(d)
	m.boundRequests(m.requests()-before, d)
	m.observe()
}

func (m *model) ClockIsSet(t *rapid.T) {
	m.t = t
	d := rapid.SampledFrom([]time.Duration{-time.Hour, -time.Minute, time.Minute, 3 * time.Hour}).Draw(t, "by")
	m.clock.SetTime(m.clock.Now().Add(d))
	m.quiet, m.lost = false, true
	m.settle()
	m.pass(10 * time.Minute) // the longest sleep: by then the operator has noticed
	m.observe()
}

func (m *model) SwitchMode(t *rapid.T) {
	m.t = t
	m.mode = rapid.SampledFrom([]payutest.Mode{payutest.Default, payutest.Reuse, payutest.RevokePrevious}).Draw(t, "mode")
	m.reused = m.reused || m.mode == payutest.Reuse
	m.payu.SetMode(m.mode)
	m.quiet = false
}

func (m *model) PayUFails(t *rapid.T) {
	m.t = t
	fault := rapid.SampledFrom([]payutest.Fault{
		{Error: "server_error"}, {Error: "invalid_client"}, {Error: "rate_limit_exceeded"}, {Error: "invalid_token_reuse"},
		{Status: 502, Body: "<html>"}, {Status: 429, Header: map[string]string{"Retry-After": "120"}}, {Body: "<html>", Status: 200},
		{Break: payutest.BreakReset}, {Break: payutest.BreakTruncate}, {Omit: []string{"access_token"}},
		{Set: map[string]json.RawMessage{"expires_in": json.RawMessage("0")}}, {Set: map[string]json.RawMessage{"token_type": json.RawMessage(`"mac"`)}},
		{Grant: []string{"read_payment_links"}}, {Break: payutest.BreakReset, AfterIssue: true},
	}).Draw(t, "fault")
	fault.Times = rapid.IntRange(0, 3).Draw(t, "times")
	m.payu.Inject(fault)
	m.quiet = false
}

func (m *model) PayURecovers(t *rapid.T) {
	m.t = t
	m.payu.ClearFaults()
}

func (m *model) APIServerFails(t *rapid.T) {
	m.t = t
	switch rapid.SampledFrom([]string{"all", "quota", "webhook", "timeout", "none", "none"}).Draw(t, "fails") {
	case "all":
		m.faults.set(errors.New("the API server is down"), nil)
	case "quota":
		m.faults.set(nil, func(string) error { return errQuota })
	case "webhook":
		m.faults.set(nil, func(string) error { return errWebhookDown })
	case "timeout":
		m.faults.set(nil, func(string) error { return context.DeadlineExceeded })
	case "none":
		m.faults.set(nil, nil)
	}
	m.quiet = false
	m.settle()
}

func (m *model) userActs() {
	m.quiet = false
	m.settle()
}

// Check is called by rapid after every action.
func (m *model) Check(t *rapid.T) {
	m.t = t
	m.observe()
}

// healthy reports whether nothing fails any more, and no PayUToken waits after something that did.
func (m *model) healthy() bool {
	for _, token := range m.tokens() {
		if !token.Spec.Suspend && !meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionRefreshed) {
			return false
		}
	}
	return len(m.payu.Faults()) == 0 && m.faults.on("any") == nil
}

// ---- what must always hold

func (m *model) observe() {
	m.Helper()
	claims := map[string][]string{}
	for _, token := range m.tokens() {
		m.checkTarget(&token)
		m.checkStatus(&token)
		m.checkWords(&token)
		if !strings.Contains(m.conditions(token.Name), "False/TargetConflict") {
			claims[token.TargetName()] = append(claims[token.TargetName()], token.Name)
		}
	}
	m.checkForeign()
	m.checkFloor()
	for name, tokens := range claims {
		if len(tokens) > 1 && m.faults.on("any") == nil {
			m.Fatalf("%v all have the target Secret %s", tokens, name)
		}
	}
}

// checkWords holds that a failure shows, and that no text betrays a token.
func (m *model) checkWords(token *v1alpha1.PayUToken) {
	m.Helper()
	if token.Status.ObservedGeneration < 1 && m.faults.onStatus() == nil {
		m.Fatalf("%s: nothing is said of it", token.Name)
	}
	for _, c := range token.Status.Conditions {
		for _, value := range m.everyToken() {
			if strings.Contains(c.Message, value) {
				m.Fatalf("%s: a token is in condition %s", token.Name, c.Type)
			}
		}
	}
}

// checkFloor holds that one process asks PayU never twice within 5 s for one source, but where the server reuses tokens.
func (m *model) checkFloor() {
	m.Helper()
	m.asked.Lock()
	defer m.asked.Unlock()
	if m.asked.tooSoon > 0 && !m.reused {
		m.Fatalf("PayU was asked for one source again after %v", m.asked.tooSoon)
	}
}

// asked keeps when a process has had PayU asked for each source.
type asked struct {
	sync.Mutex
	last    map[payu.Digest]time.Time
	tooSoon time.Duration // the first distance that was too short
}

// listen has the present process' requests kept.
func (m *model) listen() {
	m.asked = &asked{last: map[payu.Digest]time.Time{}}
	kept, request := m.asked, m.operator.Grants.Request
	m.operator.Grants.Request = func(ctx context.Context, source payu.Source) (payu.Token, error) {
		kept.note(source.Key().Source, m.clock.Now())
		return request(ctx, source)
	}
}

func (a *asked) note(source payu.Digest, now time.Time) {
	a.Lock()
	defer a.Unlock()
	before, again := a.last[source]
	a.last[source] = now
	if since := now.Sub(before); again && since >= 0 && since < payu.Floor && a.tooSoon == 0 {
		a.tooSoon = max(since, 1)
	}
}

// checkTarget looks at what has become of a target Secret since it was looked at last.
func (m *model) checkTarget(token *v1alpha1.PayUToken) {
	m.Helper()
	name, now := token.TargetName(), m.clock.Now()
	if m.foreign[name] != "" {
		return
	}
	value, before := m.value(name), ""
	if last := m.alive[token.UID]; last.target == name {
		before = last.token
	}
	info, issued := m.payu.TokenInfo(value)
	live := issued && info.LiveAt(now)
	if value != before && value != "" && value != "forged" {
		switch {
		case !issued:
			m.Fatalf("%s: Secret %s holds a token that PayU never gave", token.Name, name)
		case before != "" && m.quiet:
			m.checkRenewal(token, before)
		}
	}
	if previous, _ := m.payu.TokenInfo(before); before != "" && previous.LiveAt(now) && !live && !m.damaged[name] && !m.lost {
		m.Fatalf("%s: Secret %s held a live token and does not any more", token.Name, name)
	}
	if live {
		m.alive[token.UID] = alive{target: name, token: value}
		delete(m.damaged, name)
	}
	for key, v := range dataOf(m.secret(name)) {
		if len(v) == 0 && !m.damaged[name] {
			m.Fatalf("%s: key %s of Secret %s is empty", token.Name, key, name)
		}
	}
}

// checkRenewal holds that a reader who lags two minutes behind never has a dead token in hand.
func (m *model) checkRenewal(token *v1alpha1.PayUToken, before string) {
	m.Helper()
	previous, _ := m.payu.TokenInfo(before)
	life := m.payu.Settings().TokenTTL
	if left := previous.ExpiresAt.Sub(m.clock.Now()); left < 2*time.Minute && life >= 5*time.Minute {
		m.Fatalf("%s: renewed with %v of life left", token.Name, left)
	}
}

// checkStatus holds that Ready says the truth, and that something will wake the operator.
func (m *model) checkStatus(token *v1alpha1.PayUToken) {
	m.Helper()
	if _, ok := m.wakeAt[token.Name]; !ok {
		m.Fatalf("%s: nothing wakes it", token.Name)
	}
	ready := meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
	if !ready || m.faults.on("any") != nil || m.damaged[token.TargetName()] || token.Status.ObservedGeneration != token.Generation {
		return
	}
	info, issued := m.payu.TokenInfo(m.value(token.TargetName()))
	switch credentials := m.known[string(token.Spec.CredentialsSecretRef.Name)]; {
	case !issued:
		m.Fatalf("%s is Ready without a token of PayU's", token.Name)
	case !info.LiveAt(m.clock.Now()) && !m.lost:
		m.Fatalf("%s is Ready with a dead token", token.Name)
	case payutest.ScopeSet(info.Scopes) != payutest.ScopeSet(target.Scopes(token)):
		m.Fatalf("%s is Ready with a token for the scopes %v", token.Name, info.Scopes)
	case credentials != nil && !strings.Contains(credentials["client_secret"], "\n") && info.ClientID != credentials["client_id"]:
		m.Fatalf("%s is Ready with a token of client %s", token.Name, info.ClientID)
	}
}

func (m *model) checkForeign() {
	m.Helper()
	for name, version := range m.foreign {
		if secret := m.secret(name); secret == nil || secret.ResourceVersion != version {
			m.Fatalf("the foreign Secret %s was touched", name)
		}
	}
}

// boundRequests holds that time alone makes the operator ask no more than it must: per source and life twice in
// default and revoke-previous mode, 12 times in reuse mode, and as often as the back-off lets it where PayU fails.
func (m *model) boundRequests(made int, d time.Duration) {
	m.Helper()
	life := m.payu.Settings().TokenTTL
	perLife := 2
	if m.mode == payutest.Reuse {
		perLife = 12
	}
	lifetimes := int(d/life) + 2
	backOff := 14 + int(d/(5*time.Minute))
	if most := len(names) * (perLife*lifetimes + backOff); made > most {
		m.Fatalf("%d requests in %v, at most %d are allowed (life %v, mode %v)", made, d, most, life, m.mode)
	}
}

// reuseGap is for how long there may be no token where PayU reuses it to its end.
const reuseGap = 3 * time.Second

// recover ends all faults and mistakes; then everything must become Ready by itself.
func (m *model) recover() {
	m.Helper()
	m.quiet = false
	m.payu.ClearFaults()
	m.faults.set(nil, nil)
	for name := range m.foreign {
		m.world.delete(named(name))
	}
	clear(m.foreign)
	for _, id := range clients {
		m.writeCredentials(id, id, m.secrets[id])
	}
	for _, token := range m.tokens() {
		m.edit(token.Name, func(p *v1alpha1.PayUToken) { p.Spec.Suspend, p.Spec.Target.Name = false, "" })
	}
	m.run()
	m.pass(time.Hour + 10*time.Minute) // the longest back-off, and the longest sleep
	for _, token := range m.tokens() {
		if strings.HasPrefix(m.conditions(token.Name), "Ready=False/TokenReused") {
			m.pass(reuseGap) // the token has just expired
		}
		if !strings.HasPrefix(m.conditions(token.Name), "Ready=True/TokenValid Refreshed=True/") {
			m.Fatalf("%s did not recover: %s: %s\n%+v", token.Name, m.conditions(token.Name), token.Status.Conditions[0].Message, m.metadata(token.TargetName()))
		}
		m.expectLive(token.Name)
	}
}

func (m *model) metadata(name string) metav1.ObjectMeta {
	if secret := m.secret(name); secret != nil {
		secret.ManagedFields = nil
		return secret.ObjectMeta
	}
	return metav1.ObjectMeta{}
}

func dataOf(secret *corev1.Secret) map[string][]byte {
	if secret == nil {
		return nil
	}
	return secret.Data
}
