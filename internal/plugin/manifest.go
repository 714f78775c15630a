package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/config/crd"
)

// manifests returns the PayUTokens of files, folders, kustomizations or stdin, without defaults.
func (p *plugin) manifests(files *genericclioptions.FileNameFlags) ([]*unstructured.Unstructured, error) {
	options := files.ToOptions()
	named := slices.DeleteFunc(slices.Clone(options.Filenames), func(name string) bool { return name == "-" })
	builder := resource.NewBuilder(p.kube).Local().Unstructured().ContinueOnError().Flatten()
	if len(named) < len(options.Filenames) {
		builder.Stream(p.In, "standard input")
	}
	options.Filenames = named
	if len(named) > 0 || options.Kustomize != "" {
		builder.FilenameParam(false, &options)
	}
	infos, err := builder.Do().Infos()
	if err != nil {
		return nil, withoutContent(err)
	}
	if err := refuseKustomizations(infos); err != nil && options.Kustomize == "" {
		return nil, err
	}
	var list []*unstructured.Unstructured
	for _, info := range infos {
		if object, ok := info.Object.(*unstructured.Unstructured); ok && isPayUToken(object.GroupVersionKind()) {
			list = append(list, object)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no PayUToken (%s) among %d objects", v1alpha1.GroupVersion, len(infos))
	}
	return list, nil
}

func isPayUToken(kind schema.GroupVersionKind) bool {
	return kind == v1alpha1.GroupVersion.WithKind("PayUToken")
}

// settleNamespace sets the namespace of a manifest as kubectl apply would. Without a cluster it does nothing.
func (c *cluster) settleNamespace(manifest *unstructured.Unstructured) error {
	switch own := manifest.GetNamespace(); {
	case c == nil || own == c.namespace:
	case own == "":
		manifest.SetNamespace(c.namespace)
	case c.chosen:
		return fmt.Errorf("PayUToken %q is in namespace %q, not %q as -n says: correct one of them", manifest.GetName(), own, c.namespace)
	}
	return nil
}

// dryRun has the API server validate a manifest as if it were created. It validates before it reports an existing object.
func (c *cluster) dryRun(ctx context.Context, manifest *unstructured.Unstructured) error {
	err := c.Create(ctx, manifest.DeepCopy(), client.DryRunAll, client.FieldOwner(name), client.FieldValidation(metav1.FieldValidationStrict))
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// refusal returns what the API server refuses, without the consequences.
func refusal(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return err.Error()
	}
	var wrong []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "<nil>" { // rules that were skipped because of the other causes
			wrong = append(wrong, cause.Field+": "+cause.Message)
		}
	}
	return strings.Join(wrong, "; ")
}

// checkOffline validates a manifest against the schema built into the plugin, without the CEL rules.
func checkOffline(manifest *unstructured.Unstructured) error {
	var wrong []string
	for _, err := range validate.NewSchemaValidator(crdSchema(), nil, "", strfmt.Default).Validate(manifest.Object).Errors {
		wrong = append(wrong, strings.ReplaceAll(err.Error(), " in body", ""))
	}
	data, err := manifest.MarshalJSON()
	if err != nil {
		return err
	}
	unknown, err := kjson.UnmarshalStrict(data, &v1alpha1.PayUToken{})
	if err != nil && len(wrong) == 0 {
		return err
	}
	for _, err := range unknown {
		wrong = append(wrong, err.Error())
	}
	if manifest.GetName() == "" {
		wrong = append(wrong, "metadata.name is required")
	}
	slices.Sort(wrong) // the schema is traversed in the random order of a map
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// decode returns the PayUToken of a manifest, with the defaults that the plugin needs.
func decode(manifest *unstructured.Unstructured) (*v1alpha1.PayUToken, error) {
	token := &v1alpha1.PayUToken{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(manifest.Object, token)
	ref := &token.Spec.CredentialsSecretRef
	ref.ClientIDKey, ref.ClientSecretKey = cmp.Or(ref.ClientIDKey, defaultIDKey), cmp.Or(ref.ClientSecretKey, defaultSecretKey)
	return token, err
}

// crdSchema returns the schema built into the plugin.
func crdSchema() *spec.Schema {
	var definition struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema json.RawMessage }
			}
		}
	}
	schema := &spec.Schema{}
	err := yaml.Unmarshal(crd.PayUTokens, &definition)
	if err == nil {
		err = json.Unmarshal(definition.Spec.Versions[0].Schema.OpenAPIV3Schema, schema)
	}
	if err != nil {
		panic(err) // `make generate` wrote it
	}
	return schema
}
