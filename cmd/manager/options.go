package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/payu-token-operator/payu-token-operator/internal/payu"
)

// options are the flags of the manager. There is no other configuration.
type options struct {
	kubeconfig              string
	testBaseURL             string
	productionBaseURL       string
	caFile                  string
	tokenRequestTimeout     time.Duration
	propagationMargin       time.Duration
	maxConcurrentReconciles int
	kubeAPIQPS              float32
	kubeAPIBurst            int
	watchNamespaces         []string
	requireCredentialsLabel bool
	watchLabelSelector      string
	leaderElect             bool
	leaderElectionID        string
	leaderElectionNamespace string
	metricsBindAddress      string
	metricsSecure           bool
	healthProbeBindAddress  string
	pprofBindAddress        string
	logLevel                string
	logFormat               string
	version                 bool
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; by default $KUBECONFIG, or the service account of the pod")
	flags.StringVar(&o.testBaseURL, "test-base-url", payu.TestBaseURL, "base `URL` of PayU's Test environment; https, or http to a loopback address")
	flags.StringVar(&o.productionBaseURL, "production-base-url", payu.ProductionBaseURL, "base `URL` of PayU's Production environment; https, or http to a loopback address")
	flags.StringVar(&o.caFile, "ca-file", "", "PEM `file` with certificate authorities to trust for the token endpoint, in addition to the system's")
	flags.DurationVar(&o.tokenRequestTimeout, "token-request-timeout", 10*time.Second, "time limit of a token request")
	flags.DurationVar(&o.propagationMargin, "propagation-margin", 2*time.Minute, "remaining lifetime of a token when its successor is written; the kubelet takes up to two minutes to update pods")
	flags.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 8, "number of PayUTokens reconciled at once")
	flags.Float32Var(&o.kubeAPIQPS, "kube-api-qps", -1, "requests per second to the API server; -1 leaves the limit to its priority and fairness")
	flags.IntVar(&o.kubeAPIBurst, "kube-api-burst", -1, "burst of requests to the API server if --kube-api-qps is positive")
	flags.StringSliceVar(&o.watchNamespaces, "watch-namespaces", nil, "`namespaces` to watch, comma separated; all by default. If set, Roles in these namespaces suffice, and one that is missing does not affect the others")
	flags.BoolVar(&o.requireCredentialsLabel, "require-credentials-label", false, "use only Secrets with the label auth.payu.in/credentials=true as credentials, so that no PayUToken can have values of another Secret sent to PayU")
	flags.StringVar(&o.watchLabelSelector, "watch-label-selector", "", "label `selector` of PayUTokens; all by default. For sharding, give each operator a different one")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "elect a leader among several replicas, the only one that is active")
	flags.StringVar(&o.leaderElectionID, "leader-election-id", "payu-token-operator", "`name` of the Lease; each shard needs its own")
	flags.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", "", "`namespace` of the Lease; by default the namespace of the pod")
	flags.StringVar(&o.metricsBindAddress, "metrics-bind-address", ":8443", "`address` of the metrics endpoint; 0 disables it")
	flags.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve metrics over TLS, to users who are allowed to get /metrics; false serves plain http to everyone")
	flags.StringVar(&o.healthProbeBindAddress, "health-probe-bind-address", ":8081", "`address` of /healthz and /readyz; 0 disables them")
	flags.StringVar(&o.pprofBindAddress, "pprof-bind-address", "0", "loopback `address` of Go's profiles below /debug/pprof/, such as 127.0.0.1:6060; 0 disables them")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&o.logFormat, "log-format", "json", "json or text")
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
}

// parse reads the flags. Its error says in one line which flag is wrong and why.
func (o *options) parse(args []string) error {
	flags := pflag.NewFlagSet("manager", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {
		fmt.Printf("manager fetches and renews PayU access tokens and keeps them in Secrets, as PayUTokens specify.\n\nFlags:\n%s", flags.FlagUsages())
	}
	o.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w (--help explains the flags)", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: the manager takes flags only", flags.Arg(0))
	}
	if err := o.validate(); err != nil {
		return err
	}
	return o.settleLeaseNamespace()
}

func (o *options) validate() error {
	switch {
	case o.tokenRequestTimeout <= 0:
		return errors.New("--token-request-timeout must be positive")
	case o.propagationMargin < 0:
		return errors.New("--propagation-margin must not be negative")
	case o.maxConcurrentReconciles < 1:
		return errors.New("--max-concurrent-reconciles must be at least 1")
	case o.logFormat != "json" && o.logFormat != "text":
		return fmt.Errorf("--log-format %q: use json or text", o.logFormat)
	}
	if _, err := o.level(); err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(o.pprofBindAddress); o.pprofBindAddress != "0" && (err != nil || !net.ParseIP(host).IsLoopback()) {
		return fmt.Errorf("--pprof-bind-address %q: use a loopback address such as 127.0.0.1:6060, since everyone who reaches it can read the profiles", o.pprofBindAddress)
	}
	for flag, address := range map[string]string{"metrics": o.metricsBindAddress, "health-probe": o.healthProbeBindAddress} {
		if address == "" {
			return fmt.Errorf("--%s-bind-address is empty: use an address such as :8080, or 0 to disable it", flag)
		}
	}
	if _, err := labels.Parse(o.watchLabelSelector); err != nil {
		return fmt.Errorf("--watch-label-selector: %w", err)
	}
	for _, namespace := range o.watchNamespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			return fmt.Errorf("--watch-namespaces: %q is not a name of a namespace: separate names by commas, without spaces", namespace)
		}
	}
	return nil
}

// settleLeaseNamespace reads the namespace of the Lease from the pod if no flag names it.
func (o *options) settleLeaseNamespace() error {
	if !o.leaderElect || o.leaderElectionNamespace != "" {
		return nil
	}
	const ofPod = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	namespace, err := os.ReadFile(ofPod)
	if err != nil {
		return fmt.Errorf("--leader-elect outside of a pod: set the namespace of the Lease with --leader-election-namespace (%w)", err)
	}
	o.leaderElectionNamespace = strings.TrimSpace(string(namespace))
	return nil
}

func (o *options) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return 0, fmt.Errorf("--log-level %q: use debug, info, warn or error", o.logLevel)
	}
	return level, nil
}
