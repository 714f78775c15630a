package controller

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// ownedPart returns the part of a Secret that the operator's field manager owns: whatever an apply leaves out of it, the
// API server removes.
func ownedPart(live *corev1.Secret) *corev1.Secret {
	part := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: live.Namespace, Name: live.Name, Labels: map[string]string{}, Annotations: map[string]string{}},
		Type:       live.Type,
		Data:       map[string][]byte{},
	}
	fields := ownFields(live)
	for key, value := range live.Data {
		if fields.Data["f:"+key] != nil {
			part.Data[key] = value
		}
	}
	for key, value := range live.Labels {
		if fields.Metadata.Labels["f:"+key] != nil {
			part.Labels[key] = value
		}
	}
	for key, value := range live.Annotations {
		if fields.Metadata.Annotations["f:"+key] != nil {
			part.Annotations[key] = value
		}
	}
	for _, owner := range live.OwnerReferences {
		if fields.Metadata.Owners[`k:{"uid":"`+string(owner.UID)+`"}`] != nil {
			part.OwnerReferences = append(part.OwnerReferences, owner)
		}
	}
	return part
}

// fieldSet is the part of FieldsV1 that matters in a Secret.
type fieldSet struct {
	Data     map[string]json.RawMessage `json:"f:data"`
	Metadata struct {
		Labels      map[string]json.RawMessage `json:"f:labels"`
		Annotations map[string]json.RawMessage `json:"f:annotations"`
		Owners      map[string]json.RawMessage `json:"f:ownerReferences"`
	} `json:"f:metadata"`
}

// ownFields returns the fields that the operator has applied.
func ownFields(live *corev1.Secret) (fields fieldSet) {
	for _, entry := range live.ManagedFields {
		if entry.Manager == v1alpha1.ManagedBy && entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil {
			_ = json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) // what cannot be read is owned by nobody
		}
	}
	return fields
}
