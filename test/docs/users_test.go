package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// users proves what docs/security.md says of those who have rights to PayUTokens and none to Secrets.
func (w *world) users() {
	viewer := w.user("viewer", "payu-token-operator-view")
	editor := w.user("editor", "payu-token-operator-view", "payu-token-operator-edit")
	w.Run("cannot", func(t *testing.T) { w.on(t).expectRefused(viewer, editor) })
	w.Run("can have a token made, and not read it", func(t *testing.T) { w.on(t).expectTokenUnseen(editor) })
	w.Run("cannot change or read a Secret", func(t *testing.T) { w.on(t).expectSecretUntouched(editor) })
	w.Run("can have values of a Secret sent to PayU", func(t *testing.T) { w.on(t).expectSent(editor) })
}

// user is somebody who has shipped roles in the namespace shop.
func (w *world) user(name string, roles ...string) *lab.User {
	w.Helper()
	user := lab.Must(w.AddUser(name))(w.T)
	for _, role := range roles {
		lab.Check(w.T, w.Client.Create(w.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + "-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
		}))
	}
	lab.AwaitTrue(w, name+" may list PayUTokens", func() bool {
		return user.Client.List(w.Context(), &v1alpha1.PayUTokenList{}, client.InNamespace("shop")) == nil
	})
	return user
}

func (w *world) expectRefused(viewer, editor *lab.User) {
	expect := func(what, want string, err error) {
		w.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			w.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	expect("view: create", "forbidden", viewer.Client.Create(w.Context(), tokenOf("viewed")))
	expect("edit: a Secret", "forbidden", editor.Client.Get(w.Context(), client.ObjectKey{Namespace: "shop", Name: "payu-credentials"}, &corev1.Secret{}))
	expect("edit: another namespace", "forbidden", editor.Client.List(w.Context(), &v1alpha1.PayUTokenList{}, client.InNamespace("default")))

	token := tokenOf("signed")
	token.Spec.Target.Template.Type = "kubernetes.io/service-account-token"
	expect("a type that Kubernetes acts on", "Kubernetes' own Secret types are refused", editor.Client.Create(w.Context(), token))

	file := filepath.Join(w.TempDir(), "token.yaml")
	lab.Check(w.T, os.WriteFile(file, []byte(`{apiVersion: auth.payu.in/v1alpha1, kind: PayUToken, metadata: {name: afar, namespace: shop},
spec: {environment: Test, credentialsSecretRef: {name: payu-credentials, namespace: default}, scopes: [create_payment_links]}}`), 0o600))
	_, err := editor.Kubectl(w.Context(), "create", "--validate=strict", "--filename="+file)
	expect("credentials of another namespace", `unknown field "spec.credentialsSecretRef.namespace"`, err)
}

func (w *world) expectTokenUnseen(editor *lab.User) {
	token := tokenOf("unseen")
	w.makes(editor, token, v1alpha1.ReasonTokenValid)
	secret := &corev1.Secret{}
	if err := editor.Client.Get(w.Context(), client.ObjectKeyFromObject(token), secret); !apierrors.IsForbidden(err) {
		w.Errorf("who may create PayUTokens reads their Secrets: %v", err)
	}
	lab.Check(w.T, w.Client.Get(w.Context(), client.ObjectKeyFromObject(token), secret))
	seen := lab.Must(editor.Kubectl(w.Context(), "get", "payutokens", "--namespace=shop", "--output=yaml"))(w.T)
	for _, value := range []string{lab.AccessToken(secret), clientSecret} {
		if value == "" || strings.Contains(seen, value) {
			w.Errorf("%q can be read by those who may read PayUTokens", value)
		}
	}

	token = tokenOf("curious")
	token.Spec.Target.Template.Data = map[string]v1alpha1.DataTemplate{"x": "{{ .ClientSecret }}"}
	w.makes(editor, token, v1alpha1.ReasonTemplateInvalid)
}

func (w *world) expectSecretUntouched(editor *lab.User) {
	taken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "taken"}, StringData: map[string]string{"access_token": "mine"}}
	lab.Check(w.T, w.Client.Create(w.Context(), taken))
	w.makes(editor, tokenOf("taken"), v1alpha1.ReasonTargetConflict)
	now := &corev1.Secret{}
	lab.Check(w.T, w.Client.Get(w.Context(), client.ObjectKeyFromObject(taken), now))
	if now.ResourceVersion != taken.ResourceVersion {
		w.Errorf("the Secret was changed: %v", now.ObjectMeta)
	}
}

func (w *world) expectSent(editor *lab.User) {
	lab.Check(w.T, w.Client.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "database"}, StringData: map[string]string{"user": "postgres", "password": "hidden"},
	}))
	token := tokenOf("sent")
	token.Spec.CredentialsSecretRef = v1alpha1.CredentialsSecretRef{Name: "database", ClientIDKey: "user", ClientSecretKey: "password"}
	w.makes(editor, token, v1alpha1.ReasonInvalidClient)
	if requests := w.payu.Requests(); requests[len(requests)-1].ClientID != "postgres" {
		w.Errorf("PayU was asked by %q", requests[len(requests)-1].ClientID)
	}
	token = tokenOf("told")
	token.Spec.CredentialsSecretRef = v1alpha1.CredentialsSecretRef{Name: "database", ClientIDKey: "user", ClientSecretKey: "key"}
	w.makes(editor, token, v1alpha1.ReasonCredentialsNotFound)
}

func tokenOf(name string) *v1alpha1.PayUToken {
	return lab.NewToken("shop", name, lab.For("refer_child_merchant"))
}

// makes has a user create a PayUToken, and waits until they see why it is Ready, or not.
func (w *world) makes(user *lab.User, token *v1alpha1.PayUToken, reason string) {
	w.Helper()
	lab.Check(w.T, user.Client.Create(w.Context(), token))
	lab.AwaitTrue(w, token.Name+" is "+reason, func() bool {
		lab.Check(w.T, user.Client.Get(w.Context(), client.ObjectKeyFromObject(token), token))
		ready := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason
	})
}
