package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PayUToken keeps a PayU access token in a Secret.
// The operator asks PayU for the token with the client credentials of another Secret
// (OAuth 2.0 client credentials grant, RFC 6749 section 4.4),
// writes it into the target Secret and renews it before it expires.
// Workloads mount the target Secret as a directory and read the file for each call.
// They never see the client secret.
//
// The annotation auth.payu.in/refresh-requested-at, set to a new value, asks for one new token now:
// kubectl annotate payutoken NAME --overwrite auth.payu.in/refresh-requested-at="$(date)"
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=payutokens,singular=payutoken,shortName=payutok,categories=payu,scope=Namespaced
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) != self.spec.credentialsSecretRef.name",fieldPath=".spec.target.name",message="the target Secret must not be the credentials Secret: set spec.target.name (default: the name of the PayUToken) to another name than spec.credentialsSecretRef.name"
type PayUToken struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the token is for, which credentials to ask with, and where the token goes.
	// +required
	Spec PayUTokenSpec `json:"spec"`

	// status is what the operator found and did.
	// It is derived: the annotations of the target Secret are the truth about the token.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PayUTokenStatus `json:"status,omitzero"`
}

// PayUTokenSpec says which token to keep, and where.
type PayUTokenSpec struct {
	// environment is the PayU environment that the token is for:
	// Test (https://uat-accounts.payu.in) or Production (https://accounts.payu.in).
	// +required
	Environment Environment `json:"environment"`

	// credentialsSecretRef names the Secret with the client ID and client secret that PayU gave to the merchant.
	// It is read in the namespace of the PayUToken, never elsewhere.
	// When its content changes, a new token is asked for at once.
	// +required
	CredentialsSecretRef CredentialsSecretRef `json:"credentialsSecretRef"`

	// scopes are what the token may be used for: a set of 1 to 3 names. PayU grants all of them or none.
	// Names that PayU documents, for payment links:
	// create_payment_links, update_payment_links, read_payment_links;
	// for partners: refer_child_merchant, fetch_child_merchants, send_sign_in_otp.
	// Other names are passed on as they are.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="self.all(scope, self.exists_one(other, other == scope))",message="a scope is repeated: write each one once"
	Scopes []Scope `json:"scopes"`

	// target is the Secret that the token is written to.
	// Mount it as a directory: the kubelet brings a renewed token into the files within about two minutes.
	// Environment variables and subPath mounts never change in a running pod: they end up with an expired token.
	// +optional
	Target Target `json:"target,omitzero"`

	// renewalPercent is how much of the token's life may pass before it is renewed, in percent: 10 to 90.
	// The renewal comes earlier where less of the life would be left than the operator's --propagation-margin
	// (2 minutes by default), but not before half the life.
	// Up to 5 % of the life is taken off, by a constant of the PayUToken's own,
	// so that many do not renew at the same moment.
	// +optional
	// +kubebuilder:default=67
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=90
	RenewalPercent int32 `json:"renewalPercent,omitempty"`

	// suspend stops all requests to PayU and all writes to the target Secret while it is true.
	// The token that is there stays, and Ready turns False when it expires. Set it back to false to go on.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// Environment is a PayU environment.
// +kubebuilder:validation:Enum=Test;Production
type Environment string

// The environments of PayU.
const (
	EnvironmentTest       Environment = "Test"
	EnvironmentProduction Environment = "Production"
)

// Scope is a scope-token of RFC 6749 section 3.3: printable ASCII without space, double quote and backslash.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule=`self.matches('^[!#-\\[\\]-~]+$')`,message="a scope holds printable ASCII without space, double quote and backslash: write each scope as an item of its own, for example [create_payment_links, read_payment_links]"
type Scope string

// SecretName is the name of a Secret: a DNS-1123 subdomain.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')`,message="a Secret's name holds lower case letters, digits, '-' and '.', and begins and ends with a letter or digit, for example payu-credentials"
type SecretName string

// SecretKey is a key of a Secret's data.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches('^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$')`,message="a key of a Secret holds letters, digits, '-', '_' and '.', and does not begin with '..', for example client_id"
type SecretKey string

// CredentialsSecretRef points to a client ID and a client secret (RFC 6749 section 2.3.1).
type CredentialsSecretRef struct {
	// name of the Secret, in the namespace of the PayUToken.
	// +required
	Name SecretName `json:"name"`

	// clientIDKey is the key of the Secret's data that holds the client ID.
	// One line feed at the end of the client ID is ignored.
	// +optional
	// +kubebuilder:default=client_id
	ClientIDKey SecretKey `json:"clientIDKey,omitempty"`

	// clientSecretKey is the key of the Secret's data that holds the client secret.
	// One line feed at the end of the client secret is ignored.
	// +optional
	// +kubebuilder:default=client_secret
	ClientSecretKey SecretKey `json:"clientSecretKey,omitempty"`
}

// Target is the Secret that a token is written to.
type Target struct {
	// name of the Secret, in the namespace of the PayUToken; by default the name of the PayUToken.
	// A Secret of that name which the operator did not make for this PayUToken is never touched (TargetConflict).
	// After a change the token is first written under the new name, then the old Secret is removed.
	// +optional
	Name SecretName `json:"name,omitempty"`

	// deletionPolicy says what becomes of the Secret when the PayUToken is deleted:
	// Delete removes it, Retain leaves it with the last token.
	// A PayUToken of the same name takes a retained Secret up again.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// template shapes the Secret: its type, labels, annotations and keys.
	// +optional
	Template SecretTemplate `json:"template,omitzero"`
}

// DeletionPolicy says what becomes of the target Secret of a deleted PayUToken.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionPolicyDelete DeletionPolicy = "Delete"
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

// SecretTemplate shapes a target Secret.
type SecretTemplate struct {
	// type of the Secret.
	// Kubernetes' own types (kubernetes.io/…, bootstrap.kubernetes.io/…) are refused, since the cluster acts on them.
	// The API server lets nobody change the type of a Secret that exists:
	// delete the Secret, or choose another target.name, after changing this.
	// +optional
	// +kubebuilder:default=Opaque
	Type SecretType `json:"type,omitempty"`

	// metadata is added to the Secret's own labels and annotations.
	// +optional
	Metadata TemplateMetadata `json:"metadata,omitzero"`

	// data, where given, replaces the four default keys: access_token, token_type, scope and expires_at.
	// Each value is a Go text/template over .AccessToken, .TokenType, .Scope (granted, space separated),
	// .ExpiresAt (RFC 3339, UTC) and .Environment, with Go's built-in functions. Any other field is an error.
	// Example of a key and its value:
	// token.env: "PAYU_TOKEN={{ .AccessToken }}"
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule=`self.all(key, size(key) <= 253 && key.matches('^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$'))`,message="a key of data holds letters, digits, '-', '_' and '.', at most 253 of them, and does not begin with '..', for example token.env"
	Data map[string]DataTemplate `json:"data,omitempty"`
}

// SecretType is the type of a Secret.
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="!self.startsWith('kubernetes.io/') && !self.startsWith('bootstrap.kubernetes.io/')",message="Kubernetes' own Secret types are refused: use Opaque, or a type of your own such as example.com/payu-token"
type SecretType string

// DataTemplate is a Go text/template.
// +kubebuilder:validation:MaxLength=8192
type DataTemplate string

// TemplateMetadata is metadata for a target Secret. Names that begin with auth.payu.in/ are the operator's own.
type TemplateMetadata struct {
	// labels for the Secret, beside the operator's own app.kubernetes.io/managed-by and auth.payu.in/token-uid.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('auth.payu.in/') && key != 'app.kubernetes.io/managed-by')",message="labels auth.payu.in/… and app.kubernetes.io/managed-by are the operator's own: use other names"
	Labels map[string]string `json:"labels,omitempty"`

	// annotations for the Secret, beside the operator's own, which tell about the token:
	// auth.payu.in/token-name (of the PayUToken), auth.payu.in/fetched-at, auth.payu.in/expires-at,
	// and auth.payu.in/source (a digest of what the token was made from).
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('auth.payu.in/'))",message="annotations auth.payu.in/… are the operator's own: use other names"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PayUTokenStatus is what the operator found and did. All times are UTC, in whole seconds.
type PayUTokenStatus struct {
	// observedGeneration is the metadata.generation that this status speaks of; -1 before the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Refreshed and Stalled.
	// Ready: the target Secret holds an unexpired token made from the present spec and credentials.
	// Refreshed: the last request for a token worked. A failing renewal shows here while Ready is still True.
	// Stalled: present, and True, only while a person must act.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// secretName is the Secret that holds the token.
	// +optional
	SecretName string `json:"secretName,omitempty"`

	// scope is what PayU granted, space separated.
	// +optional
	Scope string `json:"scope,omitempty"`

	// fetchedAt is when the token in the Secret was asked for.
	// +optional
	FetchedAt *metav1.Time `json:"fetchedAt,omitempty"`

	// expiresAt is when the token in the Secret expires.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// renewAt is when the token in the Secret is due to be renewed.
	// +optional
	RenewAt *metav1.Time `json:"renewAt,omitempty"`

	// failures counts the attempts that failed since the last one that worked.
	// +optional
	Failures int32 `json:"failures,omitempty"`

	// nextAttemptAt is the moment before which PayU is not asked again:
	// set after a failure, and when PayU returned the token that the Secret holds already.
	// +optional
	NextAttemptAt *metav1.Time `json:"nextAttemptAt,omitempty"`

	// credentialsVersion is the resourceVersion that the credentials Secret had at the last attempt.
	// After a restart it tells whether the back-off still speaks of the present credentials.
	// +optional
	CredentialsVersion string `json:"credentialsVersion,omitempty"`

	// lastHandledRefreshAt is the value of the annotation auth.payu.in/refresh-requested-at that was handled last.
	// +optional
	LastHandledRefreshAt string `json:"lastHandledRefreshAt,omitempty"`
}

// PayUTokenList is a list of PayUTokens.
//
// +kubebuilder:object:root=true
type PayUTokenList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PayUToken `json:"items"`
}

// TargetName is the name of the Secret that the token is written to.
func (t *PayUToken) TargetName() string {
	if t.Spec.Target.Name != "" {
		return string(t.Spec.Target.Name)
	}
	return t.Name
}

// RefreshRequest is the value of the annotation that asks for a new token, empty if there is none.
func (t *PayUToken) RefreshRequest() string {
	return t.Annotations[AnnotationRefreshRequestedAt]
}
