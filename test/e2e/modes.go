package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/payu-token-operator/payu-token-operator/internal/payu/payutest"
	"github.com/payu-token-operator/payu-token-operator/test/e2e/calls"
)

// promptly is how soon after the end of a token a new one is there, where PayU reuses tokens, and how soon it is in the
// Secret. Three seconds and a moment are promised, and a busy machine takes more.
const promptly = 10 * time.Second

// gap is the time without a token that works, in three parts: until PayU gave a new one, until the Secret held that,
// and until the workload had it. Nobody can do anything about the last one but the kubelet.
type gap struct{ asking, writing, delivery time.Duration }

func (g gap) whole() time.Duration { return g.asking + g.writing + g.delivery }

// measureGap measures the gaps that a mode of PayU makes unavoidable.
func measureGap(ctx context.Context, s *shop) (row, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	written, err := s.watchSecret(watching, tokenName)
	if err != nil {
		return row{}, err
	}
	r, err := overRenewals(nil)(ctx, s)
	if err != nil {
		return r, err
	}
	r.broken = nil // refusals are
	issued, err := s.issued(ctx)
	if err != nil {
		return r, err
	}
	gaps, err := gapsOf(s.tape.since(r.mark), written, issued)
	if err != nil {
		return r, err
	}
	var longest, sum gap
	for _, g := range gaps {
		longest = gap{max(longest.asking, g.asking), max(longest.writing, g.writing), max(longest.delivery, g.delivery)}
		sum = sum.plus(g)
	}
	n := time.Duration(r.Renewals)
	r.notes = append(r.notes, fmt.Sprintf("no live token in the file for %s on average", shown(sum.whole()/n)),
		fmt.Sprintf("of that, %.1f s (at most %.1f s) until PayU gave a new one and %.1f s (%.1f s) until it was written", (sum.asking/n).Seconds(), longest.asking.Seconds(), (sum.writing/n).Seconds(), longest.writing.Seconds()),
		fmt.Sprintf("the rest, %.1f s (%.1f s), is the kubelet's, which takes up to %s by its rules", (sum.delivery/n).Seconds(), longest.delivery.Seconds(), shown(s.delivery())))
	if longest.asking > promptly {
		r.broken = append(r.broken, fmt.Sprintf("a new token came %s after the end of the old one, later than %s", shown(longest.asking), promptly))
	}
	if longest.writing > promptly {
		r.broken = append(r.broken, fmt.Sprintf("a token was written %s after PayU gave it, later than %s", shown(longest.writing), promptly))
	}
	return r, nil
}

func (g gap) plus(other gap) gap {
	return gap{g.asking + other.asking, g.writing + other.writing, g.delivery + other.delivery}
}

// gapsOf returns the gap of each renewal that a workload saw, by the Digest of the new token. There is none if the workload had that
// before the old one ended.
func gapsOf(list []calls.Call, written *writes, issued map[string]payutest.Issued) (map[string]gap, error) {
	gaps := map[string]gap{}
	for _, each := range calls.Renewals(list) {
		at, ok := written.at(each.New)
		if !ok {
			return nil, errors.New("a workload uses a token that was not seen in the Secret")
		}
		gaps[each.New] = gap{}
		if each.FirstNew.After(endOf(issued[each.Old])) {
			gaps[each.New] = gapOf(each, issued[each.Old], issued[each.New], at)
		}
	}
	return gaps, nil
}

// gapOf is the gap of one renewal.
func gapOf(r calls.Renewal, former, next payutest.Issued, written time.Time) gap {
	return gap{max(0, next.IssuedAt.Sub(endOf(former))), written.Sub(next.IssuedAt), r.FirstNew.Sub(written)}
}

// endOf is when a token ended.
func endOf(token payutest.Issued) time.Time {
	if !token.RevokedAt.IsZero() {
		return token.RevokedAt
	}
	return token.ExpiresAt
}
