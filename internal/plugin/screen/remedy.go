package screen

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// causes explain the reasons whose names do not say enough.
var causes = map[string]string{
	v1alpha1.ReasonInvalidClient:        "PayU does not know the client ID, or the client secret is wrong, or both belong to the other environment.",
	v1alpha1.ReasonInvalidScope:         "The client is not allowed to have one of the scopes.",
	v1alpha1.ReasonScopeReduced:         "The client is not allowed to have one of the scopes.",
	v1alpha1.ReasonUnauthorizedClient:   "The client is not allowed to use the client credentials grant.",
	v1alpha1.ReasonInvalidRequest:       "The server is not PayU's token endpoint, or PayU has changed it.",
	v1alpha1.ReasonUnsupportedGrantType: "The server is not PayU's token endpoint, or PayU has changed it.",
	v1alpha1.ReasonServerError:          "PayU, or the network path to it, is failing.",
	v1alpha1.ReasonUnreachable:          "PayU, or the network path to it, is failing.",
	v1alpha1.ReasonOAuthError:           "PayU, or the network path to it, is failing.",
	v1alpha1.ReasonInvalidResponse:      "PayU, or the network path to it, is failing.",
	v1alpha1.ReasonLifetimeUnknown:      "PayU does not say how long the token lives, and nothing says what to assume.",
}

// Cause explains a reason; it is empty if the name says enough.
func Cause(reason string) string { return causes[reason] }

const (
	kubeletBrings = "the kubelet updates the files of these pods within about two minutes."

	retries = "The operator keeps trying. If the failure persists, check PayU's status, DNS, proxy and egress rules."
	findOne = "Check that the operator runs, and watches this PayUToken (--watch-namespaces, --watch-label-selector):"
)

// remedies say what to do about a reason. Names in braces stand for names of objects.
var remedies = map[string]string{
	v1alpha1.ReasonInvalidClient:       "Write the client ID and client secret issued by PayU to Secret {credentials}, or correct spec.environment: the operator tries again at once.",
	v1alpha1.ReasonCredentialsNotFound: "Create Secret {credentials}, with the keys that spec.credentialsSecretRef names: the operator tries again at once.",
	v1alpha1.ReasonCredentialsInvalid: "Write the values issued by PayU to Secret {credentials}, without quotes and inner line breaks: " +
		"the operator tries again at once.",
	v1alpha1.ReasonInvalidScope:         "Correct spec.scopes. Or ask PayU to allow them, and then request a token again:",
	v1alpha1.ReasonScopeReduced:         "Correct spec.scopes. Or ask PayU to allow them, and then request a token again:",
	v1alpha1.ReasonUnauthorizedClient:   "Ask PayU to allow it, and then request a token again:",
	v1alpha1.ReasonLifetimeUnknown:      "Set spec.assumedLifetime to what PayU configured for the client, for example 1h: the token is written at once.",
	v1alpha1.ReasonInvalidRequest:       "Check the operator's --test-base-url and --production-base-url.",
	v1alpha1.ReasonUnsupportedGrantType: "Check the operator's --test-base-url and --production-base-url.",
	v1alpha1.ReasonRateLimited:          "Nothing: all PayUTokens of the client wait as long as PayU says, and then continue.",
	v1alpha1.ReasonServerError:          retries,
	v1alpha1.ReasonUnreachable:          retries,
	v1alpha1.ReasonOAuthError:           retries,
	v1alpha1.ReasonInvalidResponse:      retries,
	v1alpha1.ReasonTargetConflict:       "Name another Secret in spec.target.name, or resolve the conflict. To see the owner:",
	v1alpha1.ReasonTargetWriteFailed: "Fix what the message names: the operator's rights, a quota, an admission rule or an immutable Secret. " +
		"The operator tries again within 5 minutes.",
	v1alpha1.ReasonCredentialsUnreadable: "If the message says forbidden, grant the operator get, list and watch on Secrets in namespace {namespace}. " +
		"Otherwise nothing: the operator tries again.",
	v1alpha1.ReasonPending:         "Nothing: the first token is requested within seconds.",
	v1alpha1.ReasonTemplateInvalid: "Correct spec.target.template.data.",
	v1alpha1.ReasonSuspended:       "The token is not renewed while spec.suspend is true. To resume:",
	v1alpha1.ReasonTokenReused:     "Nothing: PayU issues a new token within seconds.",

	v1alpha1.ReasonDeliveryForbidden: "Ask the platform team to let the operator list and patch pods in namespace {namespace}: promptDelivery.enabled of its Helm " +
		"chart; with kustomize config/prompt-delivery, for single namespaces config/prompt-delivery/watched. Until then " + kubeletBrings,
	v1alpha1.ReasonDeliveryUnfenced: "Ask the platform team to install the ValidatingAdmissionPolicy of the operator's Helm chart (promptDelivery) or of " +
		"config/prompt-delivery/policy, with its binding and what that names. Until then " + kubeletBrings + " To see which there are:",
	v1alpha1.ReasonDeliveryFailed: "Nothing about pods that were not told once: " + kubeletBrings + " If pods are not told at each renewal, fix what the " +
		"condition Delivered names, such as an admission rule that refuses changes of pods.",

	reasonExpired: findOne,
	reasonOverdue: findOne,
	reasonNotSeen: findOne,
}

// The words by which a message of the operator is known.
const (
	writtenByOperator = "was written by this operator and holds a token"
	lacksLabel        = "lacks the label that this operator requires"
)

const (
	// nameCredentials replaces the advice to write credentials into what is a token's Secret: pods mount that.
	nameCredentials = "Name the Secret with the client ID and client secret in spec.credentialsSecretRef.name."
	madeByATool     = "{tool} makes Secret {credentials}, and undoes what others write to it: have it write the keys {id} and {secret}, with the values " +
		"issued by PayU, there. The operator tries again at once."
	addKeys  = "Add the keys {id} and {secret} to Secret {credentials}: the operator tries again at once."
	labelIt  = "If Secret {credentials} holds the client ID and client secret issued by PayU, label it: the operator tries again at once."
	fromFile = " To write it from a file payu.env with the lines {id}=… and {secret}=…:"

	label            = "kubectl label secret {credentials} -n {namespace} --overwrite " + v1alpha1.LabelCredentials + "=true"
	writeCredentials = "kubectl create secret generic {credentials} -n {namespace} --from-env-file=payu.env --dry-run=client -o yaml | kubectl apply -f -"
	askForPrompt     = "PayU reuses tokens: a new one exists only once the old one has expired, and until the kubelet updates the files of the pods, within " +
		"about two minutes, these have no valid token. If the platform team allows it (promptDelivery.enabled), have new tokens in the files within seconds:"
	prompt       = `kubectl patch payutoken {name} -n {namespace} --type=merge -p '{"spec":{"target":{"delivery":"Prompt"}}}'`
	refresh      = "kubectl payutoken refresh {name} -n {namespace}"
	findOperator = "kubectl get pods -A -l app.kubernetes.io/name=payu-token-operator"
)

// commands help to apply the remedies.
var commands = map[string]string{
	v1alpha1.ReasonInvalidClient:       writeCredentials,
	v1alpha1.ReasonCredentialsNotFound: writeCredentials,
	v1alpha1.ReasonCredentialsInvalid:  writeCredentials,
	v1alpha1.ReasonInvalidScope:        refresh,
	v1alpha1.ReasonScopeReduced:        refresh,
	v1alpha1.ReasonUnauthorizedClient:  refresh,
	v1alpha1.ReasonTargetConflict:      "kubectl describe secret {target} -n {namespace}",
	v1alpha1.ReasonSuspended:           "kubectl payutoken resume {name} -n {namespace}",
	v1alpha1.ReasonDeliveryUnfenced:    "kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings -l app.kubernetes.io/part-of=payu-token-operator",

	reasonExpired: findOperator,
	reasonOverdue: findOperator,
	reasonNotSeen: findOperator,
}

// advice is what to do, in words and, if one helps, as a command.
type advice struct{ words, command string }

// remediesOf returns what to do about a verdict, and about the delivery of tokens to pods: none if all is well.
func remediesOf(r Report, v Verdict) (list []advice) {
	t := r.Token
	ref := t.Spec.CredentialsSecretRef
	names := strings.NewReplacer("{name}", t.Name, "{namespace}", t.Namespace, "{target}", t.TargetName(),
		"{credentials}", string(ref.Name), "{id}", string(ref.ClientIDKey), "{secret}", string(ref.ClientSecretKey))
	about := func(words, command string) {
		if words != "" {
			list = append(list, advice{names.Replace(words), names.Replace(command)})
		}
	}
	about(adviceOn(r, v))
	about(adviceOnDelivery(r, v))
	return list
}

// adviceOnDelivery returns how new tokens get into the files of pods sooner, with names in braces.
func adviceOnDelivery(r Report, v Verdict) (words, command string) {
	delivered, refreshed := condition(r.Token, v1alpha1.ConditionDelivered), condition(r.Token, v1alpha1.ConditionRefreshed)
	mounts := slices.ContainsFunc(r.Uses, func(u Use) bool { return u.Way == Directory })
	switch {
	case r.Token.Spec.Target.Delivery == v1alpha1.DeliveryPrompt:
		if delivered != nil && delivered.Status != metav1.ConditionTrue {
			return remedies[delivered.Reason], commands[delivered.Reason]
		}
	case v.Valid && mounts && refreshed != nil && refreshed.Reason == v1alpha1.ReasonTokenReused:
		return askForPrompt, prompt
	}
	return "", ""
}

// adviceOn returns what to do, with names in braces.
func adviceOn(r Report, v Verdict) (words, command string) {
	cause, command := causes[v.Reason], commands[v.Reason]
	words = strings.TrimSpace(cause + " " + remedies[v.Reason])
	switch {
	case command == writeCredentials && (r.CredentialsAreATarget || strings.Contains(v.Message, writtenByOperator)):
		return strings.TrimSpace(cause + " " + nameCredentials), ""
	case strings.Contains(v.Message, lacksLabel):
		return labelIt, label
	case command == writeCredentials && r.CredentialsFrom != "":
		return strings.TrimSpace(cause + " " + strings.ReplaceAll(madeByATool, "{tool}", r.CredentialsFrom)), ""
	case v.Reason == v1alpha1.ReasonCredentialsNotFound && r.CredentialsExist:
		return addKeys + fromFile, command
	case command == writeCredentials:
		return words + fromFile, command
	case remedies[v.Reason] == retries && !v.Valid: // it may revoke a valid token
		return words + " To request a token from this machine:", "kubectl payutoken check {name} -n {namespace}"
	default:
		return words, command
	}
}

// split takes the command off the end of a message of the operator: it must not be wrapped, nor end with a full stop.
func split(message string) (words, command string) {
	const run = "run: "
	start := strings.LastIndex(message, run+"kubectl ")
	if start < 0 {
		return message + ".", ""
	}
	words, command = message[:start+len(run)], message[start+len(run):]
	if strings.Contains(message, lacksLabel) { // the advice has a better command
		return strings.TrimSuffix(words, ": "+run) + ".", ""
	}
	return words, command
}
