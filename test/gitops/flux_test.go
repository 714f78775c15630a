package gitops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// flux applies, compares and waits as Flux's kustomize-controller does, by the library that does it there.
type flux struct {
	*world
	manager *ssa.ResourceManager
}

func (w *world) flux() flux {
	poller := polling.NewStatusPoller(cluster.Client, cluster.Client.RESTMapper(), polling.Options{})
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	return flux{world: w, manager: ssa.NewResourceManager(cluster.Client, poller, owner)}
}

// apply returns what was done: "Secret/payu-credentials created". It takes back what kubectl has changed, as Flux does.
func (f flux) apply(objects []*unstructured.Unstructured) []string {
	f.Helper()
	options := ssa.DefaultApplyOptions()
	for _, operation := range []metav1.ManagedFieldsOperationType{metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate} {
		options.Cleanup.FieldManagers = append(options.Cleanup.FieldManagers, ssa.FieldManager{Name: "kubectl", OperationType: operation})
	}
	options.Cleanup.Exclusions = map[string]string{"kustomize.toolkit.fluxcd.io/ssa": "Merge"}
	f.manager.SetOwnerLabels(objects, "shop-tokens", "flux-system")
	changes := lab.Must(f.manager.ApplyAllStaged(f.Context(), objects, options))(f)
	var done []string
	for _, entry := range changes.Entries {
		done = append(done, fmt.Sprintf("%s/%s %s", entry.ObjMetadata.GroupKind.Kind, entry.ObjMetadata.Name, entry.Action))
	}
	return done
}

// expect applies and compares what is done to each object.
func (f flux) expect(objects []*unstructured.Unstructured, want ssa.Action) {
	f.Helper()
	for _, done := range f.apply(objects) {
		if !strings.HasSuffix(done, " "+string(want)) {
			f.Errorf("Flux: %s, want %s", done, want)
		}
	}
}

// wait waits for objects to be healthy.
func (f flux) wait(timeout time.Duration, objects ...object.ObjMetadata) error {
	return f.manager.WaitForSetWithContext(f.Context(), objects, ssa.WaitOptions{Interval: 50 * time.Millisecond, Timeout: timeout, FailFast: true})
}

func (w *world) payutoken(name string) object.ObjMetadata {
	return object.ObjMetadata{Namespace: w.Namespace, Name: name, GroupKind: kind.GroupKind()}
}

func TestFluxFindsNothingToDo(t *testing.T) {
	t.Parallel()
	for _, folder := range sampleFolders {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			objects := w.samples(folder)
			f := w.flux()
			f.expect(objects, ssa.CreatedAction)
			lab.Check(t, f.wait(lab.Patience, object.UnstructuredSetToObjMetadataSet(objects)...))
			versions := w.versions(objects)
			f.expect(objects, ssa.UnchangedAction)
			if now := w.versions(objects); now != versions {
				t.Errorf("resourceVersions %s, before %s", now, versions)
			}
			for _, o := range tokensOf(objects) {
				w.renew(o.GetName(), "1")
			}
			f.expect(objects, ssa.UnchangedAction)
			w.expectOwnStatusOnly(objects)
		})
	}
}

// TestFluxTakesBackWhatKubectlChanged shows what a user of kubectl has to know who works beside Flux.
func TestFluxTakesBackWhatKubectlChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	objects := w.samples("examples/shop/tokens")
	name := objects[0].GetName()
	f := w.flux()
	f.expect(objects, ssa.CreatedAction)
	w.await(name, good)

	w.MustKubectl("annotate", "payutoken", name, "--namespace="+w.Namespace, v1alpha1.AnnotationRefreshRequestedAt+"=now")
	w.awaitHandled(name, "now")
	requests := len(w.payu.Requests())
	f.expect(objects, ssa.ConfiguredAction)
	if w.get(name).GetAnnotations()[v1alpha1.AnnotationRefreshRequestedAt] != "" {
		t.Error("Flux left the annotation")
	}
	w.renew(name, "another") // after which the operator has also seen that the annotation was gone
	if got := len(w.payu.Requests()); got != requests+1 {
		t.Errorf("PayU was asked %d times since Flux took the annotation back, want once, for the renewal", got-requests)
	}

	suspended := []string{"patch", "payutoken", name, "--namespace=" + w.Namespace, "--type=merge", `--patch={"spec":{"suspend":true}}`}
	for _, plugin := range []string{"", "kubectl-payutoken"} { // which patches under its own name
		w.MustKubectl(append(suspended, "--field-manager="+plugin)...)
		f.expect(objects, ssa.ConfiguredAction)
		if is, _, _ := unstructured.NestedBool(w.get(name).Object, "spec", "suspend"); is {
			t.Errorf("Flux left what kubectl patch did as %q", plugin)
		}
	}

	for _, o := range objects {
		annotations := o.GetAnnotations()
		annotations["kustomize.toolkit.fluxcd.io/ssa"] = "Merge"
		o.SetAnnotations(annotations)
	}
	f.expect(objects, ssa.ConfiguredAction)
	w.MustKubectl(suspended...)
	f.expect(objects, ssa.UnchangedAction)
	w.await(name, "Ready=True/TokenValid Refreshed=False/Suspended")
}

// TestFluxHealthChecks waits as the health checks of a Kustomization do.
func TestFluxHealthChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.flux()

	t.Run("pass once there is a token", func(t *testing.T) {
		f := f.on(t)
		f.credentials("links")
		f.create("links")
		lab.Check(t, f.wait(lab.Patience, f.payutoken("links")))
		if f.secret("links").Data[v1alpha1.KeyAccessToken] == nil {
			t.Error("there is no token")
		}
	})
	t.Run("wait through passing trouble", func(t *testing.T) {
		f := f.on(t)
		f.credentials("troubled")
		f.payu.Inject(payutest.Fault{ClientID: f.client("troubled"), Error: "server_error", Times: 2})
		f.create("troubled")
		lab.Check(t, f.wait(lab.Patience, f.payutoken("troubled")))
		f.await("troubled", good)
	})
	t.Run("fail at once for a mistake", func(t *testing.T) {
		f := f.on(t)
		f.credentials("mistaken")
		f.payu.Inject(payutest.Fault{ClientID: f.client("mistaken"), Error: "invalid_scope"})
		f.create("mistaken")
		err := f.wait(time.Hour, f.payutoken("mistaken"))
		if err == nil || !strings.Contains(err.Error(), "failed early") || !strings.Contains(err.Error(), "mistaken status: 'Failed'") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("pass while the renewal of a good token fails", func(t *testing.T) {
		f := f.on(t)
		f.credentials("renewing")
		for _, fault := range later(payutest.Fault{Error: "server_error"}) {
			fault.ClientID = f.client("renewing")
			f.payu.Inject(fault)
		}
		f.create("renewing")
		f.await("renewing", good)
		f.Change("renewing", lab.Refresh("1"))
		f.await("renewing", "Ready=True/TokenValid Refreshed=False/ServerError")
		lab.Check(t, f.wait(lab.Patience, f.payutoken("renewing")))
	})
	t.Run("fail where the credentials are not waited for", func(t *testing.T) {
		f := f.on(t)
		f.create("hasty")
		if err := f.wait(time.Hour, f.payutoken("hasty")); err == nil || !strings.Contains(err.Error(), "hasty status: 'Failed'") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("of the credentials Secret pass once it is there", func(t *testing.T) {
		f := f.on(t)
		secret := object.ObjMetadata{Namespace: f.Namespace, Name: "patient-credentials", GroupKind: schema.GroupKind{Kind: "Secret"}}
		if err := f.wait(time.Second, secret); err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("without the Secret: %v", err)
		}
		passed := make(chan error, 1)
		go func() { passed <- f.wait(lab.Patience, secret) }()
		f.credentials("patient")
		lab.Check(t, <-passed)
	})
}

func (f flux) on(t *testing.T) flux { return flux{world: f.world.on(t), manager: f.manager} }

// renew has a token renewed, by somebody who is not kubectl.
func (w *world) renew(name, request string) {
	w.Helper()
	w.Change(name, lab.Refresh(request))
	w.awaitHandled(name, request)
}

func (w *world) awaitHandled(name, request string) {
	w.Helper()
	w.follow(name).until("lastHandledRefreshAt "+request, func(u *unstructured.Unstructured) bool {
		handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledRefreshAt")
		return handled == request && strings.HasPrefix(conditions(u), good)
	})
}

// versions returns the resourceVersions of objects.
func (w *world) versions(objects []*unstructured.Unstructured) string {
	w.Helper()
	var versions []string
	for _, o := range objects {
		live := o.DeepCopy()
		lab.Check(w, cluster.Client.Get(context.Background(), client.ObjectKeyFromObject(o), live))
		versions = append(versions, live.GetResourceVersion())
	}
	return strings.Join(versions, " ")
}

// expectOwnStatusOnly holds why there is no difference: the operator owns no field of a PayUToken but the status.
func (w *world) expectOwnStatusOnly(objects []*unstructured.Unstructured) {
	w.Helper()
	for _, o := range tokensOf(objects) {
		owned := 0
		for _, entry := range w.get(o.GetName()).GetManagedFields() {
			if entry.Manager != v1alpha1.ManagedBy {
				continue
			}
			owned++
			if entry.Subresource != "status" {
				w.Errorf("the operator owns fields of PayUToken %s: %s", o.GetName(), entry.FieldsV1)
			}
		}
		if owned == 0 {
			w.Errorf("the operator owns not even the status of PayUToken %s", o.GetName())
		}
	}
}
