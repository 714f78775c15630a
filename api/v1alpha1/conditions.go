package v1alpha1

// The condition types of a PayUToken. There is no Reconciling and no phase: kstatus reads an object whose
// observedGeneration is behind, or whose Ready is False, as in progress, and Stalled as failed.
const (
	// ConditionReady is True while the target Secret holds an unexpired token made from the present spec and
	// credentials. It turns False at the instant of expiry.
	ConditionReady = "Ready"
	// ConditionRefreshed is True if the last request for a token succeeded.
	ConditionRefreshed = "Refreshed"
	// ConditionStalled is present, and True, only while a person must act.
	ConditionStalled = "Stalled"
	// ConditionDelivered, present only with delivery Prompt, is True if the pods that mount the target Secret are told of each new
	// token.
	ConditionDelivered = "Delivered"
)

// The reasons of the conditions.
const (
	// ReasonTokenValid is why Ready is True.
	ReasonTokenValid = "TokenValid"
	// ReasonPending says that a first token is due, and that its request waits or runs.
	ReasonPending = "Pending"
	// ReasonSucceeded says that PayU issued a new token.
	ReasonSucceeded = "Succeeded"
	// ReasonTokenReused says that PayU returned the token that the Secret already holds.
	ReasonTokenReused = "TokenReused"

	// ReasonInvalidClient is the OAuth error invalid_client (RFC 6749 section 5.2).
	ReasonInvalidClient = "InvalidClient"
	// ReasonInvalidScope is the OAuth error invalid_scope.
	ReasonInvalidScope = "InvalidScope"
	// ReasonUnauthorizedClient is the OAuth error unauthorized_client.
	ReasonUnauthorizedClient = "UnauthorizedClient"
	// ReasonInvalidRequest is the OAuth error invalid_request.
	ReasonInvalidRequest = "InvalidRequest"
	// ReasonUnsupportedGrantType is the OAuth error unsupported_grant_type.
	ReasonUnsupportedGrantType = "UnsupportedGrantType"
	// ReasonRateLimited says that PayU limits the rate of requests: rate_limit_exceeded, slow_down, or HTTP 429.
	ReasonRateLimited = "RateLimited"
	// ReasonServerError is a failure on PayU's side: server_error, temporarily_unavailable, invalid_token_reuse,
	// any other 5xx, 408 or 425.
	ReasonServerError = "ServerError"
	// ReasonOAuthError is an OAuth error code that has no reason of its own.
	ReasonOAuthError = "OAuthError"
	// ReasonUnreachable says that no response came: DNS, TCP, TLS or a timeout.
	ReasonUnreachable = "Unreachable"
	// ReasonInvalidResponse is a response without a usable token.
	ReasonInvalidResponse = "InvalidResponse"
	// ReasonScopeReduced says that PayU granted fewer scopes than requested; such a token is not written.
	ReasonScopeReduced = "ScopeReduced"
	// ReasonLifetimeUnknown says that PayU issued a token without a lifetime, and spec.assumedLifetime is not set; such a token
	// is not written.
	ReasonLifetimeUnknown = "LifetimeUnknown"

	// ReasonCredentialsNotFound says that the credentials Secret, or a key of it, does not exist.
	ReasonCredentialsNotFound = "CredentialsNotFound"
	// ReasonCredentialsInvalid says that a credential is empty or holds bytes outside printable ASCII, or that the Secret must not be
	// used: the operator itself wrote it, or it lacks the label that --require-credentials-label asks for.
	ReasonCredentialsInvalid = "CredentialsInvalid"
	// ReasonCredentialsUnreadable says that the API server does not let the operator read the credentials, or does not respond.
	ReasonCredentialsUnreadable = "CredentialsUnreadable"
	// ReasonTargetConflict says that the target Secret does not belong to this PayUToken.
	ReasonTargetConflict = "TargetConflict"
	// ReasonTargetWriteFailed says that the API server refuses the write of the target Secret, or does not respond to it.
	ReasonTargetWriteFailed = "TargetWriteFailed"
	// ReasonTemplateInvalid says that spec.target.template.data cannot be rendered.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonSuspended says that spec.suspend is true.
	ReasonSuspended = "Suspended"

	// ReasonPodsTold is why Delivered is True.
	ReasonPodsTold = "PodsTold"
	// ReasonDeliveryForbidden says that the operator is not allowed to list and patch pods.
	ReasonDeliveryForbidden = "DeliveryForbidden"
	// ReasonDeliveryUnfenced says that no admission policy keeps the operator from changing more of a pod than one annotation.
	ReasonDeliveryUnfenced = "DeliveryUnfenced"
	// ReasonDeliveryFailed says that some pods could not be told of the last token.
	ReasonDeliveryFailed = "DeliveryFailed"
)

// EventRepaired is the reason of the event that says that the operator undid an edit of the target Secret.
const EventRepaired = "Repaired"

// The names that the operator puts on objects or reads from them.
const (
	// AnnotationRefreshRequestedAt on a PayUToken, set to a new value, requests one new token now.
	AnnotationRefreshRequestedAt = "auth.payu.in/refresh-requested-at"

	// AnnotationTokenWrittenAt on a Pod is when the operator last told it of a new token (RFC 3339 with nanoseconds, UTC).
	AnnotationTokenWrittenAt = "auth.payu.in/token-written-at"

	// LabelCredentials on a Secret, with the value "true", lets it be used for credentials with --require-credentials-label.
	LabelCredentials = "auth.payu.in/credentials"

	// LabelManagedBy marks the Secrets that the operator writes.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ManagedBy is the value of LabelManagedBy, and the field owner of every write.
	ManagedBy = "payu-token-operator"
	// LabelTokenUID is the UID of the PayUToken that a Secret belongs to.
	LabelTokenUID = "auth.payu.in/token-uid"
	// AnnotationTokenName is the name of the PayUToken that a Secret belongs to.
	AnnotationTokenName = "auth.payu.in/token-name"
	// AnnotationFetchedAt is when the token was requested (RFC 3339, UTC).
	AnnotationFetchedAt = "auth.payu.in/fetched-at"
	// AnnotationExpiresAt is when the token expires (RFC 3339, UTC).
	AnnotationExpiresAt = "auth.payu.in/expires-at"
	// AnnotationSource is the seal: it proves what the token was made from, and that the data are whole.
	AnnotationSource = "auth.payu.in/source"
)

// The default keys of a target Secret.
const (
	KeyAccessToken = "access_token"
	KeyTokenType   = "token_type"
	KeyScope       = "scope"      // granted, space separated
	KeyExpiresAt   = "expires_at" // RFC 3339, UTC
)
