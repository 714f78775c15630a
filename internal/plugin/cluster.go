package plugin

import (
	"errors"
	"fmt"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// cluster is the API server that the flags name, with the rights of the user.
type cluster struct {
	client.WithWatch
	host      string
	namespace string
	// chosen is true if a flag sets the namespace.
	chosen bool
}

// defaultHost is the host of an empty configuration.
const defaultHost = "http://localhost:8080"

// connect finds the cluster. It sends no request.
func (p *plugin) connect() (*cluster, error) {
	namespace, chosen, err := p.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := p.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	raw, err := p.kube.ToRawKubeConfigLoader().RawConfig()
	if err == nil && clientcmdapi.IsConfigEmpty(&raw) && config.Host == defaultHost {
		return nil, errors.New("no cluster is configured: set KUBECONFIG, or use --kubeconfig")
	}
	config.UserAgent = name + "/" + p.Version
	config.QPS = -1 // the API server's priority and fairness decides
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper()})
	if err != nil {
		return nil, err
	}
	return &cluster{WithWatch: c, host: config.Host, namespace: namespace, chosen: chosen}, nil
}

// scheme has the kinds that the plugin reads and writes.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	_ = corev1.AddToScheme(s) // cannot fail
	_ = v1alpha1.AddToScheme(s)
	return s
}()

// mapper has their resources, so that no discovery is needed.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(v1alpha1.GroupVersion.WithKind("PayUToken"), meta.RESTScopeNamespace)
	for _, kind := range []string{"Secret", "Pod", "Event"} {
		m.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	return m
}

// explain says what an error means for the person at the terminal.
func explain(err error) string {
	var failure *url.Error
	switch {
	case isUnknownKind(err):
		return fmt.Sprintf("this cluster has no PayUTokens (%s): install the operator with its CRD, or choose another cluster with --context",
			v1alpha1.GroupVersion)
	case apierrors.IsUnauthorized(err):
		return "the API server does not know you: log in again, or choose another user with --context"
	case errors.As(err, &failure) && !isStatus(err):
		return fmt.Sprintf("the API server %s cannot be reached: %v", hostOf(failure.URL), failure.Err)
	default:
		return err.Error()
	}
}

// isUnknownKind reports whether the API server lacks the kind, not only the object.
func isUnknownKind(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func isStatus(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}
