package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// runLabel marks the namespaces of a run.
const runLabel = "payu-e2e/run"

// clear uninstalls the operators and deletes all namespaces of a run.
func (p *proof) clear(ctx context.Context) error {
	var namespaces corev1.NamespaceList
	if err := p.client.List(ctx, &namespaces, client.HasLabels{runLabel}); err != nil {
		return err
	}
	for _, n := range namespaces.Items {
		if n.Name == operators {
			if err := p.uninstallAll(ctx); err != nil {
				return err
			}
		}
		if err := client.IgnoreNotFound(p.client.Delete(ctx, &n)); err != nil {
			return err
		}
	}
	for _, n := range namespaces.Items {
		if err := p.awaitGone(ctx, &n, patience); err != nil {
			return err
		}
	}
	return p.clearCRD(ctx)
}

// clearCRD deletes the CRD, which releases leave behind, if it is of a run. It does not touch anybody else's.
func (p *proof) clearCRD(ctx context.Context) error {
	crd := &unstructured.Unstructured{}
	crd.SetName("payutokens." + v1alpha1.GroupVersion.Group)
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	err := p.client.Get(ctx, client.ObjectKeyFromObject(crd), crd)
	switch {
	case err != nil:
		return client.IgnoreNotFound(err)
	case crd.GetAnnotations()["meta.helm.sh/release-namespace"] != operators:
		return fmt.Errorf("the cluster knows PayUTokens already, and their CRD %q is not of this test: use a cluster that has none", crd.GetName())
	}
	if err := p.client.Delete(ctx, crd); err != nil {
		return err
	}
	return p.awaitGone(ctx, crd, patience)
}

func (p *proof) uninstallAll(ctx context.Context) error {
	out, err := p.helmOutput(ctx, "list", "--short")
	if err != nil {
		return err
	}
	for _, release := range strings.Fields(out) {
		if err := p.helm(ctx, "uninstall", release); err != nil {
			return err
		}
	}
	return nil
}

// awaitGone waits until an object does not exist any more.
func (p *proof) awaitGone(ctx context.Context, object client.Object, limit time.Duration) error {
	key := client.ObjectKeyFromObject(object)
	return await(ctx, limit, fmt.Sprintf("%T %s is gone", object, key), func(ctx context.Context) (bool, error) {
		err := p.client.Get(ctx, key, object)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
