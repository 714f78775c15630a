// Package v1alpha1 holds the API that users write and read: the PayUToken.
//
// +kubebuilder:object:generate=true
// +groupName=auth.payu.in
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is auth.payu.in/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "auth.payu.in", Version: "v1alpha1"}

// AddToScheme makes the types of this package known to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &PayUToken{}, &PayUTokenList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
