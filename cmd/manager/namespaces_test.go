package main_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestNamespacesComeAndGo starts an operator with Roles, for a namespace that is there and one that is not yet.
func TestNamespacesComeAndGo(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	late := &shop{cluster.ShopIn(t, s.Namespace+"-late")}
	user, name := newServiceAccount(t, s.Namespace)
	s.grant(user, name, shippedRules(t))
	server, address := lab.RunPayU(t, payutest.Config{}), lab.Must(lab.FreeAddress())(t)
	flags := append(lab.Asking(server), "--watch-namespaces="+late.Namespace+","+s.Namespace, "--metrics-bind-address="+address, "--metrics-secure=false")
	isUp := func(of *shop, want float64) func() bool {
		return func() bool {
			up, there := scrapePlain(t, plainClient(t), address)[`payu_watched_namespace_up{namespace="`+of.Namespace+`"}`]
			return there && up == want
		}
	}

	o := launch(t, user.Kubeconfig, flags...)
	s.create("first")
	s.AwaitReady("first")
	lab.AwaitTrue(t, "the metric tells them apart", func() bool { return isUp(s, 1)() && isUp(late, 0)() })
	o.AwaitLog(`no permission to get, list, watch payutokens.auth.payu.in in namespace \"` + late.Namespace + `\"`)

	lab.Check(t, cluster.Client.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: late.Namespace}}))
	late.Credentials("payu-credentials", lab.Merchant, lab.MerchantSecret)
	late.create("links")
	late.grant(user, name, shippedRules(t))
	lab.AwaitTrue(t, "the namespace that came is served", func() bool {
		return strings.Contains(lab.Conditions(late.Token("links").Status.Conditions), "Ready=True")
	})
	lab.AwaitTrue(t, "the metric is 1", isUp(late, 1))

	lab.Check(t, cluster.Client.DeleteAllOf(s.Context(), &rbacv1.RoleBinding{}, client.InNamespace(late.Namespace)))
	lab.AwaitTrue(t, "the metric is 0 without a RoleBinding", isUp(late, 0))
	s.create("second")
	s.AwaitReady("second")
	o.Stop()
	if told := strings.Count(o.Log.Text(), "Cannot watch the namespace"); told != 2 {
		t.Errorf("the log tells %d times that a namespace is not watched, want once for each time", told)
	}

	launch(t, user.Kubeconfig, flags...)
	s.create("third")
	s.AwaitReady("third")
	lab.AwaitTrue(t, "the metric is 0 after a restart", isUp(late, 0))
}

func TestANamespaceThatDoesNotExistIsToldOf(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	o := launch(t, cluster.Kubeconfig, append(lab.Asking(lab.RunPayU(t, payutest.Config{})), "--watch-namespaces=nowhere,"+s.Namespace)...)
	o.AwaitLog(`namespace \"nowhere\" does not exist`)
	s.create("links")
	s.AwaitReady("links")
}
