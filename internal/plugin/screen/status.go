package screen

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// Report is all that is known about one PayUToken.
type Report struct {
	Token  *v1alpha1.PayUToken
	Secret Secret
	// CredentialsAreATarget is true if the Secret that the PayUToken names for its credentials holds, or is to hold, a token.
	CredentialsAreATarget bool
	// CredentialsExist is true if the Secret that the PayUToken names for its credentials exists; CredentialsFrom is the tool that
	// makes it, empty if it is made by hand, for all that one can see.
	CredentialsExist bool
	CredentialsFrom  string
	// Uses are the containers that use the Secret.
	Uses []Use
	// Events are the events of the PayUToken, the last one first.
	Events []corev1.Event
	// Unseen says which parts could not be read, and why.
	Unseen map[Part]string
}

// Part is a part of a Report that is read separately.
type Part int

// The parts of a Report.
const (
	SecretPart Part = iota
	UsesPart
	EventsPart
)

// Secret is what may be shown of a target Secret.
type Secret struct {
	Name, Type string
	Keys       []string
	// Missing is true if the Secret does not exist, Foreign if it does not belong to the PayUToken.
	Missing, Foreign bool
}

const (
	statusBar = 40
	indent    = "  "
)

// Status explains one PayUToken, in lines of about the given width.
func Status(r Report, now time.Time, width int) Page {
	s := status{Report: r, now: now, width: width, verdict: Judge(r.Token, now)}
	s.Page = Title(r.Token.Name, r.Token.Namespace)
	s.summary()
	s.remedy()
	s.life()
	s.asked()
	s.secret()
	s.uses()
	s.conditions()
	s.events()
	return s.Page
}

// Title names a PayUToken. A manifest may lack the namespace.
func Title(name, namespace string) (p Page) {
	where := " in namespace " + namespace
	if namespace == "" {
		where = ""
	}
	p.add(in(bold, "PayUToken "+name), in(plain, where))
	return p
}

// status builds a page.
type status struct {
	Page
	Report
	now     time.Time
	width   int
	verdict Verdict
}

func (s *status) section(title string) {
	s.add()
	s.add(in(bold, title))
}

// rows adds an indented table.
func (s *status) rows(rows ...[]text) {
	for _, line := range table(nil, rows).lines {
		s.add(in(plain, indent), line)
	}
}

func fact(name, value string) []text { return []text{in(faint, name), in(plain, value)} }

func (s *status) summary() {
	s.prose(s.verdict.colour(), "", s.width, summaryOf(s.Token, s.verdict, s.now))
	if s.verdict.Message != "" {
		words, command := split(s.verdict.Message)
		s.prose(plain, "", s.width, "The operator says: "+words)
		s.command(command)
	}
}

// summaryOf describes the state of a PayUToken in words.
func summaryOf(t *v1alpha1.PayUToken, v Verdict, now time.Time) string {
	secret := "Secret " + t.TargetName()
	left := ""
	if t.Status.ExpiresAt != nil {
		left = duration.HumanDuration(t.Status.ExpiresAt.Sub(now))
	}
	switch v.Health {
	case Failed:
		return fmt.Sprintf("Not ready (%s), and a person must act: %s holds %s.%s", v.Reason, secret, noGood(t, now), nextAttempt(t, now))
	case Down:
		if v.Reason == reasonExpired {
			return fmt.Sprintf("Not ready: the token in %s expired %s, and the operator has not noticed.", secret, ago(t.Status.ExpiresAt.Time, now))
		}
		return fmt.Sprintf("Not ready (%s): %s holds %s.%s", v.Reason, secret, noGood(t, now), nextAttempt(t, now))
	case Silent:
		if v.Reason == reasonNotSeen {
			return fmt.Sprintf("No operator has reconciled it, and it is %s old.", duration.HumanDuration(now.Sub(t.CreationTimestamp.Time)))
		}
		return fmt.Sprintf("Ready, but the renewal is %s: the token in %s is valid for another %s.", renewal(t, now), secret, left)
	case Failing:
		if stalled(t) {
			left += ", and a person must act"
		}
		return fmt.Sprintf("Ready, but the last request for a token failed (%s): the token in %s is valid for another %s.%s",
			v.Reason, secret, left, nextAttempt(t, now))
	case Waiting:
		return "The operator has not reconciled the current spec yet."
	case Suspended:
		return fmt.Sprintf("Ready, and suspended: the token in %s is valid for another %s, and is not renewed.", secret, left)
	default:
		return fmt.Sprintf("Ready: %s holds a token that is valid for another %s. %s", secret, left, nextRenewal(t, now))
	}
}

// noGood says what the Secret of a PayUToken that is not ready holds.
func noGood(t *v1alpha1.PayUToken, now time.Time) string {
	if t.Status.ExpiresAt == nil || expired(t, now) {
		return "no valid token"
	}
	return "a token of another spec or other credentials, which expires " + when(t.Status.ExpiresAt.Time, now)
}

func nextRenewal(t *v1alpha1.PayUToken, now time.Time) string {
	if c := condition(t, v1alpha1.ConditionRefreshed); c != nil && c.Reason == v1alpha1.ReasonTokenReused {
		return fmt.Sprintf("PayU reuses tokens, and issues a new one when this one expires; the next request is %s.", renewal(t, now))
	}
	return fmt.Sprintf("It is renewed %s.", renewal(t, now))
}

func nextAttempt(t *v1alpha1.PayUToken, now time.Time) string {
	if at := timeOf(t.Status.NextAttemptAt); at.After(now) {
		return fmt.Sprintf(" The operator tries again %s.", when(at, now))
	}
	return ""
}

func (s *status) remedy() {
	advice := remediesOf(s.Report, s.verdict)
	if len(advice) == 0 {
		return
	}
	s.section("What to do")
	for _, a := range advice {
		s.prose(plain, indent, s.width, a.words)
		s.command(a.command)
	}
}

// command adds a command on a line of its own, to be copied. It may be empty.
func (s *status) command(command string) {
	if command != "" {
		s.add(in(cyan, indent+indent+command))
	}
}

func (s *status) life() {
	t := s.Token
	if t.Status.FetchedAt == nil || t.Status.ExpiresAt == nil {
		return
	}
	s.section("Token")
	gone := min(max(goneAt(t, s.now), 0), 1)
	s.add(in(plain, indent), bar(t, s.now, s.verdict.colour(), statusBar), in(plain, fmt.Sprintf("  %.0f %% of its lifetime has passed", gone*100)))
	moment := func(name string, at time.Time) []text {
		return append(fact(name, at.UTC().Format(time.RFC3339)), in(plain, when(at, s.now)))
	}
	rows := [][]text{moment("fetched", t.Status.FetchedAt.Time)}
	if at := due(t); !at.Equal(never) && !t.Spec.Suspend {
		rows = append(rows, append(moment("next request", at)[:2], in(plain, renewal(t, s.now))))
	}
	rows = append(rows, moment("expires", t.Status.ExpiresAt.Time))
	s.rows(rows...)
}

func (s *status) asked() {
	spec := s.Token.Spec
	ref := spec.CredentialsSecretRef
	s.section("Request")
	s.rows(
		fact("environment", string(spec.Environment)),
		fact("scopes", scopes(s.Token, " ")),
		fact("credentials", fmt.Sprintf("Secret %s, keys %s and %s", ref.Name, ref.ClientIDKey, ref.ClientSecretKey)),
		fact("renewal", fmt.Sprintf("after %d %% of the lifetime", spec.RenewalPercent)),
	)
}

func (s *status) secret() {
	s.section("Secret " + s.Secret.Name)
	why, unseen := s.Unseen[SecretPart]
	switch {
	case unseen:
		s.rows([]text{in(yellow, why)})
	case s.Secret.Missing:
		s.rows([]text{in(yellow, "does not exist")})
	case s.Secret.Foreign:
		s.rows([]text{in(red, "does not belong to this PayUToken, and is not changed")})
	default:
		s.rows(fact("keys", strings.Join(s.Secret.Keys, ", ")), fact("type", s.Secret.Type),
			fact("granted", cmp.Or(s.Token.Status.Scope, "unknown")))
	}
}

func (s *status) conditions() {
	if len(s.Token.Status.Conditions) == 0 {
		return
	}
	s.section("Conditions")
	var rows [][]text
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionRefreshed, v1alpha1.ConditionStalled, v1alpha1.ConditionDelivered} {
		if c := condition(s.Token, kind); c != nil {
			message := in(plain, c.Message)
			if c.Message != "" && c.Message == s.verdict.Message {
				message = in(faint, "as above")
			}
			since := duration.HumanDuration(s.now.Sub(c.LastTransitionTime.Time))
			rows = append(rows, []text{in(plain, c.Type), in(plain, string(c.Status)), in(plain, c.Reason), in(faint, "for "+since), message})
		}
	}
	s.rows(rows...)
}

func (s *status) events() {
	s.section("Last events")
	if why, unseen := s.Unseen[EventsPart]; unseen {
		s.rows([]text{in(yellow, why)})
		return
	}
	if len(s.Events) == 0 {
		s.rows([]text{in(faint, "none (by default, the API server keeps events for one hour)")})
		return
	}
	var rows [][]text
	for _, e := range s.Events {
		c := plain
		if e.Type != corev1.EventTypeNormal {
			c = yellow
		}
		rows = append(rows, []text{in(faint, ago(LastSeen(e), s.now)), in(c, e.Type), in(c, e.Reason), in(plain, e.Message)})
	}
	s.rows(rows...)
}

// LastSeen is when an event last happened.
func LastSeen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
