package screen

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Summary is what a Report comes to, for programs.
type Summary struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Ready is true if the Secret holds a valid token; Reason and Message are those of what is wrong, if anything is.
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// FetchedAt, RenewAt and ExpiresAt are those of the token, in UTC.
	FetchedAt  *metav1.Time       `json:"fetchedAt,omitempty"`
	RenewAt    *metav1.Time       `json:"renewAt,omitempty"`
	ExpiresAt  *metav1.Time       `json:"expiresAt,omitempty"`
	Secret     SummaryOfSecret    `json:"secret"`
	Uses       []SummaryOfUse     `json:"uses,omitempty"`
	Advice     []Advice           `json:"advice,omitempty"`
	Unread     []string           `json:"unread,omitempty"` // why parts are missing
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SummaryOfSecret is what may be shown of a target Secret.
type SummaryOfSecret struct {
	Name    string   `json:"name"`
	Type    string   `json:"type,omitempty"`
	Keys    []string `json:"keys,omitempty"`
	Missing bool     `json:"missing,omitempty"`
	Foreign bool     `json:"foreign,omitempty"` // it does not belong to the PayUToken
}

// SummaryOfUse is one use of the Secret by a container.
type SummaryOfUse struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	Way       Way    `json:"way"`
	Where     string `json:"where"`
	// Renewal says whether renewals reach the container.
	Renewal string       `json:"renewal"`
	ToldAt  *metav1.Time `json:"toldAt,omitempty"`
}

// Advice is what to do, in words and, if one helps, as a command.
type Advice struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"`
}

// Summarize returns what Status shows, for programs.
func Summarize(r Report, now time.Time) Summary {
	s := status{Report: r, now: now, verdict: Judge(r.Token, now)}
	summary := Summary{
		Name: r.Token.Name, Namespace: r.Token.Namespace, Ready: s.verdict.Valid, Reason: s.verdict.Reason, Message: s.verdict.Message,
		FetchedAt: r.Token.Status.FetchedAt, RenewAt: r.Token.Status.RenewAt, ExpiresAt: r.Token.Status.ExpiresAt,
		Secret:     SummaryOfSecret{r.Secret.Name, r.Secret.Type, r.Secret.Keys, r.Secret.Missing, r.Secret.Foreign},
		Conditions: r.Token.Status.Conditions,
	}
	for _, use := range r.Uses {
		_, renewal := s.renewalIn(use)
		of := SummaryOfUse{Pod: use.Pod, Container: use.Container, Way: use.Way, Where: use.Where, Renewal: renewal}
		if !use.Told.IsZero() {
			of.ToldAt = &metav1.Time{Time: use.Told}
		}
		summary.Uses = append(summary.Uses, of)
	}
	for _, advice := range remediesOf(r, s.verdict) {
		summary.Advice = append(summary.Advice, Advice{advice.words, advice.command})
	}
	for _, part := range []Part{SecretPart, UsesPart, EventsPart} {
		if why := r.Unseen[part]; why != "" {
			summary.Unread = append(summary.Unread, why)
		}
	}
	return summary
}
