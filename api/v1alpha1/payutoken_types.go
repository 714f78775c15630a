package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PayUToken keeps a PayU access token in a Secret.
// The operator requests the token with the client credentials from another
// Secret (OAuth 2.0 client credentials grant, RFC 6749 section 4.4), writes it
// to the target Secret and renews it before it expires.
// Workloads mount the target Secret as a directory and read the file for each
// call.
// They never see the client secret.
//
// To request a new token now, set the annotation
// auth.payu.in/refresh-requested-at to a new value:
// kubectl annotate payutoken NAME --overwrite auth.payu.in/refresh-requested-at="$(date)"
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=payutokens,singular=payutoken,shortName=payutok,categories=payu,scope=Namespaced
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Refreshed",type=string,JSONPath=`.status.conditions[?(@.type=="Refreshed")].status`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.environment`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.status.secretName`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Renewal",type=string,priority=1,JSONPath=`.status.renewAt`
// +kubebuilder:printcolumn:name="Scopes",type=string,priority=1,JSONPath=`.spec.scopes`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Refreshed")].message`
// +kubebuilder:validation:XValidation:rule="(has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) != self.spec.credentialsSecretRef.name",fieldPath=".spec.target.name",message="the target Secret must not be the credentials Secret: set spec.target.name (default: the name of the PayUToken) to another name than spec.credentialsSecretRef.name"
type PayUToken struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says what the token is for, which credentials to use, and where to
	// write the token.
	// +required
	Spec PayUTokenSpec `json:"spec"`

	// status says what the operator observed and did.
	// It is derived: the annotations of the target Secret are the truth about the
	// token.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status PayUTokenStatus `json:"status,omitzero"`
}

// PayUTokenSpec describes a token and the Secret that holds it.
type PayUTokenSpec struct {
	// environment is the PayU environment that the token is for:
	// Test (https://uat-accounts.payu.in) or Production
	// (https://accounts.payu.in).
	// +required
	Environment Environment `json:"environment"`

	// credentialsSecretRef names the Secret with the client ID and client secret
	// issued by PayU.
	// The Secret must be in the namespace of the PayUToken.
	// When its content changes, the operator requests a new token at once.
	// +required
	CredentialsSecretRef CredentialsSecretRef `json:"credentialsSecretRef"`

	// scopes are what the token may be used for: 1 to 16 names, each one once.
	// To server-side apply they are one list, which the last manager sets as a
	// whole.
	// PayU grants all of them or none, and documents up to three for payment
	// links.
	// PayU documents these, by product:
	//
	// payment links: create_payment_links, update_payment_links,
	// read_payment_links, delete_payment_links;
	//
	// partners: refer_merchant, refer_child_merchant, fetch_child_merchants,
	// send_sign_in_otp, verify_sign_in_otp, client_manage_agreement,
	// client_manage_kyc_details, create_bank_details, user_token;
	//
	// resellers: partner_payments, partner_payment_links;
	//
	// payouts: create_payout_transactions;
	//
	// bank account verification: verify_bank_account;
	//
	// bill payments (BBPS): read_bills, read_billers, read_biller_categories,
	// read_plans, read_transactions, create_transactions;
	//
	// invoices: read_invoices.
	//
	// Other names are passed on to PayU as they are.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(scope, self.exists_one(other, other == scope))",message="a scope is repeated: write each one once"
	Scopes []Scope `json:"scopes"`

	// target is the Secret that the token is written to.
	// Mount it as a directory: the kubelet updates the files within about two
	// minutes of a renewal.
	// Environment variables and subPath mounts never change in a running pod: they
	// end up with an expired token.
	// +optional
	Target Target `json:"target,omitzero"`

	// renewalPercent is the percentage of the token's lifetime after which the
	// token is renewed: 10 to 90, by default 67.
	// The token is renewed earlier if less of its lifetime would be left than the
	// operator's --propagation-margin (2 minutes by default), but not before half
	// of its lifetime.
	// Each PayUToken renews up to 5 % of the lifetime earlier, always by the same
	// share, so that many of them do not renew at the same moment.
	// +optional
	// +kubebuilder:default=67
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=90
	RenewalPercent int32 `json:"renewalPercent,omitempty"`

	// assumedLifetime is the lifetime of a token for which PayU states none: a
	// response without expires_in. By default none is assumed.
	// Set it if the condition LifetimeUnknown asks for it, to what PayU configured
	// for the client or less, for example 1h: from 1m to 720h (30 days).
	// A stated lifetime always takes precedence; what a JWT says of itself is not
	// read.
	// Only a first token needs it: without it, a later one takes the lifetime of
	// the token that it replaces, also after a change of scopes or credentials.
	// While another PayUToken with the same client and scopes uses the token, none
	// is requested for one without a lifetime.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule=`self.matches('^([0-9]+([.][0-9]+)?(h|m|s))+$') && duration(self) >= duration('1m') && duration(self) <= duration('720h')`,message="a lifetime is a duration from 1m to 720h, for example 1h, 90m or 1h30m"
	// +kubebuilder:validation:MaxLength=32
	AssumedLifetime *metav1.Duration `json:"assumedLifetime,omitempty"`

	// suspend stops the renewal of the token while it is true; set it to false to
	// resume.
	// Suspended means: it causes no request to PayU; a live token of the same
	// client and scopes that another PayUToken brought is still written.
	// The present token stays in the Secret, and Ready turns False when it
	// expires.
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

// Scope is a scope-token of RFC 6749 section 3.3: printable ASCII without
// space, double quote and backslash.
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

// CredentialsSecretRef points to a client ID and a client secret (RFC 6749
// section 2.3.1).
type CredentialsSecretRef struct {
	// name of the Secret, in the namespace of the PayUToken.
	// +required
	Name SecretName `json:"name"`

	// clientIDKey is the key in the Secret that holds the client ID, by default
	// client_id.
	// One line ending (LF or CRLF) after the client ID is ignored.
	// +optional
	// +kubebuilder:default=client_id
	ClientIDKey SecretKey `json:"clientIDKey,omitempty"`

	// clientSecretKey is the key in the Secret that holds the client secret, by
	// default client_secret.
	// One line ending (LF or CRLF) after the client secret is ignored.
	// +optional
	// +kubebuilder:default=client_secret
	ClientSecretKey SecretKey `json:"clientSecretKey,omitempty"`
}

// Target is the Secret that a token is written to.
type Target struct {
	// name of the Secret, in the namespace of the PayUToken; by default the name
	// of the PayUToken.
	// A Secret of that name which does not belong to this PayUToken is never
	// changed (TargetConflict).
	// After a change of the name, the operator writes the new Secret first and
	// then removes the old one.
	// +optional
	Name SecretName `json:"name,omitempty"`

	// deletionPolicy says what happens to the Secret when the PayUToken is
	// deleted: Delete (the default) removes it, Retain leaves it with the last
	// token.
	// A new PayUToken of the same name adopts a retained Secret.
	// +optional
	// +kubebuilder:default=Delete
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// delivery says how a new token gets into the files of pods that mount the
	// Secret.
	// Eventual (the default) leaves it to the kubelet, which updates them within
	// about two minutes.
	// With Prompt the operator sets the annotation
	// auth.payu.in/token-written-at on those pods, so that the kubelet updates
	// them within about two seconds. The platform team has to allow that
	// (promptDelivery.enabled in the operator's Helm chart, or the kustomize
	// component config/prompt-delivery); the condition Delivered says whether it
	// works.
	// +optional
	// +kubebuilder:default=Eventual
	Delivery Delivery `json:"delivery,omitempty"`

	// template shapes the Secret: its type, labels, annotations and keys.
	// +optional
	Template SecretTemplate `json:"template,omitzero"`
}

// DeletionPolicy says what happens to the target Secret of a deleted
// PayUToken.
// +kubebuilder:validation:Enum=Delete;Retain
type DeletionPolicy string

// The deletion policies.
const (
	DeletionPolicyDelete DeletionPolicy = "Delete"
	DeletionPolicyRetain DeletionPolicy = "Retain"
)

// Delivery says how a new token gets into the files of pods.
// +kubebuilder:validation:Enum=Eventual;Prompt
type Delivery string

// The ways of delivery.
const (
	DeliveryEventual Delivery = "Eventual"
	DeliveryPrompt   Delivery = "Prompt"
)

// SecretTemplate shapes a target Secret.
type SecretTemplate struct {
	// type of the Secret, by default Opaque.
	// Kubernetes' own types (kubernetes.io/…, bootstrap.kubernetes.io/…) are
	// refused, since the cluster acts on them.
	// The type of an existing Secret is immutable: after you change this field,
	// delete the Secret or choose another target.name.
	// +optional
	// +kubebuilder:default=Opaque
	Type SecretType `json:"type,omitempty"`

	// metadata is added to the Secret's own labels and annotations.
	// +optional
	Metadata TemplateMetadata `json:"metadata,omitzero"`

	// data replaces the four default keys access_token, token_type, scope and
	// expires_at.
	// Each value is a Go text/template with the fields .AccessToken, .TokenType,
	// .Scope (granted, space separated), .ExpiresAt (RFC 3339, UTC) and
	// .Environment, and with Go's built-in functions. Any other field is an error.
	// .AccessToken stands in an action by itself, or as an argument of printf,
	// print, urlquery, html or js; at least one key must hold it whole, by a bare
	// {{ .AccessToken }}. For example:
	//
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

// TemplateMetadata is metadata for a target Secret. Names that begin with
// auth.payu.in/ are the operator's own.
type TemplateMetadata struct {
	// labels for the Secret, in addition to the operator's own:
	// app.kubernetes.io/managed-by and auth.payu.in/token-uid.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('auth.payu.in/') && key != 'app.kubernetes.io/managed-by')",message="labels auth.payu.in/… and app.kubernetes.io/managed-by are the operator's own: use other names"
	Labels map[string]string `json:"labels,omitempty"`

	// annotations for the Secret, in addition to the operator's own, which
	// describe the token: auth.payu.in/token-name (of the PayUToken),
	// auth.payu.in/fetched-at, auth.payu.in/expires-at, and auth.payu.in/source
	// (a digest of what the token was made from).
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	// +kubebuilder:validation:XValidation:rule="self.all(key, !key.startsWith('auth.payu.in/'))",message="annotations auth.payu.in/… are the operator's own: use other names"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PayUTokenStatus says what the operator observed and did. All times are UTC,
// in whole seconds.
type PayUTokenStatus struct {
	// observedGeneration is the metadata.generation that this status describes; -1
	// before the first reconciliation.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, Refreshed and Stalled.
	// Ready: the target Secret holds an unexpired token made from the present spec
	// and credentials.
	// Refreshed: the last request for a token succeeded. A failing renewal shows
	// here while Ready is still True.
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

	// fetchedAt is when the token in the Secret was requested.
	// +optional
	FetchedAt *metav1.Time `json:"fetchedAt,omitempty"`

	// expiresAt is when the token in the Secret expires.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// renewAt is when the token in the Secret is due for renewal.
	// +optional
	RenewAt *metav1.Time `json:"renewAt,omitempty"`

	// failures counts the failed attempts since the last successful one.
	// +optional
	Failures int32 `json:"failures,omitempty"`

	// nextAttemptAt is the earliest time of the next request to PayU.
	// It is set after a failure, and when PayU returned the token that the Secret
	// already holds.
	// +optional
	NextAttemptAt *metav1.Time `json:"nextAttemptAt,omitempty"`

	// credentialsVersion is the resourceVersion of the credentials Secret at the
	// last attempt.
	// After a restart it shows whether the back-off is still about the present
	// credentials.
	// +optional
	CredentialsVersion string `json:"credentialsVersion,omitempty"`

	// lastHandledRefreshAt is the last value of the annotation
	// auth.payu.in/refresh-requested-at that was handled.
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

// RefreshRequest is the value of the annotation that requests a new token,
// empty if there is none.
func (t *PayUToken) RefreshRequest() string {
	return t.Annotations[AnnotationRefreshRequestedAt]
}
