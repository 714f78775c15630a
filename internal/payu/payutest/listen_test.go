package payutest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

func TestTheCAFileIsWhatAClientNeeds(t *testing.T) {
	s := begin(t, payutest.Config{})
	caPEM, err := os.ReadFile(s.CAFile)
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		t.Fatalf("no certificate in %s", caPEM)
	}
	for reason, test := range map[string]struct {
		roots *x509.CertPool
		ok    bool
	}{"with the CA": {pool, true}, "without": {x509.NewCertPool(), false}} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: test.roots}, DisableKeepAlives: true}}
		answer, err := client.Get(s.URL + "/healthz")
		if err == nil {
			answer.Body.Close()
		}
		var unknown x509.UnknownAuthorityError
		if (err == nil) != test.ok || (err != nil && !errors.As(err, &unknown)) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

func TestCertificateNames(t *testing.T) {
	ca, err := payutest.NewAuthority()
	must(t, err)
	certificate, err := ca.Certificate("payu.example", "*.svc.cluster.local")
	must(t, err)
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	must(t, err)
	now := time.Now()
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "payu.example", "payu.svc.cluster.local"} {
		for _, at := range []time.Time{now, now.AddDate(9, 11, 0)} {
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool(), CurrentTime: at}); err != nil {
				t.Errorf("%s at %s: %v", name, at, err)
			}
		}
	}
	if leaf.VerifyHostname("elsewhere.example") == nil {
		t.Error("valid for a name that was not asked for")
	}
}

func TestShutdown(t *testing.T) {
	server := payutest.New(payutest.Config{})
	server.Inject(fault{Hang: true})
	endpoint, err := payutest.Listen("127.0.0.1:0", server, nil, log.New(io.Discard, "", 0))
	must(t, err)
	broken := make(chan error)
	go func() {
		_, err := http.Post(endpoint.URL+"/oauth/token", "", nil)
		broken <- err
	}()
	must(t, server.Await(t.Context(), inFlight(1)))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, endpoint.Shutdown(ctx))
	if err := <-broken; err == nil {
		t.Error("the hanging request was not broken off")
	}
	if _, err := http.Get(endpoint.URL + "/healthz"); err == nil {
		t.Error("it still listens")
	}
}

func TestListenOnATakenAddress(t *testing.T) {
	s := begin(t, payutest.Config{})
	if _, err := payutest.Listen(s.URL[len("https://"):], s, nil, nil); err == nil {
		t.Error("no error")
	}
}
