package plugin_test

import (
	"strings"
	"testing"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

const nameCredentials = "Name the Secret with the client ID and client secret in spec.credentialsSecretRef.name."

// The advice of status must never write a client secret into a Secret of a token: kubectl apply would add it beside the token, and
// the pods that mount the token would see it.
func TestStatusHasNoCredentialsWrittenIntoATarget(t *testing.T) {
	t.Parallel()
	const reason = v1alpha1.ReasonCredentialsInvalid
	for name, prepare := range map[string]func(*shop) (reason, message string){
		"as the operator says": func(s *shop) (string, string) {
			return reason, `Secret "other" in namespace "` + s.namespace + `" was written by this operator and holds a token: ` +
				"name the Secret with the client ID and client secret in spec.credentialsSecretRef" // as testdata/messages.txt has it
		},
		"as its label says": func(s *shop) (string, string) {
			s.written("other", map[string]string{v1alpha1.LabelTokenUID: "0123"}, nil)
			return reason, "…"
		},
		"as its annotation says": func(s *shop) (string, string) {
			s.written("other", nil, map[string]string{v1alpha1.AnnotationSource: "v2:…"})
			return v1alpha1.ReasonInvalidClient, "PayU answered invalid_client"
		},
		"as another PayUToken says, which has no token yet": func(s *shop) (string, string) {
			s.create("owner", func(p *v1alpha1.PayUToken) { p.Spec.Target.Name = "other" })
			return v1alpha1.ReasonCredentialsNotFound, `Secret "other" does not exist`
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			reason, message := prepare(s)
			s.create("links", s.refused(reason, message), func(p *v1alpha1.PayUToken) { p.Spec.CredentialsSecretRef.Name = "other" })
			got := s.run("status", "links")
			got.want(t, 2)
			if !strings.Contains(strings.Join(strings.Fields(got.stdout), " "), nameCredentials) {
				t.Errorf("no %q in\n%s", nameCredentials, got.stdout)
			}
			if strings.Contains(got.stdout, "kubectl create secret") {
				t.Errorf("the plugin says:\n%s", got.stdout)
			}
		})
	}
}

// A Secret of somebody else's is fine to write credentials into.
func TestStatusHasCredentialsWritten(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.refused(v1alpha1.ReasonCredentialsNotFound, `Secret "payu-credentials" does not exist`))
	s.create("neighbour")
	s.run("status", "links").want(t, 2,
		"\n    kubectl create secret generic payu-credentials -n "+s.namespace+" --from-env-file=payu.env --dry-run=client -o yaml | kubectl apply -f -\n")
}

// A Secret lacks the label that --require-credentials-label wants, and its values are good. To write them anew would not help.
func TestStatusTellsOfTheMissingLabel(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	message := `Secret "payu-credentials" in namespace "` + s.namespace + `" lacks the label that this operator requires of credentials: ` +
		"run: kubectl label secret payu-credentials -n " + s.namespace + " " + v1alpha1.LabelCredentials + "=true"
	s.create("links", s.refused(v1alpha1.ReasonCredentialsInvalid, message))
	got := s.run("status", "links")
	got.want(t, 2, "requires of credentials.\n", "\n    kubectl label secret payu-credentials -n "+s.namespace+" --overwrite "+v1alpha1.LabelCredentials+"=true\n")
	if strings.Contains(got.stdout, "kubectl create secret") || strings.Count(got.stdout, "kubectl label") != 1 {
		t.Errorf("the plugin says:\n%s", got.stdout)
	}
}

// What a message says to run can be copied: it is on a line of its own, and has no full stop.
func TestStatusShowsCommandsUnbroken(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.terminal = &terminal80
	command := "kubectl annotate payutoken links -n " + s.namespace + " --overwrite " + v1alpha1.AnnotationRefreshRequestedAt + `="$(date)"`
	s.create("links", s.refused(v1alpha1.ReasonInvalidClient,
		`PayU answered invalid_client: correct client_id and client_secret; after a change on PayU's side, run: `+command))
	s.run("status", "links").want(t, 2, "run:\n    "+command+"\n\nWhat to do")
}

func TestStatusNamesTheKeys(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.create("links", s.refused(v1alpha1.ReasonInvalidClient, "PayU answered invalid_client"), func(p *v1alpha1.PayUToken) {
		p.Spec.CredentialsSecretRef.ClientIDKey, p.Spec.CredentialsSecretRef.ClientSecretKey = "id", "secret"
	})
	got := s.run("status", "links")
	if text := strings.Join(strings.Fields(got.stdout), " "); !strings.Contains(text, "with the lines id=… and secret=…: kubectl create secret generic") {
		t.Errorf("the plugin says:\n%s", got.stdout)
	}
}
