package monitoring_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var picture = flag.String("picture", "", "draw the dashboard into this PNG `file`, after 16 minutes of tokens that live for 5; it needs npm")

// TestPicture is no test: it lets things happen that a dashboard should show, and draws it with the numbers of Prometheus.
//
//	go test ./test/monitoring -run Picture -timeout 30m -picture $PWD/docs/images/dashboard.png
func TestPicture(t *testing.T) {
	if *picture == "" {
		t.Skip("-picture names no file")
	}
	s := play(t, timing{tokenLife: 5 * time.Minute, margin: 2 * time.Minute, scrape: 5 * time.Second})
	t.Logf("Prometheus: %s, since %d", s.url, s.began.Unix())
	at := func(moment time.Duration) { time.Sleep(time.Until(s.began.Add(moment))) }

	for i, name := range []string{"payment-links", "refunds", "checkout", "child-merchants", "invoices", "subscriptions", "payouts", "otp", "reports"} {
		at(time.Duration(i) * 18 * time.Second)
		environment, namespace := v1alpha1.EnvironmentProduction, []string{"shop", "billing", "partners"}[i%3]
		if i >= 6 {
			environment = v1alpha1.EnvironmentTest
		}
		token := s.ask(environment, namespace, name)
		if name == "otp" {
			s.await("a token that is suspended while it lives", func() error { return s.ready(token) })
			s.suspend(token)
		}
	}

	at(5 * time.Minute)
	s.payu.Inject(payutest.Fault{Error: "server_error"})
	at(9 * time.Minute)
	s.payu.ClearFaults()
	at(11 * time.Minute)
	s.replicas[lab.Must(s.leader())(t)].Kill()
	at(13 * time.Minute)
	s.payu.SetLatency(700 * time.Millisecond)
	at(16 * time.Minute)
	s.draw(*picture)
}

func (s *scene) ready(token *v1alpha1.PayUToken) error {
	is, err := s.query(fmt.Sprintf(`payu_token_ready{namespace=%q,name=%q} == 1`, token.Namespace, token.Name))
	if err == nil && len(is) == 0 {
		err = fmt.Errorf("%s is not ready", token.Name)
	}
	return err
}

// draw has hack/dashboard-picture draw the dashboard, from a copy: what npm installs is not for the repository.
func (s *scene) draw(file string) {
	s.Helper()
	folder := s.TempDir()
	lab.Check(s.T, os.CopyFS(folder, os.DirFS(filepath.Join(root, "hack", "dashboard-picture"))))
	dashboard := lab.Must(filepath.Abs(filepath.Join(root, "charts", operator, "files", "dashboard.json")))(s.T)
	for _, command := range [][]string{
		{"npm", "ci", "--no-audit", "--no-fund"},
		{"node", "draw.mjs", dashboard, s.url, fmt.Sprint(s.began.Unix()), file},
	} {
		run := exec.CommandContext(s.Context(), command[0], command[1:]...)
		run.Dir = folder
		if out, err := run.CombinedOutput(); err != nil {
			s.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}
