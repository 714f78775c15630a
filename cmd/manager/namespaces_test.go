package main_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/process"
)

// minute is what a namespace that comes back may have to wait, and a machine that is busy.
const minute = time.Minute + patience

// TestNamespacesComeAndGo starts an operator with Roles, for a namespace that is there and one that is not yet.
func TestNamespacesComeAndGo(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	late := &shop{T: t, ctx: s.ctx, namespace: s.namespace + "-late"}
	user, name := newServiceAccount(t, s.namespace)
	s.grant(user, name, shippedRules(t))
	server, address := runPayU(t, payutest.Config{}), must(process.FreeAddress())(t)
	flags := append(asking(server), "--watch-namespaces="+late.namespace+","+s.namespace, "--metrics-bind-address="+address, "--metrics-secure=false")
	isUp := func(of *shop, want float64) func() bool {
		return func() bool {
			up, there := scrapePlain(t, plainClient(t), address)[`payu_watched_namespace_up{namespace="`+of.namespace+`"}`]
			return there && up == want
		}
	}

	o := launch(t, user.Kubeconfig, flags...)
	s.create("first")
	s.awaitReady("first")
	await(t, "the metric tells them apart", func() bool { return isUp(s, 1)() && isUp(late, 0)() })
	o.awaitLog(`no permission to get, list, watch payutokens.auth.payu.in in namespace \"` + late.namespace + `\"`)

	check(t, cluster.Client.Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: late.namespace}}))
	late.credentials("payu-credentials", merchant, merchantSecret)
	late.create("links")
	late.grant(user, name, shippedRules(t))
	awaitWithin(t, minute, "the namespace that came is served", func() bool { return strings.Contains(conditions(late.token("links")), "Ready=True") })
	await(t, "the metric is 1", isUp(late, 1))

	check(t, cluster.Client.DeleteAllOf(s.ctx, &rbacv1.RoleBinding{}, client.InNamespace(late.namespace)))
	awaitWithin(t, minute, "the metric is 0 without a RoleBinding", isUp(late, 0))
	s.create("second")
	s.awaitReady("second")
	o.stop()
	if told := strings.Count(o.log.text(), "Cannot watch the namespace"); told != 2 {
		t.Errorf("the log tells %d times that a namespace is not watched, want once for each time", told)
	}

	launch(t, user.Kubeconfig, flags...)
	s.create("third")
	s.awaitReady("third")
	await(t, "the metric is 0 after a restart", isUp(late, 0))
}

func TestANamespaceThatDoesNotExistIsToldOf(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := launch(t, cluster.Kubeconfig, append(asking(runPayU(t, payutest.Config{})), "--watch-namespaces=nowhere,"+s.namespace)...)
	o.awaitLog(`namespace \"nowhere\" does not exist`)
	s.create("links")
	s.awaitReady("links")
}
