package main_test

import (
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/lab"
)

// shop is a namespace of one test, with credentials of one merchant.
type shop struct{ *lab.Shop }

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{cluster.NewShop(t)}
	s.Credentials("payu-credentials", lab.Merchant, lab.MerchantSecret)
	return s
}

// operate starts an operator that works in this shop only and asks that PayU.
func (s *shop) operate(server *payutest.Running, args ...string) *operator {
	s.Helper()
	args = append([]string{"--watch-namespaces=" + s.Namespace}, args...)
	return launch(s.T, cluster.Kubeconfig, append(lab.Asking(server), args...)...)
}

// create creates a PayUToken for the merchant, labelled so that an operator of the whole cluster can tell whose it is.
func (s *shop) create(name string, edits ...lab.Edit) {
	s.Helper()
	s.Create(name, append([]lab.Edit{lab.Labelled("shop", s.Namespace)}, edits...)...)
}

// expectUntouched checks that no operator has reconciled a PayUToken.
func (s *shop) expectUntouched(name string) {
	s.Helper()
	if status := s.Token(name).Status; status.ObservedGeneration != -1 || len(status.Conditions) > 0 {
		s.Errorf("%s/%s was handled: %+v", s.Namespace, name, status)
	}
	if s.Secret(name) != nil {
		s.Errorf("there is a Secret %s/%s", s.Namespace, name)
	}
}
