package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
)

// shop is the namespace of the tour.
const shop = "shop"

// events watches one object of the shop, beginning with its current state.
func (t *tour) events(ctx context.Context, list client.ObjectList, name string) (watch.Interface, error) {
	w, err := t.client.Watch(ctx, list, client.InNamespace(shop), client.MatchingFields{"metadata.name": name})
	if err != nil {
		return nil, fmt.Errorf("watching %q: %w", name, err)
	}
	return w, nil
}

// follow passes every event of a watch to see, until that returns true or an error.
func follow(ctx context.Context, w watch.Interface, see func(watch.Event) (bool, error)) error {
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return fmt.Errorf("watching: %v", event.Object)
		}
		if enough, err := see(event); enough || err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("the API server ended a watch: start the demo again")
}

// awaitToken waits until a PayUToken is as wanted.
func (t *tour) awaitToken(ctx context.Context, name string, wanted func(*v1alpha1.PayUToken) (bool, error)) (*v1alpha1.PayUToken, error) {
	w, err := t.events(ctx, &v1alpha1.PayUTokenList{}, name)
	if err != nil {
		return nil, err
	}
	var token *v1alpha1.PayUToken
	err = follow(ctx, w, func(event watch.Event) (bool, error) {
		token = event.Object.(*v1alpha1.PayUToken)
		return wanted(token)
	})
	return token, err
}

// healthyToken waits until a PayUToken is Ready, without a failure.
func (t *tour) healthyToken(ctx context.Context, name string) (*v1alpha1.PayUToken, error) {
	return t.awaitToken(ctx, name, func(token *v1alpha1.PayUToken) (bool, error) {
		return isReady(token) && meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionRefreshed) &&
			!meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionStalled), nil
	})
}

func isReady(token *v1alpha1.PayUToken) bool {
	return meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady)
}

// condition returns a condition, zero if there is none of that type.
func condition(token *v1alpha1.PayUToken, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(token.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// target returns the Secret of the tour.
func (t *tour) target(ctx context.Context) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	if err := t.client.Get(ctx, client.ObjectKey{Namespace: shop, Name: targetName}, secret); err != nil {
		return nil, fmt.Errorf("reading Secret %q: %w", targetName, err)
	}
	return secret, nil
}

// kubectl shows the command and runs it.
func (t *tour) kubectl(ctx context.Context, args ...string) (string, error) {
	t.command("kubectl " + shellLine(args))
	return t.cluster.Kubectl(ctx, args...)
}

// show shows the command, runs it, and shows what it prints.
func (t *tour) show(ctx context.Context, args ...string) error {
	out, err := t.kubectl(ctx, args...)
	t.output(out)
	return err
}

// shellLine quotes arguments for a shell.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if quoted[i] = arg; strings.ContainsAny(arg, ` {}"$*`) {
			quoted[i] = "'" + arg + "'"
		}
	}
	return strings.Join(quoted, " ")
}
