package main_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// oauthServer is any OAuth server: it knows what the contract says of the request, and nothing of PayU.
type oauthServer struct {
	*httptest.Server
	CAFile string
}

// runOAuth starts a server below a path that gives one token to the merchant. Any other request fails the test.
func runOAuth(t *testing.T, path, token string, start func(*httptest.Server)) oauthServer {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(body))
		want := url.Values{
			"grant_type": {"client_credentials"}, "client_id": {lab.Merchant}, "client_secret": {lab.MerchantSecret},
			"scope": {"create_payment_links read_payment_links"},
		}
		if diff := cmp.Diff(want, form); err != nil || diff != "" {
			t.Errorf("body %v (-want +got):\n%s", err, diff)
		}
		kind := r.Header.Get("Content-Type")
		if r.Method != http.MethodPost || r.URL.String() != path+"/oauth/token" || kind != "application/x-www-form-urlencoded" {
			t.Errorf("%s %s with content type %q", r.Method, r.URL, kind)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 7011, "scope": "create_payment_links read_payment_links", "created_at": 1763036368}`, token)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(server)
	t.Cleanup(server.Close)
	o := oauthServer{Server: server, CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	if certificate := server.Certificate(); certificate != nil {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
		lab.Check(t, os.WriteFile(o.CAFile, block, 0o600))
	}
	return o
}

func TestATokenOfAnyOAuthServerReachesItsSecret(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path  string
		start func(*httptest.Server)
		flags func(oauthServer) []string
	}{
		"over TLS": {start: (*httptest.Server).StartTLS, flags: func(o oauthServer) []string {
			return []string{"--test-base-url=" + o.URL, "--ca-file=" + o.CAFile}
		}},
		"below a path": {path: "/uat/v2", start: (*httptest.Server).StartTLS, flags: func(o oauthServer) []string {
			return []string{"--test-base-url=" + o.URL + "/uat/v2/", "--ca-file=" + o.CAFile}
		}},
		"over http, to a loopback address": {start: (*httptest.Server).Start, flags: func(o oauthServer) []string {
			return []string{"--test-base-url=" + o.URL}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := runOAuth(t, test.path, "tok-1.en~_+/=", test.start)
			s := newShop(t)
			launch(t, cluster.Kubeconfig, append(test.flags(server), "--watch-namespaces="+s.Namespace)...)
			s.create("links")
			s.AwaitReady("links")
			data := map[string]string{}
			for key, value := range s.Secret("links").Data {
				data[key] = string(value)
			}
			expires := lab.Must(time.Parse(time.RFC3339, data["expires_at"]))(t)
			if life := time.Until(expires); life > 7011*time.Second || life < 6900*time.Second {
				t.Errorf("expires_at %s is %s away, want 7011 s from the request", data["expires_at"], life)
			}
			want := map[string]string{"access_token": "tok-1.en~_+/=", "token_type": "Bearer", "scope": "create_payment_links read_payment_links", "expires_at": data["expires_at"]}
			if diff := cmp.Diff(want, data); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheEnvironmentsAreToldApart(t *testing.T) {
	t.Parallel()
	testing := runOAuth(t, "", "token-of-test", (*httptest.Server).Start)
	production := runOAuth(t, "", "token-of-production", (*httptest.Server).Start)
	s := newShop(t)
	launch(t, cluster.Kubeconfig, "--watch-namespaces="+s.Namespace, "--test-base-url="+testing.URL, "--production-base-url="+production.URL)
	s.create("for-test")
	s.create("for-production", func(p *v1alpha1.PayUToken) { p.Spec.Environment = v1alpha1.EnvironmentProduction })
	for name, want := range map[string]string{"for-test": "token-of-test", "for-production": "token-of-production"} {
		s.AwaitReady(name)
		if got := s.AccessToken(name); got != want {
			t.Errorf("%s has %s", name, got)
		}
	}
}

func TestAServerThatNobodyVouchesForIsUnreachable(t *testing.T) {
	t.Parallel()
	server := runOAuth(t, "", "never-given", (*httptest.Server).StartTLS)
	s := newShop(t)
	launch(t, cluster.Kubeconfig, "--watch-namespaces="+s.Namespace, "--test-base-url="+server.URL)
	s.create("links")
	s.AwaitCondition("links", "Ready=False/Unreachable")
	if message := s.Message("links", "Ready"); !strings.Contains(message, "unknown authority") {
		t.Errorf("message %q", message)
	}
	if s.Secret("links") != nil {
		t.Error("there is a Secret")
	}
}

// TestTheProxyOfTheEnvironmentIsUsed reaches a host that only the proxy knows.
func TestTheProxyOfTheEnvironmentIsUsed(t *testing.T) {
	t.Parallel()
	const host = "example.com" // is in the certificate of httptest
	server := runOAuth(t, "", "token-through-a-proxy", (*httptest.Server).StartTLS)
	proxy := httptest.NewServer(tunnel(t, host+":443", server.Listener.Addr().String()))
	t.Cleanup(proxy.Close)
	s := newShop(t)
	launchWith(t, []string{"HTTPS_PROXY=" + proxy.URL}, cluster.Kubeconfig,
		"--watch-namespaces="+s.Namespace, "--test-base-url=https://"+host, "--ca-file="+server.CAFile)
	s.create("links")
	s.AwaitReady("links")
	if got := s.AccessToken("links"); got != "token-through-a-proxy" {
		t.Errorf("token %q", got)
	}
}

// tunnel is a proxy that leads to one host, which is elsewhere in truth.
func tunnel(t *testing.T, host, truth string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != host {
			t.Errorf("the proxy is asked for %s %s", r.Method, r.Host)
			return
		}
		there, err := net.Dial("tcp", truth)
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		w.WriteHeader(http.StatusOK)
		here, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		go io.Copy(there, here)
		io.Copy(here, there)
	})
}

func TestOnlyLabelledSecretsAreSentToPayU(t *testing.T) {
	t.Parallel()
	server := lab.RunPayU(t, payutest.Config{})
	s := newShop(t)
	s.operate(server, "--require-credentials-label")
	s.create("links")
	s.AwaitCondition("links", "Ready=False/CredentialsInvalid")
	if n := server.Counters().Total(); n != 0 {
		t.Errorf("PayU saw %d requests", n)
	}
	credentials := s.Secret("payu-credentials")
	credentials.Labels = map[string]string{v1alpha1.LabelCredentials: "true"}
	lab.Check(t, cluster.Client.Update(s.Context(), credentials))
	s.AwaitReady("links")
}
