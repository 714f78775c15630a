package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

const (
	operators  = "e2e-operators" // the namespace of all operators
	payu       = "e2e-payu"      // the namespace of all simulators
	caName     = "payu-ca"       // the ConfigMap with the authority of the simulators
	shardLabel = "payu-e2e/shop" // a PayUToken's, by which its operator selects it
	tokenName  = "payment-links" // the PayUToken of a shop, and its Secret
	scope      = "create_payment_links"

	// patience is how long to wait for what takes a moment.
	patience = 3 * time.Minute
)

// shop is a namespace with a PayUToken and a workload that uses it. It has an operator of its own, that selects its
// PayUTokens by their label, and a simulator of its own, which is PayU to that operator: what one shop goes through
// disturbs no other, and an operator that touches another's PayUTokens asks the wrong PayU.
type shop struct {
	*proof
	scenario
	life time.Duration // of a token, but where a common scenario says otherwise

	admin    payutest.Admin
	url      string // of the simulator
	image    image  // of the operator
	firstCRD bool   // its operator's release brings the CRD
	tape     tape
}

func (s *shop) namespace() string { return "e2e-" + s.shop }

// release is the name of the operator's release, and of all that is in it.
func (s *shop) release() string { return "payu-token-operator-" + s.shop }

// open sets all of it up, and returns when the workload's first call has worked.
func (s *shop) open(ctx context.Context) error {
	steps := []func(context.Context) error{s.startPayU, s.install, s.createToken, s.startWorkload}
	if s.scenario.consumers != nil {
		steps = []func(context.Context) error{s.startPayU, s.install, s.openConsumers}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return fmt.Errorf("opening shop %q: %w", s.shop, err)
		}
	}
	return nil
}

// startPayU starts the simulator. Its Service comes first: the certificate is for the Service's address.
func (s *shop) startPayU(ctx context.Context) error {
	labels := map[string]string{"app": s.shop}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: payu, Name: s.shop},
		Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "https", Port: 8443}}}}
	if err := s.client.Create(ctx, service); err != nil {
		return err
	}
	s.url = fmt.Sprintf("https://%s:8443", service.Spec.ClusterIP)
	certificate, key, err := s.authority.serve(service.Spec.ClusterIP)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: service.ObjectMeta, Type: corev1.SecretTypeTLS,
		StringData: map[string]string{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}}
	secret.ResourceVersion, secret.UID = "", ""
	if err := s.client.Create(ctx, secret); err != nil {
		return err
	}
	pod := s.pod(payu, s.shop, labels, s.Images.Simulator, map[string]corev1.VolumeSource{
		"/tls": {Secret: &corev1.SecretVolumeSource{SecretName: s.shop}},
	}, "--bind-address=:8443", "--admin-bind-address=:8090", "--tls-cert-file=/tls/"+corev1.TLSCertKey,
		"--tls-private-key-file=/tls/"+corev1.TLSPrivateKeyKey, "--mode="+string(cmp.Or(s.mode, payutest.Default)), "--token-ttl="+s.life.String())
	if err := s.client.Create(ctx, pod); err != nil {
		return err
	}
	s.admin = payutest.Admin{BaseURL: s.podURL(payu, s.shop, 8090), HTTPClient: s.http}
	return await(ctx, patience, "the simulator answers", func(ctx context.Context) (bool, error) {
		_, err := s.admin.Settings(ctx)
		return err == nil, err
	})
}

// pod returns a pod as the strictest Pod Security wants it, with volumes by the paths where they are mounted.
func (s *shop) pod(namespace, name string, labels map[string]string, image image, volumes map[string]corev1.VolumeSource, args ...string) *corev1.Pod {
	yes, no := true, false
	container := corev1.Container{Name: "main", Image: image.Name, ImagePullPolicy: corev1.PullIfNotPresent, Args: args,
		// Without a request it would be the first to wait for a CPU, and the last to get it.
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("32Mi")}},
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}}}
	spec := corev1.PodSpec{AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
		SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}}
	for path, source := range volumes {
		volume := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: path, ReadOnly: true})
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: volume, VolumeSource: source})
	}
	spec.Containers = []corev1.Container{container}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}, Spec: spec}
}

// createToken creates the credentials and the PayUToken, and waits until it is Ready.
func (s *shop) createToken(ctx context.Context) error {
	if err := s.createNamespace(ctx, s.namespace()); err != nil {
		return err
	}
	if err := s.rotate(ctx, s.shop); err != nil {
		return err
	}
	if err := s.client.Create(ctx, s.token(s.namespace(), tokenName, v1alpha1.DeletionPolicyDelete)); err != nil {
		return err
	}
	return s.awaitReady(ctx, s.namespace(), tokenName)
}

// token returns a PayUToken of the shop's shard, with the shop's credentials.
func (s *shop) token(namespace, name string, policy v1alpha1.DeletionPolicy) *v1alpha1.PayUToken {
	token := lab.NewToken(namespace, name, lab.For(scope), lab.Labelled(shardLabel, s.shop))
	token.Spec.Target.DeletionPolicy = policy
	return token
}

// rotate has PayU give a new secret to a client, and then writes both into the shop's credentials.
func (s *shop) rotate(ctx context.Context, clientID string) error {
	c := payutest.Client{ID: clientID, Secret: rand.Text(), Scopes: []string{scope}}
	if err := s.admin.PutClient(ctx, c); err != nil {
		return err
	}
	return s.writeCredentials(ctx, s.namespace(), c)
}

func (s *shop) writeCredentials(ctx context.Context, namespace string, c payutest.Client) error {
	secret := lab.NewCredentials(namespace, "payu-credentials", c.ID, c.Secret)
	err := s.client.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		secret.ResourceVersion = ""
		return s.client.Update(ctx, secret)
	}
	return err
}

func (s *shop) awaitReady(ctx context.Context, namespace, name string) error {
	return await(ctx, patience, fmt.Sprintf("PayUToken %s/%s is Ready", namespace, name), func(ctx context.Context) (bool, error) {
		var token v1alpha1.PayUToken
		err := s.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &token)
		return meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady), err
	})
}

// startWorkload starts the workload and follows what it does.
func (s *shop) startWorkload(ctx context.Context) error {
	if err := s.createWorkload(ctx, "workload", tokenName, &s.tape); err != nil {
		return err
	}
	return s.awaitFirstCall(ctx)(&s.tape)
}

// createWorkload creates a pod that uses the token in a Secret, and has a tape tell what it does.
func (s *shop) createWorkload(ctx context.Context, name, secret string, t *tape) error {
	pod := s.pod(s.namespace(), name, nil, s.Images.Workload, map[string]corev1.VolumeSource{
		"/var/run/payu": {Secret: &corev1.SecretVolumeSource{SecretName: secret}},
		"/ca":           {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: caName}}},
	}, "--url="+s.url+"/resource?scope="+scope, "--ca-file=/ca/ca.crt", "--token-file=/var/run/payu/"+v1alpha1.KeyAccessToken)
	t.source = s.podURL(pod.Namespace, pod.Name, 8080) + "/calls"
	t.http = s.http
	return s.client.Create(ctx, pod)
}

// awaitFirstCall waits until a workload's first call has worked.
func (s *shop) awaitFirstCall(ctx context.Context) func(*tape) error {
	return func(t *tape) error {
		return await(ctx, patience, "the workload's first call has worked", func(ctx context.Context) (bool, error) {
			err := t.update(ctx)
			list := t.since(0)
			return len(list) > 0 && list[len(list)-1].Worked(), err
		})
	}
}

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

// due waits until the PayUToken says when its next renewal is, later than the one before, and returns that moment.
func (s *shop) due(ctx context.Context, before time.Time) (time.Time, error) {
	var at time.Time
	err := await(ctx, s.limit(), "the PayUToken says when it will be renewed", func(ctx context.Context) (bool, error) {
		var token v1alpha1.PayUToken
		err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace(), Name: tokenName}, &token)
		if token.Status.RenewAt != nil {
			at = token.Status.RenewAt.Time
		}
		return at.After(before), err
	})
	return at, err
}

// limit is how long to wait for a renewal, for one that is late not to end the run.
func (s *shop) limit() time.Duration { return 2*s.life + 30*time.Second }
