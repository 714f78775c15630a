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

// manifests returns the PayUTokens of files, folders, kustomizations or stdin, as they are written.
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

// settleNamespace gives a manifest the namespace that kubectl apply would. Without a cluster it needs none.
func (c *cluster) settleNamespace(manifest *unstructured.Unstructured) error {
	switch own := manifest.GetNamespace(); {
	case c == nil || own == c.namespace:
	case own == "":
		manifest.SetNamespace(c.namespace)
	case c.chosen:
		return fmt.Errorf("the namespace of PayUToken %q is %q, and not %q as -n says", manifest.GetName(), own, c.namespace)
	}
	return nil
}

// dryRun has the API server look at a manifest as if it were created. It looks before it says that there is one already.
func (c *cluster) dryRun(ctx context.Context, manifest *unstructured.Unstructured) error {
	err := c.Create(ctx, manifest.DeepCopy(), client.DryRunAll, client.FieldOwner(name), client.FieldValidation(metav1.FieldValidationStrict))
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// refusal says what the API server finds wrong, without what follows from it.
func refusal(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return err.Error()
	}
	var wrong []string
	for _, cause := range status.Status().Details.Causes {
		if cause.Field != "<nil>" { // rules that were not looked at, for what else is wrong
			wrong = append(wrong, cause.Field+": "+cause.Message)
		}
	}
	return strings.Join(wrong, "; ")
}

// checkOffline compares a manifest with the schema that the plugin was built with, without its rules in CEL.
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
	slices.Sort(wrong) // the schema is walked in the order of a map
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// decode returns the PayUToken of a manifest, with the defaults that matter here.
func decode(manifest *unstructured.Unstructured) (*v1alpha1.PayUToken, error) {
	token := &v1alpha1.PayUToken{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(manifest.Object, token)
	ref := &token.Spec.CredentialsSecretRef
	ref.ClientIDKey, ref.ClientSecretKey = cmp.Or(ref.ClientIDKey, defaultIDKey), cmp.Or(ref.ClientSecretKey, defaultSecretKey)
	return token, err
}

// crdSchema returns the schema of the CRD that the plugin was built with.
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
