package main

import (
	"testing"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
)

// TestATokenWhoseAnswerWasCutShortIsInTheBooks, or each later one of its source counts as that of the request before it.
func TestATokenWhoseAnswerWasCutShortIsInTheBooks(t *testing.T) {
	b := newBooks()
	var requests []payutest.Request
	var issued []payutest.Issued
	for n, outcome := range []string{string(payutest.BreakTruncate), payutest.OutcomeSuccess} {
		requests = append(requests, payutest.Request{ClientID: "shop", Scope: "read_bills", ReceivedAt: at(float64(n)), Outcome: outcome})
		issued = append(issued, payutest.Issued{Token: outcome, ClientID: "shop", Scopes: []string{"read_bills"}, IssuedAt: at(float64(n))})
	}
	b.add(requests, issued)
	if len(b.issued) != 2 {
		t.Errorf("%d tokens are in the books, want 2", len(b.issued))
	}
	gifts := b.gifts[source{"shop", "read_bills"}]
	if len(gifts) != 1 || gifts[0] != (gift{at(1), payutest.OutcomeSuccess}) {
		t.Errorf("answers with a token: %v, want the second one's", gifts)
	}
}
