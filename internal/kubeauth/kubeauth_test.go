package kubeauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/payu-token-operator/payu-token-operator/internal/kubeauth"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

var cluster *lab.Cluster

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // what the tests' own clients have to say
	os.Exit(func() int {
		var err error
		if cluster, err = lab.StartCluster(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer cluster.Stop()
		return m.Run()
	}())
}

// wire carries the guard's requests to the API server, counts them and can break.
type wire struct {
	next                  http.RoundTripper
	tokens, access, other atomic.Int32
	broken                atomic.Bool
}

const unspeakable = "dial tcp 10.96.0.1:443: no route to host"

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	switch {
	case w.broken.Load():
		return nil, errors.New(unspeakable)
	case strings.HasSuffix(request.URL.Path, "/tokenreviews"):
		w.tokens.Add(1)
	case strings.HasSuffix(request.URL.Path, "/subjectaccessreviews"):
		w.access.Add(1)
	default:
		w.other.Add(1)
	}
	return w.next.RoundTrip(request)
}

// guarded is an endpoint behind the filter.
type guarded struct {
	*testing.T
	wire   *wire
	url    string
	log    *strings.Builder
	served atomic.Int32 // requests that the filter let through
}

func guard(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{T: t, log: &strings.Builder{}}
	config := rest.CopyConfig(cluster.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		g.wire = &wire{next: next}
		return g.wire
	})
	httpClient := must(rest.HTTPClientFor(config))(t)
	filter := must(kubeauth.Filter(config, httpClient))(t)
	logger := funcr.New(func(_, args string) { g.log.WriteString(args) }, funcr.Options{})
	handler := must(filter(logger, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		g.served.Add(1)
		fmt.Fprint(w, "metrics")
	})))(t)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	g.url = server.URL
	return g
}

// ask returns the status and the body of an answer.
func (g *guarded) ask(method, path, authorization string) (int, string) {
	g.Helper()
	request := must(http.NewRequestWithContext(g.Context(), method, g.url+path, nil))(g.T)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	answer := must(http.DefaultClient.Do(request))(g.T)
	defer answer.Body.Close()
	return answer.StatusCode, strings.TrimSpace(string(must(io.ReadAll(answer.Body))(g.T)))
}

func (g *guarded) expect(want int, method, path, authorization string) {
	g.Helper()
	before := g.served.Load()
	status, body := g.ask(method, path, authorization)
	if status != want {
		g.Errorf("%s %s: %d %s, want %d", method, path, status, body, want)
	}
	wantBody, wantServed := http.StatusText(want), int32(0)
	if want == http.StatusOK {
		wantBody, wantServed = "metrics", 1
	}
	if body != wantBody || g.served.Load()-before != wantServed {
		g.Errorf("%s %s: body %q, handed on %d times", method, path, body, g.served.Load()-before)
	}
}

// caller is a ServiceAccount.
type caller struct {
	namespace, name string
	bearer          string // the header with its token
}

func newCaller(t *testing.T) caller {
	t.Helper()
	c := caller{namespace: must(cluster.Namespace(t.Context()))(t), name: "scraper"}
	must(cluster.Kubectl(t.Context(), "create", "serviceaccount", c.name, "-n", c.namespace))(t)
	c.bearer = "Bearer " + strings.TrimSpace(must(cluster.Kubectl(t.Context(), "create", "token", c.name, "-n", c.namespace))(t))
	return c
}

// mayGet lets the caller get a path, and waits until that holds.
func (c caller) mayGet(t *testing.T, path string) {
	t.Helper()
	ctx := t.Context()
	object := metav1.ObjectMeta{Name: c.namespace + strings.ReplaceAll(path, "/", "-")}
	create(ctx, t, &rbacv1.ClusterRole{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{path}, Verbs: []string{"get"}}}})
	create(ctx, t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: object,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: object.Name},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: c.namespace, Name: c.name}},
	})
	fresh := guard(t) // one that remembers nothing
	await(t, "the caller may get "+path, func() bool {
		status, _ := fresh.ask(http.MethodGet, path, c.bearer)
		return status == http.StatusOK
	})
}

func TestOnlyWhomKubernetesKnowsAndLetsGetsThrough(t *testing.T) {
	t.Parallel()
	scraper, visitor := newCaller(t), newCaller(t)
	scraper.mayGet(t, "/metrics")
	token := strings.TrimPrefix(scraper.bearer, "Bearer ")
	for name, test := range map[string]struct {
		method, path, authorization string
		want                        int
	}{
		"nobody":                                   {"GET", "/metrics", "", http.StatusUnauthorized},
		"an empty token":                           {"GET", "/metrics", "Bearer ", http.StatusUnauthorized},
		"a token that Kubernetes does not know":    {"GET", "/metrics", "Bearer unknown", http.StatusUnauthorized},
		"a token that was tampered with":           {"GET", "/metrics", scraper.bearer + "x", http.StatusUnauthorized},
		"a known token with another scheme":        {"GET", "/metrics", "Basic " + token, http.StatusUnauthorized},
		"a known token without a scheme":           {"GET", "/metrics", token, http.StatusUnauthorized},
		"somebody who may not":                     {"GET", "/metrics", visitor.bearer, http.StatusForbidden},
		"somebody who may":                         {"GET", "/metrics", scraper.bearer, http.StatusOK},
		"the scheme in lower case":                 {"GET", "/metrics", "bearer " + token, http.StatusOK},
		"somebody who may, with a query":           {"GET", "/metrics?name[]=up", scraper.bearer, http.StatusOK},
		"somebody who may, with another method":    {"POST", "/metrics", scraper.bearer, http.StatusForbidden},
		"somebody who may, on another path":        {"GET", "/debug/pprof", scraper.bearer, http.StatusForbidden},
		"somebody who may, on a path that is near": {"GET", "/metrics/", scraper.bearer, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := guard(t)
			g.expect(test.want, test.method, test.path, test.authorization)
		})
	}
}

func TestWhoWasLetThroughIsNotAskedAboutAgain(t *testing.T) {
	t.Parallel()
	scraper := newCaller(t)
	scraper.mayGet(t, "/metrics")
	g := guard(t)
	for range 3 {
		g.expect(http.StatusOK, http.MethodGet, "/metrics", scraper.bearer)
	}
	if tokens, access := g.wire.tokens.Load(), g.wire.access.Load(); tokens != 1 || access != 1 {
		t.Errorf("%d TokenReviews and %d SubjectAccessReviews for three requests, want one each", tokens, access)
	}
	g.expect(http.StatusForbidden, http.MethodPost, "/metrics", scraper.bearer)
	g.expect(http.StatusForbidden, http.MethodGet, "/other", scraper.bearer)
	g.expect(http.StatusUnauthorized, http.MethodGet, "/metrics", scraper.bearer+"x")
	if others := g.wire.other.Load(); others != 0 {
		t.Errorf("%d requests to the API server that are no reviews", others)
	}
}

func TestARefusalIsNotRemembered(t *testing.T) {
	t.Parallel()
	scraper, g := newCaller(t), guard(t)
	g.expect(http.StatusForbidden, http.MethodGet, "/metrics", scraper.bearer)
	scraper.mayGet(t, "/metrics")
	g.expect(http.StatusOK, http.MethodGet, "/metrics", scraper.bearer)
}

func TestWithoutAnAPIServerStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	known, stranger := newCaller(t), newCaller(t)
	known.mayGet(t, "/metrics")
	g := guard(t)
	g.expect(http.StatusOK, http.MethodGet, "/metrics", known.bearer)
	g.wire.broken.Store(true)
	g.expect(http.StatusInternalServerError, http.MethodGet, "/metrics", stranger.bearer)
	g.expect(http.StatusUnauthorized, http.MethodGet, "/metrics", "")
	g.expect(http.StatusOK, http.MethodGet, "/metrics", known.bearer)
	if log := g.log.String(); !strings.Contains(log, unspeakable) || strings.Contains(log, strings.TrimPrefix(stranger.bearer, "Bearer ")) {
		t.Errorf("the log should say why, without the token: %s", log)
	}
	g.wire.broken.Store(false)
	g.expect(http.StatusForbidden, http.MethodGet, "/metrics", stranger.bearer)
}

func create(ctx context.Context, t *testing.T, o client.Object) {
	t.Helper()
	if err := cluster.Client.Create(ctx, o); err != nil {
		t.Fatal(err)
	}
}

// await looks again and again until it sees what is wanted. Each look is a request: nothing tells the test of it.
func await(t *testing.T, what string, look func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(30 * time.Second)
	for !look() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("not seen within 30 s: %s", what)
		}
	}
}

// must ends the test unless err is nil.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
