// Command manager is the operator: it fetches and renews PayU access tokens and keeps them in Secrets, as PayUTokens specify.
package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // users of a kubeconfig with auth-provider, as kubectl supports them
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/controller"
	"github.com/payu-token-operator/payu-token-operator/internal/grant"
	"github.com/payu-token-operator/payu-token-operator/internal/kubeauth"
	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

func main() {
	err := run(ctrl.SetupSignalHandler(), os.Args[1:])
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "manager:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	if err := o.parse(args); err != nil {
		return err
	}
	if o.version {
		fmt.Println(versionText())
		return nil
	}
	setUpLogging(o)
	respectLimit(containerLimit)
	payuClient, err := newPayUClient(o)
	if err != nil {
		return err
	}
	config, err := restConfig(o)
	if err != nil {
		return err
	}
	if err := checkAddresses(ctx, o); err != nil {
		return err
	}
	if err := preflight(ctx, config, o); err != nil {
		return err
	}
	mgr, err := newManager(config, o, payuClient)
	if err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func setUpLogging(o options) {
	level, _ := o.level() // validated
	var handler slog.Handler = slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	if o.logFormat == "text" {
		handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	}
	logger := logr.FromSlogHandler(handler)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	slog.SetDefault(slog.New(handler)) // also for package log, which net/http uses for failed handshakes
}

func newPayUClient(o options) (*payu.Client, error) {
	config := payu.Config{
		BaseURLs: map[string]string{
			string(v1alpha1.EnvironmentTest):       o.testBaseURL,
			string(v1alpha1.EnvironmentProduction): o.productionBaseURL,
		},
		Timeout:   o.tokenRequestTimeout,
		UserAgent: v1alpha1.ManagedBy + "/" + version,
		Now:       time.Now,
	}
	var err error
	if config.CAs, err = readCAs(o.caFile); err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	c, err := payu.NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("--test-base-url or --production-base-url: %w", err)
	}
	return c, nil
}

// readCAs returns the content of a file with PEM certificates. An empty name returns nothing.
func readCAs(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	switch {
	case err != nil:
		return nil, err
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		return nil, fmt.Errorf("%s contains no PEM certificate", file)
	}
	return pem, nil
}

// restConfig finds the cluster as kubectl does: --kubeconfig, KUBECONFIG, the pod's service account.
func restConfig(o options) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster configured: %w (use --kubeconfig or KUBECONFIG, or run in a pod)", err)
	}
	config.QPS, config.Burst = o.kubeAPIQPS, o.kubeAPIBurst
	config.UserAgent = v1alpha1.ManagedBy + "/" + version
	config.WarningHandlerWithContext = rest.NoWarnings{} // a webhook's words, and it knows the tokens
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return bounded{next: next, limit: requestLimit} })
	return config, nil
}

func newManager(config *rest.Config, o options, payuClient *payu.Client) (ctrl.Manager, error) {
	lease, err := newLeadership(config, o)
	if err != nil {
		return nil, err
	}
	namespaces, err := newNamespaces(config, o)
	if err != nil {
		return nil, err
	}
	options, mayAsk := managerOptions(o), func() bool { return true }
	options.NewCache = namespaces.NewCache
	if o.leaderElect {
		options.LeaderElectionResourceLockInterface, mayAsk = lease, lease.isSure
	}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, err
	}
	lease.announceBy(mgr.GetEventRecorderFor(v1alpha1.ManagedBy)) //nolint:staticcheck // leader election knows no other kind
	events := controller.NewEventWriter(mgr.GetClient(), clock.RealClock{})
	if err := mgr.Add(events); err != nil {
		return nil, err
	}
	deliveries := controller.NewDeliveries(mgr.GetClient(), mgr.GetAPIReader(), clock.RealClock{}, metrics.Registry)
	if err := mgr.Add(deliveries); err != nil {
		return nil, err
	}
	reconciler := &controller.Reconciler{
		Client: mgr.GetClient(),
		Others: mgr.GetClient(),
		Live:   mgr.GetAPIReader(),
		Grants: &grant.Registry{
			Request: payuClient.Token,
			Now:     time.Now,
			Random:  rand.Float64,
			MayAsk:  mayAsk,
			Measure: controller.NewRequestMetrics(metrics.Registry).Observe,
		},
		Clock:                   clock.RealClock{},
		Events:                  events,
		Deliveries:              deliveries,
		Random:                  rand.Float64,
		PropagationMargin:       o.propagationMargin,
		RequireCredentialsLabel: o.requireCredentialsLabel,
		Workers:                 o.maxConcurrentReconciles,
	}
	if err := reconciler.Register(mgr, namespaces); err != nil {
		return nil, err
	}
	metrics.Registry.MustRegister(controller.TokenCollector{Tokens: mgr.GetCache(), Clock: clock.RealClock{}}, namespaces)
	return mgr, addProbes(mgr, reconciler, o)
}

func managerOptions(o options) manager.Options {
	scheme := runtime.NewScheme()
	_ = authorizationv1.AddToScheme(scheme)
	_ = corev1.AddToScheme(scheme)
	_ = eventsv1.AddToScheme(scheme)
	_ = v1alpha1.AddToScheme(scheme)
	options := manager.Options{
		Scheme:         scheme,
		LeaderElection: o.leaderElect,
		// newLeadership creates the Lease; this is its name in the metric leader_election_master_status.
		LeaderElectionID: o.leaderElectionID,
		LeaseDuration:    ptr.To(leaseDuration),
		RenewDeadline:    ptr.To(renewDeadline),
		RetryPeriod:      ptr.To(retryPeriod),
		// The Lease is released after the last write, so that the next leader does not wait until it expires.
		LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress:        o.healthProbeBindAddress,
		PprofBindAddress:              o.pprofBindAddress,
		Metrics:                       metricsserver.Options{BindAddress: o.metricsBindAddress, SecureServing: o.metricsSecure},
		GracefulShutdownTimeout:       ptr.To(o.tokenRequestTimeout + 15*time.Second),
	}
	if o.metricsSecure {
		options.Metrics.FilterProvider = kubeauth.Filter
	}
	return options
}

// addProbes serves /healthz, which fails if reconciliation is stuck, and /readyz, which succeeds once each watched namespace's
// cache is filled or known to be down.
func addProbes(mgr ctrl.Manager, reconciler *controller.Reconciler, o options) error {
	if err := mgr.AddHealthzCheck("overdue", reconciler.Healthy); err != nil {
		return err
	}
	ready := readiness{options: o}
	if err := mgr.Add(&ready); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("caches", ready.check)
}

// readiness is a Runnable that the manager starts once its cache has synced, on the leader and on standbys.
type readiness struct {
	options
	reached atomic.Bool
}

func (r *readiness) Start(context.Context) error {
	r.reached.Store(true)
	watched := "all"
	if len(r.watchNamespaces) > 0 {
		watched = strings.Join(r.watchNamespaces, ",")
	}
	ctrl.Log.Info("Ready", "namespaces", watched, "payUTokens", cmp.Or(r.watchLabelSelector, "all"),
		"test", r.testBaseURL, "production", r.productionBaseURL)
	return nil
}

func (r *readiness) NeedLeaderElection() bool { return false }

func (r *readiness) check(*http.Request) error {
	if !r.reached.Load() {
		return errors.New("the caches are being filled")
	}
	return nil
}
