package screen

import (
	"strings"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// causes say what a reason means, where its name does not say enough.
var causes = map[string]string{
	v1alpha1.ReasonInvalidClient:        "PayU does not know the client ID, or the client secret is wrong, or both belong to the other environment.",
	v1alpha1.ReasonInvalidScope:         "The client may not have one of the scopes.",
	v1alpha1.ReasonScopeReduced:         "The client may not have one of the scopes.",
	v1alpha1.ReasonUnauthorizedClient:   "The client may not use the client credentials grant.",
	v1alpha1.ReasonInvalidRequest:       "What answers is not PayU's token endpoint, or not as it was.",
	v1alpha1.ReasonUnsupportedGrantType: "What answers is not PayU's token endpoint, or not as it was.",
	v1alpha1.ReasonServerError:          "PayU, or the way to it, is in trouble.",
	v1alpha1.ReasonUnreachable:          "PayU, or the way to it, is in trouble.",
	v1alpha1.ReasonOAuthError:           "PayU, or the way to it, is in trouble.",
	v1alpha1.ReasonInvalidResponse:      "PayU, or the way to it, is in trouble.",
}

// Cause says what a reason means; nothing where its name says enough.
func Cause(reason string) string { return causes[reason] }

const (
	goesOn     = "The operator goes on trying. If it lasts, check PayU's status, DNS, proxy and egress rules."
	lookForOne = "See that the operator runs, and works on this PayUToken (--watch-namespaces, --watch-label-selector):"
)

// remedies say what to do about a reason. Names in braces stand for those of objects.
var remedies = map[string]string{
	v1alpha1.ReasonInvalidClient:       "Write what PayU gave to you into Secret {credentials}, or correct spec.environment: the operator tries again at once.",
	v1alpha1.ReasonCredentialsNotFound: "Create Secret {credentials}, with the keys that spec.credentialsSecretRef names: the operator tries again at once.",
	v1alpha1.ReasonCredentialsInvalid: "Write the values as PayU gave them to you into Secret {credentials}, without quotes and inner line breaks: " +
		"the operator tries again at once.",
	v1alpha1.ReasonInvalidScope:         "Correct spec.scopes, or ask PayU to allow them.",
	v1alpha1.ReasonScopeReduced:         "Correct spec.scopes, or ask PayU to allow them.",
	v1alpha1.ReasonUnauthorizedClient:   "Ask PayU to allow it.",
	v1alpha1.ReasonInvalidRequest:       "Check the operator's --test-base-url and --production-base-url.",
	v1alpha1.ReasonUnsupportedGrantType: "Check the operator's --test-base-url and --production-base-url.",
	v1alpha1.ReasonRateLimited:          "Nothing: all PayUTokens of the client wait as long as PayU says, and go on by themselves.",
	v1alpha1.ReasonServerError:          goesOn,
	v1alpha1.ReasonUnreachable:          goesOn,
	v1alpha1.ReasonOAuthError:           goesOn,
	v1alpha1.ReasonInvalidResponse:      goesOn,
	v1alpha1.ReasonTargetConflict:       "Name another Secret in spec.target.name, or end the conflict. To see whose it is:",
	v1alpha1.ReasonTargetWriteFailed: "Mend what the message tells of: the operator's rights, a quota, an admission rule or an immutable Secret. " +
		"The operator tries again within 5 minutes.",
	v1alpha1.ReasonCredentialsUnreadable: "If the message says forbidden, grant the operator get, list and watch on Secrets in namespace {namespace}. " +
		"Otherwise nothing: the operator tries again.",
	v1alpha1.ReasonLifetimeUnknown: "Set spec.assumedLifetime to the lifetime that PayU registered for the client.",
	v1alpha1.ReasonPending:         "Nothing: the first token is requested within seconds.",
	v1alpha1.ReasonTemplateInvalid: "Correct spec.target.template.data.",
	v1alpha1.ReasonSuspended:       "Nothing is asked or written while spec.suspend is true. To go on:",
	v1alpha1.ReasonTokenReused:     "Nothing: a new token comes within seconds.",

	reasonExpired: lookForOne,
	reasonOverdue: lookForOne,
	reasonNotSeen: lookForOne,
}

const (
	writeCredentials = "kubectl create secret generic {credentials} -n {namespace} --from-env-file=payu.env --dry-run=client -o yaml | kubectl apply -f -"
	findOperator     = "kubectl get pods -A -l app.kubernetes.io/name=payu-token-operator"
)

// commands help with remedies.
var commands = map[string]string{
	v1alpha1.ReasonInvalidClient:       writeCredentials,
	v1alpha1.ReasonCredentialsNotFound: writeCredentials,
	v1alpha1.ReasonCredentialsInvalid:  writeCredentials,
	v1alpha1.ReasonTargetConflict:      "kubectl describe secret {target} -n {namespace}",
	v1alpha1.ReasonSuspended:           "kubectl payutoken resume {name} -n {namespace}",

	reasonExpired: findOperator,
	reasonOverdue: findOperator,
	reasonNotSeen: findOperator,
}

// remedyOf returns what to do about a verdict, in words and, where one helps, as a command. It is nothing where all is well.
func remedyOf(t *v1alpha1.PayUToken, v Verdict) (words, command string) {
	names := strings.NewReplacer("{name}", t.Name, "{namespace}", t.Namespace,
		"{credentials}", string(t.Spec.CredentialsSecretRef.Name), "{target}", t.TargetName())
	words, command = strings.TrimSpace(causes[v.Reason]+" "+remedies[v.Reason]), commands[v.Reason]
	if remedies[v.Reason] == goesOn && !v.Valid { // it may end a token that works
		words, command = words+" To ask PayU from this machine:", "kubectl payutoken check {name} -n {namespace}"
	}
	return names.Replace(words), names.Replace(command)
}
