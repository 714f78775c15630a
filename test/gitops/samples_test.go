package gitops_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// sampleFolders hold PayUTokens for users to start from.
var sampleFolders = []string{"config/samples", "examples/shop/tokens"}

// samples returns what kustomize builds in a folder, moved to the namespace of this world. PayU knows the clients, and where
// the folder brings no credentials, they are there.
func (w *world) samples(folder string) []*unstructured.Unstructured {
	w.Helper()
	w.payu.PutClient(payutest.Client{ID: "sample-merchant", Secret: "sample-merchant-secret"})
	w.payu.PutClient(payutest.Client{ID: "sample-partner", Secret: "sample-partner-secret"})
	objects := built(w.T, folder)
	for _, o := range objects {
		o.SetNamespace(w.Namespace)
	}
	if len(tokensOf(objects)) == 0 {
		w.Fatalf("%s holds no PayUToken", folder)
	}
	if !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Secret" }) {
		w.createSecret("payu-credentials", map[string]string{"client_id": "sample-merchant", "client_secret": "sample-merchant-secret"})
	}
	return objects
}

func tokensOf(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return o.GetKind() != kind.Kind })
}

// built returns what kustomize makes of a folder.
func built(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return lab.Objects(t, lab.Must(cluster.Kubectl(t.Context(), "kustomize", filepath.Join("..", "..", folder)))(t))
}

// manifest writes objects into one file and returns its path.
func (w *world) manifest(objects []*unstructured.Unstructured) string {
	w.Helper()
	var text strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&text, "%s---\n", lab.Must(o.MarshalJSON())(w))
	}
	return lab.File(w, "manifest.yaml", text.String())
}

// diff returns what kubectl diff prints: nothing, if there is no difference.
func (w *world) diff(args ...string) string {
	w.Helper()
	printed, err := cluster.Kubectl(w.Context(), append([]string{"diff"}, args...)...)
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		w.Fatal(err)
	}
	if (err == nil) != (printed == "") {
		w.Fatalf("kubectl diff ended with %v and printed %q", err, printed)
	}
	return printed
}
