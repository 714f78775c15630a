package docs_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// acceptsManifests has the API server judge, strictly, all manifests in the documentation that are of its groups.
func (w *world) acceptsManifests() {
	server := lab.Must(discovery.NewDiscoveryClientForConfig(w.Config))(w.T)
	count := map[string]int{}
	for _, p := range pages(w.T) {
		for _, f := range p.fences {
			if f.language != "yaml" {
				continue
			}
			for _, object := range f.objects(w.T) {
				resources, err := server.ServerResourcesForGroupVersion(object.GetAPIVersion())
				if apierrors.IsNotFound(err) {
					continue // not of Kubernetes, nor ours
				}
				lab.Check(w.T, err)
				count[object.GetKind()]++
				if err := w.judge(object, resources.APIResources); err != nil {
					w.Errorf("%s: %s %q: %v", f, object.GetKind(), object.GetName(), err)
				}
			}
		}
	}
	if count["PayUToken"] < 5 {
		w.Errorf("too few were found: %v", count)
	}
}

// objects returns the manifests in a fence.
func (f fence) objects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	documents := yaml.NewYAMLOrJSONDecoder(strings.NewReader(f.body), 4096)
	for {
		var content any
		err := documents.Decode(&content)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Errorf("%s: no YAML: %v", f, err)
			return list
		}
		if object, ok := content.(map[string]any); ok && object["kind"] != nil && object["apiVersion"] != nil {
			list = append(list, &unstructured.Unstructured{Object: object})
		}
	}
}

// judge creates an object in a dry run, under a name that is free.
func (w *world) judge(object *unstructured.Unstructured, known []metav1.APIResource) error {
	at := slices.IndexFunc(known, func(r metav1.APIResource) bool { return r.Kind == object.GetKind() && !strings.Contains(r.Name, "/") })
	if at < 0 {
		return &meta.NoKindMatchError{GroupKind: object.GroupVersionKind().GroupKind(), SearchedVersions: []string{object.GroupVersionKind().Version}}
	}
	object.SetName("docs-" + object.GetName())
	if known[at].Namespaced {
		object.SetNamespace("shop")
	}
	return w.Client.Create(w.Context(), object, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
}
