package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// TestMemoryWithManySecretsOfOthers starts the operator in a cluster with 10,000 Secrets of 10 kB that are none of its
// business, and sees to it that it holds hardly anything of them, once it rests: their data would be 100 MB.
func TestMemoryWithManySecretsOfOthers(t *testing.T) {
	const (
		namespace = "default"
		secrets   = 10_000
		most      = 50<<20 + secrets<<10 // idle, and 1 KiB for each Secret, as docs/performance.md promises
		peak      = 100 << 20
	)
	ctx := t.Context()
	ctrl.SetLogger(logr.Discard()) // what envtest has to say
	b := lab.Must(newBench(ctx, options{scale: quick}))(t)
	t.Cleanup(func() {
		if err := b.close(nil); err != nil {
			t.Error(err)
		}
	})
	lab.Check(t, b.Try(b.setUp))
	lab.Check(t, b.seedForeign(ctx, namespace, 0, secrets))
	// They were written behind the API server's back: its cache hears of them a little later.
	lab.AwaitTrue(t, "the API server shows the Secrets", func() bool {
		var some corev1.SecretList
		lab.Check(t, b.client.List(ctx, &some, client.InNamespace(namespace), client.Limit(1)))
		rest := some.RemainingItemCount
		return rest != nil && *rest >= secrets-1 && len(some.Items[0].Data["file"]) == foreignSize
	})
	var operator *manager
	lab.Check(t, b.Try(func() { operator = b.operator(b.account) }))
	var held usage
	err := lab.Await(ctx, lab.Patience, fmt.Sprintf("at most %s are resident", mebibytes(most)), func(context.Context) (err error) {
		held, err = usageOf(operator.PID())
		lab.Check(t, err)
		return lab.So(held.resident <= most)
	})
	if err != nil {
		t.Error(err)
	}
	if err := stop(operator.Process); err != nil {
		t.Error(err)
	}
	if held.most > peak {
		t.Errorf("%s were resident at the start, want at most %s", mebibytes(held.most), mebibytes(peak))
	}
	t.Logf("%s are resident with %d Secrets of others, %s were at most", mebibytes(held.resident), secrets, mebibytes(held.most))
}
