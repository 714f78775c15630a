package screen_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/plugin/screen"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)

// ago and in return times as the API server stores them.
func ago(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }
func in(d time.Duration) *metav1.Time  { return ago(-d) }

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
		t.Errorf("%s (-want +got, -update rewrites it):\n%s", file, diff)
	}
}

type edit func(*v1alpha1.PayUToken)

// well returns a PayUToken whose token has passed 45 % of its lifetime.
func well(name string, edits ...edit) v1alpha1.PayUToken {
	token := v1alpha1.PayUToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1", Generation: 3, CreationTimestamp: *ago(50 * time.Hour)},
		Spec: v1alpha1.PayUTokenSpec{
			Environment:          v1alpha1.EnvironmentTest,
			CredentialsSecretRef: v1alpha1.CredentialsSecretRef{Name: "payu-credentials", ClientIDKey: "client_id", ClientSecretKey: "client_secret"},
			Scopes:               []v1alpha1.Scope{"create_payment_links", "read_payment_links"},
			Target:               v1alpha1.Target{Name: v1alpha1.SecretName(name + "-token")},
			RenewalPercent:       67,
		},
		Status: v1alpha1.PayUTokenStatus{
			ObservedGeneration: 3, SecretName: name + "-token", Scope: "create_payment_links read_payment_links",
			FetchedAt: ago(54 * time.Minute), RenewAt: in(26*time.Minute + 24*time.Second), ExpiresAt: in(66 * time.Minute),
		},
	}
	ready(metav1.ConditionTrue, v1alpha1.ReasonTokenValid, `Secret "`+name+`-token" holds a valid token`)(&token)
	refreshed(metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "PayU issued a new token")(&token)
	for _, change := range edits {
		change(&token)
	}
	return token
}

func ready(status metav1.ConditionStatus, reason, message string) edit {
	return set(v1alpha1.ConditionReady, status, reason, message)
}

func refreshed(status metav1.ConditionStatus, reason, message string) edit {
	return set(v1alpha1.ConditionRefreshed, status, reason, message)
}

func set(kind string, status metav1.ConditionStatus, reason, message string) edit {
	c := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: *ago(54 * time.Minute)}
	return func(t *v1alpha1.PayUToken) {
		list := []metav1.Condition{}
		for _, old := range t.Status.Conditions {
			if old.Type != kind {
				list = append(list, old)
			}
		}
		t.Status.Conditions = append(list, c)
	}
}

func noToken(t *v1alpha1.PayUToken) {
	t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt, t.Status.Scope = nil, nil, nil, ""
}

// The PayUTokens of a bad day, by their state.
const (
	clientMessage      = `PayU answered invalid_client: correct client_id and client_secret in Secret "payu-credentials", or spec.environment`
	unreachableMessage = "no answer from uat-accounts.payu.in: timeout"
)

var badDay = map[string]edit{
	"well": func(*v1alpha1.PayUToken) {},
	"refused": func(t *v1alpha1.PayUToken) {
		noToken(t)
		t.Status.NextAttemptAt = in(14 * time.Minute)
		ready(metav1.ConditionFalse, v1alpha1.ReasonInvalidClient, clientMessage)(t)
		refreshed(metav1.ConditionFalse, v1alpha1.ReasonInvalidClient, clientMessage)(t)
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidClient, clientMessage)(t)
	},
	"cut-off": func(t *v1alpha1.PayUToken) {
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = ago(125*time.Minute), nil, ago(5*time.Minute)
		t.Status.NextAttemptAt = in(40 * time.Second)
		ready(metav1.ConditionFalse, v1alpha1.ReasonUnreachable, unreachableMessage)(t)
		refreshed(metav1.ConditionFalse, v1alpha1.ReasonUnreachable, unreachableMessage)(t)
	},
	"failing": func(t *v1alpha1.PayUToken) {
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = ago(100*time.Minute), ago(20*time.Minute), in(20*time.Minute)
		t.Status.Failures, t.Status.NextAttemptAt = 7, in(3*time.Minute)
		refreshed(metav1.ConditionFalse, v1alpha1.ReasonServerError, "PayU answered HTTP 502 without an error code")(t)
	},
	"refused-early": func(t *v1alpha1.PayUToken) { // a failed refresh is retried long before the renewal
		t.Status.Failures, t.Status.NextAttemptAt = 1, in(14*time.Minute)
		refreshed(metav1.ConditionFalse, v1alpha1.ReasonInvalidClient, clientMessage)(t)
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidClient, clientMessage)(t)
	},
	"rotated": func(t *v1alpha1.PayUToken) { // the token is valid, but was made from former credentials
		ready(metav1.ConditionFalse, v1alpha1.ReasonInvalidClient, clientMessage)(t)
		refreshed(metav1.ConditionFalse, v1alpha1.ReasonInvalidClient, clientMessage)(t)
		set(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidClient, clientMessage)(t)
	},
	"forgotten": func(t *v1alpha1.PayUToken) { // the status says that all is well
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = ago(3*time.Hour), ago(100*time.Minute), ago(time.Hour)
	},
	"overdue": func(t *v1alpha1.PayUToken) {
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = ago(90*time.Minute), ago(10*time.Minute), in(30*time.Minute)
	},
	"unseen": func(t *v1alpha1.PayUToken) {
		t.CreationTimestamp = *ago(7 * time.Minute)
		t.Status = v1alpha1.PayUTokenStatus{ObservedGeneration: -1}
	},
	"new": func(t *v1alpha1.PayUToken) {
		t.CreationTimestamp = *ago(2 * time.Second)
		t.Status = v1alpha1.PayUTokenStatus{ObservedGeneration: -1}
	},
	"edited":    func(t *v1alpha1.PayUToken) { t.Generation = 4 },
	"suspended": func(t *v1alpha1.PayUToken) { t.Spec.Suspend = true },
	"reused": func(t *v1alpha1.PayUToken) { // in this mode the renewal has passed, and that is fine
		t.Status.RenewAt, t.Status.NextAttemptAt = ago(20*time.Minute), in(33*time.Minute)
		refreshed(metav1.ConditionTrue, v1alpha1.ReasonTokenReused, "PayU issued the same token again, and issues a new one when it expires")(t)
	},
	"due": func(t *v1alpha1.PayUToken) { // this very moment
		t.Status.RenewAt = ago(2 * time.Second)
	},
}

// worstFirst is the order of a list.
var worstFirst = []string{"refused", "rotated", "forgotten", "cut-off", "unseen", "overdue", "failing", "refused-early", "new", "edited", "suspended", "due", "reused", "well"}

func tokens() (list []v1alpha1.PayUToken) {
	for name, change := range badDay {
		list = append(list, well(name, change))
	}
	return list
}

func TestTroubleComesFirst(t *testing.T) {
	list := tokens() // in the order of a map
	screen.Sort(list, now)
	var names []string
	for _, token := range list {
		names = append(names, token.Name)
	}
	if diff := cmp.Diff(worstFirst, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestList(t *testing.T) {
	list := tokens()
	screen.Sort(list, now)
	golden(t, "list", screen.List(list, now, screen.Columns{}).String())
	golden(t, "list-wide", screen.List(list, now, screen.Columns{Namespace: true, Wide: true}).String())
	golden(t, "list-colour", strings.Join(screen.List(list, now, screen.Columns{}).Render(screen.Style{Colour: true}), "\n"))
}

func TestLive(t *testing.T) {
	list := tokens()
	screen.Sort(list, now)
	page := screen.Live(list, now, screen.Columns{}, "the API server cannot be reached", 8)
	golden(t, "live", strings.Join(page.Render(screen.Style{Colour: true, Width: 72}), "\n"))
	if page.Lines() != 8 {
		t.Errorf("%d lines on a screen of 8", page.Lines())
	}
	if all := screen.Live(list, now, screen.Columns{}, "", 0); all.Lines() != len(list)+2 {
		t.Errorf("%d lines without a limit, for %d PayUTokens", all.Lines(), len(list))
	}
	golden(t, "live-empty", screen.Live(nil, now, screen.Columns{}, "", 24).String())
}

// The bars give way where a screen is narrow, so that no time is cut off.
func TestBarsGiveWay(t *testing.T) {
	list := tokens()
	screen.Sort(list, now)
	for width, bars := range map[int]bool{200: true, 90: true, 60: false} {
		page := screen.List(list, now, screen.Columns{Width: width})
		head, _, _ := strings.Cut(page.String(), "\n")
		if strings.Contains(head, "LIFETIME") != bars {
			t.Errorf("at %d characters:\n%s", width, page)
		}
		if shown := strings.Join(page.Render(screen.Style{Width: width}), "\n"); width >= 90 && shown != page.String() {
			t.Errorf("cut off at %d characters:\n%s", width, shown)
		}
	}
}

func TestNoLineIsWiderThanTheScreen(t *testing.T) {
	list := tokens()
	for width := 1; width < 150; width++ {
		for _, line := range screen.List(list, now, screen.Columns{Wide: true}).Render(screen.Style{Width: width}) {
			if n := len([]rune(line)); n > width {
				t.Fatalf("%d characters on a screen of %d: %s", n, width, line)
			}
		}
	}
}

func TestStatus(t *testing.T) {
	for name, change := range badDay {
		t.Run(name, func(t *testing.T) {
			token := well(name, change)
			report := screen.Report{Token: &token, Secret: screen.Secret{Name: name + "-token", Type: "Opaque", Keys: []string{"access_token", "expires_at", "scope", "token_type"}}}
			if token.Status.FetchedAt == nil {
				report.Secret.Missing = true
			}
			golden(t, "status-"+name, screen.Status(report, now, 100).String())
		})
	}
}

func TestStatusInFull(t *testing.T) {
	token := well("payment-links")
	report := screen.Report{
		Token:  &token,
		Secret: screen.Secret{Name: "payment-links-token", Foreign: true},
		Uses:   screen.UsesOf("payment-links-token", pods()),
		Events: []corev1.Event{
			{Type: "Warning", Reason: "Unreachable", Message: unreachableMessage, LastTimestamp: *ago(time.Hour)},
			{Type: "Normal", Reason: "Refreshed", Message: `Wrote the token into Secret "payment-links-token"`, EventTime: metav1.MicroTime{Time: now.Add(-54 * time.Minute)}},
		},
	}
	golden(t, "status-full", screen.Status(report, now, 100).String())
	golden(t, "status-full-colour", strings.Join(screen.Status(report, now, 60).Render(screen.Style{Colour: true}), "\n"))
}

func TestStatusSaysWhatCannotBeSeen(t *testing.T) {
	token := well("payment-links")
	report := screen.Report{Token: &token, Secret: screen.Secret{Name: "payment-links-token"}, Unseen: map[screen.Part]string{
		screen.SecretPart: "secrets is forbidden", screen.UsesPart: "pods is forbidden", screen.EventsPart: "events is forbidden"}}
	golden(t, "status-unseen-parts", screen.Status(report, now, 100).String())
}

// Text from objects must not control the terminal, or look like another line of the screen.
func TestForeignTextDoesNotSteerTheTerminal(t *testing.T) {
	const hostile = "a\x1b[2J\x1b]0;title\x07b\r\nREADY\tc\u009b31m"
	token := well("payment-links", refreshed(metav1.ConditionFalse, hostile, hostile))
	report := screen.Report{Token: &token, Events: []corev1.Event{{Type: hostile, Reason: hostile, Message: hostile}},
		Secret: screen.Secret{Keys: []string{hostile}, Type: hostile}, Uses: []screen.Use{{Pod: hostile, Container: hostile, Where: hostile, Way: screen.Env}}}
	pages := map[string]screen.Page{
		"status": screen.Status(report, now, 100),
		"list":   screen.List([]v1alpha1.PayUToken{token}, now, screen.Columns{Wide: true}),
		"step":   screen.Step(screen.Bad, "schema", hostile),
		"title":  screen.Title(hostile, hostile),
	}
	for name, page := range pages {
		text := page.String()
		if !strings.Contains(text, "REASON") && !strings.Contains(text, "READY") {
			t.Errorf("%s does not show the text at all", name)
		}
		for _, r := range text {
			if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
				t.Errorf("%s holds %q", name, r)
			}
		}
		if lines := strings.Split(text, "\n"); len(lines) != page.Lines() {
			t.Errorf("%s has %d lines, want %d", name, len(lines), page.Lines())
		}
	}
}

// TestEveryReasonHasARemedy holds a new reason of the API against what status says of it.
func TestEveryReasonHasARemedy(t *testing.T) {
	good := map[string]bool{v1alpha1.ReasonTokenValid: true, v1alpha1.ReasonSucceeded: true, v1alpha1.ReasonPodsTold: true}
	reasons := reasonsOfTheAPI(t)
	if len(reasons) < 20 {
		t.Fatalf("only %d reasons found", len(reasons))
	}
	for _, reason := range reasons {
		token := well("payment-links", ready(metav1.ConditionFalse, reason, "…"))
		has := strings.Contains(screen.Status(screen.Report{Token: &token}, now, 100).String(), "What to do")
		if has == good[reason] {
			t.Errorf("%s: there is something to do: %t", reason, has)
		}
	}
}

func reasonsOfTheAPI(t *testing.T) (reasons []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../../api/v1alpha1/conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Reason") {
			reasons = append(reasons, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	return reasons
}

// TestTheBarTellsTheTruth checks the bar during a whole lifetime.
func TestTheBarTellsTheTruth(t *testing.T) {
	const cells = 20
	fetched, life := now, 2*time.Hour
	renew := fetched.Add(life * 2 / 3)
	token := well("x", func(t *v1alpha1.PayUToken) {
		t.Status.FetchedAt, t.Status.RenewAt, t.Status.ExpiresAt = &metav1.Time{Time: fetched}, &metav1.Time{Time: renew}, &metav1.Time{Time: fetched.Add(life)}
	})
	for elapsed := -time.Minute; elapsed <= life+time.Minute; elapsed += time.Minute {
		lines := screen.List([]v1alpha1.PayUToken{token}, fetched.Add(elapsed), screen.Columns{}).Render(screen.Style{})
		life := float64(life)
		drawn := strings.Map(func(r rune) rune {
			if strings.ContainsRune("█░│", r) {
				return r
			}
			return -1
		}, lines[1])
		gone := min(max(int(float64(elapsed)/life*cells), 0), cells)
		want := strings.Repeat("█", gone) + strings.Repeat("░", cells-gone)
		mark := cells * 2 / 3
		want = string([]rune(want)[:mark]) + "│" + string([]rune(want)[mark+1:])
		if drawn != want {
			t.Fatalf("after %s of %s:\n%s, want\n%s", elapsed, token.Status.ExpiresAt.Sub(fetched), drawn, want)
		}
	}
}
