package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
	b := &bench{options: options{scale: quick}, start: time.Now()}
	t.Cleanup(func() {
		if err := b.close(nil); err != nil {
			t.Error(err)
		}
	})
	if err := b.locate(); err != nil {
		t.Fatal(err)
	}
	if err := b.setUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.seedForeign(ctx, namespace, 0, secrets); err != nil {
		t.Fatal(err)
	}
	// They were written behind the API server's back: its cache hears of them a little later.
	err := await(ctx, "the API server shows the Secrets", func() (bool, error) {
		var some corev1.SecretList
		err := b.client.List(ctx, &some, client.InNamespace(namespace), client.Limit(1))
		rest := some.RemainingItemCount
		return rest != nil && *rest >= secrets-1 && len(some.Items[0].Data["file"]) == foreignSize, err
	})
	if err != nil {
		t.Fatal(err)
	}
	operator, err := b.operator(ctx, b.account)
	if err != nil {
		t.Fatal(err)
	}
	var held usage
	err = await(ctx, fmt.Sprintf("at most %s are resident", mebibytes(most)), func() (bool, error) {
		held, err = usageOf(operator.PID())
		return held.resident <= most, err
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
