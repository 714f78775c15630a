package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/api/v1alpha1"
	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

// deleteLeaders deletes the leader's pod just before each renewal, and in the end kills the leader, right after one.
func deleteLeaders(ctx context.Context, s *shop) (row, error) {
	var longest time.Duration
	r, err := overRenewals(func(ctx context.Context, s *shop, _ int, due time.Time) error {
		if err := until(ctx, due.Add(-time.Second)); err != nil {
			return err
		}
		took, err := s.takeover(ctx, func(pod string) error {
			return s.client.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operators, Name: pod}})
		})
		longest = max(longest, took)
		return err
	})(ctx, s)
	r.notes = append(r.notes, fmt.Sprintf("a deleted leader is followed after %s at most", shown(longest)))
	if err != nil || s.kill == nil {
		return r, err
	}
	took, err := s.takeover(ctx, s.kill)
	r.notes = append(r.notes, fmt.Sprintf("a killed one after %s", shown(took)))
	return r, err
}

// failPayU has PayU fail for half of each life, the first seconds after the renewal is due among it.
func failPayU(ctx context.Context, s *shop) (row, error) {
	r, err := overRenewals(func(ctx context.Context, s *shop, _ int, due time.Time) error {
		end := due.Add(2 * time.Second)
		if err := until(ctx, end.Add(-s.life/2)); err != nil {
			return err
		}
		if err := s.admin.Inject(ctx, payutest.Fault{Status: 503, Body: "<html>Service Unavailable</html>"}); err != nil {
			return err
		}
		err := until(ctx, end)
		if err == nil {
			err = s.awaitDegraded(ctx)
		}
		return errors.Join(err, s.admin.ClearFaults(ctx))
	})(ctx, s)
	failed, err2 := s.failures(ctx)
	r.notes = append(r.notes, fmt.Sprintf("%d token requests failed", failed))
	return r, errors.Join(err, err2)
}

// awaitDegraded waits until the PayUToken says that its renewal fails, and wants it to say that its token is alive.
func (s *shop) awaitDegraded(ctx context.Context) error {
	return await(ctx, s.life, "Refreshed is False, for ServerError, and Ready is True", func(ctx context.Context) (bool, error) {
		var token v1alpha1.PayUToken
		err := s.client.Get(ctx, client.ObjectKey{Namespace: s.namespace(), Name: tokenName}, &token)
		refreshed := meta.FindStatusCondition(token.Status.Conditions, v1alpha1.ConditionRefreshed)
		failed := refreshed != nil && refreshed.Status == metav1.ConditionFalse && refreshed.Reason == v1alpha1.ReasonServerError
		return failed && meta.IsStatusConditionTrue(token.Status.Conditions, v1alpha1.ConditionReady), err
	})
}

// failures is how many token requests have failed.
func (s *shop) failures(ctx context.Context) (int, error) {
	requests, err := s.admin.Requests(ctx)
	return len(slices.DeleteFunc(requests, func(r payutest.Request) bool { return r.Status == 200 })), err
}

// upgrade upgrades the operator to another image just before each renewal. Beside the renewals, PayU is not to be asked.
func upgrade(ctx context.Context, s *shop) (row, error) {
	before, err := s.asked(ctx, s.shop)
	if err != nil {
		return row{}, err
	}
	r, err := overRenewals(func(ctx context.Context, s *shop, n int, due time.Time) error {
		if err := until(ctx, due.Add(-2*time.Second)); err != nil {
			return err
		}
		s.image = []image{s.Images.Upgraded, s.Images.Operator}[n%2]
		if err := s.install(ctx); err != nil {
			return err
		}
		d, err := s.deployment(ctx)
		if err == nil && (d.Status.UpdatedReplicas != 2 || d.Spec.Template.Spec.Containers[0].Image != s.image.Name) {
			err = fmt.Errorf("helm upgrade --wait returned while %d of 2 replicas were new", d.Status.UpdatedReplicas)
		}
		return err
	})(ctx, s)
	return r, errors.Join(err, s.judgeRequests(ctx, &r, before))
}

// rotate gives the client a new secret, and every other time goes on with a new client and removes the old one once the
// workload has a token of the new one.
func rotate(ctx context.Context, s *shop, n int, _ time.Time) error {
	if n%2 == 0 {
		return s.rotate(ctx, s.clientID(n))
	}
	former := s.clientID(n - 1)
	if err := s.rotate(ctx, s.clientID(n)); err != nil {
		return err
	}
	err := await(ctx, s.limit(), "the workload uses a token of the new client", func(ctx context.Context) (bool, error) {
		if err := s.tape.update(ctx); err != nil {
			return false, err
		}
		issued, err := s.issued(ctx)
		last := s.tape.since(0)
		return issued[last[len(last)-1].Token].ClientID == s.clientID(n), err
	})
	if err != nil {
		return err
	}
	return s.admin.RemoveClient(ctx, former) // and revoke its tokens
}

// clientID is that of the n-th rotation: every second one brings a new client.
func (s *shop) clientID(n int) string { return fmt.Sprintf("%s-%d", s.shop, (n+1)/2) }

// issued is what the shop's PayU has issued, by calls.Digest.
func (s *shop) issued(ctx context.Context) (map[string]payutest.Issued, error) {
	list, err := s.admin.Issued(ctx)
	if err != nil {
		return nil, err
	}
	byDigest := map[string]payutest.Issued{}
	for _, i := range list {
		byDigest[calls.Digest(i.Token)] = i
	}
	return byDigest, nil
}

// endOperator proves the proof: without an operator, the workload has to be refused.
func endOperator(ctx context.Context, s *shop) (row, error) {
	mark, err := s.tape.mark(ctx)
	if err != nil {
		return row{}, err
	}
	d, err := s.deployment(ctx)
	if err != nil {
		return row{}, err
	}
	patch := client.MergeFrom(d.DeepCopy())
	none := int32(0)
	d.Spec.Replicas = &none
	if err := s.client.Patch(ctx, d, patch); err != nil {
		return row{}, err
	}
	err = await(ctx, s.limit(), "the workload is refused", func(ctx context.Context) (bool, error) {
		err := s.tape.update(ctx)
		return calls.Summarize(s.tape.since(mark)).Refusals >= 5, err
	})
	r, err2 := s.row(ctx, mark)
	return r, errors.Join(err, err2)
}
